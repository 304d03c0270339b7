/**
 * The small records of a region in the meta column. Each `put…` adds to a batch, each `load…` reads the store and answers
 * the state of a region that never wrote one where there is none.
 */

import { MalformedRequest, StorageFailure } from '../../rpc/wire/errors.ts';
import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { LAST_SYSTEM_REGION_ID, fromWireRegion, toWireRegion, type Region } from '../../rpc/wire/region.ts';
import {
  META_KIND,
  logRange,
  metaKey,
  metaRange,
  regionIdOf,
  sessionKey,
  sessionOf,
  sessionRange,
  type KeyInterval,
  type MetaKind,
} from './keys.ts';
import type { Column, Store, StoreEntry, WriteBatch } from './port.ts';

/** What a peer must remember before it answers a vote or an append. */
export interface HardState {
  readonly term: number;
  /** The peer voted for in `term`, 0: none. */
  readonly vote: number;
  readonly commit: number;
}

/** An entry by its place: the last one applied, or the last one compacted away. */
export interface LogPosition {
  readonly index: number;
  readonly term: number;
}

// --- hard state ----------------------------------------------------------------------------------------------------

export function putHardState(batch: WriteBatch, regionId: number, state: HardState): void {
  batch.put('meta', metaKey(META_KIND.hardState, regionId), encode(mraft.HardState, state));
}

/** Undefined where the region never had one: it did not run here before. */
export function loadHardState(store: Store, regionId: number): HardState | undefined {
  const record = load(store, META_KIND.hardState, regionId, mraft.HardState);
  return record && { term: record.term, vote: record.vote, commit: record.commit };
}

// --- applied state, truncated state --------------------------------------------------------------------------------

export function putApplied(batch: WriteBatch, regionId: number, applied: LogPosition): void {
  batch.put('meta', metaKey(META_KIND.appliedState, regionId), encode(mraft.AppliedState, applied));
}

export function loadApplied(store: Store, regionId: number): LogPosition {
  return loadPosition(store, META_KIND.appliedState, regionId);
}

/** The last entry that was compacted away; what lies at or below it in the log is rubbish. */
export function putTruncated(batch: WriteBatch, regionId: number, truncated: LogPosition): void {
  batch.put('meta', metaKey(META_KIND.truncatedState, regionId), encode(mraft.AppliedState, truncated));
}

export function loadTruncated(store: Store, regionId: number): LogPosition {
  return loadPosition(store, META_KIND.truncatedState, regionId);
}

function loadPosition(store: Store, kind: MetaKind, regionId: number): LogPosition {
  const record = load(store, kind, regionId, mraft.AppliedState);
  return record ? { index: record.index, term: record.term } : { index: 0, term: 0 };
}

// --- region state --------------------------------------------------------------------------------------------------

/** merging: behind its PrepareMerge. applying: a staged snapshot is being put in the place of its data. */
export type RegionPhase = 'normal' | 'merging' | 'applying';

/** What a replica knows of its region beside the data; changes only with the applied index. */
export interface RegionRecord {
  readonly region: Region;
  readonly phase: RegionPhase;
  /** While merging: into which region, as it was then, what every peer of the source had, and the PrepareMerge's index. */
  readonly merge: { readonly target: Region; readonly minIndex: number; readonly index: number } | undefined;
  /** Regions that were merged into this one, the last ones only: late replicas of them can go. */
  readonly absorbed: readonly Absorbed[];
}

/** A region that was merged into another one (`targetId`), and the version that the other had from then on. */
export interface Absorbed {
  readonly regionId: number;
  readonly version: number;
  readonly targetId: number;
}

const { RegionPhase: WirePhase } = mraft;
const PHASE_TO_WIRE: Record<RegionPhase, mraft.RegionPhase> = {
  normal: WirePhase.NORMAL,
  merging: WirePhase.MERGING,
  applying: WirePhase.APPLYING,
};
/** By their numbers on disk. */
const PHASES: readonly RegionPhase[] = ['normal', 'merging', 'applying'];

