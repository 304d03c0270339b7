/**
 * Committed entries on their way to the state machine. They are applied in runs, and a run that could not be finished (a
 * full disk, a merge that waits for its source) is gone on with before anything else.
 */

import { isAdminPayload } from '../../rpc/wire/command.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Entry } from '../raft/index.ts';

export class ApplyQueue {
  #waiting: Entry[] = [];
  #waitingBytes = 0;
  #run: Entry[] | undefined;
  #changesRegion = false;
  #sinceMs = 0;

  get isEmpty(): boolean {
    return this.#run === undefined && this.#waiting.length === 0;
  }

  /** Among the entries is one that changes the region: others may wait for this replica to know of it. */
  get changesRegion(): boolean {
    return this.#changesRegion;
  }

  /** Of the entries that are not in a run yet. */
  get sizeBytes(): number {
    return this.#waitingBytes;
  }

  /** Index of the last entry; undefined: there is none. */
  get lastIndex(): number | undefined {
    return (this.#waiting.at(-1) ?? this.#run?.at(-1))?.index;
  }

  push(entries: readonly Entry[], nowMs: number): void {
    if (this.isEmpty) this.#sinceMs = nowMs;
    for (const entry of entries) {
      this.#waiting.push(entry);
      this.#waitingBytes += entry.data.length;
      this.#changesRegion ||= entry.kind === 'confChange' || isAdminPayload(entry.data);
    }
  }

  /** Whether what waits makes a run that is worth it, or has waited long enough. */
  isRunDue(nowMs: number): boolean {
    return (
      this.#run !== undefined ||
      this.#changesRegion ||
      this.#waiting.length >= LIMITS.laggingRunEntries ||
      this.#waitingBytes >= LIMITS.laggingRunBytes ||
      nowMs - this.#sinceMs >= LIMITS.laggingRunMs
    );
  }

  /** The run that is not finished, or the next one: at least one entry, then up to `mostBytes`. Not of an empty queue. */
  run(mostBytes: number): readonly Entry[] {
    this.#run ??= this.#take(mostBytes);
    return this.#run;
  }

  /** The run is applied. */
  finishRun(): void {
    this.#run = undefined;
    if (this.#waiting.length === 0) this.#changesRegion = false;
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
    return this.#waiting.splice(0, count);
  }
}
