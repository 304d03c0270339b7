/** Lists in parts that a message carries: what is listed may hold keys, and keys may be long. */

import { LIMITS } from '../../rpc/wire/limits.ts';

export interface PageBounds {
  readonly entries: number;
  /** Of the entries as JSON; one entry may pass it alone. */
  readonly bytes: number;
}

const ANSWER: PageBounds = { entries: LIMITS.placementListEntries, bytes: LIMITS.placementListBytes };

/** The whole list, in order. */
export function* pages<T>(list: Iterable<T>, bounds: PageBounds): Generator<readonly T[]> {
  let page: T[] = [];
  let bytes = 0;
  for (const entry of list) {
    const entryBytes = Buffer.byteLength(JSON.stringify(entry));
    if (page.length === bounds.entries || (page.length > 0 && bytes + entryBytes > bounds.bytes)) {
      yield page;
      page = [];
      bytes = 0;
    }
    page.push(entry);
    bytes += entryBytes;
  }
  if (page.length > 0) yield page;
}

/** The beginning of a list, as much of it as one answer of placement holds. */
export function firstPage<T>(list: Iterable<T>): readonly T[] {
  for (const page of pages(list, ANSWER)) return page;
  return [];
}
