/** Who may answer reads alone, and that nobody else may at that moment: within a region, and where ranges have moved between two. */

import { doOverlap } from './node-image.ts';
import type { RegionFacts, Report, SeenStatus } from './region-facts.ts';

/** A node's clock at this moment of true time; undefined while the worker of the region is down: it serves no lease. */
export type LocalClock = (nodeId: number, regionId: number) => number | undefined;

/** Whose votes a leader was elected by has promised the one before that its lease would last. */
export function checkElectedUnderLease(
  facts: RegionFacts,
  elected: number,
  term: number,
  localMs: LocalClock,
  report: Report,
): void {
  for (const [nodeId, seen] of facts.seen) {
    // Late votes of an older term make a leader of no consequence.
    if (nodeId === elected || seen.term > term || !holdsLease(nodeId, seen, localMs)) continue;
    const who = `node ${elected} is elected in term ${term} under the lease of node ${nodeId}`;
    report('nobody is elected under a lease', `region ${facts.regionId}: ${who}`);
  }
}

/** At one moment of true time at most one peer of a region may hold a lease, by its own clock. */
export function checkOneLease(facts: RegionFacts, localMs: LocalClock, report: Report): void {
  let holder = 0;
  for (const [nodeId, seen] of facts.seen) {
    if (!holdsLease(nodeId, seen, localMs)) continue;
    if (holder !== 0) {
      report('one lease at a time', `region ${facts.regionId}: nodes ${holder} and ${nodeId} both hold a lease`);
    }
    holder = nodeId;
  }
}

/** A key has one region at a time, so nobody else holds a lease of another region that has the same key. */
export function checkRangesOfLeases(
  facts: RegionFacts,
  own: SeenStatus,
  nodeId: number,
  others: Iterable<RegionFacts>,
  localMs: LocalClock,
  report: Report,
): void {
  if (!canServe(own) || !holdsLease(nodeId, own, localMs)) return;
  for (const other of others) {
    if (other === facts) continue;
    for (const [otherNode, seen] of other.seen) {
      if (!canServe(seen) || !doOverlap(own.region, seen.region) || !holdsLease(otherNode, seen, localMs)) continue;
      const who = `region ${facts.regionId} on node ${nodeId} and region ${other.regionId} on node ${otherNode}`;
      report('a key has one leader', `${who} hold leases over the same keys`);
    }
  }
}

/**
 * A turn that is not done serves nothing before it has applied what it took for committed, and a region that is being merged
 * serves nothing at all (FreshReads sees to it).
 */
function canServe({ finished, phase }: SeenStatus): boolean {
  return finished && phase === 'normal';
}

function holdsLease(nodeId: number, { leaseUntilMs, region }: SeenStatus, localMs: LocalClock): boolean {
  if (leaseUntilMs === -Infinity) return false;
  const nowMs = localMs(nodeId, region.regionId);
  return nowMs !== undefined && nowMs < leaseUntilMs;
}
