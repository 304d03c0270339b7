/**
 * The small records of a region in the meta column. Each `put…` adds to a batch, each `load…` reads the store and answers
 * the state of a region that never wrote one where there is none.
 */

import { MalformedRequest, StorageFailure } from '../../rpc/wire/errors.ts';
import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { fromWireRegion, toWireRegion, type Region } from '../../rpc/wire/region.ts';
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
import type { Store, StoreEntry, WriteBatch } from './port.ts';

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

export function putRegion(batch: WriteBatch, region: Region): void {
  batch.put('meta', metaKey(META_KIND.regionState, region.regionId), encode(mraft.Region, toWireRegion(region)));
}

export function loadRegion(store: Store, regionId: number): Region | undefined {
  const record = load(store, META_KIND.regionState, regionId, mraft.Region);
  return record && fromWireRegion(record);
}

/** Every region of this node, by id. */
export function listRegions(store: Store): Region[] {
  const regions: Region[] = [];
  for (const { key, value } of records(store, metaRange(META_KIND.regionState))) {
    regions.push(fromWireRegion(parse(mraft.Region, value, regionIdOf(key))));
  }
  return regions;
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
