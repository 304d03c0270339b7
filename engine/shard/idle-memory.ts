/**
 * V8 keeps what a busy time has made its heap grow to, and a thread that then idles never fills it again, so nothing
 * collects it. Whoever falls idle therefore collects once, and once more a while later, when V8 has seen that little is
 * allocated and gives the space for young objects back too.
 */

import { performance, type EventLoopUtilization } from 'node:perf_hooks';
import { getHeapStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** How often to look; also how long a thread is to be idle. Longer than V8 looks back (5 s) to see what is allocated. */
const LOOK_MS = 8_000;
/** Share of its time that an idle thread works at most. */
const IDLE_SHARE = 0.1;
/** Less than this is not worth a pause. */
const WORTH_BYTES = 6 * 1024 * 1024;

/** Decides when to collect: pure. */
export class IdleMemory {
  #keptBytes = 0;
  #again = false;

  /** After a time in which the thread worked for `busyShare` of it: whether to collect now. */
  shouldCollect(busyShare: number, heapBytes: number): boolean {
    if (busyShare > IDLE_SHARE) {
      this.#again = false;
      return false;
    }
    return this.#again || heapBytes - this.#keptBytes > WORTH_BYTES;
  }

  /** It was collected, and so much is left. */
  collected(heapBytes: number): void {
    this.#keptBytes = heapBytes;
    this.#again = !this.#again;
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
    if (!memory.shouldCollect(utilization, heapBytes())) return;
    collect();
    memory.collected(heapBytes());
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
