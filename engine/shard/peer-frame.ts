/**
 * Frames between nodes (mraft.proto: PeerFrame, RaftMessage, Entry) without an object a message on its way out, and with one on
 * its way in: a worker with many busy regions reads and writes more of them than of anything else. The bytes are plain
 * protobuf: the generated codec reads the same (test/shard/peer-frame.test.ts), and does what is rare.
 */

import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { MalformedRequest, invariant } from '../../rpc/wire/errors.ts';
import { VarintReader, varintBytes, writeVarint } from '../../rpc/wire/varint.ts';
import type { Entry, EntryKind, MessageKind, RaftMessage } from '../raft/index.ts';
import { ENTRY_KINDS, KIND_FROM_WIRE, KIND_TO_WIRE } from './raft-wire.ts';

/** A message and the region that it is of. */
export interface RegionMessage extends RaftMessage {
  readonly regionId: number;
}

/** Who sends a frame. */
export interface FrameHead {
  readonly cluster: string;
  readonly fromNode: number;
  readonly bootEpoch: number;
  readonly incarnation: number;
  readonly sequence: number;
  readonly fromWorker: number;
  readonly workers: number;
  /** It takes the receiver's node for lost, and asks for an answer. */
  readonly unheard: boolean;
}

export interface PeerFrame {
  readonly head: FrameHead;
  readonly messages: readonly RegionMessage[];
  /** Messages that no peer sends: of an unknown kind, or with entries that do not follow each other. */
  readonly refused: number;
  readonly notices: readonly mraft.IRegionNotice[];
  readonly snapshot: mraft.SnapshotStep | undefined;
}

// Field numbers of mraft.proto, as tags (number << 3 | wire type).
const FRAME_CLUSTER = (1 << 3) | 2;
const FRAME_FROM_NODE = (2 << 3) | 0;
const FRAME_BOOT_EPOCH = (3 << 3) | 0;
const FRAME_SEQUENCE = (4 << 3) | 0;
const FRAME_FROM_WORKER = (5 << 3) | 0;
const FRAME_WORKERS = (6 << 3) | 0;
const FRAME_MESSAGE = (7 << 3) | 2;
const FRAME_NOTICE = (8 << 3) | 2;
const FRAME_INCARNATION = (9 << 3) | 0;
const FRAME_SNAPSHOT = (10 << 3) | 2;
const FRAME_UNHEARD = (11 << 3) | 0;
const MESSAGE_REGION_ID = (1 << 3) | 0;
const MESSAGE_KIND = (2 << 3) | 0;
const MESSAGE_FROM = (3 << 3) | 0;
const MESSAGE_TO = (4 << 3) | 0;
const MESSAGE_TERM = (5 << 3) | 0;
const MESSAGE_INDEX = (6 << 3) | 0;
const MESSAGE_LOG_TERM = (7 << 3) | 0;
const MESSAGE_COMMIT = (8 << 3) | 0;
const MESSAGE_REJECT = (9 << 3) | 0;
const MESSAGE_HINT_INDEX = (10 << 3) | 0;
const MESSAGE_HINT_TERM = (11 << 3) | 0;
const MESSAGE_CONTEXT = (12 << 3) | 0;
const MESSAGE_TRANSFER = (13 << 3) | 0;
const MESSAGE_ENTRY = (14 << 3) | 2;
const MESSAGE_HIBERNATE = (15 << 3) | 0;
const ENTRY_TERM = (1 << 3) | 0;
const ENTRY_INDEX = (2 << 3) | 0;
const ENTRY_KIND = (3 << 3) | 0;
const ENTRY_DATA = (4 << 3) | 2;

const NO_ENTRIES: readonly Entry[] = [];
const NO_DATA = new Uint8Array(0);

// --- writing -------------------------------------------------------------------------------------------------------

/** A frame of messages and notices; a message of its region, by position in `regionIds`. */
export function encodePeerFrame(
  head: FrameHead,
  regionIds: readonly number[],
  messages: readonly RaftMessage[],
  notices: readonly mraft.IRegionNotice[],
): Uint8Array {
  const start = encode(mraft.PeerFrame, notices.length === 0 ? head : { ...head, notices: [...notices] });
  const sizes = new Array<number>(messages.length);
  let size = start.length;
  for (let i = 0; i < messages.length; i++) {
    sizes[i] = messageBytes(regionIds[i]!, messages[i]!);
    size += fieldBytes(sizes[i]!);
  }
  const target = Buffer.allocUnsafe(size);
  target.set(start);
  let at = start.length;
  for (let i = 0; i < messages.length; i++) {
    target[at++] = FRAME_MESSAGE;
    at = writeVarint(target, at, sizes[i]!);
    at = writeMessage(target, at, regionIds[i]!, messages[i]!);
  }
  invariant(at === size, 'a frame is as long as was reckoned');
  return target;
}