/** The record of a region that nothing happens to. */
export function normalRecord(region: Region, absorbed: readonly Absorbed[] = []): RegionRecord {
  return { region, phase: 'normal', merge: undefined, absorbed };
}

export function toWireRecord({ region, phase, merge, absorbed }: RegionRecord): mraft.IRegionRecord {
  return {
    region: toWireRegion(region),
    phase: PHASE_TO_WIRE[phase],
    absorbed: [...absorbed],
    ...(merge
      ? { merge: { target: toWireRegion(merge.target), minIndex: merge.minIndex }, mergeIndex: merge.index }
      : {}),
  };
}

export function fromWireRecord(wire: mraft.IRegionRecord): RegionRecord {
  const { region, merge } = wire;
  return {
    region: fromWireRegion(region ?? {}),
    phase: PHASES[wire.phase ?? 0] ?? 'normal',
    merge: merge
      ? {
          target: fromWireRegion(merge.target ?? {}),
          minIndex: merge.minIndex ?? 0,
          index: wire.mergeIndex ?? 0,
        }
      : undefined,
    absorbed: (wire.absorbed ?? []).map(({ regionId, version, targetId }) => ({
      regionId: regionId ?? 0,
      version: version ?? 0,
      targetId: targetId ?? 0,
    })),
  };
}

export function putRegionRecord(batch: WriteBatch, record: RegionRecord): void {
  const key = metaKey(META_KIND.regionState, record.region.regionId);
  batch.put('meta', key, encode(mraft.RegionRecord, toWireRecord(record)));
}

export function loadRegionRecord(store: Store, regionId: number): RegionRecord | undefined {
  const record = load(store, META_KIND.regionState, regionId, mraft.RegionRecord);
  return record && fromWireRecord(record);
}

/** The record of every region of this node, by id. */
export function listRegionRecords(store: Store): RegionRecord[] {
  const found: RegionRecord[] = [];
  for (const { key, value } of records(store, metaRange(META_KIND.regionState))) {
    found.push(fromWireRecord(parse(mraft.RegionRecord, value, regionIdOf(key))));
  }
  return found;
}

/** A new region of this node. */
export function putRegion(batch: WriteBatch, region: Region): void {
  putRegionRecord(batch, normalRecord(region));
}

export function loadRegion(store: Store, regionId: number): Region | undefined {
  return loadRegionRecord(store, regionId)?.region;
}

/** Every region of this node, by id. */
export function listRegions(store: Store): Region[] {
  return listRegionRecords(store).map(({ region }) => region);
}

// --- tombstones ----------------------------------------------------------------------------------------------------

/** A replica that was removed: messages to this peer, and to those before it, bring nothing back. */
export interface Tombstone {
  readonly peerId: number;
  /** As it was last known here. */
  readonly region: Region;
}

export function putTombstone(batch: WriteBatch, { peerId, region }: Tombstone): void {
  const record = encode(mraft.Tombstone, { peerId, region: toWireRegion(region) });
  batch.put('meta', metaKey(META_KIND.tombstone, region.regionId), record);
}

export function loadTombstone(store: Store, regionId: number): Tombstone | undefined {
  const record = load(store, META_KIND.tombstone, regionId, mraft.Tombstone);
  return record && { peerId: record.peerId, region: fromWireRegion(record.region ?? {}) };
}

/** The region is part of another one from then on. */
export function putMergedInto(batch: WriteBatch, regionId: number, targetId: number): void {
  batch.put('meta', metaKey(META_KIND.mergedInto, regionId), encode(mraft.MergedInto, { regionId: targetId }));
}

/** Into which region another one was merged on this node; 0: it was not. */
export function loadMergedInto(store: Store, regionId: number): number {
  return load(store, META_KIND.mergedInto, regionId, mraft.MergedInto)?.regionId ?? 0;
}

