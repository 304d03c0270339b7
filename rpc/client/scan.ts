/** Scans across regions, both ways: a page is one request to one region, and says what is left of the range. */

import { compareKeys } from '../wire/region.ts';
import type { KeyValue } from './kv.ts';
import type { ScanCall, ScanPage } from './pending-call.ts';
import type { Route } from './router.ts';
import { isEmptyRange, keyAfter, type KeyRange } from './validate.ts';

/** The part of a range that lies in a region. */
export function clipRange(range: KeyRange, route: Pick<Route, 'startKey' | 'endKey'>): KeyRange {
  const start = compareKeys(range.start, route.startKey) > 0 ? range.start : route.startKey;
  if (route.endKey.length === 0) return { start, end: range.end };
  const endsFirst = range.end !== undefined && compareKeys(range.end, route.endKey) < 0;
  return { start, end: endsFirst ? range.end : route.endKey };
}

/** What is left of the scan's range behind a page that covered `clip`, or its beginning if there is `more`. */
export function restOfScan(
  call: ScanCall,
  clip: KeyRange,
  entries: readonly KeyValue[],
  more: boolean,
): KeyRange | undefined {
  const rest = call.reverse
    ? { start: call.range.start, end: more ? entries.at(-1)!.key : clip.start }
    : { start: more ? keyAfter(entries.at(-1)!.key) : (clip.end ?? LAST), end: call.range.end };
  return rest.start === LAST || isEmptyRange(rest) ? undefined : rest;
}

/** Stands for "behind the last key", which has no bytes. */
const LAST = new Uint8Array(0);

/**
 * The entries of a range, page by page.
 * @param fetchPage asks for at most `limit` entries from the start of the range, or from its end when reversed
 */
export async function* scanEntries(
  range: KeyRange,
  limit: number,
  fetchPage: (range: KeyRange, limit: number) => Promise<ScanPage>,
): AsyncGenerator<KeyValue, void, undefined> {
  let rest: KeyRange | undefined = isEmptyRange(range) ? undefined : range;
  let left = limit;
  while (rest !== undefined && left > 0) {
    const page: ScanPage = await fetchPage(rest, left);
    left -= page.entries.length;
    yield* page.entries;
    rest = page.rest;
  }
}
