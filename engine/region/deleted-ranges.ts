/**
 * Which keys the range deletes of one sequence have deleted. A range delete of a client is cut along the regions and all
 * its parts have its sequence, so that a region which was merged may have done one part of it and not another.
 */

import { compareKeys } from '../../rpc/wire/region.ts';

export interface DeletedRange {
  readonly start: Uint8Array;
  /** Empty: all that follows. */
  readonly end: Uint8Array;
}

/** What of a range lies in none of `done`, which ascend and do not touch. */
export function missingFrom(done: readonly DeletedRange[], range: DeletedRange): DeletedRange[] {
  const missing: DeletedRange[] = [];
  let { start } = range;
  for (const one of done) {
    if (!isBefore(start, one.end)) continue;
    if (!isBefore(one.start, range.end)) break;
    if (compareKeys(start, one.start) < 0) missing.push({ start, end: one.start });
    if (one.end.length === 0 || !isBefore(one.end, range.end)) return missing;
    start = one.end;
  }
  missing.push({ start, end: range.end });
  return missing;
}

/** All that lies in one of them: ascending, and none touches another. */
export function uniteRanges(ranges: readonly DeletedRange[]): DeletedRange[] {
  const united: DeletedRange[] = [];
  for (const range of [...ranges].sort((a, b) => compareKeys(a.start, b.start))) {
    const last = united.at(-1);
    if (!last || (last.end.length > 0 && compareKeys(last.end, range.start) < 0)) united.push(range);
    else if (isBeyond(range.end, last.end)) united[united.length - 1] = { start: last.start, end: range.end };
  }
  return united;
}

export function boundsBytes(ranges: readonly DeletedRange[]): number {
  return ranges.reduce((sum, { start, end }) => sum + start.length + end.length, 0);
}

/** Whether a key lies before the end of a range. */
function isBefore(key: Uint8Array, end: Uint8Array): boolean {
  return end.length === 0 || compareKeys(key, end) < 0;
}

/** Of the ends of two ranges, whether the first reaches further. */
function isBeyond(end: Uint8Array, other: Uint8Array): boolean {
  return other.length > 0 && (end.length === 0 || compareKeys(end, other) > 0);
}
