/**
 * The keys of a run: 16 bytes, binary, as many as there are records, and more when a workload inserts.
 *
 *     bytes 0-7    a mix of the record's group: spread evenly over all keys, so also over regions split by prefix
 *     bytes 8-11   the record's number, big-endian: no two keys are equal, also in their first 12 bytes
 *     bytes 12-15  a mix of the number
 *
 * For single keys every record is a group of its own. The keys of one batch are one group: they share their first
 * 8 bytes, as the rows of one object would, and so lie in one region.
 */

import { mix32 } from './random.ts';

export const KEY_BYTES = 16;
/** Numbers are 32 bits wide. */
export const MAX_RECORDS = 2 ** 32 - 1;
const SECOND_HALF = 0x9e3779b9;
const TAIL = 0x7f4a7c15;

/** Writes the key of record `number` in `group` at `offset`. */
function writeKey(out: Buffer, offset: number, group: number, number: number): void {
  out.writeUInt32BE(mix32(group), offset);
  out.writeUInt32BE(mix32(group ^ SECOND_HALF), offset + 4);
  out.writeUInt32BE(number >>> 0, offset + 8);
  out.writeUInt32BE(mix32(number ^ TAIL), offset + 12);
}

export class KeySpace {
  private readonly prepared: readonly Buffer[];

  /** Prepares the keys of the first `records` records, so that a run need not make them. */
  constructor(records: number) {
    const bytes = Buffer.allocUnsafe(records * KEY_BYTES);
    this.prepared = Array.from({ length: records }, (_, number) => {
      writeKey(bytes, number * KEY_BYTES, number, number);
      return bytes.subarray(number * KEY_BYTES, (number + 1) * KEY_BYTES);
    });
  }

  at(number: number): Buffer {
    return this.prepared[number] ?? this.make(number);
  }

  private make(number: number): Buffer {
    const key = Buffer.allocUnsafe(KEY_BYTES);
    writeKey(key, 0, number, number);
    return key;
  }
}

/** The key groups of batches: `records` keys in groups of `size`. */
export class KeyGroups {
  private readonly groups: readonly (readonly Buffer[])[];

  constructor(records: number, size: number) {
    const count = Math.max(1, Math.floor(records / size));
    const bytes = Buffer.allocUnsafe(count * size * KEY_BYTES);
    this.groups = Array.from({ length: count }, (_group, group) =>
      Array.from({ length: size }, (_, member) => {
        const number = group * size + member;
        writeKey(bytes, number * KEY_BYTES, group, number);
        return bytes.subarray(number * KEY_BYTES, (number + 1) * KEY_BYTES);
      }),
    );
  }

  get count(): number {
    return this.groups.length;
  }

  at(group: number): readonly Buffer[] {
    return this.groups[group] as readonly Buffer[];
  }
}
