/** Which region is split next, and where: the one whose turn it is, in the middle of its range. */

import type { TiledRegion } from './tiling.ts';

type Range = Pick<TiledRegion, 'regionId' | 'startKey' | 'endKey'>;

export interface PlannedSplit {
  readonly regionId: number;
  readonly splitKey: Uint8Array;
}

/** Keys of a benchmark are uniform in their first bytes, so the middle of a range is the middle of its data. */
const PREFIX_BYTES = 8;
const KEY_SPACE = 1n << BigInt(8 * PREFIX_BYTES);

/** A queue: whoever was split goes to its end, with its new half. So ranges stay alike in size. */
export class SplitPlan {
  private readonly queue: Range[];
  private readonly underWay = new Map<number, Range>();

  constructor(regions: readonly Range[]) {
    this.queue = [...regions];
  }

  /** The next region with room for a split; it leaves the queue until `done`. Undefined: there is none. */
  next(): PlannedSplit | undefined {
    for (let range = this.queue.shift(); range; range = this.queue.shift()) {
      const splitKey = middleOf(range.startKey, range.endKey);
      if (splitKey === undefined) continue;
      this.underWay.set(range.regionId, range);
      return { regionId: range.regionId, splitKey };
    }
    return undefined;
  }

  done({ regionId, splitKey }: PlannedSplit, childRegionId: number): void {
    const range = this.underWay.get(regionId);
    if (!range) return;
    this.underWay.delete(regionId);
    const { startKey, endKey } = range;
    this.queue.push({ regionId, startKey, endKey: splitKey }, { regionId: childRegionId, startKey: splitKey, endKey });
  }
}

/** The key halfway between both, or undefined when there is none between them; an empty `end` is that of the key space. */
export function middleOf(start: Uint8Array, end: Uint8Array): Uint8Array | undefined {
  const from = prefixOf(start);
  const until = end.length === 0 ? KEY_SPACE : prefixOf(end);
  const middle = (from + until) >> 1n;
  if (middle <= from) return undefined;
  const key = Buffer.alloc(PREFIX_BYTES);
  key.writeBigUInt64BE(middle);
  return key;
}

function prefixOf(key: Uint8Array): bigint {
  const bytes = Buffer.alloc(PREFIX_BYTES);
  bytes.set(key.subarray(0, PREFIX_BYTES));
  return bytes.readBigUInt64BE();
}
