/** What a leader checks, and fills in, before it proposes an admin command. What is checked here is checked again when it is applied. */

import type { mraft } from '../../rpc/wire/codec.ts';
import { ChangeRefused, EpochNotMatch, RegionChanging, RegionMerging } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { fromWireRegion, isNewerEpoch, type Region } from '../../rpc/wire/region.ts';
import type { Entry, RaftStatus } from '../raft/index.ts';
import type { RegionLog } from '../store/log-store.ts';
import type { Store } from '../store/port.ts';
import { loadRegionRecord, loadTombstone, type RegionRecord } from '../store/region-records.ts';
import { commitMerge } from './commit-merge.ts';
import { checkCarriedEntries, checkMerge, minIndexOf } from './merge.ts';
import type { RegionState } from './region-state.ts';
import { splitCommand, splitRegion } from './split.ts';

export interface Proposer {
  readonly state: RegionState;
  readonly store: Store;
  readonly log: RegionLog;
  readonly status: RaftStatus;
}

/**
 * The command as it is to be proposed.
 * @throws ChangeRefused, RegionChanging, RegionMerging
 */
export function preparedCommand(command: mraft.IAdminCommand, proposer: Proposer): mraft.IAdminCommand {
  const { state } = proposer;
  const { region, phase } = state;
  if (phase !== 'normal' && !command.rollbackMerge) {
    throw new RegionMerging(`region ${region.regionId} is being merged into its neighbour`, {
      regionId: region.regionId,
    });
  }
  if (command.split) checkSplit(command.split, proposer);
  if (command.commitMerge) checkMerge(commitMerge(command.commitMerge).source, region);
  if (command.prepareMerge) return { prepareMerge: prepareMerge(command.prepareMerge, proposer) };
  return command;
}

function checkSplit(wire: mraft.ISplit, { state, store }: Proposer): void {
  const { child } = splitRegion(state.region, splitCommand(wire));
  if (!loadRegionRecord(store, child.regionId) && !loadTombstone(store, child.regionId)) return;
  throw new ChangeRefused(`region ${child.regionId} exists, or existed: a new region needs an id that was never used`, {
    regionId: state.region.regionId,
  });
}

/** Every peer of the source must be able to come to its end with what travels along. */
function prepareMerge(wire: mraft.IPrepareMerge, { state, store, log, status }: Proposer): mraft.IPrepareMerge {
  const { region } = state;
  const target = fromWireRegion(wire.target ?? {});
  checkMerge(region, target);
  checkTarget(target, loadRegionRecord(store, target.regionId));
  const matches = status.progress.map((peer) => ({
    peerId: peer.peerId,
    inStep: peer.peerId === status.peerId || (peer.state === 'replicate' && peer.recentlyActive),
    match: peer.match,
  }));
  const minIndex = minIndexOf(region, matches, status.commit);
  if (minIndex + 1 < log.firstIndex) {
    const { regionId } = region;
    throw new RegionChanging(`peers of region ${regionId} lack what its log has forgotten`, { regionId });
  }
  checkCarriedEntries(region, entriesBehind(log, minIndex, status.lastIndex));
  return { target: wire.target!, minIndex };
}

/** A target that is known to have changed would only let the source stop for nothing. */
function checkTarget(target: Region, own: RegionRecord | undefined): void {
  const { regionId } = target;
  if (own && isNewerEpoch(own.region.epoch, target.epoch)) {
    throw new EpochNotMatch(`region ${regionId} has changed since the merge into it was asked for`, { regionId });
  }
  if (own?.phase === 'merging') {
    throw new RegionMerging(`region ${regionId} is being merged into its neighbour`, { regionId });
  }
}

/** Up to a little more than what may travel along. */
function entriesBehind(log: RegionLog, index: number, lastIndex: number): Entry[] {
  const entries: Entry[] = [];
  let sizeBytes = 0;
  // What is proposed in this turn is not in the store yet: it comes with the next write.
  const end = Math.min(lastIndex, log.lastIndex) + 1;
  for (let from = index + 1; from < end && sizeBytes <= LIMITS.mergeEntriesBytes;) {
    const page = log.entries(from, end, LIMITS.mergeEntriesBytes);
    for (const entry of page) sizeBytes += entry.data.length;
    entries.push(...page);
    from += page.length;
  }
  return entries;
}
