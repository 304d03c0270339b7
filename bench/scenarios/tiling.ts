/** Whether regions lie side by side over the whole key space: every key in exactly one of them. */

import { compareKeys, showKey } from '../../rpc/wire/region.ts';

export interface TiledRegion {
  readonly regionId: number;
  /** Inclusive; empty: from the first key. */
  readonly startKey: Uint8Array;
  /** Exclusive; empty: to the last key. */
  readonly endKey: Uint8Array;
  /** 0: none is known. */
  readonly leaderNodeId: number;
}

export interface Tiling {
  readonly regions: number;
  /** Gaps, overlaps and empty ranges, in words; the first few of them. */
  readonly problems: readonly string[];
  /** Regions of which no leader is known. */
  readonly leaderless: number;
  /** No problems, and every region has a leader. */
  readonly isSound: boolean;
}

const PROBLEMS_KEPT = 10;

/** The regions in any order. */
export function checkTiling(regions: readonly TiledRegion[]): Tiling {
  const sorted = [...regions].sort((a, b) => compareKeys(a.startKey, b.startKey) || a.regionId - b.regionId);
  const problems = [...sorted.flatMap(emptyRange), ...seams(sorted), ...repeatedIds(sorted)];
  const leaderless = sorted.filter(({ leaderNodeId }) => leaderNodeId === 0).length;
  return {
    regions: sorted.length,
    problems: problems.slice(0, PROBLEMS_KEPT),
    leaderless,
    isSound: problems.length === 0 && leaderless === 0,
  };
}

function emptyRange({ regionId, startKey, endKey }: TiledRegion): string[] {
  const isEmpty = endKey.length > 0 && compareKeys(startKey, endKey) >= 0;
  return isEmpty ? [`region ${regionId} ends where it begins, or before: ${showKey(endKey)}`] : [];
}

/** What is wrong between neighbours, before the first and behind the last. */
function seams(sorted: readonly TiledRegion[]): string[] {
  const [first] = sorted;
  const last = sorted.at(-1);
  if (!first || !last) return ['there are no regions'];
  const problems: string[] = [];
  if (first.startKey.length > 0) problems.push(`no region holds the keys before ${showKey(first.startKey)}`);
  for (const [at, { regionId, endKey }] of sorted.entries()) {
    const next = sorted[at + 1];
    if (!next) break;
    const order = endKey.length === 0 ? 1 : compareKeys(endKey, next.startKey);
    if (order < 0) problems.push(`no region holds the keys from ${showKey(endKey)} to ${showKey(next.startKey)}`);
    if (order > 0) problems.push(`regions ${regionId} and ${next.regionId} both hold ${showKey(next.startKey)}`);
  }
  if (last.endKey.length > 0) problems.push(`no region holds the keys from ${showKey(last.endKey)} on`);
  return problems;
}

function repeatedIds(sorted: readonly TiledRegion[]): string[] {
  const seen = new Set<number>();
  return sorted.flatMap(({ regionId }) => {
    if (seen.has(regionId)) return [`region ${regionId} is there twice`];
    seen.add(regionId);
    return [];
  });
}
