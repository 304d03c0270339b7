/** The messages of gossip and their bytes. Every reading ends in a message or in MalformedRequest. */

import { MalformedRequest } from '../../../rpc/wire/errors.ts';
import { VarintReader, varintBytes, writeVarint } from '../../../rpc/wire/varint.ts';
import { idOfKey, keyOf, kindOfKey, type GossipEntry, type GossipVersion } from './entry.ts';

export interface DigestItem {
  readonly key: number;
  readonly version: GossipVersion;
}

export interface DigestBucket {
  readonly bucket: number;
  /** False: the bucket was too large, so that what is not listed may yet be there. */
  readonly whole: boolean;
  readonly items: readonly DigestItem[];
}

/**
 * - `rumours`: news, pushed. Answered by `feedback`: which of them were known already
 * - `summary`: a hash of each bucket of entries; begins an exchange. Answered by `digest`
 * - `digest`: what the answerer has in the buckets that differ; `more`: not in all of them. Answered by `exchange`
 * - `exchange`: entries that the other lacks, and keys of those it has newer. Answered by `entries`
 */
export type GossipMessage =
  | { readonly kind: 'rumours'; readonly entries: readonly GossipEntry[] }
  | { readonly kind: 'feedback'; readonly known: readonly number[] }
  | { readonly kind: 'summary'; readonly hashes: Uint32Array }
  | { readonly kind: 'digest'; readonly buckets: readonly DigestBucket[]; readonly more: boolean }
  | {
      readonly kind: 'exchange';
      readonly entries: readonly GossipEntry[];
      readonly wanted: readonly number[];
      readonly more: boolean;
    }
  | { readonly kind: 'entries'; readonly entries: readonly GossipEntry[]; readonly more: boolean };

const KINDS = ['rumours', 'feedback', 'summary', 'digest', 'exchange', 'entries'] as const;
/** Kinds, counts and flags. */
export const HEADER_BYTES = 16;

export function entryBytes({ kind, id, version, value, ageMs }: GossipEntry): number {
  const valueBytes =
    value === null ? varintBytes(0) + varintBytes(ageMs) : varintBytes(value.length + 1) + value.length;
  return itemBytes({ key: keyOf(kind, id), version }) + valueBytes;
}

export function itemBytes({ key, version }: DigestItem): number {
  return varintBytes(key) + varintBytes(version[0]) + varintBytes(version[1]) + varintBytes(version[2]);
}

export function encodeGossip(message: GossipMessage): Uint8Array {
  const writer = new Writer(sizeOf(message));
  writer.number(KINDS.indexOf(message.kind));
  switch (message.kind) {
    case 'rumours':
      writer.list(message.entries, (entry) => writer.entry(entry));
      break;
    case 'feedback':
      writer.list(message.known, (key) => writer.number(key));
      break;
    case 'summary':
      writer.list([...message.hashes], (hash) => writer.number(hash));
      break;
    case 'digest':
      writer.number(Number(message.more));
      writer.list(message.buckets, ({ bucket, whole, items }) => {
        writer.number(bucket * 2 + Number(whole));
        writer.list(items, (item) => writer.item(item));
      });
      break;
    case 'exchange':
      writer.number(Number(message.more));
      writer.list(message.wanted, (key) => writer.number(key));
      writer.list(message.entries, (entry) => writer.entry(entry));
      break;
    case 'entries':
      writer.number(Number(message.more));
      writer.list(message.entries, (entry) => writer.entry(entry));
      break;
  }
  return writer.bytes();
}

/** @throws MalformedRequest */
export function decodeGossip(bytes: Uint8Array): GossipMessage {
  const reader = new VarintReader(bytes);
  const message = readMessage(reader);
  if (reader.at !== reader.end) throw new MalformedRequest('a gossip message has something behind its end');
  return message;
}

function readMessage(reader: VarintReader): GossipMessage {
  const kind = KINDS[reader.next()];
  switch (kind) {
    case 'rumours':
      return { kind, entries: readList(reader, readEntry) };
    case 'feedback':
      return { kind, known: readList(reader, readNumber) };
    case 'summary':
      return { kind, hashes: Uint32Array.from(readList(reader, readNumber)) };
    case 'digest':
      return { kind, more: reader.next() === 1, buckets: readList(reader, readBucket) };
    case 'exchange':
      return {
        kind,
        more: reader.next() === 1,
        wanted: readList(reader, readNumber),
        entries: readList(reader, readEntry),
      };
    case 'entries':
      return { kind, more: reader.next() === 1, entries: readList(reader, readEntry) };
    default:
      throw new MalformedRequest('a gossip message of an unknown kind');
  }
}

/** An upper bound. */
function sizeOf(message: GossipMessage): number {
  const entries = 'entries' in message ? message.entries.reduce((sum, entry) => sum + entryBytes(entry), 0) : 0;
  const keys = 'known' in message ? message.known : 'wanted' in message ? message.wanted : [];
  const hashes = 'hashes' in message ? message.hashes.length * varintBytes(0xffffffff) : 0;
  const buckets = 'buckets' in message ? message.buckets : [];
  const digest = buckets.reduce(
    (sum, { items }) => sum + BUCKET_BYTES + items.reduce((all, item) => all + itemBytes(item), 0),
    0,
  );
  return HEADER_BYTES + entries + keys.reduce((sum, key) => sum + varintBytes(key), 0) + hashes + digest;
}

/** Of a bucket in a digest, beside its items. */
export const BUCKET_BYTES = 8;

class Writer {
  private readonly target: Buffer;
  private at = 0;

  constructor(size: number) {
    this.target = Buffer.allocUnsafe(size);
  }

  number(value: number): void {
    this.at = writeVarint(this.target, this.at, value);
  }

  list<T>(items: readonly T[], write: (item: T) => void): void {
    this.number(items.length);
    for (const item of items) write(item);
  }

  item({ key, version }: DigestItem): void {
    this.number(key);
    for (const part of version) this.number(part);
  }

  /** The length is one more than that of the value; 0 is null. */
  entry({ kind, id, version, value, ageMs }: GossipEntry): void {
    this.item({ key: keyOf(kind, id), version });
    this.number(value === null ? 0 : value.length + 1);
    if (value === null) return this.number(ageMs);
    this.target.set(value, this.at);
    this.at += value.length;
  }

  bytes(): Uint8Array {
    return this.target.subarray(0, this.at);
  }
}

function readList<T>(reader: VarintReader, read: (reader: VarintReader) => T): T[] {
  // Every item takes a byte at least.
  const count = reader.length();
  return Array.from({ length: count }, () => read(reader));
}

function readNumber(reader: VarintReader): number {
  return reader.next();
}

function readItem(reader: VarintReader): DigestItem {
  return { key: reader.next(), version: [reader.next(), reader.next(), reader.next()] };
}

function readBucket(reader: VarintReader): DigestBucket {
  const head = reader.next();
  return { bucket: Math.floor(head / 2), whole: head % 2 === 1, items: readList(reader, readItem) };
}

function readEntry(reader: VarintReader): GossipEntry {
  const { key, version } = readItem(reader);
  const told = { kind: kindOfKey(key), id: idOfKey(key), version };
  const length = reader.next();
  if (length === 0) return { ...told, value: null, ageMs: reader.next() };
  if (length - 1 > reader.end - reader.at) throw new MalformedRequest('a gossip entry is longer than its message');
  const value = Buffer.from(reader.bytes.subarray(reader.at, reader.at + length - 1));
  reader.at += length - 1;
  return { ...told, value, ageMs: 0 };
}
