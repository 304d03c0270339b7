/**
 * When turns run. Frames of one pass of the event loop share a turn; one timer a worker ticks all its replicas.
 *
 * A timer that fires late is not believed at once: after a stall, Node runs expired timers before the I/O
 * that queued up meanwhile, so heartbeats that arrived in time would look as if they never had. The tick waits until a
 * pass over the sockets brings nothing new.
 */

import { DiskFull } from '../../rpc/wire/errors.ts';
import type { Clock } from '../region/ports.ts';
import type { Shard } from './shard.ts';

/** Passes in a row that must bring nothing before a late tick is believed, and passes after which it is anyway. */
const QUIET_PASSES = 2;
const MOST_PASSES = 64;
/** How long to wait for room on a full disk before trying again. */
const FULL_DISK_RETRY_MS = 250;

/** When a loop runs something: behind the I/O of this pass, or later. Node's own, or the simulator's. */
export interface LoopTimers {
  soon(run: () => void): void;
  /** Returns what cancels it. */
  after(ms: number, run: () => void): () => void;
}

const nodeTimers: LoopTimers = {
  soon: (run) => void setImmediate(run),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
};

export class EventLoop {
  readonly #shard: Shard;
  readonly #clock: Clock;
  readonly #tickMs: number;
  readonly #timers: LoopTimers;
  readonly #onDiskFull: (error: DiskFull) => void;
  readonly #onFailure: (error: unknown) => void;
  #cancelTimer: () => void = () => {};
  #scheduled = false;
  #stopped = false;
  #dueMs = 0;
  #tickPending = false;
  #quietNeeded = 0;
  #quiet = 0;
  #passes = 0;
  #acceptedBefore = 0;
  /** Ticks that had to wait for queued I/O. */
  lateTicks = 0;

  /** `onFailure`: a turn broke off in the middle; no other runs, because what it left is in no defined state. */
  constructor(
    shard: Shard,
    clock: Clock,
    tickMs: number,
    onDiskFull: (error: DiskFull) => void,
    onFailure: (error: unknown) => void,
    timers: LoopTimers = nodeTimers,
  ) {
    this.#shard = shard;
    this.#clock = clock;
    this.#tickMs = tickMs;
    this.#onDiskFull = onDiskFull;
    this.#onFailure = onFailure;
    this.#timers = timers;
  }

  start(): void {
    this.#armTimer();
    this.wake();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelTimer();
  }

  /** Something came in: a turn runs behind the I/O of this pass. */
  wake(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#timers.soon(this.#run);
  }

  /** While all replicas sleep, ticks only serve the liveness of nodes. */
  #armTimer(): void {
    const ms = this.#shard.tickPeriodMs;
    this.#dueMs = this.#clock.nowMs() + ms;
    this.#cancelTimer = this.#timers.after(ms, this.#onTimer);
  }

  /** The timer was set when there was less to do. */
  #armEarlier(): void {
    if (this.#tickPending || this.#dueMs - this.#clock.nowMs() <= this.#shard.tickPeriodMs) return;
    this.#cancelTimer();
    this.#armTimer();
  }

  readonly #onTimer = (): void => {
    const lateMs = this.#clock.nowMs() - this.#dueMs;
    this.#tickPending = true;
    this.#awaitQuiet(lateMs > this.#tickMs);
    this.wake();
  };

  /** The tick that is pending, or comes next, is believed when that many passes brought nothing. */
  #awaitQuiet(late: boolean): void {
    this.#quiet = 0;
    this.#passes = 0;
    this.#quietNeeded = late ? QUIET_PASSES : 0;
    if (late) this.lateTicks++;
    this.#acceptedBefore = this.#shard.acceptedFrames;
  }

  readonly #run = (): void => {
    this.#scheduled = false;
    if (this.#stopped) return;
    if (this.#tickPending && !this.#shard.isStalled) this.#considerTick();
    try {
      this.#shard.turn();
    } catch (error) {
      if (error instanceof DiskFull) return this.#waitForRoom(error);
      this.stop();
      return this.#onFailure(error);
    }
    this.#armEarlier();
    if (this.#tickPending || this.#shard.hasWork) this.wake();
  };

  #considerTick(): void {
    const accepted = this.#shard.acceptedFrames;
    if (accepted === this.#acceptedBefore) this.#quiet++;
    else this.#quiet = 0;
    this.#acceptedBefore = accepted;
    this.#passes++;
    if (this.#quiet < this.#quietNeeded && this.#passes < MOST_PASSES) return;
    this.#tickPending = false;
    this.#shard.requestTick();
    this.#armTimer();
  }

  /** Meanwhile nothing was taken in, so that the tick that waits is as late as one behind a stall. */
  #waitForRoom(error: DiskFull): void {
    this.#onDiskFull(error);
    this.#scheduled = true;
    this.#timers.after(FULL_DISK_RETRY_MS, () => {
      this.#scheduled = false;
      this.#awaitQuiet(true);
      this.wake();
    });
  }
}
