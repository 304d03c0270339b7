/**
 * The log of one replica: what the store has (a LogReader) under a window of recent entries in memory.
 *
 * Invariants, with `last` the last index:
 *   truncated <= applied <= applying <= min(commit, stable), stable <= handed <= last, commit <= last, and the window
 *   covers (min(stable, commit), last], so that the store is never asked for what it may not have in its final form.
 * While a snapshot is being installed, applied and stable lie below what it has truncated, and nothing is handed out.
 * Entries are kept by reference, never copied or changed: their data may lie in a buffer of the network, which one small
 * entry keeps alive. So a follower keeps nothing that is applied, and a leader only what some peer may still need.
 */

import { invariant } from '../../rpc/wire/errors.ts';
import type { Entry, EntryKind, LogReader, RaftConfig } from './types.ts';

/** What an entry costs beside its data, on the wire and in memory: keeps messages of tiny entries within bounds too. */
const ENTRY_OVERHEAD_BYTES = 24;

/** The window is trimmed when it is over its bound by this share, so that trimming is rare. */
const TRIM_SLACK = 1 / 8;

export interface LogPosition {
  readonly index: number;
  /** 0 where the term is not known. */
  readonly term: number;
}

export function entryBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES;
}

export function entriesBytes(entries: readonly Entry[]): number {
  let sizeBytes = 0;
  for (const entry of entries) sizeBytes += entryBytes(entry);
  return sizeBytes;
}

/** The end of the longest run from `start` on, before `limit`, that fits `maxBytes`; the first entry always does. */
function prefixEnd(entries: readonly Entry[], start: number, limit: number, maxBytes: number): number {
  let sizeBytes = entryBytes(entries[start]!);
  let end = start + 1;
  while (end < limit) {
    sizeBytes += entryBytes(entries[end]!);
    if (sizeBytes > maxBytes) break;
    end++;
  }
  return end;
}

/** An invariant that failed. On the hot path its message is built only then. */
function broken(message: string): never {
  invariant(false, message);
}

export class RaftLog {
  private readonly store: LogReader;
  private readonly cacheBytes: number;
  private readonly cacheLimitBytes: number;
  /** Whether applied entries are kept, for the peers of a leader. */
  private servesPeers = false;
  private window: Entry[] = [];
  /** Index of the first entry in the window, or the next index while it is empty. */
  private windowFirst: number;
  /** Term of the entry before the window: what the next append of a leader follows. */
  private termBeforeWindow: number;
  private windowBytes = 0;
  private lastIndexValue: number;
  private lastTermValue: number;
  private commitValue: number;
  private appliedValue: number;
  /** Last index handed out to be applied. */
  private applying: number;
  /** Last index that is durable here. */
  private stableValue: number;
  /** Last index handed out to be persisted. */
  private handed: number;
  /** Entries up to here are compacted away, or are in a snapshot; the term of the last is still known. */
  private truncatedIndex: number;
  private truncatedTerm: number;
  /** A snapshot has replaced this log, and is not durable yet. */
  private restoring = false;
  /** No entry behind it that was appended since the start changes the membership. */
  private changeIndex = 0;
  /** Entries up to here were there at the start, and were not looked at. */
  private untrackedTo: number;

  constructor(store: LogReader, commit: number, applied: number, config: RaftConfig) {
    const last = store.lastIndex;
    invariant(applied <= last, `applied ${applied} is beyond the log, which ends at ${last}`);
    invariant(commit <= last, `commit ${commit} is beyond the log, which ends at ${last}`);
    this.truncatedIndex = store.firstIndex - 1;
    this.truncatedTerm = store.term(this.truncatedIndex) ?? 0;
    this.untrackedTo = last;
    invariant(
      applied >= this.truncatedIndex,
      `applied ${applied} is below the log, which begins at ${store.firstIndex}`,
    );
    this.store = store;
    this.cacheBytes = config.entryCacheBytes;
    this.cacheLimitBytes = config.entryCacheBytes + config.maxUncommittedBytes;
    this.windowFirst = last + 1;
    this.lastIndexValue = last;
    this.lastTermValue = store.term(last) ?? 0;
    this.termBeforeWindow = this.lastTermValue;
    // The commit is written now and then, the applied index with each apply: the later one is right.
    this.commitValue = Math.max(commit, applied);
    this.appliedValue = applied;
    this.applying = applied;
    this.stableValue = last;
    this.handed = last;
  }

