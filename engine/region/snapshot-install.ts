/**
 * Puts a staged snapshot in the place of what a region had, in bounded steps and so that a crash between any two writes
 * leaves either the old replica, or a region that is marked `applying`, or the new one:
 *
 * 1. one synced write marks the region as applying what is staged;
 * 2. the ranges of the old data, sessions and log are deleted;
 * 3. staged entries are written, some a turn, not synced;
 * 4. one synced write, which makes 2 and 3 durable as well, puts the new record, hard state, applied and truncated state;
 * 5. what was staged is deleted.
 *
 * A start that finds the mark begins again with 2, one that finds staged chunks and no mark deletes them (`sweepStaging`).
 */

import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { StorageFailure, invariant } from '../../rpc/wire/errors.ts';
import { toWireRegion, fromWireRegion, type Region } from '../../rpc/wire/region.ts';
import { META_KIND, metaKey, readU64, stagingKey, stagingRange } from '../store/keys.ts';
import type { Store, WriteBatch } from '../store/port.ts';
import {
  dataColumn,
  fromWireRecord,
  loadHardState,
  loadRegionRecord,
  putApplied,
  putHardState,
  putRegionRecord,
  putSession,
  putTruncated,
  regionRanges,
  type RegionRecord,
} from '../store/region-records.ts';
import { decodeEntries, decodeHead, partOf } from './snapshot-chunk.ts';
import type { ReceivedHead } from './snapshot-receiver.ts';

/** Behind every chunk. */
const INSTALL_SEQUENCE = Number.MAX_SAFE_INTEGER;

/** What is to be installed. */
export interface InstallOrder {
  readonly head: ReceivedHead;
  /** That are staged. */
  readonly chunks: number;
  /** The descriptor of the old replica, if there was one. */
  readonly replaced: Region | undefined;
  /**
   * The peer's log has the snapshot's last entry: it stays with the hard state, for what it promised is in it. Only its data
   * is replaced.
   */
  readonly keepsLog: boolean;
  /** Of this process. */
  readonly boot: number;
}

/** Writes a batch and syncs it, as whoever owns the store does that. */
export type WriteSynced = (batch: WriteBatch) => void;

export class SnapshotInstall {
  readonly regionId: number;
  readonly record: RegionRecord;
  readonly message: mraft.RaftMessage;
  readonly #store: Store;
  readonly #writeSynced: WriteSynced;
  readonly #batch: WriteBatch;
  readonly #chunks: number;
  readonly #keepsLog: boolean;
  readonly #toClear: (() => void)[];
  /** The head needs no installing. */
  #next = 1;
  #isDone = false;

  /**
   * Marks the region as applying: from here on there is no way back but through the end of the install. The old replica must
   * be closed, the snapshot staged and written.
   * @throws DiskFull: nothing was done. StorageFailure
   */
  static begin(store: Store, order: InstallOrder, writeSynced: WriteSynced): SnapshotInstall {
    const { head, chunks, replaced, keepsLog, boot } = order;
    const { regionId } = head.record.region;
    const batch = store.createBatch();
    const install = { chunks, boot, keepsLog, ...(replaced ? { replaced: toWireRegion(replaced) } : {}) };
    batch.put('staging', stagingKey(regionId, INSTALL_SEQUENCE), encode(mraft.SnapshotInstall, install));
    putRegionRecord(batch, { ...head.record, phase: 'applying' });
    batch.delete('meta', metaKey(META_KIND.tombstone, regionId));
    writeSynced(batch);
    return new SnapshotInstall(store, regionId, boot, writeSynced);
  }

