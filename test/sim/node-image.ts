/** What the checker knows of one node's store: its replicas, whose key is whose there, and what no sync has covered yet. */

import { compareKeys, containsKey, LAST_SYSTEM_REGION_ID, type Region } from '../../rpc/wire/region.ts';
import { readU64 } from '../../engine/store/keys.ts';
import type { Mutation } from './disk.ts';
import { hashBytes } from './random.ts';
import type { ReplicaImage } from './replica-image.ts';

export class NodeImage {
  readonly nodeId: number;
  /** Replicas that are there, by region. */
  readonly replicas = new Map<number, ReplicaImage>();
  /** Writes that no sync has covered yet. */
  pending: Mutation[] = [];
  /** Hash of each key's current value: data (`d` and the key), sessions (`s` and their record's key). */
  readonly #values = new Map<string, number>();
  /** Peers whose tombstones are there, or were: in the store, and durably. */
  readonly buried = new Set<number>();
  readonly buriedForGood = new Set<number>();

  constructor(nodeId: number) {
    this.nodeId = nodeId;
  }

  /** The node died: what its store has now is read anew. */
  forget(): void {
    this.replicas.clear();
    this.pending = [];
    this.#values.clear();
    this.buried.clear();
    for (const peerId of this.buriedForGood) this.buried.add(peerId);
  }

  ownerOf(key: Uint8Array): ReplicaImage | undefined {
    for (const image of this.replicas.values()) {
      if (image.regionId > LAST_SYSTEM_REGION_ID && containsKey(image.record.region, key)) return image;
    }
    return undefined;
  }

  putData(key: Uint8Array, value: Uint8Array | undefined): void {
    this.#set(`d${latin1(key)}`, value, this.ownerOf(key));
  }

  /** `key` is that of the session's record. */
  putSession(key: Uint8Array, value: Uint8Array | undefined): void {
    this.#set(`s${latin1(key)}`, value, this.replicas.get(readU64(key, 1)));
  }

  #set(name: string, value: Uint8Array | undefined, owner: ReplicaImage | undefined): void {
    const before = this.#values.get(name);
    if (before !== undefined && owner) owner.dataHash ^= before;
    if (value === undefined) {
      this.#values.delete(name);
      return;
    }
    const hash = hashBytes(value, hashName(name));
    this.#values.set(name, hash);
    if (owner) owner.dataHash ^= hash;
  }

  /** Removes what lies in a range of keys of the data, or of sessions; answers the replicas whose it was. */
  deleteRange(kind: 'd' | 's', start: Uint8Array, end: Uint8Array | undefined): Set<ReplicaImage> {
    const owners = new Set<ReplicaImage>();
    for (const name of this.#values.keys()) {
      if (!name.startsWith(kind)) continue;
      const key = keyOf(name);
      if (compareKeys(key, start) < 0 || (end !== undefined && compareKeys(key, end) >= 0)) continue;
      const owner = this.#ownerOfName(name);
      if (owner) owners.add(owner);
      this.#set(name, undefined, owner);
    }
    return owners;
  }

  #ownerOfName(name: string): ReplicaImage | undefined {
    const key = keyOf(name);
    return name.startsWith('d') ? this.ownerOf(key) : this.replicas.get(readU64(key, 1));
  }

  /** Ranges have moved between regions: what each has is added up anew. */
  addUp(): void {
    for (const image of this.replicas.values()) image.dataHash = 0;
    for (const [name, hash] of this.#values) {
      const owner = this.#ownerOfName(name);
      if (owner) owner.dataHash ^= hash;
    }
  }

  /** Two replicas that hold the same key, if there are any. */
  findOverlap(): readonly [ReplicaImage, ReplicaImage] | undefined {
    const all = [...this.replicas.values()];
    for (const [i, a] of all.entries()) {
      for (const b of all.slice(i + 1)) if (doOverlap(a.record.region, b.record.region)) return [a, b];
    }
    return undefined;
  }
}

/** System regions have keys of their own. */
export function doOverlap(a: Region, b: Region): boolean {
  if (a.regionId <= LAST_SYSTEM_REGION_ID !== b.regionId <= LAST_SYSTEM_REGION_ID) return false;
  return isBelow(a.startKey, b.endKey) && isBelow(b.startKey, a.endKey);
}

function isBelow(start: Uint8Array, end: Uint8Array): boolean {
  return end.length === 0 || compareKeys(start, end) < 0;
}

/** What is wrong with a set of regions that should tile the key space; undefined: nothing. */
export function findGap(regions: readonly Region[]): string | undefined {
  const sorted = regions
    .filter((region) => region.regionId > LAST_SYSTEM_REGION_ID)
    .sort((a, b) => compareKeys(a.startKey, b.startKey));
  let end: Uint8Array | undefined = new Uint8Array(0);
  for (const region of sorted) {
    if (end === undefined || compareKeys(end, region.startKey) !== 0) {
      return `region ${region.regionId} does not begin where the one before it ends`;
    }
    end = region.endKey.length > 0 ? region.endKey : undefined;
  }
  return end === undefined ? undefined : 'the last region does not reach the last key';
}

const nameHashes = new Map<string, number>();

function hashName(name: string): number {
  let hash = nameHashes.get(name);
  if (hash === undefined) {
    // Sessions of a split or merged region are compared within one region alone, so its id may be a part of the name.
    hash = hashBytes(Buffer.from(name, 'latin1'));
    if (nameHashes.size > 100_000) nameHashes.clear();
    nameHashes.set(name, hash);
  }
  return hash;
}

function keyOf(name: string): Buffer {
  return Buffer.from(name.slice(1), 'latin1');
}

export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
