/**
 * Committed entries on their way to the state machine. They are applied in runs, and a run that could not be finished (a
 * full disk, a merge that waits for its source) is gone on with before anything else. What gathers behind it is held up to
 * LIMITS.unappliedBytes; the rest is read from the log again, which keeps all that is not applied.
 */

import { isAdminPayload } from '../../rpc/wire/command.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Entry } from '../raft/index.ts';

/** Where entries are read again; they are there when they are applied. */
export interface EntrySource {
  entries(from: number, to: number, maxBytes: number): Entry[];
}

export class ApplyQueue {
  readonly #log: EntrySource;
  #waiting: Entry[] = [];
  #waitingBytes = 0;
  #run: Entry[] | undefined;
  /** The last entry, if those behind `#waiting` are left in the log; 0: there are none. */
  #leftTo = 0;
  #changesRegion = false;
  #sinceMs = 0;
  #takenBytes = 0;

  constructor(log: EntrySource) {
    this.#log = log;
  }

  get isEmpty(): boolean {
    return this.#run === undefined && this.#waiting.length === 0;
  }

  /** Among the entries is one that changes the region: others may wait for this replica to know of it. */
  get changesRegion(): boolean {
    return this.#changesRegion;
  }

  /** Of the entries that are held and not in a run yet. */
  get sizeBytes(): number {
    return this.#waitingBytes;
  }

  /** Of all entries that were ever in a run. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** Index of the last entry; undefined: there is none. */
  get lastIndex(): number | undefined {
    return this.#leftTo || (this.#waiting.at(-1) ?? this.#run?.at(-1))?.index;
  }

  push(entries: readonly Entry[], nowMs: number): void {
    if (this.isEmpty) this.#sinceMs = nowMs;
    for (const entry of entries) {
      this.#changesRegion ||= entry.kind === 'confChange' || isAdminPayload(entry.data);
      const isFull = this.#waitingBytes >= LIMITS.unappliedBytes;
      if (this.#leftTo !== 0 || (isFull && this.#waiting.length > 0)) this.#leftTo = entry.index;
      else this.#hold(entry);
    }
  }

  #hold(entry: Entry): void {
    this.#waiting.push(entry);
    this.#waitingBytes += entry.data.length;
  }

  /** Whether what waits makes a run that is worth it, or has waited for `waitMs`. */
  isRunDue(nowMs: number, waitMs: number): boolean {
    return (
      this.#run !== undefined ||
      this.#changesRegion ||
      this.#waiting.length >= LIMITS.laggingRunEntries ||
      this.#waitingBytes >= LIMITS.laggingRunBytes ||
      nowMs - this.#sinceMs >= waitMs
    );
  }

  /** The run that is not finished, or the next one: at least one entry, then up to `mostBytes`. Not of an empty queue. */
  run(mostBytes: number): readonly Entry[] {
    this.#run ??= this.#take(mostBytes);
    return this.#run;
  }

  /** The run is applied. @throws StorageFailure when entries that were left in the log are not there */
  finishRun(): void {
    const last = this.#run?.at(-1);
    this.#run = undefined;
    if (last && this.#waiting.length === 0 && this.#leftTo !== 0) this.#readOn(last.index + 1);
    if (this.#waiting.length === 0) this.#changesRegion = false;
  }

  #readOn(from: number): void {
    for (const entry of this.#log.entries(from, this.#leftTo + 1, LIMITS.unappliedBytes)) this.#hold(entry);
    if (this.#waiting.at(-1)!.index === this.#leftTo) this.#leftTo = 0;
  }

  #take(mostBytes: number): Entry[] {
    let sizeBytes = 0;
    let count = 0;
    for (const entry of this.#waiting) {
      if (count > 0 && sizeBytes + entry.data.length > mostBytes) break;
      sizeBytes += entry.data.length;
      count++;
    }
    this.#waitingBytes -= sizeBytes;
    this.#takenBytes += sizeBytes;
    return this.#waiting.splice(0, count);
  }
}
