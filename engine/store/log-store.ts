/** The persisted log of one region, over a store that it shares with all others. */

import { StorageFailure, invariant } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { decodeEntry, decodeTerm, encodeEntry, type Entry } from './entry-codec.ts';
import { logIndexOf, logKey, logRange, setLogIndex } from './keys.ts';
import type { Store, WriteBatch } from './port.ts';
import { loadTruncated, putTruncated } from './region-records.ts';

/** Entries from `from` on, up to the next run, have this term. */
interface TermRun {
  readonly from: number;
  readonly term: number;
}

/** How many bytes were appended up to an entry. */
interface SizeMark {
  readonly index: number;
  readonly bytes: number;
}

/** Sizes are known to so many bytes. */
const SIZE_MARK_BYTES = 64 * 1024;

/**
 * A region's log, and what the Raft core reads as its `LogReader`. Bounds and recent terms are in memory, entries are read
 * from the store.
 *
 * `append` puts entries into a batch and moves the bounds at once; `entries` and `term` of what it put are right when that
 * batch is written. So write the batch before the log is asked for them, and do not go on with a log whose batch failed.
 */
export class RegionLog {
  readonly regionId: number;
  readonly #store: Store;
  /** The last entry that was compacted away; 0 and 0 where none was. */
  #truncatedIndex: number;
  #truncatedTerm: number;
  #lastIndex: number;
  /** From here up to the truncated index lie entries that nobody reads any more; 0: there are none. */
  #rubbishFrom = 0;
  /** Ascending; appended bytes are counted from the opening on. */
  readonly #sizeMarks: SizeMark[] = [];
  #appendedBytes = 0;
  #forgottenBytes = 0;
  /**
   * Ascending in `from` and `term`. Terms never fall along a log, so a run for each change of term is all that is needed to
   * know the term of every entry from the first run on. Bounded: the oldest runs are forgotten.
   */
  readonly #termRuns: TermRun[] = [];
  readonly #key: Buffer;

  /**
   * Reads the bounds from the store.
   * @throws StorageFailure when the log does not begin where its truncated state says
   */
  constructor(store: Store, regionId: number) {
    this.#store = store;
    this.regionId = regionId;
    this.#key = logKey(regionId, 0);
    const truncated = loadTruncated(store, regionId);
    this.#truncatedIndex = truncated.index;
    this.#truncatedTerm = truncated.term;
    this.#lastIndex = truncated.index;
    this.#loadBounds();
  }

  /** Index of the first entry that is kept; 1 in a log that was never truncated. */
  get firstIndex(): number {
    return this.#truncatedIndex + 1;
  }

  /** 0 in an empty log that was never truncated. */
  get lastIndex(): number {
    return this.#lastIndex;
  }

  /** Entries that are kept. */
  get entryCount(): number {
    return this.#lastIndex - this.#truncatedIndex;
  }

  /** Roughly the data of the kept entries that were appended since the log was opened. */
  get sizeBytes(): number {
    return this.#appendedBytes - this.#forgottenBytes;
  }

  /** Term of an entry, also of `firstIndex - 1` (0 when that is 0); undefined outside. */
  term(index: number): number | undefined {
    if (index === this.#truncatedIndex) return this.#truncatedTerm;
    if (index < this.#truncatedIndex || index > this.#lastIndex) return undefined;
    const runs = this.#termRuns;
    for (let at = runs.length - 1; at >= 0; at--) {
      const run = runs[at]!;
      if (run.from <= index) return run.term;
    }
    return this.#readTerm(index);
  }

  /**
   * Entries of [from, to), at least one, then up to `maxBytes` of data. The caller may keep them.
   * @throws StorageFailure when one is missing or damaged
   */
  entries(from: number, to: number, maxBytes: number): Entry[] {
    invariant(
      from >= this.firstIndex && from < to && to <= this.#lastIndex + 1,
      `entries [${from}, ${to}) lie in the log [${this.firstIndex}, ${this.#lastIndex}] of region ${this.regionId}`,
    );
    const page = this.#store.scan('log', {
      gte: logKey(this.regionId, from),
      lt: logKey(this.regionId, to),
      limit: to - from,
      maxBytes,
    });
    const entries: Entry[] = [];
    let sizeBytes = 0;
    for (const { key, value } of page.entries) {
      const index = logIndexOf(key);
      if (index !== from + entries.length) throw this.#hole(from + entries.length);
      const entry = decodeEntry(index, value);
      sizeBytes += entry.data.length;
      if (sizeBytes > maxBytes && entries.length > 0) break;
      entries.push(entry);
    }
    if (entries.length === 0) throw this.#hole(from);
    return entries;
  }

