/** Region id → hash slot → worker. 16,384 slots and CRC-16/XMODEM, as Redis Cluster has them. */

export const SLOT_COUNT = 16_384;

const CRC_TABLE = new Uint16Array(256).map((_, byte) => {
  let crc = byte << 8;
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1;
  return crc & 0xffff;
});

/** The slot of a region: CRC-16 of its id in decimal. */
export function slotOfRegion(regionId: number): number {
  let crc = 0;
  for (const char of String(regionId)) {
    crc = ((crc << 8) & 0xffff) ^ CRC_TABLE[((crc >> 8) ^ char.charCodeAt(0)) & 0xff]!;
  }
  return crc % SLOT_COUNT;
}

/** The worker that a slot starts on, in a node of `workers` workers. */
export function homeWorker(slot: number, workers: number): number {
  return slot % workers;
}
