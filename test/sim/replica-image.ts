/** What the checker knows of one replica from the writes that its node made: its log, its hard state, its data's hash. */

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
  readonly #marks: LogMark[] = [];
  /** Indexes of a tail that was overwritten and still lies in the store. */
  readonly leftBehind = new Set<number>();

  get last(): number {
    return this.first + this.#marks.length - 1;
  }

  at(index: number): LogMark | undefined {
    return this.#marks[index - this.first];
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

  /** Removes the tail from `index` on, or the first entry. */
  delete(index: number): void {
    this.leftBehind.delete(index);
    if (index > this.last || index < this.first) return;
    if (index === this.first && this.#marks.length > 1) {
      this.#marks.shift();
      this.first++;
    } else {
      this.#marks.length = index - this.first;
    }
  }

  clear(first: number): void {
    this.#marks.length = 0;
    this.first = first;
  }
}

/** One replica: what its node has written, and what of it is durable. */
export class ReplicaImage {
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
}
