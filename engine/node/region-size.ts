/** How much data a region has and where its middle is, found by reading it once, a page at a time, between other work. */

import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Region } from '../../rpc/wire/region.ts';
import type { Store } from '../store/port.ts';
import { dataColumn } from '../store/region-records.ts';

export interface RegionSize {
  /** Keys and values. */
  readonly sizeBytes: number;
  readonly keys: number;
  /** About half of the bytes come before it; undefined: there is no key behind the first. */
  readonly middleKey: Uint8Array | undefined;
}

/** Entries of one page; its bytes are LIMITS.measurePageBytes. */
const PAGE_ENTRIES = 2048;

/** A key, and the bytes of all that come before it. */
interface Mark {
  readonly key: Uint8Array;
  readonly before: number;
}

/**
 * Reads the region's range from the store. What is written meanwhile may or may not be counted.
 * @param isOver asked between the pages: the store is about to be closed, and what was found so far is enough
 * @throws StorageFailure
 */
export async function measureRegion(store: Store, region: Region, isOver = () => false): Promise<RegionSize> {
  const { startKey, endKey, regionId } = region;
  const marks: Mark[] = [];
  let sizeBytes = 0;
  let keys = 0;
  let after: Uint8Array | undefined;
  for (;;) {
    const page = store.scan(dataColumn(regionId), {
      ...(after ? { gt: after } : { gte: startKey }),
      ...(endKey.length > 0 ? { lt: endKey } : {}),
      limit: PAGE_ENTRIES,
      maxBytes: LIMITS.measurePageBytes,
    });
    for (const { key, value } of page.entries) {
      // One key of each stretch is enough; of small regions all.
      const last = marks.at(-1);
      const isFirst = keys++ === 0;
      if (!isFirst && (!last || sizeBytes - last.before >= sizeBytes / MARKS)) marks.push({ key, before: sizeBytes });
      sizeBytes += key.length + value.length;
    }
    after = page.entries.at(-1)?.key;
    if (!page.more || after === undefined) break;
    await new Promise((resolve) => setImmediate(resolve));
    if (isOver()) break;
  }
  return { sizeBytes, keys, middleKey: middleOf(marks, sizeBytes) };
}

/** A mark stands for a stretch of at most this part of what lies before it. */
const MARKS = 256;

function middleOf(marks: readonly Mark[], sizeBytes: number): Uint8Array | undefined {
  let best: Mark | undefined;
  for (const mark of marks) {
    if (!best || Math.abs(2 * mark.before - sizeBytes) < Math.abs(2 * best.before - sizeBytes)) best = mark;
  }
  return best && Buffer.from(best.key);
}
