/** Entries in buckets by the hash of their keys, with a hash of each bucket's keys and versions. */

import { compareVersions, idOfKey, kindOfKey, type GossipEntry, type GossipVersion } from './entry.ts';

/** The same on all nodes, because summaries are compared bucket by bucket. */
export const BUCKETS = 1_024;

interface StoredEntry {
  readonly version: GossipVersion;
  readonly value: Uint8Array | null;
  /** When the subject was said to be no more, by this node's clock. */
  readonly goneMs: number;
}

export class EntryStore {
  private readonly buckets: Map<number, StoredEntry>[] = Array.from({ length: BUCKETS }, () => new Map());
  /** Two words a bucket. */
  private readonly hashes = new Uint32Array(2 * BUCKETS);
  private readonly gone = new Set<number>();
  private readonly mostEntries: number;
  size = 0;

  constructor(mostEntries: number) {
    this.mostEntries = mostEntries;
  }

  find(key: number): StoredEntry | undefined {
    return this.bucketOf(key).get(key);
  }

  /** Whether it is newer than what was there. When there is no room, a subject that is not known stays unknown. */
  put(key: number, version: GossipVersion, value: Uint8Array | null, goneMs: number): boolean {
    const known = this.find(key);
    if (known && compareVersions(version, known.version) <= 0) return false;
    if (!known && this.size >= this.mostEntries) return false;
    if (known) this.toggle(key, known.version);
    else this.size += 1;
    this.bucketOf(key).set(key, { version, value, goneMs });
    this.toggle(key, version);
    if (value === null) this.gone.add(key);
    else this.gone.delete(key);
    return true;
  }

  /** Forgets what has been no more for so long. */
  expire(goneBeforeMs: number): void {
    for (const key of this.gone) {
      const entry = this.find(key);
      if (!entry || entry.goneMs >= goneBeforeMs) continue;
      this.toggle(key, entry.version);
      this.bucketOf(key).delete(key);
      this.gone.delete(key);
      this.size -= 1;
    }
  }

  entry(key: number, nowMs: number): GossipEntry | undefined {
    const stored = this.find(key);
    if (!stored) return undefined;
    const ageMs = stored.value === null ? Math.max(0, Math.round(nowMs - stored.goneMs)) : 0;
    return { kind: kindOfKey(key), id: idOfKey(key), version: stored.version, value: stored.value, ageMs };
  }

  keys(bucket: number): readonly number[] {
    return [...(this.buckets[bucket]?.keys() ?? [])];
  }

  summary(): Uint32Array {
    return this.hashes.slice();
  }

  /** Buckets whose hash is another. */
  differing(theirs: Uint32Array): readonly number[] {
    const differing: number[] = [];
    for (let bucket = 0; bucket < BUCKETS; bucket += 1) {
      const same =
        theirs[2 * bucket] === this.hashes[2 * bucket] && theirs[2 * bucket + 1] === this.hashes[2 * bucket + 1];
      if (!same) differing.push(bucket);
    }
    return differing;
  }

  private bucketOf(key: number): Map<number, StoredEntry> {
    return this.buckets[bucketIndex(key)] as Map<number, StoredEntry>;
  }

  /** Adds to, or takes out of, its bucket's hash: exclusive or is its own inverse. */
  private toggle(key: number, version: GossipVersion): void {
    const bucket = bucketIndex(key);
    for (const word of [0, 1]) {
      let hash = mix(word + 1) ^ mixNumber(key);
      for (const part of version) hash = mix(hash) ^ mixNumber(part);
      const at = 2 * bucket + word;
      this.hashes[at] = (this.hashes[at] as number) ^ mix(hash);
    }
  }
}

export function bucketIndex(key: number): number {
  return mixNumber(key) % BUCKETS;
}

function mixNumber(value: number): number {
  return (mix(value >>> 0) ^ mix(Math.floor(value / 2 ** 32) + 0x9e3779b9)) >>> 0;
}

/** The finaliser of MurmurHash3. */
function mix(value: number): number {
  let bits = value >>> 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
