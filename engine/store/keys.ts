/**
 * Where things lie. Numbers are 8 bytes, big-endian, so that byte order is number order; they stay below 2^53.
 *
 *     log    regionId index                  an entry (entry-codec.ts): a region's log is one range
 *     data   the user's key                  the user's value
 *     system a key of a system region        what placement keeps
 *     staging regionId sequence              a chunk of a snapshot that is coming in
 *     meta   kind regionId [session]         one small record, by kind
 *
 * A kind is one byte. Records of one kind lie together, and in it those of one region.
 */

import { invariant } from '../../rpc/wire/errors.ts';

const U64_BYTES = 8;
const TWO_32 = 2 ** 32;

/** Bytes of a log key. */
export const LOG_KEY_BYTES = 2 * U64_BYTES;

/** Never reused and never renumbered: they are on disk. */
export const META_KIND = {
  hardState: 0x01,
  appliedState: 0x02,
  regionState: 0x03,
  /** The last entry that was compacted away. */
  truncatedState: 0x04,
  session: 0x05,
  nodeIdentity: 0x06,
  /** A replica that was removed from this node. */
  tombstone: 0x07,
  /** By node id: the incarnation of the data that this node was first heard with. */
  nodeIncarnation: 0x08,
  /** By worker: how many batches it has synced (fence.ts). */
  fenceMark: 0x09,
  /** Beside the tombstone of a region that was merged: into which one. */
  mergedInto: 0x0a,
} as const;

export type MetaKind = (typeof META_KIND)[keyof typeof META_KIND];

/** A half-open range: keys from `start` up to and without `end`. */
export interface KeyInterval {
  readonly start: Buffer;
  readonly end: Buffer;
}

/** Writes `value` at `at`, big-endian. */
export function writeU64(target: Uint8Array, at: number, value: number): void {
  const high = (value / TWO_32) | 0;
  // The low half modulo 2^32: what bit operators keep of a number below 2^53.
  const low = value | 0;
  target[at] = high >>> 24;
  target[at + 1] = high >>> 16;
  target[at + 2] = high >>> 8;
  target[at + 3] = high;
  target[at + 4] = low >>> 24;
  target[at + 5] = low >>> 16;
  target[at + 6] = low >>> 8;
  target[at + 7] = low;
}

/** Reads what `writeU64` wrote. */
export function readU64(source: Uint8Array, at: number): number {
  const high = ((source[at]! << 24) | (source[at + 1]! << 16) | (source[at + 2]! << 8) | source[at + 3]!) >>> 0;
  const low = ((source[at + 4]! << 24) | (source[at + 5]! << 16) | (source[at + 6]! << 8) | source[at + 7]!) >>> 0;
  return high * TWO_32 + low;
}

/** The key of an entry. */
export function logKey(regionId: number, index: number): Buffer {
  const key = Buffer.allocUnsafe(LOG_KEY_BYTES);
  writeU64(key, 0, regionId);
  writeU64(key, U64_BYTES, index);
  return key;
}

/** Makes the key of a region's log the key of another entry. */
export function setLogIndex(key: Uint8Array, index: number): void {
  writeU64(key, U64_BYTES, index);
}

export function logIndexOf(key: Uint8Array): number {
  invariant(key.length === LOG_KEY_BYTES, `a log key has ${LOG_KEY_BYTES} bytes, not ${key.length}`);
  return readU64(key, U64_BYTES);
}

/** A region's whole log. */
export function logRange(regionId: number): KeyInterval {
  return { start: logKey(regionId, 0), end: logKey(regionId + 1, 0) };
}

/** The key of a part of a snapshot that is coming in. */
export function stagingKey(regionId: number, sequence: number): Buffer {
  return logKey(regionId, sequence);
}

/** All of a region's snapshot that is coming in. */
export function stagingRange(regionId: number): KeyInterval {
  return logRange(regionId);
}

/** The key of a region's record. */
export function metaKey(kind: MetaKind, regionId: number): Buffer {
  const key = Buffer.allocUnsafe(1 + U64_BYTES);
  key[0] = kind;
  writeU64(key, 1, regionId);
  return key;
}

export function regionIdOf(key: Uint8Array): number {
  invariant(key.length >= 1 + U64_BYTES, 'a record of a region carries its id in its key');
  return readU64(key, 1);
}

/** All records of one kind. */
export function metaRange(kind: MetaKind): KeyInterval {
  return { start: Buffer.of(kind), end: Buffer.of(kind + 1) };
}

/** The key of what a region remembers of a session. */
export function sessionKey(regionId: number, session: Uint8Array): Buffer {
  const key = Buffer.allocUnsafe(1 + U64_BYTES + session.length);
  key[0] = META_KIND.session;
  writeU64(key, 1, regionId);
  key.set(session, 1 + U64_BYTES);
  return key;
}

/** The session of a session key; it aliases the key. */
export function sessionOf(key: Uint8Array): Uint8Array {
  return key.subarray(1 + U64_BYTES);
}

/** All sessions of a region. */
export function sessionRange(regionId: number): KeyInterval {
  return { start: metaKey(META_KIND.session, regionId), end: metaKey(META_KIND.session, regionId + 1) };
}

/** The key of the node's identity as the database itself remembers it. */
export function nodeIdentityKey(): Buffer {
  return Buffer.of(META_KIND.nodeIdentity);
}
