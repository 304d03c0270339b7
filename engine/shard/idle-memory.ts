/**
 * V8 keeps what a busy time has made its heap grow to, and a thread that then idles never fills it again, so nothing
 * collects it. Whoever falls idle therefore collects, and again for as long as V8 holds much more than what lives: it gives the
 * space for young objects back only in a collection before which little was allocated.
 */

import { performance, type EventLoopUtilization } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** How often to look; also how long a thread is to be idle. Longer than V8 looks back (5 s) to see what is allocated. */
const LOOK_MS = 6_000;
/** Share of its time that an idle thread works at most. With more, so much is allocated that a collection gives little back. */
const IDLE_SHARE = 0.05;
/** Less than this beside what lives is not worth a pause. */
const WORTH_BYTES = 6 * 1024 * 1024;
/** A collection that gave back less than this is followed by twice the wait, up to so many looks. */
const GAVE_BYTES = 2 * 1024 * 1024;
const LONGEST_WAIT_LOOKS = 64;

/** What V8 holds for one thread, and what of it was alive or not yet collected. */
export interface HeapSize {
  readonly heldBytes: number;
  readonly usedBytes: number;
}

/** Decides when to collect: pure. */
export class IdleMemory {
  /** What lived after the last collection. */
  #liveBytes = 0;
  #waitLooks = 1;
  #looksToWait = 0;

  /** After a time in which the thread worked for `busyShare` of it: whether to collect now. */
  shouldCollect(busyShare: number, { heldBytes }: HeapSize): boolean {
    if (busyShare > IDLE_SHARE) {
      this.#waitLooks = 1;
      this.#looksToWait = 0;
      return false;
    }
    if (heldBytes - this.#liveBytes <= WORTH_BYTES) return false;
    if (this.#looksToWait === 0) return true;
    this.#looksToWait--;
    return false;
  }

  /** It was collected: what there was, and what is left. */
  collected(before: HeapSize, after: HeapSize): void {
    this.#liveBytes = after.usedBytes;
    const gaveMuch = before.heldBytes - after.heldBytes >= GAVE_BYTES;
    this.#waitLooks = gaveMuch ? 1 : Math.min(2 * this.#waitLooks, LONGEST_WAIT_LOOKS);
    this.#looksToWait = this.#waitLooks - 1;
  }
}

/** Watches this thread; the returned function ends that. */
export function watchIdleMemory(): () => void {
  const memory = new IdleMemory();
  let seen: EventLoopUtilization = performance.eventLoopUtilization();
  const timer = setInterval(() => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, seen);
    seen = now;
    const before = heapSize();
    if (!memory.shouldCollect(utilization, before)) return;
    collect();
    memory.collected(before, heapSize());
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function heapSize(): HeapSize {
  const { total_physical_size, used_heap_size, external_memory } = getHeapStatistics();
  return { heldBytes: total_physical_size + external_memory, usedBytes: used_heap_size + external_memory };
}

let collector: (() => void) | undefined;

function collect(): void {
  if (collector === undefined) {
    setFlagsFromString('--expose-gc');
    collector = runInNewContext('gc') as () => void;
  }
  collector();
}
