/**
 * Epidemic dissemination after Demers et al. (1987): what is new is a rumour, pushed to a few nodes at random in every tick
 * until those who are told mostly know it already; what rumours missed is found by anti-entropy, in which two nodes compare
 * hashes of what they know and exchange the difference both ways. Rumours are fast, anti-entropy is certain; both take
 * O(log n) ticks to reach n nodes. Pure: the host brings ticks, randomness and what arrives, and sends what is returned.
 */

import { LIMITS } from '../../../rpc/wire/limits.ts';
import { compareVersions, keyOf, type GossipEntry, type GossipKind, type GossipVersion } from './entry.ts';
import { BUCKETS, EntryStore, bucketIndex } from './entry-store.ts';
import {
  BUCKET_BYTES,
  HEADER_BYTES,
  entryBytes,
  itemBytes,
  type DigestBucket,
  type DigestItem,
  type GossipMessage,
} from './messages.ts';

export interface GossipOptions {
  readonly nodeId: number;
  /** From [0, 1). */
  readonly random: () => number;
  /** Nodes that are told rumours in one tick. Default 2. */
  readonly fanout?: number;
  /** A rumour ends when so many of those who were told knew it. Default 3. */
  readonly loseInterestAfter?: number;
  /** Anti-entropy begins with every so manieth tick. Default 4. */
  readonly antiEntropyEvery?: number;
  /** How long it is remembered that a subject is no more. Default ten minutes. */
  readonly rememberGoneMs?: number;
  /** Of one message; default LIMITS.gossipMessageBytes. */
  readonly messageBytes?: number;
  /** Default LIMITS.gossipEntries. */
  readonly mostEntries?: number;
}

export interface GossipEnvelope {
  readonly to: number;
  readonly message: GossipMessage;
}

export interface GossipReceipt {
  /** What was not known here, or only older. */
  readonly news: readonly GossipEntry[];
  readonly replies: readonly GossipEnvelope[];
}

interface Rumour {
  /** How often it was told to somebody who knew it. */
  known: number;
  /** How often it was told at all: without answers it must end as well. */
  told: number;
}

/** Exchanges that follow on one another when the difference does not fit into one, begun in one tick. */
const EXCHANGES_PER_TICK = 8;

export class Gossip {
  private readonly options: Required<GossipOptions>;
  private readonly store: EntryStore;
  private readonly rumours = new Map<number, Rumour>();
  private peers: readonly number[] = [];
  private ticks: number;
  private exchanges = 0;

  constructor(options: GossipOptions) {
    this.options = {
      fanout: 2,
      loseInterestAfter: 3,
      antiEntropyEvery: 4,
      rememberGoneMs: 600_000,
      messageBytes: LIMITS.gossipMessageBytes,
      mostEntries: LIMITS.gossipEntries,
      ...options,
    };
    this.store = new EntryStore(this.options.mostEntries);
    // Nodes that started together do not all exchange in the same tick.
    this.ticks = Math.floor(options.random() * this.options.antiEntropyEvery);
  }

  /** The other nodes, dead or alive: whom to tell is drawn from them. */
  setPeers(nodeIds: readonly number[]): void {
    this.peers = nodeIds.filter((nodeId) => nodeId !== this.options.nodeId);
  }

  get size(): number {
    return this.store.size;
  }

  /** Says something of a subject. False: what is known is as new or newer. The value is kept, not copied. */
  put(kind: GossipKind, id: number, version: GossipVersion, value: Uint8Array | null, nowMs: number): boolean {
    const key = keyOf(kind, id);
    if (!this.store.put(key, version, value, nowMs)) return false;
    this.startRumour(key);
    return true;
  }

  get(kind: GossipKind, id: number, nowMs: number): GossipEntry | undefined {
    return this.store.entry(keyOf(kind, id), nowMs);
  }