/** Of a field of its own, with a tag of one byte. */
function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

/** 0 is not written. */
function numberBytes(value: number): number {
  return value === 0 ? 0 : 1 + varintBytes(value);
}

function messageBytes(regionId: number, message: RaftMessage): number {
  let size = 1 + varintBytes(regionId) + numberBytes(KIND_TO_WIRE[message.kind]);
  size += numberBytes(message.from) + numberBytes(message.to) + numberBytes(message.term);
  size += numberBytes(message.index) + numberBytes(message.logTerm) + numberBytes(message.commit);
  size += numberBytes(message.hintIndex) + numberBytes(message.hintTerm) + numberBytes(message.context);
  if (message.reject) size += 2;
  if (message.transfer) size += 2;
  if (message.hibernate) size += 2;
  for (const entry of message.entries) size += fieldBytes(entryBytes(entry));
  return size;
}

function entryBytes({ term, index, kind, data }: Entry): number {
  const size = numberBytes(term) + numberBytes(index) + (kind === 'normal' ? 0 : 2);
  return data.length === 0 ? size : size + fieldBytes(data.length);
}

function writeNumber(target: Uint8Array, at: number, tag: number, value: number): number {
  if (value === 0) return at;
  target[at++] = tag;
  return writeVarint(target, at, value);
}

function writeMessage(target: Uint8Array, at: number, regionId: number, message: RaftMessage): number {
  target[at++] = MESSAGE_REGION_ID;
  at = writeVarint(target, at, regionId);
  at = writeNumber(target, at, MESSAGE_KIND, KIND_TO_WIRE[message.kind]);
  at = writeNumber(target, at, MESSAGE_FROM, message.from);
  at = writeNumber(target, at, MESSAGE_TO, message.to);
  at = writeNumber(target, at, MESSAGE_TERM, message.term);
  at = writeNumber(target, at, MESSAGE_INDEX, message.index);
  at = writeNumber(target, at, MESSAGE_LOG_TERM, message.logTerm);
  at = writeNumber(target, at, MESSAGE_COMMIT, message.commit);
  if (message.reject) at = writeNumber(target, at, MESSAGE_REJECT, 1);
  at = writeNumber(target, at, MESSAGE_HINT_INDEX, message.hintIndex);
  at = writeNumber(target, at, MESSAGE_HINT_TERM, message.hintTerm);
  at = writeNumber(target, at, MESSAGE_CONTEXT, message.context);
  if (message.transfer) at = writeNumber(target, at, MESSAGE_TRANSFER, 1);
  for (const entry of message.entries) at = writeEntry(target, at, entry);
  if (message.hibernate) at = writeNumber(target, at, MESSAGE_HIBERNATE, 1);
  return at;
}

function writeEntry(target: Uint8Array, at: number, entry: Entry): number {
  const { data } = entry;
  target[at++] = MESSAGE_ENTRY;
  at = writeVarint(target, at, entryBytes(entry));
  at = writeNumber(target, at, ENTRY_TERM, entry.term);
  at = writeNumber(target, at, ENTRY_INDEX, entry.index);
  at = writeNumber(target, at, ENTRY_KIND, ENTRY_KINDS.indexOf(entry.kind));
  if (data.length === 0) return at;
  target[at++] = ENTRY_DATA;
  at = writeVarint(target, at, data.length);
  target.set(data, at);
  return at + data.length;
}

// --- reading -------------------------------------------------------------------------------------------------------

/**
 * The data of entries alias the bytes.
 * @throws MalformedRequest when they are no frame
 */
export function decodePeerFrame(bytes: Uint8Array): PeerFrame {
  const reader = new VarintReader(bytes);
  const messages: RegionMessage[] = [];
  const notices: mraft.IRegionNotice[] = [];
  const head = {
    cluster: '',
    fromNode: 0,
    bootEpoch: 0,
    incarnation: 0,
    sequence: 0,
    fromWorker: 0,
    workers: 0,
    unheard: false,
  };
  let snapshot: mraft.SnapshotStep | undefined;
  let refused = 0;
  while (reader.at < reader.end) {
    const tag = reader.next();
    switch (tag) {
      case FRAME_MESSAGE: {
        const message = readMessage(reader, reader.length());
        if (message) messages.push(message);
        else refused++;
        break;
      }
      case FRAME_CLUSTER:
        head.cluster = text(take(reader));
        break;
      case FRAME_FROM_NODE:
        head.fromNode = reader.next();
        break;
      case FRAME_BOOT_EPOCH:
        head.bootEpoch = reader.next();
        break;
      case FRAME_SEQUENCE:
        head.sequence = reader.next();
        break;
      case FRAME_FROM_WORKER:
        head.fromWorker = reader.next();
        break;
      case FRAME_WORKERS:
        head.workers = reader.next();
        break;
      case FRAME_NOTICE:
        notices.push(decode(mraft.RegionNotice, take(reader)));
        break;
      case FRAME_INCARNATION:
        head.incarnation = reader.next();
        break;
      case FRAME_SNAPSHOT:
        snapshot = decode(mraft.SnapshotStep, take(reader)) as mraft.SnapshotStep;
        break;
      case FRAME_UNHEARD:
        head.unheard = reader.next() !== 0;
        break;
      default:
        reader.skip(tag & 7);
    }
  }
  return { head, messages, refused, notices, snapshot };
}