/** Of every region that was removed from this node and did not come back. */
export function listTombstones(store: Store): Tombstone[] {
  const found: Tombstone[] = [];
  for (const { key, value } of records(store, metaRange(META_KIND.tombstone))) {
    const { peerId, region } = parse(mraft.Tombstone, value, regionIdOf(key));
    found.push({ peerId, region: fromWireRegion(region ?? {}) });
  }
  return found;
}

// --- sessions ------------------------------------------------------------------------------------------------------

/** What a region remembers of one session; engine/region/sessions.ts knows what the bytes say. */
export interface SessionRecord {
  readonly name: Buffer;
  readonly record: Uint8Array;
}

export function putSession(batch: WriteBatch, regionId: number, name: Uint8Array, record: Uint8Array): void {
  batch.put('meta', sessionKey(regionId, name), record);
}

export function deleteSession(batch: WriteBatch, regionId: number, name: Uint8Array): void {
  batch.delete('meta', sessionKey(regionId, name));
}

/** The sessions of a region, by name. */
export function* listSessions(store: Store, regionId: number): Generator<SessionRecord> {
  for (const { key, value } of records(store, sessionRange(regionId))) {
    yield { name: Buffer.from(sessionOf(key)), record: value };
  }
}

// --- all of it -----------------------------------------------------------------------------------------------------

/** Adds the deletion of a region's records to a batch; its log, sessions and data are ranges (`regionRanges`). */
export function deleteRecords(batch: WriteBatch, regionId: number): void {
  for (const kind of [
    META_KIND.hardState,
    META_KIND.appliedState,
    META_KIND.regionState,
    META_KIND.truncatedState,
  ] as const) {
    batch.delete('meta', metaKey(kind, regionId));
  }
}

/**
 * Removes a replica for good. The records go first, in one synced batch that leaves a tombstone, so that a crash leaves
 * rubbish (swept at the next start) and never a replica without its data.
 */
export function destroyReplica(store: Store, tombstone: Tombstone): void {
  const { region } = tombstone;
  const batch = store.createBatch();
  deleteRecords(batch, region.regionId);
  putTombstone(batch, tombstone);
  store.write(batch, { sync: true });
  store.deleteRange(dataColumn(region.regionId), region.startKey, region.endKey.length > 0 ? region.endKey : undefined);
  for (const { column, start, end } of regionRanges(region.regionId)) store.deleteRange(column, start, end);
}

/** The column that holds the keys of a region. */
export function dataColumn(regionId: number): Column {
  return regionId <= LAST_SYSTEM_REGION_ID ? 'system' : 'data';
}

/** What of a region is removed by range, beside its data. */
export function regionRanges(regionId: number): readonly ({ readonly column: 'log' | 'meta' } & KeyInterval)[] {
  return [
    { column: 'log', ...logRange(regionId) },
    { column: 'meta', ...sessionRange(regionId) },
  ];
}

interface Decoder<T> {
  decode(bytes: Uint8Array): T;
}

function load<T>(store: Store, kind: MetaKind, regionId: number, type: Decoder<T>): T | undefined {
  const value = store.get('meta', metaKey(kind, regionId));
  return value && parse(type, value, regionId);
}

function parse<T>(type: Decoder<T>, value: Uint8Array, regionId: number): T {
  try {
    return decode(type, value);
  } catch (cause) {
    if (!(cause instanceof MalformedRequest)) throw cause;
    throw new StorageFailure(
      `a record of region ${regionId} is damaged: remove this node and let it join again under a new id`,
      { cause, regionId },
    );
  }
}

/** Every record of a range, page by page. Records that are written meanwhile may or may not be seen. */
function* records(store: Store, range: KeyInterval): Generator<StoreEntry> {
  let after: Uint8Array | undefined;
  for (;;) {
    const page = store.scan('meta', {
      ...(after ? { gt: after } : { gte: range.start }),
      lt: range.end,
      limit: LIMITS.recordsPerPage,
      maxBytes: LIMITS.scanPageBytes,
    });
    yield* page.entries;
    after = page.entries.at(-1)?.key;
    if (!page.more || after === undefined) return;
  }
}
