/**
 * What the checker knows of one replica from the writes that its node made: its log, its hard state, its descriptor, its
 * data's hash.
 */

import type { RegionRecord } from '../../engine/store/region-records.ts';
import type { Epoch } from '../../rpc/wire/region.ts';

export interface LogMark {
  readonly term: number;
  readonly bytes: Uint8Array;
}

export interface HardStateMark {
  readonly term: number;
  readonly vote: number;
}

/** A log as a store has it: entries from `first` on, without a gap. */
export class LogImage {
  first = 1;
  /** Of the entry before the first. */
  termBefore = 0;
  readonly #marks: LogMark[] = [];
  /** Indexes of a tail that was overwritten and still lies in the store. */
  readonly leftBehind = new Set<number>();

  get last(): number {
    return this.first + this.#marks.length - 1;
  }

  at(index: number): LogMark | undefined {
    return this.#marks[index - this.first];
  }

  /** Also of the entry before the first; undefined: not known. */
  termAt(index: number): number | undefined {
    return index === this.first - 1 ? this.termBefore : this.at(index)?.term;
  }

  /** An entry replaces what lies at and behind its index. Answers false where the log would have a hole. */
  put(index: number, mark: LogMark): boolean {
    if (index > this.last + 1 || index < this.first) return false;
    for (let stale = index + 1; stale <= this.last; stale++) this.leftBehind.add(stale);
    this.leftBehind.delete(index);
    this.#marks.length = index - this.first;
    this.#marks.push(mark);
    return true;
  }

  /** Removes the tail from `index` on. */
  delete(index: number): void {
    this.leftBehind.delete(index);
    if (index > this.last || index < this.first) return;
    this.#marks.length = index - this.first;
  }

  /** Entries up to `index` count no more, whether they lie there still or never did. */
  truncate(index: number, term: number): void {
    if (index < this.first) return;
    this.#marks.splice(0, index - this.first + 1);
    this.first = index + 1;
    this.termBefore = term;
    for (const stale of this.leftBehind) if (stale <= index) this.leftBehind.delete(stale);
  }

  clear(): void {
    this.#marks.length = 0;
    this.leftBehind.clear();
    this.first = 1;
    this.termBefore = 0;
  }
}

/** One replica, which is one peer: what its node has written, and what of it is durable. */
export class ReplicaImage {
  readonly nodeId: number;
  readonly peerId: number;
  record: RegionRecord;
  /** Of the descriptor as of the last turn that was looked at: what is committed was counted by it or by a later one. */
  since: Epoch;
  readonly log = new LogImage();
  readonly durableLog = new LogImage();
  hardState: HardStateMark = { term: 0, vote: 0 };
  durableHardState: HardStateMark = { term: 0, vote: 0 };
  applied = 0;
  /** XOR of the hashes of the region's data and session records. */
  dataHash = 0;
  /**
   * Applied indexes behind which a range delete was made: after a crash there, the data may be ahead of its index, until
   * the delete is replayed. Another worker's sync can make the delete durable alone.
   */
  readonly aheadAt = new Set<number>();
  /** While a snapshot is installed: what it replaces. */
  replaced: { readonly log: LogImage; readonly applied: number } | undefined;

  constructor(nodeId: number, peerId: number, record: RegionRecord) {
    this.nodeId = nodeId;
    this.peerId = peerId;
    this.record = record;
    this.since = record.region.epoch;
  }

  get regionId(): number {
    return this.record.region.regionId;
  }

  get isInstalling(): boolean {
    return this.record.phase === 'applying';
  }

  get where(): string {
    return `node ${this.nodeId}, region ${this.regionId}`;
  }

  /** A snapshot takes the place of everything but what the peer has promised. */
  beginInstall(): void {
    const log = new LogImage();
    log.truncate(this.durableLog.first - 1, this.durableLog.termBefore);
    for (let index = log.first; index <= this.durableLog.last; index++) log.put(index, this.durableLog.at(index)!);
    this.replaced = { log, applied: this.applied };
    this.log.clear();
    this.durableLog.clear();
    this.applied = 0;
  }
}
