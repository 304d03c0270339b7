/**
 * The consistency check: every replica hashes its range as it is at one entry of the log, page by page and a little in each
 * turn; the leader tells what its hashes are, and whoever has others names the first page that differs.
 *
 * A page ends behind the entry that passes LIMITS.hashPageBytes, so equal data has equal pages. The leader joins
 * neighbouring pages to at most LIMITS.hashGroups groups; a replica joins its own where the leader's groups end.
 * The first group is the region's descriptor and sessions, which are replicated state too.
 */

import { createHash } from 'node:crypto';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { compareKeys, type Region } from '../../rpc/wire/region.ts';
import type { StoreCursor, StoreEntry } from '../store/port.ts';

const HASH_BYTES = 16;
const NO_BYTES: Uint8Array = new Uint8Array(0);

/** A stretch of the range that ends with `lastKey`; of the last one that is the end of the region. */
export interface HashPage {
  readonly lastKey: Uint8Array;
  readonly hash: Uint8Array;
}

/** Where two replicas differ first. */
export interface Difference {
  /** The region's own state differs, or the keys behind `after` up to `upTo` (empty: the end of the region). */
  readonly what: 'state' | 'keys';
  readonly after: Uint8Array;
  readonly upTo: Uint8Array;
}

/** What is replicated beside the keys. `sessions` are in the order of their names. */
export function hashState(
  region: Region,
  sessions: Iterable<{ readonly name: Uint8Array; readonly record: Uint8Array }>,
): Uint8Array {
  const hash = createHash('sha1');
  const { startKey, endKey, epoch, peers } = region;
  hash.update(
    JSON.stringify([epoch.version, epoch.confVersion, peers.map((peer) => [peer.peerId, peer.nodeId, peer.role])]),
  );
  addBytes(hash, startKey);
  addBytes(hash, endKey);
  for (const { name, record } of sessions) {
    addBytes(hash, name);
    addBytes(hash, record);
  }
  return hash.digest().subarray(0, HASH_BYTES);
}

/** Hashes what a cursor gives, as much at a time as it is asked to. */
export class RangeHasher {
  readonly #cursor: StoreCursor;
  readonly #endKey: Uint8Array;
  readonly #pages: HashPage[];
  #hash = createHash('sha1');
  #pageBytes = 0;
  #hashedBytes = 0;
  #isDone = false;

  /** Owns the cursor, which reads the region's range in ascending order. */
  constructor(cursor: StoreCursor, endKey: Uint8Array, stateHash: Uint8Array) {
    this.#cursor = cursor;
    this.#endKey = endKey;
    this.#pages = [{ lastKey: NO_BYTES, hash: stateHash }];
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  /** The state first, then the range; whole when `isDone`. */
  get pages(): readonly HashPage[] {
    return this.#pages;
  }

  /** Keys and values so far. */
  get hashedBytes(): number {
    return this.#hashedBytes;
  }

  /** Reads the next page of the cursor. True: that was all. @throws StorageFailure */
  step(): boolean {
    if (this.#isDone) return true;
    const { entries, more } = this.#cursor.next();
    for (const entry of entries) this.#add(entry);
    if (!more) {
      this.#pages.push({ lastKey: this.#endKey, hash: this.#hash.digest().subarray(0, HASH_BYTES) });
      this.close();
    }
    return this.#isDone;
  }

  #add({ key, value }: StoreEntry): void {
    addBytes(this.#hash, key);
    addBytes(this.#hash, value);
    const sizeBytes = key.length + value.length;
    this.#hashedBytes += sizeBytes;
    this.#pageBytes += sizeBytes;
    if (this.#pageBytes < LIMITS.hashPageBytes || this.#pages.length >= LIMITS.hashPages) return;
    this.#pages.push({ lastKey: Buffer.from(key), hash: this.#hash.digest().subarray(0, HASH_BYTES) });
    this.#hash = createHash('sha1');
    this.#pageBytes = 0;
  }

  /** Gives up what is not hashed. */
  close(): void {
    this.#isDone = true;
    this.#cursor.close();
  }
}

/** The leader's pages, joined to at most LIMITS.hashGroups groups. */
export function groupPages(pages: readonly HashPage[]): HashPage[] {
  const [state, ...ofKeys] = pages;
  const pagesPerGroup = Math.max(1, Math.ceil(ofKeys.length / (LIMITS.hashGroups - 1)));
  const groups = state ? [state] : [];
  for (let from = 0; from < ofKeys.length; from += pagesPerGroup) {
    const members = ofKeys.slice(from, from + pagesPerGroup);
    groups.push({ lastKey: members.at(-1)!.lastKey, hash: joinHashes(members) });
  }
  return groups;
}

/** Compares a replica's own pages with the leader's groups. Undefined: they say the same. */
export function firstDifference(own: readonly HashPage[], leaders: readonly HashPage[]): Difference | undefined {
  const [ownState, ...ownPages] = own;
  const [state, ...groups] = leaders;
  if (!ownState || !state || !sameBytes(ownState.hash, state.hash)) {
    return { what: 'state', after: NO_BYTES, upTo: NO_BYTES };
  }
  let after: Uint8Array = NO_BYTES;
  let at = 0;
  for (const [position, group] of groups.entries()) {
    const isLast = position === groups.length - 1;
    const from = at;
    while (at < ownPages.length && (isLast || endsWithin(ownPages, at, group.lastKey))) at++;
    if (!sameBytes(joinHashes(ownPages.slice(from, at)), group.hash)) {
      return { what: 'keys', after, upTo: group.lastKey };
    }
    after = group.lastKey;
  }
  return undefined;
}

/** The last of a replica's pages ends with the region, whatever its key says. */
function endsWithin(pages: readonly HashPage[], at: number, lastKey: Uint8Array): boolean {
  return at < pages.length - 1 && compareKeys(pages[at]!.lastKey, lastKey) <= 0;
}

function joinHashes(pages: readonly HashPage[]): Uint8Array {
  const hash = createHash('sha1');
  for (const page of pages) {
    addBytes(hash, page.lastKey);
    addBytes(hash, page.hash);
  }
  return hash.digest().subarray(0, HASH_BYTES);
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/** With its length, so that no two sequences of parts look alike. */
function addBytes(hash: ReturnType<typeof createHash>, bytes: Uint8Array): void {
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32BE(bytes.length);
  hash.update(length).update(bytes);
}