  get firstIndex(): number {
    return this.truncatedIndex + 1;
  }

  get lastIndex(): number {
    return this.lastIndexValue;
  }

  get lastTerm(): number {
    return this.lastTermValue;
  }

  get commit(): number {
    return this.commitValue;
  }

  get applied(): number {
    return this.appliedValue;
  }

  get stable(): number {
    return this.stableValue;
  }

  get hasUnstable(): boolean {
    return this.handed < this.lastIndexValue;
  }

  /** Whether what is to be persisted next includes a change of the membership. */
  get hasUnstableChange(): boolean {
    return this.changeIndex > this.handed;
  }

  /** Whether a change of the membership may lie behind `from` and is committed. */
  hasCommittedChange(from: number): boolean {
    if (this.commitValue <= from) return false;
    return this.untrackedTo > from || (this.changeIndex > from && this.changeIndex <= this.commitValue);
  }

  /** A snapshot has replaced the log, and is not installed. */
  get isRestoring(): boolean {
    return this.restoring;
  }

  get hasCommitted(): boolean {
    return this.applying < this.commitValue && this.applying < this.stableValue;
  }

  /** Term of an entry; undefined outside the log. */
  term(index: number): number | undefined {
    if (index === this.lastIndexValue) return this.lastTermValue;
    if (index > this.lastIndexValue) return undefined;
    if (index >= this.windowFirst) return this.window[index - this.windowFirst]!.term;
    if (index === this.windowFirst - 1) return this.termBeforeWindow;
    if (index <= this.truncatedIndex) return index === this.truncatedIndex ? this.truncatedTerm : undefined;
    return this.store.term(index);
  }

  /** Whether a log that ends at (`index`, `term`) holds all that this one may have committed (thesis 3.6.1). */
  isUpToDate(index: number, term: number): boolean {
    return term > this.lastTermValue || (term === this.lastTermValue && index >= this.lastIndexValue);
  }

  /** Appends one entry of a leader. */
  append(term: number, kind: EntryKind, data: Uint8Array): Entry {
    const entry: Entry = { term, index: this.lastIndexValue + 1, kind, data };
    this.push(entry);
    return entry;
  }

  /**
   * First entry of `entries` that this log lacks or has with another term, as a position in `entries`; their number
   * when it has them all.
   */
  firstNew(entries: readonly Entry[]): number {
    // What is committed agrees with every leader.
    const first = entries[0]?.index ?? 0;
    for (let at = Math.max(0, this.commitValue + 1 - first); at < entries.length; at++) {
      const entry = entries[at]!;
      if (this.term(entry.index) !== entry.term) return at;
    }
    return entries.length;
  }

  /** Appends `entries[from..]`, which follow a position that agrees; what they contradict is dropped first. */
  replace(entries: readonly Entry[], from: number): void {
    if (from >= entries.length) return;
    this.truncateFrom(entries[from]!.index);
    for (let at = from; at < entries.length; at++) this.push(entries[at]!);
  }

  /** Commit never moves back, and never beyond the log. */
  commitTo(index: number): boolean {
    if (index <= this.commitValue) return false;
    if (index > this.lastIndexValue) broken(`commit ${index} is beyond the log, which ends at ${this.lastIndexValue}`);
    this.commitValue = index;
    return true;
  }

  /** What is committed, as others can recognise it. */
  get commitPosition(): LogPosition {
    return { index: this.commitValue, term: this.term(this.commitValue) ?? 0 };
  }

  /** Entries to be persisted that were not handed out yet. */
  takeUnstable(): Entry[] {
    const entries = this.window.slice(this.handed + 1 - this.windowFirst);
    this.handed = this.lastIndexValue;
    return entries;
  }

