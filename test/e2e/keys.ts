/** Keys that reach every region, whatever the regions are. */

import { Admin } from '../../tools/admin.ts';

/** One key inside each region of a cluster. */
export async function keysOfAllRegions(address: { cluster: string; url: string }): Promise<Uint8Array[]> {
  const admin = await Admin.connect({ cluster: address.cluster, nats: address.url });
  try {
    const regions = await admin.regions();
    return regions.map(({ startKey }) => Buffer.concat([startKey, Buffer.from('probe')]));
  } finally {
    await admin.close();
  }
}

/** A key whose first two bytes are anywhere, so that a stream of them meets all regions. */
export function spreadKey(name: string, at: number): Uint8Array {
  const key = Buffer.from(`  ${name}/${at}`);
  key.writeUInt16BE(Math.imul(at + 1, 0x9e37_79b1) >>> 16, 0);
  return key;
}
