/** What the source of a merge hands to its target: itself, and the entries that some of its peers may lack. */

import { encode, decode, mraft } from '../../rpc/wire/codec.ts';
import { invariant } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { fromWireRegion, toWireRegion, type Region } from '../../rpc/wire/region.ts';
import type { Entry } from '../raft/index.ts';
import type { RegionLog } from '../store/log-store.ts';
import type { Store } from '../store/port.ts';
import { loadHardState, putHardState, type RegionRecord } from '../store/region-records.ts';

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

/**
 * Puts what came along into the source's log, where that ends earlier or had something else that was never committed: what
 * is applied must be in the log, also for whoever starts again from it.
 * @throws Internal when the log ends before what came along begins, DiskFull, StorageFailure
 */
export function completeLog(store: Store, log: RegionLog, { commit, entries }: CommitMerge): void {
  const { regionId } = log;
  const carried = entries.filter((entry) => entry.index >= log.firstIndex && entry.index <= commit);
  const first = carried.findIndex((entry) => log.term(entry.index) !== entry.term);
  const from = carried[first]?.index ?? commit + 1;
  invariant(from <= log.lastIndex + 1, `the log of region ${regionId} reaches ${from - 1}, which all of its peers had`);
  if (first === -1) return;
  const batch = store.createBatch();
  log.append(batch, carried.slice(first));
  const known = loadHardState(store, regionId) ?? { term: 0, vote: 0, commit: 0 };
  const term = Math.max(known.term, carried.at(-1)!.term);
  const vote = term > known.term ? 0 : known.vote;
  putHardState(batch, regionId, { term, vote, commit: Math.max(known.commit, commit) });
  store.write(batch, { sync: true });
}