  /**
   * Everything up to (`index`, `term`) is durable. Ignored when another entry has taken that place since: the index
   * alone would mistake what was overwritten for what overwrote it.
   */
  stableTo(index: number, term: number): void {
    if (index <= this.stableValue || this.restoring || this.term(index) !== term) return;
    this.stableValue = index;
    if (this.handed < index) this.handed = index;
    this.trim();
  }

  /** Committed and durable entries that were not handed out yet: at least one, then up to `maxBytes`. */
  takeCommitted(maxBytes: number): Entry[] {
    const end = Math.min(this.commitValue, this.stableValue);
    const entries = this.slice(this.applying + 1, end + 1, maxBytes);
    this.applying += entries.length;
    return entries;
  }

  /** Returns whether that is news: a report may come late, when a snapshot has overtaken it. */
  appliedTo(index: number, term: number): boolean {
    if (index > this.applying) broken(`applied ${index} was not handed out, only up to ${this.applying}`);
    if (index <= this.appliedValue || index < this.truncatedIndex) return false;
    if (this.term(index) !== term)
      broken(`applied ${index} of term ${term}, and ${this.term(index)} is committed there`);
    this.appliedValue = index;
    this.trim();
    return true;
  }

  /**
   * Whether a change of the membership is committed and not applied: then this peer may not know who votes
   * (etcd: such a peer does not campaign). May read what is not applied, so it is for rare occasions.
   */
  hasUnappliedChange(maxBytes: number): boolean {
    if (this.changeIndex <= this.appliedValue && this.untrackedTo <= this.appliedValue) return false;
    for (let index = this.appliedValue + 1; index <= this.commitValue;) {
      const entries = this.slice(index, this.commitValue + 1, maxBytes);
      if (entries.some((entry) => entry.kind === 'confChange')) return true;
      index += entries.length;
    }
    return false;
  }

  /** The store may forget entries up to `index` from now on; they must be applied. */
  compactTo(index: number): void {
    if (index > this.appliedValue)
      broken(`entries up to ${index} would be compacted, and ${this.appliedValue} is applied`);
    if (index <= this.truncatedIndex) return;
    const term = this.term(index);
    if (term === undefined) broken(`the log has no entry ${index}`);
    this.drop(index + 1 - this.windowFirst);
    this.truncatedIndex = index;
    this.truncatedTerm = term;
  }

  /** A snapshot takes the place of the whole log, which it passes or contradicts. It is durable with `restored`. */
  restore(index: number, term: number): void {
    if (this.commitValue >= index)
      broken(`a snapshot at ${index} would undo what is committed up to ${this.commitValue}`);
    this.window = [];
    this.windowBytes = 0;
    this.windowFirst = index + 1;
    this.termBeforeWindow = term;
    this.lastIndexValue = index;
    this.lastTermValue = term;
    this.truncatedIndex = index;
    this.truncatedTerm = term;
    this.stableValue = Math.min(this.stableValue, this.appliedValue);
    this.commitValue = index;
    this.applying = index;
    this.handed = index;
    this.changeIndex = 0;
    this.untrackedTo = 0;
    this.restoring = true;
  }

  /** The snapshot at `index` is installed. Returns whether it is the latest: another may have come meanwhile. */
  restored(index: number): boolean {
    if (!this.restoring || index !== this.truncatedIndex) return false;
    this.restoring = false;
    this.stableValue = index;
    this.appliedValue = index;
    return true;
  }

  /** A leader keeps applied entries within the cache's size, others none. */
  servePeers(serves: boolean): void {
    this.servesPeers = serves;
    this.trim();
  }

  /** Every peer that is up has everything up to `index`. */
  peersHave(index: number): void {
    this.drop(Math.min(index, this.appliedValue) + 1 - this.windowFirst);
  }

