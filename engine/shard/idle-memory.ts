/**
 * V8 keeps what a busy time has made its heap grow to, and a thread that then idles never fills it again, so nothing
 * collects it. Whoever falls idle therefore collects, and again a while later, when V8 has seen that little is allocated and
 * gives the space for young objects back too.
 */

import { performance, type EventLoopUtilization } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** How often to look; also how long a thread is to be idle. Longer than V8 looks back (5 s) to see what is allocated. */
const LOOK_MS = 6_000;
/** Share of its time that an idle thread works at most; one that shares its core with others waits a part of it. */
const IDLE_SHARE = 0.2;
/** Less than this is not worth a pause, and a collection that gave back less than that not another one. */
const WORTH_BYTES = 6 * 1024 * 1024;
const GAVE_BYTES = 2 * 1024 * 1024;

/** Decides when to collect: pure. */
export class IdleMemory {
  #keptBytes = 0;
  /** Collections in a row that do not ask whether they are worth it. */
  #more = 0;

  /** After a time in which the thread worked for `busyShare` of it: whether to collect now. */
  shouldCollect(busyShare: number, heapBytes: number): boolean {
    if (busyShare > IDLE_SHARE) {
      this.#more = 0;
      return false;
    }
    return this.#more > 0 || heapBytes - this.#keptBytes > WORTH_BYTES;
  }

  /** It was collected: how much there was, and is left. One that gave much back, or the first, is followed by another. */
  collected(beforeBytes: number, heapBytes: number): void {
    this.#keptBytes = heapBytes;
    if (this.#more === 0) this.#more = 1;
    else if (beforeBytes - heapBytes < GAVE_BYTES) this.#more = 0;
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
    const beforeBytes = heapBytes();
    if (!memory.shouldCollect(utilization, beforeBytes)) return;
    collect();
    memory.collected(beforeBytes, heapBytes());
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}

function heapBytes(): number {
  const { total_physical_size, external_memory } = getHeapStatistics();
  return total_physical_size + external_memory;
}

let collector: (() => void) | undefined;

function collect(): void {
  if (collector === undefined) {
    setFlagsFromString('--expose-gc');
    collector = runInNewContext('gc') as () => void;
  }
  collector();
}