  /**
   * Goes on with an install that was begun, also before a restart. What the old replica had beyond the new range is deleted
   * under the boot that began: later others may have it, and every start sweeps what belongs to none.
   * @throws StorageFailure when what was staged is not there
   */
  constructor(store: Store, regionId: number, boot: number, writeSynced: WriteSynced) {
    this.#store = store;
    this.#writeSynced = writeSynced;
    this.#batch = store.createBatch();
    this.regionId = regionId;
    const { message, record } = decodeHead(this.#staged(0));
    invariant(Boolean(message && record), 'what was staged was checked');
    this.message = message as mraft.RaftMessage;
    this.record = fromWireRecord(record!);
    const begun = decode(mraft.SnapshotInstall, this.#staged(INSTALL_SEQUENCE));
    this.#chunks = begun.chunks;
    this.#keepsLog = begun.keepsLog;
    const replaced = begun.replaced && begun.boot === boot ? fromWireRegion(begun.replaced) : undefined;
    this.#toClear = this.#clearing(replaced);
  }

  get isDone(): boolean {
    return this.#isDone;
  }

  /** Where a range was and where it will be need not be the same: a split or a merge may lie between. */
  #clearing(replaced: Region | undefined): (() => void)[] {
    const steps: (() => void)[] = [];
    for (const region of replaced ? [this.record.region, replaced] : [this.record.region]) {
      const end = region.endKey.length > 0 ? region.endKey : undefined;
      steps.push(() => this.#store.deleteRange(dataColumn(this.regionId), region.startKey, end));
    }
    for (const { column, start, end } of regionRanges(this.regionId)) {
      if (column === 'log' && this.#keepsLog) continue;
      steps.push(() => this.#store.deleteRange(column, start, end));
    }
    return steps;
  }

  /**
   * One step: a range that is deleted, or staged entries of about `mostBytes`, or the last write. True: it is done, and the
   * replica can be opened. Every step can be done again.
   * @throws DiskFull: call it again later. StorageFailure
   */
  step(mostBytes: number): boolean {
    if (this.#isDone) return true;
    const clear = this.#toClear[0];
    if (clear) {
      clear();
      this.#toClear.shift();
      return false;
    }
    // What a full disk refused is still in the batch.
    if (this.#batch.count === 0) this.#gather(mostBytes);
    const isLast = this.#next >= this.#chunks;
    if (isLast) this.#putRecords();
    if (isLast) this.#writeSynced(this.#batch);
    else this.#store.write(this.#batch, { sync: false });
    if (!isLast) return false;
    this.#isDone = true;
    dropStaging(this.#store, this.regionId);
    return true;
  }

  #gather(mostBytes: number): void {
    while (this.#next < this.#chunks && this.#batch.sizeBytes < mostBytes) {
      const body = this.#staged(this.#next);
      this.#next++;
      const part = partOf(body);
      if (part === 'tail') continue;
      for (const { key, value } of decodeEntries(body)) {
        if (part === 'data') this.#batch.put(dataColumn(this.regionId), key, value);
        else putSession(this.#batch, this.regionId, key, value);
      }
    }
  }

  #putRecords(): void {
    const { index, logTerm: term, term: messageTerm } = this.message;
    const before = loadHardState(this.#store, this.regionId) ?? { term: 0, vote: 0, commit: 0 };
    const isNewTerm = messageTerm > before.term;
    putHardState(this.#batch, this.regionId, {
      term: isNewTerm ? messageTerm : before.term,
      // A vote holds for its own term.
      vote: isNewTerm ? 0 : before.vote,
      commit: this.#keepsLog ? Math.max(before.commit, index) : index,
    });
    putApplied(this.#batch, this.regionId, { index, term });
    if (!this.#keepsLog) putTruncated(this.#batch, this.regionId, { index, term });
    putRegionRecord(this.#batch, this.record);
  }

  #staged(sequence: number): Uint8Array {
    const body = this.#store.get('staging', stagingKey(this.regionId, sequence));
    if (body) return body;
    throw new StorageFailure(
      `a snapshot of region ${this.regionId} was begun to be installed and is not there: remove this node and let it join ` +
        'again under a new id',
      { regionId: this.regionId },
    );
  }
}

/** Removes what is staged of a region. */
export function dropStaging(store: Store, regionId: number): void {
  const { start, end } = stagingRange(regionId);
  store.deleteRange('staging', start, end);
}

/**
 * At a start: removes staged chunks of snapshots that did not come so far as to be installed.
 * @param isOwn whether a region belongs to the worker that asks
 */
export function sweepStaging(store: Store, isOwn: (regionId: number) => boolean): void {
  let from: Uint8Array | undefined;
  for (;;) {
    const page = store.scan('staging', { ...(from ? { gte: from } : {}), limit: 1, maxBytes: 0 });
    const key = page.entries[0]?.key;
    if (key === undefined) return;
    const regionId = readU64(key, 0);
    if (isOwn(regionId) && loadRegionRecord(store, regionId)?.phase !== 'applying') dropStaging(store, regionId);
    from = stagingRange(regionId).end;
  }
}
