/**
 * The rules of a merge, from the idea of TiKV's: the source stops (PrepareMerge), its target takes its range over together
 * with the entries that some peer of the source may lack (CommitMerge), or the source goes on (RollbackMerge) once the target
 * has provably moved on. Pure: what may be merged, what the descriptors are then, and what proves what.
 *
 * **Why nothing is lost or owned twice.** Both steps of the source raise its version, so nothing that was proposed before
 * takes effect behind them, and two regions that prepare into each other each see that the other has moved on. A CommitMerge
 * takes effect only in the epoch of the target that the PrepareMerge names; once the target has another, it never will.
 */

import { PayloadCursor } from '../../rpc/wire/command.ts';
import { ChangeRefused, RegionChanging, invariant } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import {
  LAST_SYSTEM_REGION_ID,
  compareKeys,
  isNewerEpoch,
  sameEpoch,
  type Peer,
  type Region,
} from '../../rpc/wire/region.ts';
import { isJoint, type Entry } from '../raft/index.ts';
import type { Absorbed } from '../store/region-records.ts';
import { membershipOf } from './membership.ts';

export interface PeerMatch {
  readonly peerId: number;
  /** It follows without a gap: neither unknown nor waiting for a snapshot. */
  readonly inStep: boolean;
  /** Of its log, this much is known to agree with the leader's. */
  readonly match: number;
}

/** Which side of the source the target lies on; undefined: they do not touch. */
export function sideOf(source: Range, target: Range): 'left' | 'right' | undefined {
  const { startKey, endKey } = source;
  if (startKey.length > 0 && compareKeys(target.endKey, startKey) === 0) return 'left';
  if (endKey.length > 0 && compareKeys(target.startKey, endKey) === 0) return 'right';
  return undefined;
}

type Range = Pick<Region, 'startKey' | 'endKey'>;

/**
 * Checks that `source` can be merged into `target`.
 * @throws ChangeRefused when it cannot while they are as they are, RegionChanging when a membership change has to end first
 */
export function checkMerge(source: Region, target: Region): void {
  if (source.regionId === target.regionId) throw refused(source, 'a region is not its own neighbour');
  if (source.regionId <= LAST_SYSTEM_REGION_ID || target.regionId <= LAST_SYSTEM_REGION_ID) {
    throw refused(source, 'regions of the system stay as they are');
  }
  if (sideOf(source, target) === undefined) throw refused(source, `region ${target.regionId} is not its neighbour`);
  for (const region of [source, target]) {
    if (!isJoint(membershipOf(region))) continue;
    throw new RegionChanging(`region ${region.regionId} is in the middle of a membership change`, {
      regionId: region.regionId,
    });
  }
  if (placesOf(source) !== placesOf(target)) {
    throw refused(source, `its peers are not on the same nodes as those of region ${target.regionId}: move them first`);
  }
}

/** Where the peers are and which of them vote, in a comparable form. */
function placesOf(region: Region): string {
  return region.peers
    .map(({ nodeId, role }: Peer) => `${nodeId}:${role}`)
    .sort()
    .join(' ');
}

function refused(source: Region, why: string): ChangeRefused {
  return new ChangeRefused(`region ${source.regionId} cannot be merged so: ${why}`, { regionId: source.regionId });
}

/**
 * Up to where every peer of the source has the committed log. What lies between here and the PrepareMerge travels with
 * the CommitMerge.
 * @throws RegionChanging when a peer cannot be reached or is too far behind: nothing could bring it up to date afterwards
 */
export function minIndexOf(source: Region, matches: readonly PeerMatch[], commit: number): number {
  let minIndex = commit;
  for (const { peerId } of source.peers) {
    const match = matches.find((candidate) => candidate.peerId === peerId);
    if (!match?.inStep || match.match === 0) {
      throw new RegionChanging(
        `peer ${peerId} of region ${source.regionId} does not keep up: it is merged when all do`,
        { regionId: source.regionId },
      );
    }
    minIndex = Math.min(minIndex, match.match);
  }
  return minIndex;
}

/** The source behind its PrepareMerge or its RollbackMerge: of a new version, so that nothing older takes effect. */
export function raiseVersion(region: Region): Region {
  const { version, confVersion } = region.epoch;
  return { ...region, epoch: { version: version + 1, confVersion } };
}

