/**
 * The target's side of a merge: it takes over the source's range in the one write that applies its CommitMerge. By then the
 * source's replica on this node is closed and has applied everything up to its PrepareMerge (see Replica.finish).
 */

import { encode, decode, mraft } from '../../rpc/wire/codec.ts';
import { DiskFull, Internal } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { fromWireRegion, toWireRegion, type Region } from '../../rpc/wire/region.ts';
import type { Entry } from '../raft/index.ts';
import { logRange } from '../store/keys.ts';
import type { RegionLog } from '../store/log-store.ts';
import type { Store } from '../store/port.ts';
import {
  deleteRecords,
  deleteSession,
  listSessions,
  putTombstone,
  type RegionRecord,
} from '../store/region-records.ts';
import { absorbRegion, absorbedAfter, isPreparedSource } from './merge.ts';
import type { TurnBatches } from './ports.ts';
import type { RegionState } from './region-state.ts';
import { SessionTable } from './sessions.ts';

/** What a target is told of its source. */
export interface CommitMerge {
  /** As it is behind its PrepareMerge. */
  readonly source: Region;
  /** Index of the PrepareMerge. */
  readonly commit: number;
  readonly commitTerm: number;
  /** Of the source's log, the last of them its PrepareMerge; every peer has what comes before. */
  readonly entries: readonly Entry[];
}

export function commitMerge(wire: mraft.ICommitMerge): CommitMerge {
  return {
    source: fromWireRegion(wire.source ?? {}),
    commit: wire.commit ?? 0,
    commitTerm: wire.commitTerm ?? 0,
    entries: (wire.entries ?? []).map((entry) => ({
      term: entry.term ?? 0,
      index: entry.index ?? 0,
      kind: (entry.kind ?? mraft.EntryKind.NORMAL) === mraft.EntryKind.NORMAL ? 'normal' : 'confChange',
      data: entry.data ?? new Uint8Array(0),
    })),
  };
}

export function toWireCommitMerge({ source, commit, commitTerm, entries }: CommitMerge): mraft.ICommitMerge {
  return {
    source: toWireRegion(source),
    commit,
    commitTerm,
    entries: entries.map(({ term, index, kind, data }) => ({
      term,
      index,
      kind: kind === 'normal' ? mraft.EntryKind.NORMAL : mraft.EntryKind.CONF_CHANGE,
      data,
    })),
  };
}

/** In a form that can be posted to another worker. */
export function encodeCommitMerge(merge: CommitMerge): Uint8Array {
  return encode(mraft.CommitMerge, toWireCommitMerge(merge));
}

export function decodeCommitMerge(bytes: Uint8Array): CommitMerge {
  return commitMerge(decode(mraft.CommitMerge, bytes));
}

/**
 * What the source's leader asks its target to take over; undefined: some peer of the source may lack entries that are not
 * in this log any more, and has to catch up first.
 * @param everyoneHas up to where each peer is known to have the log now
 */
export function composeCommitMerge(record: RegionRecord, log: RegionLog, everyoneHas: number): CommitMerge | undefined {
  const { region: source, merge } = record;
  if (!merge) return undefined;
  const from = Math.max(merge.minIndex, log.firstIndex - 1);
  if (from > merge.minIndex && from > everyoneHas) return undefined;
  const entries: Entry[] = [];
  for (let index = from + 1; index <= merge.index;) {
    const page = log.entries(index, merge.index + 1, LIMITS.mergeEntriesBytes);
    entries.push(...page);
    index += page.length;
  }
  return { source, commit: merge.index, commitTerm: log.term(merge.index) ?? 0, entries };
}

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