  /** Entries of [from, to), at least one, then up to `maxBytes`. */
  slice(from: number, to: number, maxBytes: number): Entry[] {
    if (from >= this.windowFirst) {
      const start = from - this.windowFirst;
      return this.window.slice(start, prefixEnd(this.window, start, to - this.windowFirst, maxBytes));
    }
    if (from <= this.truncatedIndex) broken(`entry ${from} is compacted away`);
    const stored = this.store.entries(from, Math.min(to, this.windowFirst), maxBytes);
    if (stored[0]?.index !== from) broken(`the log has no entry ${from}`);
    // The store counts data only.
    const end = prefixEnd(stored, 0, stored.length, maxBytes);
    const entries = end === stored.length ? stored : stored.slice(0, end);
    const restBytes = maxBytes - entriesBytes(entries);
    const next = this.window[0];
    if (from + end !== this.windowFirst || this.windowFirst >= to || entryBytes(next!) > restBytes) return entries;
    return entries.concat(this.slice(this.windowFirst, to, restBytes));
  }

  /**
   * The last position at or below `index` whose term is at most `term`: a leader and a follower whose logs part can
   * agree there at best. Both sides ask this, so that a probe skips whole terms. Terms never fall along a log, which
   * makes it a binary search.
   */
  agreement(index: number, term: number): LogPosition {
    // Below the log the position itself is all that can be said.
    let low = Math.min(this.truncatedIndex, index);
    let high = Math.min(index, this.lastIndexValue);
    while (low < high) {
      const middle = low + Math.ceil((high - low) / 2);
      if ((this.term(middle) ?? 0) <= term) low = middle;
      else high = middle - 1;
    }
    return { index: low, term: this.term(low) ?? 0 };
  }

  /** Bytes of the entries in (after, upTo] that are in memory. */
  bytesBetween(after: number, upTo: number): number {
    let sizeBytes = 0;
    for (let index = Math.max(after + 1, this.windowFirst); index <= upTo; index++) {
      sizeBytes += entryBytes(this.window[index - this.windowFirst]!);
    }
    return sizeBytes;
  }

  private push(entry: Entry): void {
    if (entry.index !== this.lastIndexValue + 1) broken(`entry ${entry.index} does not follow ${this.lastIndexValue}`);
    if (entry.term < this.lastTermValue) broken(`an entry of term ${entry.term} follows one of ${this.lastTermValue}`);
    this.window.push(entry);
    if (entry.kind === 'confChange') this.changeIndex = entry.index;
    this.windowBytes += entryBytes(entry);
    this.lastIndexValue = entry.index;
    this.lastTermValue = entry.term;
  }

  private truncateFrom(index: number): void {
    if (index > this.lastIndexValue) return;
    if (index <= this.commitValue) broken(`entry ${index} would be replaced, and ${this.commitValue} is committed`);
    this.lastTermValue = this.term(index - 1) ?? 0;
    this.lastIndexValue = index - 1;
    if (index <= this.windowFirst) {
      this.window = [];
      this.windowFirst = index;
      this.termBeforeWindow = this.lastTermValue;
      this.windowBytes = 0;
    } else {
      for (const entry of this.window.splice(index - this.windowFirst)) this.windowBytes -= entryBytes(entry);
    }
    this.stableValue = Math.min(this.stableValue, index - 1);
    this.handed = Math.min(this.handed, index - 1);
    this.changeIndex = Math.min(this.changeIndex, index - 1);
  }

  /** Drops what is applied and beyond the cache's size; what is not applied only in an emergency. */
  private trim(): void {
    const cacheBytes = this.servesPeers ? this.cacheBytes : 0;
    if (this.windowBytes <= cacheBytes * (1 + TRIM_SLACK)) return;
    const durable = Math.min(this.stableValue, this.commitValue);
    let count = 0;
    let sizeBytes = this.windowBytes;
    while (sizeBytes > cacheBytes) {
      const index = this.windowFirst + count;
      const keep = index > durable || (index > this.appliedValue && sizeBytes <= this.cacheLimitBytes);
      if (keep) break;
      sizeBytes -= entryBytes(this.window[count]!);
      count++;
    }
    this.drop(count);
  }

  /** Drops the first `count` entries of the window. */
  private drop(count: number): void {
    if (count <= 0) return;
    for (const entry of this.window.splice(0, count)) {
      this.windowBytes -= entryBytes(entry);
      this.windowFirst = entry.index + 1;
      this.termBeforeWindow = entry.term;
    }
  }
}
