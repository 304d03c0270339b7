/**
 * What a chunk of a snapshot holds. The first byte of its body says what follows:
 *
 *     head      a SnapshotHead: what the snapshot is of
 *     data      keys and values of the region, ascending
 *     sessions  names and records of its sessions, ascending
 *     tail      a SnapshotTail: what all before it came to
 *
 * Keys and values lie there as length, length, bytes, bytes: no message of the codec, because there are millions.
 */

import { crc32 } from 'node:zlib';

import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { SnapshotCorrupt } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { VarintReader, varintBytes, writeVarint } from '../../rpc/wire/varint.ts';
import type { StoreEntry } from '../store/port.ts';

export type SnapshotPart = 'head' | 'data' | 'sessions' | 'tail';

/** On the wire and on disk: never renumbered. */
const PART_BYTE: Readonly<Record<SnapshotPart, number>> = { head: 1, data: 2, sessions: 3, tail: 4 };
const PARTS: readonly (SnapshotPart | undefined)[] = [undefined, 'head', 'data', 'sessions', 'tail'];

/** A body as it travels. */
export interface SealedBody {
  readonly body: Uint8Array;
  readonly encoding: mraft.SnapshotEncoding;
  readonly plainBytes: number;
}

/** A chunk as it travels. */
export interface SnapshotChunk extends SealedBody {
  readonly sequence: number;
  readonly checksum: number;
}

/**
 * Makes bodies smaller, and plain again. Each call answers once, at once or later, in any order; undefined: the bytes are
 * not what it made.
 */
export interface BodyCodec {
  seal(body: Uint8Array, done: (sealed: SealedBody) => void): void;
  open(sealed: SealedBody, done: (body: Uint8Array | undefined) => void): void;
}

/** Sends bodies as they are. */
export const PLAIN_CODEC: BodyCodec = {
  seal: (body, done) => done({ body, encoding: mraft.SnapshotEncoding.PLAIN, plainBytes: body.length }),
  open: ({ body, encoding }, done) => done(encoding === mraft.SnapshotEncoding.PLAIN ? body : undefined),
};

/** The checksum of a chunk: of its place as well as of its body, so that no chunk passes for another. */
export function checksumOf(snapshotId: number, sequence: number, { body, encoding, plainBytes }: SealedBody): number {
  return crc32(body, crc32(`${snapshotId} ${sequence} ${encoding} ${plainBytes} `));
}

/** The largest body that a correct sender makes: a full chunk and the largest entry. */
export const LARGEST_BODY_BYTES = LIMITS.snapshotChunkBytes + LIMITS.keyBytes + LIMITS.valueBytes + 64 * 1024;

export function encodeHead(head: mraft.ISnapshotHead): Uint8Array {
  return withPart('head', encode(mraft.SnapshotHead, head));
}

export function encodeTail(tail: mraft.ISnapshotTail): Uint8Array {
  return withPart('tail', encode(mraft.SnapshotTail, tail));
}

function withPart(part: SnapshotPart, bytes: Uint8Array): Uint8Array {
  const body = new Uint8Array(1 + bytes.length);
  body[0] = PART_BYTE[part];
  body.set(bytes, 1);
  return body;
}

/** A body in memory of its own, which can be handed to another thread. */
export function encodeEntries(part: 'data' | 'sessions', entries: readonly StoreEntry[]): Uint8Array {
  let size = 1;
  for (const { key, value } of entries) {
    size += varintBytes(key.length) + varintBytes(value.length) + key.length + value.length;
  }
  const body = new Uint8Array(size);
  body[0] = PART_BYTE[part];
  let at = 1;
  for (const { key, value } of entries) {
    at = writeVarint(body, at, key.length);
    at = writeVarint(body, at, value.length);
    body.set(key, at);
    at += key.length;
    body.set(value, at);
    at += value.length;
  }
  return body;
}

/** @throws SnapshotCorrupt */
export function partOf(body: Uint8Array): SnapshotPart {
  const part = PARTS[body[0] ?? 0];
  if (part === undefined) throw new SnapshotCorrupt('a chunk of a snapshot is of no known kind');
  return part;
}

/** @throws SnapshotCorrupt */
export function decodeHead(body: Uint8Array): mraft.SnapshotHead {
  return decodePart(mraft.SnapshotHead, body);
}

/** @throws SnapshotCorrupt */
export function decodeTail(body: Uint8Array): mraft.SnapshotTail {
  return decodePart(mraft.SnapshotTail, body);
}

function decodePart<T>(type: { decode(bytes: Uint8Array): T }, body: Uint8Array): T {
  try {
    return decode(type, body.subarray(1));
  } catch (cause) {
    throw new SnapshotCorrupt('a chunk of a snapshot cannot be read', { cause });
  }
}

/**
 * The entries of a body; keys and values alias it.
 * @throws SnapshotCorrupt when the bytes are no entries
 */
export function* decodeEntries(body: Uint8Array): Generator<StoreEntry> {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const reader = new VarintReader(bytes, 1);
  while (reader.at < bytes.length) {
    let keyBytes: number;
    let valueBytes: number;
    try {
      keyBytes = reader.next();
      valueBytes = reader.next();
    } catch (cause) {
      throw new SnapshotCorrupt('a chunk of a snapshot cannot be read', { cause });
    }
    const keyEnd = reader.at + keyBytes;
    const end = keyEnd + valueBytes;
    if (end > bytes.length) throw new SnapshotCorrupt('an entry of a snapshot ends behind its chunk');
    yield { key: bytes.subarray(reader.at, keyEnd), value: bytes.subarray(keyEnd, end) };
    reader.at = end;
  }
}