/** The target once it has taken over the source's range. */
export function absorbRegion(target: Region, source: Region): Region {
  const side = sideOf(source, target);
  invariant(side !== undefined, `region ${source.regionId} touches region ${target.regionId}, into which it is merged`);
  const version = Math.max(target.epoch.version, source.epoch.version) + 1;
  return {
    ...target,
    startKey: side === 'right' ? source.startKey : target.startKey,
    endKey: side === 'left' ? source.endKey : target.endKey,
    epoch: { version, confVersion: target.epoch.confVersion },
  };
}

/**
 * What the target remembers of whom it absorbed, also by way of the source: the latest LIMITS.absorbedRegions. What is
 * forgotten was absorbed at no higher a version than what is left.
 */
export function absorbedAfter(
  target: readonly Absorbed[],
  source: readonly Absorbed[],
  merged: Absorbed,
): readonly Absorbed[] {
  const all = new Map<number, Absorbed>();
  for (const one of [...target, ...source, merged]) all.set(one.regionId, one);
  return [...all.values()]
    .sort((a, b) => b.version - a.version || a.regionId - b.regionId)
    .slice(0, LIMITS.absorbedRegions);
}

/** What a replica of the target has applied. */
export interface TargetSeen {
  readonly region: Region;
  readonly absorbed: readonly Absorbed[];
}

/**
 * What the source may conclude from what some replica of the region at its target's first key has applied.
 * - `waiting`: the CommitMerge may still come;
 * - `movedOn`: it never will, the source may go on;
 * - `merged`: it has come; the source's replicas will learn so from those of the target;
 * - `unclear`: what is remembered does not reach back far enough.
 *
 * Epochs only grow, and what is applied is committed: one replica that has applied a newer epoch proves that the one which
 * was prepared for has ended, whoever leads. In it the target had absorbed the source or will not.
 */
export function judgeTarget(
  source: Pick<Region, 'regionId'>,
  prepared: Region,
  seen: TargetSeen,
): 'waiting' | 'movedOn' | 'merged' | 'unclear' {
  const { region, absorbed } = seen;
  if (absorbed.some((one) => one.regionId === source.regionId)) return 'merged';
  if (region.regionId === prepared.regionId) {
    if (!isNewerEpoch(region.epoch, prepared.epoch)) return 'waiting';
  } else if (region.epoch.version <= prepared.epoch.version) {
    // Of two regions that held the same key, the one of the higher version was there later.
    return 'waiting';
  }
  const forgot = absorbed.length >= LIMITS.absorbedRegions && absorbed.at(-1)!.version > prepared.epoch.version;
  return forgot ? 'unclear' : 'movedOn';
}

/** Whether the descriptor that a CommitMerge carries is that of the region which prepared. */
export function isPreparedSource(local: Region, carried: Region): boolean {
  return local.regionId === carried.regionId && sameEpoch(local.epoch, carried.epoch);
}

/**
 * Checks that the entries behind `minIndexOf` can travel in one entry of the target, and do nothing there but change data.
 * @throws RegionChanging: try again when the peers have caught up
 */
export function checkCarriedEntries(source: Pick<Region, 'regionId'>, entries: readonly Entry[]): void {
  const { regionId } = source;
  let sizeBytes = 0;
  for (const entry of entries) {
    sizeBytes += entry.data.length + CARRIED_ENTRY_BYTES;
    if (entry.kind === 'confChange' || changesRegion(entry.data)) {
      throw new RegionChanging(`another change of region ${regionId} has not reached all of its peers`, { regionId });
    }
  }
  if (sizeBytes > LIMITS.mergeEntriesBytes) {
    throw new RegionChanging(
      `peers of region ${regionId} are ${sizeBytes} bytes behind: it is merged when they are not`,
      {
        regionId,
      },
    );
  }
}

/** Beside its data, at most. */
const CARRIED_ENTRY_BYTES = 32;

function changesRegion(data: Uint8Array): boolean {
  return data.length > 0 && new PayloadCursor(data).admin !== undefined;
}

/**
 * Whether a replica that lies where a snapshot is to come can be destroyed: its region was merged into the snapshot's, or
 * into one from which that was split off later (`merged`). But as long as the region that took it over has a replica here
 * which has not come so far, that one needs it for its CommitMerge, and gives the range away afterwards by itself.
 * @param absorber what this node has of the region that took it over
 */
export function canDestroyAbsorbed(
  snapshotOf: number,
  merged: Absorbed,
  absorber: { readonly absorbed: readonly Absorbed[] } | undefined,
): boolean {
  if (merged.targetId === snapshotOf || absorber === undefined) return true;
  return absorber.absorbed.some(({ regionId }) => regionId === merged.regionId);
}
