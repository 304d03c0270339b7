/**
 * The target's side of a merge: it takes over the source's range in the one write that applies its CommitMerge. By then the
 * source's replica on this node is closed and has applied everything up to its PrepareMerge (see Replica.finish).
 */

import { DiskFull, Internal } from '../../rpc/wire/errors.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { logRange } from '../store/keys.ts';
import type { Store } from '../store/port.ts';
import {
  deleteRecords,
  deleteSession,
  listSessions,
  putMergedInto,
  putTombstone,
  type RegionRecord,
} from '../store/region-records.ts';
import type { CommitMerge } from './commit-merge.ts';
import { absorbRegion, absorbedAfter, isPreparedSource } from './merge.ts';
import type { TurnBatches } from './ports.ts';
import type { RegionState } from './region-state.ts';
import { SessionTable } from './sessions.ts';

export interface Absorption {
  /** Of the CommitMerge. */
  readonly index: number;
  readonly merge: CommitMerge;
  /** As the closed replica left it. */
  readonly source: RegionRecord;
  readonly nodeId: number;
  readonly state: RegionState;
  readonly store: Store;
  readonly sessions: SessionTable;
  readonly batches: TurnBatches;
}

/**
 * Adds everything that the merge changes to the applied batch: the target's new range and sessions, the end of the source.
 * @throws Internal when the source is not where the log of the target says that it must be
 */
export function absorbSource({ index, merge, source, nodeId, state, store, sessions, batches }: Absorption): Region {
  const { regionId } = merge.source;
  const isThere = source.phase === 'merging' && source.merge?.index === merge.commit;
  if (!isThere || !isPreparedSource(source.region, merge.source)) {
    throw new Internal(`region ${regionId} is not in the merge that region ${state.region.regionId} commits`, {
      regionId,
    });
  }
  const batch = batches.applied;
  const region = absorbRegion(state.region, source.region);
  const merged = { regionId, version: region.epoch.version, targetId: region.regionId };
  const absorbed = absorbedAfter(state.record.absorbed, source.absorbed, merged);
  const records = [...listSessions(store, regionId)];
  sessions.unite(SessionTable.load(records), index);
  state.become({ ...state.record, region, absorbed }, batch);
  deleteRecords(batch, regionId);
  for (const { name } of records) deleteSession(batch, regionId, name);
  const own = source.region.peers.find((peer) => peer.nodeId === nodeId);
  putTombstone(batch, { peerId: own?.peerId ?? 0, region: source.region });
  putMergedInto(batch, regionId, region.regionId);
  batches.written.push(() => dropLog(store, regionId));
  return region;
}

/** Rubbish from then on; what a crash or a full disk leaves of it is swept at the next start. */
function dropLog(store: Store, regionId: number): void {
  const { start, end } = logRange(regionId);
  try {
    store.deleteRange('log', start, end);
  } catch (error) {
    if (!(error instanceof DiskFull)) throw error;
  }
}
