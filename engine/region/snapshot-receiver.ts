/**
 * One snapshot on its way in: takes its chunks in their order, checks them, and stages them in the store. Nothing of the
 * region is touched here: a snapshot that ends half-way leaves rubbish in the staging column and no more.
 *
 * A chunk that is out of order, repeated or damaged changes nothing: it is counted, and answered with what is needed. A
 * chunk that is intact and wrong (keys out of order or outside of the region, totals that differ) ends the snapshot.
 */

import { mraft } from '../../rpc/wire/codec.ts';
import { SnapshotCorrupt, asMraftError, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { compareKeys, containsKey } from '../../rpc/wire/region.ts';
import { stagingKey } from '../store/keys.ts';
import type { WriteBatch } from '../store/port.ts';
import { fromWireRecord, type RegionRecord } from '../store/region-records.ts';
import {
  LARGEST_BODY_BYTES,
  checksumOf,
  decodeEntries,
  decodeHead,
  decodeTail,
  partOf,
  type BodyCodec,
  type SnapshotChunk,
  type SnapshotPart,
} from './snapshot-chunk.ts';
import type { SnapshotAck } from './snapshot-sender.ts';

/** Who sends it, under which number. */
export interface SnapshotName {
  readonly fromNode: number;
  readonly sourceBoot: number;
  readonly snapshotId: number;
}

export function sameSnapshot(a: SnapshotName, b: SnapshotName): boolean {
  return a.snapshotId === b.snapshotId && a.sourceBoot === b.sourceBoot && a.fromNode === b.fromNode;
}

/** What a snapshot is of. */
export interface ReceivedHead {
  readonly message: mraft.RaftMessage;
  readonly record: RegionRecord;
}

export type ChunkVerdict = 'taken' | 'repeated' | 'outOfOrder' | 'corrupt';

/** What may follow a part. */
const NEXT_PARTS: Readonly<Record<SnapshotPart, readonly SnapshotPart[]>> = {
  head: ['data', 'sessions', 'tail'],
  data: ['data', 'sessions', 'tail'],
  sessions: ['sessions', 'tail'],
  tail: [],
};

/** Whether the chunk is what was sent under this number. */
export function isIntact(snapshotId: number, chunk: SnapshotChunk): boolean {
  return (
    chunk.body.length <= LARGEST_BODY_BYTES &&
    chunk.plainBytes <= LARGEST_BODY_BYTES &&
    chunk.checksum === checksumOf(snapshotId, chunk.sequence, chunk)
  );
}

/**
 * What the first chunk says. Its message and record must fit each other; whether they fit this node is the caller's question.
 * @throws SnapshotCorrupt
 */
export function readHead(chunk: SnapshotChunk): ReceivedHead {
  if (chunk.encoding !== mraft.SnapshotEncoding.PLAIN || partOf(chunk.body) !== 'head') {
    throw new SnapshotCorrupt('a snapshot does not begin with its head');
  }
  const { message, record: wire } = decodeHead(chunk.body);
  if (!message || !wire) throw new SnapshotCorrupt('the head of a snapshot lacks its message or its region');
  const record = fromWireRecord(wire);
  const { regionId, startKey, endKey } = record.region;
  const wellFormed =
    message.kind === mraft.MessageKind.SNAPSHOT &&
    message.regionId === regionId &&
    (message.index ?? 0) > 0 &&
    (message.logTerm ?? 0) > 0 &&
    (message.logTerm ?? 0) <= (message.term ?? 0) &&
    Boolean(message.membership) &&
    record.phase !== 'applying' &&
    (endKey.length === 0 || compareKeys(startKey, endKey) < 0);
  if (!wellFormed) throw new SnapshotCorrupt('the head of a snapshot contradicts itself', { regionId });
  return { message: message as mraft.RaftMessage, record };
}

export class SnapshotReceiver {
  readonly name: SnapshotName;
  readonly head: ReceivedHead;
  readonly #codec: BodyCodec;
  /** The next chunk that is taken; those before it are staged, checked or being opened. */
  #expected = 1;
  /** Opened, by sequence; those that are next in order are checked at once. */
  readonly #opened = new Map<number, Uint8Array>();
  /** The next chunk that is checked. */
  #toCheck = 1;
  /** Checked, and not staged yet. */
  #checked: Uint8Array[];
  /** The next chunk that is staged. */
  #toStage = 0;
  #lastPart: SnapshotPart = 'head';
  #lastKey: Uint8Array | undefined;
  #entries = 0;
  #bytes = 0;
  #error: MraftError | undefined;
  heardMs: number;

  constructor(name: SnapshotName, headChunk: SnapshotChunk, head: ReceivedHead, codec: BodyCodec, nowMs: number) {
    this.name = name;
    this.head = head;
    this.#codec = codec;
    this.heardMs = nowMs;
    // It is kept longer than the frame.
    this.#checked = [Buffer.from(headChunk.body)];
  }

  get regionId(): number {
    return this.head.record.region.regionId;
  }

  /** Why it cannot go on. */
  get error(): MraftError | undefined {
    return this.#error;
  }

  /** There is something to stage. */
  get hasChecked(): boolean {
    return this.#checked.length > 0;
  }

  /** All of it is staged, when what `stage` added is written. */
  get isComplete(): boolean {
    return this.#lastPart === 'tail' && this.#checked.length === 0 && this.#error === undefined;
  }

  /** Chunks that are staged, the head and the tail among them. */
  get stagedChunks(): number {
    return this.#toStage;
  }

  get receivedBytes(): number {
    return this.#bytes;
  }

  /** What the sender is told. The last chunk counts as arrived only when the snapshot is installed. */
  ack(resend = false): SnapshotAck {
    const next = this.isComplete ? this.#toStage - 1 : this.#toStage;
    const stage = this.isComplete ? mraft.SnapshotStage.INSTALLING : mraft.SnapshotStage.RECEIVING;
    return { next, resend, stage };
  }

  onChunk(chunk: SnapshotChunk, nowMs: number): ChunkVerdict {
    this.heardMs = nowMs;
    const { sequence } = chunk;
    if (sequence < this.#expected) return 'repeated';
    if (sequence > this.#expected || this.#expected - this.#toStage > LIMITS.snapshotWindowChunks) {
      return 'outOfOrder';
    }
    if (!isIntact(this.name.snapshotId, chunk)) return 'corrupt';
    this.#expected++;
    const { encoding, plainBytes } = chunk;
    // A plain one is staged soon, and is most of its frame. Another thread would be given the whole of the frame's memory.
    const body = encoding === mraft.SnapshotEncoding.PLAIN ? chunk.body : Buffer.from(chunk.body);
    this.#codec.open({ body, encoding, plainBytes }, (opened) => this.#onOpened(sequence, opened));
    return 'taken';
  }

  #onOpened(sequence: number, body: Uint8Array | undefined): void {
    if (this.#error) return;
    if (body === undefined) {
      this.#error = new SnapshotCorrupt('a chunk of a snapshot cannot be decompressed', { regionId: this.regionId });
      return;
    }
    this.#opened.set(sequence, body);
    try {
      for (let next = this.#opened.get(this.#toCheck); next; next = this.#opened.get(this.#toCheck)) {
        this.#opened.delete(this.#toCheck);
        this.#check(next);
        this.#checked.push(next);
        this.#toCheck++;
      }
    } catch (error) {
      this.#error = asMraftError(error);
    }
  }

  #check(body: Uint8Array): void {
    const part = partOf(body);
    if (!NEXT_PARTS[this.#lastPart].includes(part)) throw this.#corrupt(`its ${part} follows its ${this.#lastPart}`);
    if (this.#toCheck >= LIMITS.snapshotChunks) throw this.#corrupt(`it has more than ${LIMITS.snapshotChunks} chunks`);
    if (part !== this.#lastPart) this.#lastKey = undefined;
    this.#lastPart = part;
    if (part === 'tail') this.#checkTotals(body);
    else this.#checkEntries(part, body);
  }

  #checkEntries(part: SnapshotPart, body: Uint8Array): void {
    const { region } = this.head.record;
    for (const { key, value } of decodeEntries(body)) {
      if (this.#lastKey !== undefined && compareKeys(this.#lastKey, key) >= 0)
        throw this.#corrupt('its keys do not ascend');
      if (part === 'data' ? !containsKey(region, key) : key.length > LIMITS.sessionBytes) {
        throw this.#corrupt('it holds what does not belong to its region');
      }
      this.#lastKey = key;
      this.#entries++;
      this.#bytes += key.length + value.length;
    }
  }

  #checkTotals(body: Uint8Array): void {
    const { chunks, entries, bytes } = decodeTail(body);
    if (chunks !== this.#toCheck || entries !== this.#entries || bytes !== this.#bytes) {
      throw this.#corrupt('its totals are not those of its chunks');
    }
  }

  #corrupt(what: string): SnapshotCorrupt {
    return new SnapshotCorrupt(`a snapshot of region ${this.regionId} is wrong: ${what}`, { regionId: this.regionId });
  }

  /** Adds what was checked to the batch, which the caller writes before it answers the sender. Answers whether it did. */
  stage(batch: WriteBatch): boolean {
    if (this.#checked.length === 0) return false;
    for (const body of this.#checked) batch.put('staging', stagingKey(this.regionId, this.#toStage++), body);
    this.#checked = [];
    return true;
  }
}