  /** Every entry, those of subjects that are no more included. */
  *entries(nowMs: number): Generator<GossipEntry> {
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      for (const key of this.store.keys(bucket)) {
        const entry = this.store.entry(key, nowMs);
        if (entry) yield entry;
      }
    }
  }

  // --- telling ---------------------------------------------------------------------------------------------------------

  /** What is to be sent now. */
  tick(nowMs: number): readonly GossipEnvelope[] {
    this.store.expire(nowMs - this.options.rememberGoneMs);
    this.ticks += 1;
    this.exchanges = 0;
    if (this.peers.length === 0) return [];
    const sent: GossipEnvelope[] = [];
    for (const to of this.draw(this.options.fanout)) {
      const entries = this.rumoursToTell(nowMs);
      if (entries.length > 0) sent.push({ to, message: { kind: 'rumours', entries } });
    }
    if (this.ticks % this.options.antiEntropyEvery === 0)
      sent.push(...this.draw(1).map((to) => this.beginExchange(to)));
    return sent;
  }

  private beginExchange(to: number): GossipEnvelope {
    this.exchanges += 1;
    return { to, message: { kind: 'summary', hashes: this.store.summary() } };
  }

  private startRumour(key: number): void {
    // As the latest: what has been told least is told first.
    this.rumours.delete(key);
    this.rumours.set(key, { known: 0, told: 0 });
  }

  /** The newest first, as many as fit. */
  private rumoursToTell(nowMs: number): readonly GossipEntry[] {
    const room = new Room(this.options.messageBytes);
    const entries: GossipEntry[] = [];
    const most = 4 * Math.ceil(Math.log2(this.peers.length + 2)) * this.options.fanout;
    for (const [key, rumour] of [...this.rumours].reverse()) {
      const entry = this.store.entry(key, nowMs);
      if (!entry) this.rumours.delete(key);
      if (!entry || !room.take(entryBytes(entry))) continue;
      entries.push(entry);
      rumour.told += 1;
      if (rumour.told >= most) this.rumours.delete(key);
      if (room.isFull) break;
    }
    return entries;
  }

  /** Different ones, at random. */
  private draw(count: number): readonly number[] {
    const drawn = new Set<number>();
    for (let tries = 0; tries < 2 * count && drawn.size < count; tries += 1) {
      drawn.add(this.peers[Math.floor(this.options.random() * this.peers.length)] as number);
    }
    return [...drawn];
  }

  // --- hearing ---------------------------------------------------------------------------------------------------------

  receive(from: number, message: GossipMessage, nowMs: number): GossipReceipt {
    switch (message.kind) {
      case 'rumours': {
        const news = this.learn(message.entries, nowMs);
        const fresh = new Set(news);
        const known = message.entries.filter((entry) => !fresh.has(entry)).map(({ kind, id }) => keyOf(kind, id));
        return { news, replies: known.length > 0 ? [{ to: from, message: { kind: 'feedback', known } }] : [] };
      }
      case 'feedback':
        for (const key of message.known) this.wasKnown(key);
        return { news: [], replies: [] };
      case 'summary':
        return { news: [], replies: this.answerSummary(from, message.hashes) };
      case 'digest':
        return { news: [], replies: this.answerDigest(from, message, nowMs) };
      case 'exchange': {
        const news = this.learn(message.entries, nowMs);
        const { entries, complete } = this.fit(message.wanted, this.options.messageBytes, nowMs);
        const more = message.more || !complete;
        return { news, replies: [{ to: from, message: { kind: 'entries', entries, more } }] };
      }
      case 'entries': {
        const news = this.learn(message.entries, nowMs);
        const goOn = message.more && this.exchanges < EXCHANGES_PER_TICK;
        return { news, replies: goOn ? [this.beginExchange(from)] : [] };
      }
    }
  }

  /** What of it is new. It becomes a rumour here too. */
  private learn(entries: readonly GossipEntry[], nowMs: number): readonly GossipEntry[] {
    return entries.filter(({ kind, id, version, value, ageMs }) => {
      if (value === null && ageMs >= this.options.rememberGoneMs) return false;
      const key = keyOf(kind, id);
      if (!this.store.put(key, version, value, nowMs - ageMs)) return false;
      this.startRumour(key);
      return true;
    });
  }

  private wasKnown(key: number): void {
    const rumour = this.rumours.get(key);
    if (!rumour) return;
    rumour.known += 1;
    if (rumour.known >= this.options.loseInterestAfter) this.rumours.delete(key);
  }

  /** What is here in the buckets that differ, from a random one on, as much as fits. */
  private answerSummary(to: number, theirs: Uint32Array): readonly GossipEnvelope[] {
    const differing = this.store.differing(theirs);
    if (differing.length === 0) return [];
    const room = new Room(this.options.messageBytes);
    const start = Math.floor(this.options.random() * differing.length);
    const buckets: DigestBucket[] = [];
    for (let step = 0; step < differing.length && !room.isFull; step += 1) {
      const bucket = differing[(start + step) % differing.length] as number;
      const digest = this.digestOf(bucket, room, buckets.length === 0);
      if (digest) buckets.push(digest);
    }
    return [{ to, message: { kind: 'digest', buckets, more: buckets.length < differing.length } }];
  }

  private digestOf(bucket: number, room: Room, mayBePart: boolean): DigestBucket | undefined {
    const items: DigestItem[] = [];
    for (const key of this.store.keys(bucket)) {
      const stored = this.store.find(key);
      if (stored) items.push({ key, version: stored.version });
    }
    const size = BUCKET_BYTES + items.reduce((sum, item) => sum + itemBytes(item), 0);
    if (room.take(size)) return { bucket, whole: true, items };
    if (!mayBePart) return undefined;
    // One bucket is more than a message holds: a random part of it.
    room.take(BUCKET_BYTES);
    const start = Math.floor(this.options.random() * items.length);
    const part = [...items.slice(start), ...items.slice(0, start)].filter((item) => room.take(itemBytes(item)));
    return { bucket, whole: false, items: part };
  }

  private answerDigest(
    to: number,
    { buckets, more }: Extract<GossipMessage, { kind: 'digest' }>,
    nowMs: number,
  ): readonly GossipEnvelope[] {
    const wanted: number[] = [];
    const newer: number[] = [];
    for (const { bucket, whole, items } of buckets) {
      const listed = new Set<number>();
      for (const { key, version } of items) {
        if (bucketIndex(key) !== bucket) continue;
        listed.add(key);
        const mine = this.store.find(key);
        const order = mine ? compareVersions(version, mine.version) : 1;
        if (order > 0) wanted.push(key);
        else if (order < 0) newer.push(key);
      }
      if (whole) newer.push(...this.store.keys(bucket).filter((key) => !listed.has(key)));
    }
    const half = this.options.messageBytes / 2;
    const room = new Room(half);
    const asked = wanted.filter((key) => room.take(itemBytes({ key, version: [0, 0, 0] })));
    const { entries, complete } = this.fit(newer, half, nowMs);
    const left = more || !complete || asked.length < wanted.length;
    return [{ to, message: { kind: 'exchange', entries, wanted: asked, more: left } }];
  }

  /** The entries of these keys, as many as fit. */
  private fit(keys: readonly number[], bytes: number, nowMs: number): { entries: GossipEntry[]; complete: boolean } {
    const room = new Room(bytes);
    const entries: GossipEntry[] = [];
    let complete = true;
    for (const key of keys) {
      const entry = this.store.entry(key, nowMs);
      if (!entry) continue;
      if (room.take(entryBytes(entry))) entries.push(entry);
      else complete = false;
    }
    return { entries, complete };
  }
}

/** Bytes that are left in a message. */
class Room {
  private left: number;

  constructor(bytes: number) {
    this.left = bytes - HEADER_BYTES;
  }

  take(bytes: number): boolean {
    if (bytes > this.left) return false;
    this.left -= bytes;
    return true;
  }

  /** Nothing worth while fits any more. */
  get isFull(): boolean {
    return this.left < 2 * HEADER_BYTES;
  }
}