  /**
   * Puts entries into the batch: behind the last one, or in place of a tail that another leader overwrote. They follow each
   * other and begin no later than one behind the last. In the common case this is one put an entry and nothing else.
   */
  append(batch: WriteBatch, entries: readonly Entry[]): void {
    const first = entries[0];
    if (first === undefined) return;
    invariant(
      first.index > this.#truncatedIndex && first.index <= this.#lastIndex + 1,
      `entry ${first.index} extends or replaces the log [${this.firstIndex}, ${this.#lastIndex}] of region ${this.regionId}`,
    );
    const oldLast = this.#lastIndex;
    if (first.index <= oldLast) this.#forgetFrom(first.index);
    const key = this.#key;
    for (const entry of entries) {
      invariant(entry.index === this.#lastIndex + 1, `entry ${entry.index} follows ${this.#lastIndex}`);
      setLogIndex(key, entry.index);
      batch.put('log', key, encodeEntry(entry));
      this.#noteTerm(entry.index, entry.term);
      this.#lastIndex = entry.index;
      this.#noteSize(entry.index, entry.data.length);
    }
    // What the overwritten tail had beyond the new end must not come back at the next start.
    for (let stale = this.#lastIndex + 1; stale <= oldLast; stale++) {
      setLogIndex(key, stale);
      batch.delete('log', key);
    }
  }

  /**
   * Forgets the entries up to `index`: their new bound and up to LIMITS.logDeletesPerBatch deletions go into the batch,
   * which makes them one write, so no crash leaves a log that begins behind its first entry. What is left to delete takes
   * later calls of `dropRubbish`; it is not read meanwhile, also after a restart.
   */
  truncateTo(batch: WriteBatch, index: number): void {
    invariant(
      index > this.#truncatedIndex && index <= this.#lastIndex,
      `the log [${this.firstIndex}, ${this.#lastIndex}] of region ${this.regionId} can be cut behind ${index}`,
    );
    const term = this.term(index)!;
    putTruncated(batch, this.regionId, { index, term });
    if (this.#rubbishFrom === 0) this.#rubbishFrom = this.firstIndex;
    this.#truncatedIndex = index;
    this.#truncatedTerm = term;
    const runs = this.#termRuns;
    while (runs.length > 1 && runs[1]!.from <= index + 1) runs.shift();
    const marks = this.#sizeMarks;
    while (marks.length > 0 && marks[0]!.index <= index) this.#forgottenBytes = marks.shift()!.bytes;
    this.dropRubbish(batch);
  }

  /** Forgotten entries are left to be deleted. */
  get hasRubbish(): boolean {
    return this.#rubbishFrom !== 0;
  }

  /** Adds the deletion of forgotten entries to the batch, at most LIMITS.logDeletesPerBatch, the oldest first. */
  dropRubbish(batch: WriteBatch): void {
    if (this.#rubbishFrom === 0) return;
    const to = Math.min(this.#truncatedIndex, this.#rubbishFrom + LIMITS.logDeletesPerBatch - 1);
    const key = this.#key;
    for (let index = this.#rubbishFrom; index <= to; index++) {
      setLogIndex(key, index);
      batch.delete('log', key);
    }
    this.#rubbishFrom = to < this.#truncatedIndex ? to + 1 : 0;
  }

  /** Entries at or below the truncated state may still lie there when a crash came between the two; they are not read. */
  #loadBounds(): void {
    const { start, end } = logRange(this.regionId);
    this.#findRubbish(start);
    const gte = logKey(this.regionId, this.firstIndex);
    const last = this.#store.scan('log', { gte, lt: end, reverse: true, limit: 1, maxBytes: 0 }).entries[0];
    if (last === undefined) return;
    const first = this.#store.scan('log', { gte, lt: end, limit: 1, maxBytes: 0 }).entries[0];
    if (first === undefined || logIndexOf(first.key) !== this.firstIndex) throw this.#hole(this.firstIndex);
    this.#lastIndex = logIndexOf(last.key);
    this.#termRuns.push({ from: this.#lastIndex, term: decodeTerm(this.#lastIndex, last.value) });
  }

  /** Deletions go up the log, so its last forgotten entry is there as long as any is. */
  #findRubbish(start: Uint8Array): void {
    const truncated = logKey(this.regionId, this.#truncatedIndex);
    if (this.#truncatedIndex === 0 || this.#store.get('log', truncated) === undefined) return;
    const oldest = this.#store.scan('log', { gte: start, lte: truncated, limit: 1, maxBytes: 0 }).entries[0];
    this.#rubbishFrom = oldest === undefined ? 0 : logIndexOf(oldest.key);
  }

  #noteSize(index: number, dataBytes: number): void {
    this.#appendedBytes += dataBytes;
    const last = this.#sizeMarks.at(-1)?.bytes ?? this.#forgottenBytes;
    if (this.#appendedBytes - last >= SIZE_MARK_BYTES) this.#sizeMarks.push({ index, bytes: this.#appendedBytes });
  }

  #forgetFrom(index: number): void {
    const marks = this.#sizeMarks;
    while (marks.length > 0 && marks.at(-1)!.index >= index) marks.pop();
    this.#appendedBytes = marks.at(-1)?.bytes ?? this.#forgottenBytes;
    const runs = this.#termRuns;
    while (runs.length > 0 && runs[runs.length - 1]!.from >= index) runs.pop();
    this.#lastIndex = index - 1;
  }

  #noteTerm(index: number, term: number): void {
    const runs = this.#termRuns;
    const last = runs[runs.length - 1];
    if (last !== undefined && last.term === term) return;
    const before = last?.term ?? this.term(index - 1) ?? 0;
    invariant(term >= before, `the term of entry ${index} of region ${this.regionId} is not below ${before}`);
    runs.push({ from: index, term });
    if (runs.length > LIMITS.logTermRuns) runs.shift();
  }

  #readTerm(index: number): number {
    const value = this.#store.get('log', logKey(this.regionId, index));
    if (value === undefined) throw this.#hole(index);
    const term = decodeTerm(index, value);
    // Every entry between this one and a run of its own term has that term too.
    const oldest = this.#termRuns[0];
    if (oldest !== undefined && oldest.term === term) this.#termRuns[0] = { from: index, term };
    return term;
  }

  #hole(index: number): StorageFailure {
    return new StorageFailure(
      `log entry ${index} of region ${this.regionId} is missing: remove this node and let it join again under a new id`,
      { regionId: this.regionId },
    );
  }
}