function text({ buffer, byteOffset, length }: Uint8Array): string {
  return Buffer.from(buffer, byteOffset, length).toString();
}

/** The bytes of a field. */
function take(reader: VarintReader): Uint8Array {
  const length = reader.length();
  const bytes = reader.bytes.subarray(reader.at, reader.at + length);
  reader.at += length;
  return bytes;
}

/**
 * A message as the core takes it. Undefined: it cannot have come from a peer. Its membership is left out: only a snapshot has
 * one, which comes with its data and not like this.
 */
function readMessage(reader: VarintReader, length: number): RegionMessage | undefined {
  const frameEnd = reader.end;
  const end = reader.at + length;
  reader.end = end;
  let regionId = 0;
  let kind = 0;
  let from = 0;
  let to = 0;
  let term = 0;
  let index = 0;
  let logTerm = 0;
  let commit = 0;
  let reject = false;
  let hintIndex = 0;
  let hintTerm = 0;
  let context = 0;
  let transfer = false;
  let hibernate = false;
  let entries: Entry[] | undefined;
  while (reader.at < end) {
    const tag = reader.next();
    switch (tag) {
      case MESSAGE_REGION_ID:
        regionId = reader.next();
        break;
      case MESSAGE_KIND:
        kind = reader.next();
        break;
      case MESSAGE_FROM:
        from = reader.next();
        break;
      case MESSAGE_TO:
        to = reader.next();
        break;
      case MESSAGE_TERM:
        term = reader.next();
        break;
      case MESSAGE_INDEX:
        index = reader.next();
        break;
      case MESSAGE_LOG_TERM:
        logTerm = reader.next();
        break;
      case MESSAGE_COMMIT:
        commit = reader.next();
        break;
      case MESSAGE_REJECT:
        reject = reader.next() !== 0;
        break;
      case MESSAGE_HINT_INDEX:
        hintIndex = reader.next();
        break;
      case MESSAGE_HINT_TERM:
        hintTerm = reader.next();
        break;
      case MESSAGE_CONTEXT:
        context = reader.next();
        break;
      case MESSAGE_TRANSFER:
        transfer = reader.next() !== 0;
        break;
      case MESSAGE_ENTRY:
        (entries ??= []).push(readEntry(reader, reader.length()));
        break;
      case MESSAGE_HIBERNATE:
        hibernate = reader.next() !== 0;
        break;
      default:
        reader.skip(tag & 7);
    }
  }
  if (reader.at !== end) throw new MalformedRequest('a field is longer than its message');
  reader.end = frameEnd;
  const name: MessageKind | undefined = KIND_FROM_WIRE[kind];
  const isCoherent = entries === undefined || (name === 'append' && follow(entries, index, logTerm, term));
  if (name === undefined || !isCoherent) return undefined;
  return {
    regionId,
    kind: name,
    from,
    to,
    term,
    index,
    logTerm,
    commit,
    entries: entries ?? NO_ENTRIES,
    reject,
    hintIndex,
    hintTerm,
    context,
    transfer,
    hibernate,
    membership: undefined,
  };
}

/** Whether they follow (`index`, `logTerm`), and each other, and no term falls or passes the message's own. */
function follow(entries: readonly Entry[], index: number, logTerm: number, term: number): boolean {
  let last = logTerm;
  for (const entry of entries) {
    index++;
    if (entry.index !== index || entry.term < last || entry.term > term || entry.kind === undefined) return false;
    last = entry.term;
  }
  return true;
}

/** Of an unknown kind: without one, so that the message is refused. */
function readEntry(reader: VarintReader, length: number): Entry {
  const messageEnd = reader.end;
  const end = reader.at + length;
  reader.end = end;
  let term = 0;
  let index = 0;
  let kind = 0;
  let data: Uint8Array = NO_DATA;
  while (reader.at < end) {
    const tag = reader.next();
    switch (tag) {
      case ENTRY_TERM:
        term = reader.next();
        break;
      case ENTRY_INDEX:
        index = reader.next();
        break;
      case ENTRY_KIND:
        kind = reader.next();
        break;
      case ENTRY_DATA:
        data = take(reader);
        break;
      default:
        reader.skip(tag & 7);
    }
  }
  if (reader.at !== end) throw new MalformedRequest('a field is longer than its message');
  reader.end = messageEnd;
  return { term, index, kind: ENTRY_KINDS[kind] as EntryKind, data };
}
