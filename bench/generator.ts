/** The load: callers that each wait for their answer (closed loop), or calls at a fixed rate (open loop). */

import type { Session, Usage } from './driver.ts';
import { Recorder } from './recorder.ts';
import type { Workload } from './workload.ts';

/** Of one process. */
export const MOST_CALLERS = 65_536;

export interface LoadPlan {
  /** Callers of a closed loop; in an open loop, calls that may be under way at once. */
  readonly concurrency: number;
  /** Calls a second; undefined: a closed loop. */
  readonly targetPerSecond: number | undefined;
  readonly warmupMs: number;
  readonly durationMs: number;
}

export interface LoadResult {
  readonly recorder: Recorder;
  readonly durationMs: number;
  readonly inFlight: { readonly mean: number; readonly max: number };
  /** Calls of an open loop that were due in the window, and those of them that nobody waited for any longer. */
  readonly due: number;
  readonly abandoned: number;
  readonly generatorCpuSeconds: number;
  /** Share of the window in which this thread's event loop was busy. */
  readonly generatorBusy: number;
  readonly serverCpuSeconds: Readonly<Record<string, number>>;
  readonly fsyncs: number | undefined;
}

export interface LoadHooks {
  /** Counters of the servers, asked for at the beginning and at the end of the window. */
  readonly usage: () => Promise<Usage>;
  /** Called about ten times a second with the progress in [0, 1] and the operations so far. */
  readonly onProgress?: (done: number, operations: number) => void;
  readonly signal?: AbortSignal;
}

const SAMPLE_MS = 100;
/** A timer of Node is no finer; intended starts of an open loop lie on this grid. */
const OPEN_LOOP_STEP_MS = 1;
/** How long the calls that are still under way at the end are waited for. */
const DRAIN_MS = 15_000;
/** A store that refuses at once must not turn the callers into a busy loop. */
const ERROR_PAUSE_MS = 1;

/** Runs one workload and measures the window behind the warm-up. */
export async function runLoad(
  session: Session,
  workload: Workload,
  plan: LoadPlan,
  hooks: LoadHooks,
): Promise<LoadResult> {
  return new Generator(session, workload, plan, hooks).run();
}

/** Fills the store with the workload's records. @throws the first error that a put gave, or the signal's reason */
export async function loadRecords(
  session: Session,
  workload: Workload,
  records: number,
  concurrency: number,
  hooks: { readonly onProgress?: (loaded: number) => void; readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < records && !hooks.signal?.aborted) {
      await workload.load(next++, session);
      if (next % 1000 === 0) hooks.onProgress?.(next);
    }
  };
  await Promise.all(Array.from({ length: Math.min(concurrency, records) }, caller));
  hooks.signal?.throwIfAborted();
}

class Generator {
  private readonly session: Session;
  private readonly workload: Workload;
  private readonly plan: LoadPlan;
  private readonly hooks: LoadHooks;
  private readonly startMs = performance.now();
  private readonly fromMs: number;
  private readonly untilMs: number;
  private readonly recorder: Recorder;
  private stopped = false;
  private inFlight = 0;
  private inFlightSum = 0;
  private inFlightMax = 0;
  private samples = 0;
  private due = 0;
  private abandoned = 0;

  constructor(session: Session, workload: Workload, plan: LoadPlan, hooks: LoadHooks) {
    this.session = session;
    this.workload = workload;
    this.plan = plan;
    this.hooks = hooks;
    this.fromMs = this.startMs + plan.warmupMs;
    this.untilMs = this.fromMs + plan.durationMs;
    this.recorder = new Recorder(this.fromMs, this.untilMs, plan.targetPerSecond === undefined ? 'end' : 'start');
  }

  async run(): Promise<LoadResult> {
    const load = this.plan.targetPerSecond === undefined ? this.closedLoop() : this.openLoop(this.plan.targetPerSecond);
    const sampler = setInterval(() => this.sample(), SAMPLE_MS);
    try {
      await this.sleepUntil(this.fromMs);
      this.hooks.signal?.throwIfAborted();
      const cpuBefore = process.cpuUsage();
      const loopBefore = performance.eventLoopUtilization();
      const before = await this.hooks.usage();
      await this.sleepUntil(this.untilMs);
      this.hooks.signal?.throwIfAborted();
      const cpu = process.cpuUsage(cpuBefore);
      const loop = performance.eventLoopUtilization(loopBefore);
      const after = await this.hooks.usage();
      this.stopped = true;
      await load;
      return {
        recorder: this.recorder,
        durationMs: this.plan.durationMs,
        inFlight: { mean: this.samples === 0 ? 0 : this.inFlightSum / this.samples, max: this.inFlightMax },
        due: this.due,
        abandoned: this.abandoned,
        generatorCpuSeconds: (cpu.user + cpu.system) / 1e6,
        generatorBusy: loop.utilization,
        serverCpuSeconds: difference(before.cpuSeconds, after.cpuSeconds),
        fsyncs: before.fsyncs === undefined || after.fsyncs === undefined ? undefined : after.fsyncs - before.fsyncs,
      };
    } finally {
      this.stopped = true;
      clearInterval(sampler);
    }
  }

  private async closedLoop(): Promise<void> {
    const callers = Promise.all(Array.from({ length: this.plan.concurrency }, () => this.caller()));
    await Promise.race([callers, this.drainDeadline()]);
    this.abandoned = this.inFlight;
  }

  /** One caller: asks, waits for the answer, asks again. */
  private async caller(): Promise<void> {
    const { session, workload, recorder } = this;
    while (!this.stopped) {
      const operation = workload.choose();
      const startMs = performance.now();
      this.inFlight += 1;
      try {
        const result = await workload.perform(operation, session);
        if (operation === 'get' && result === undefined) recorder.miss();
        recorder.success(operation, workload.weight(operation), startMs, performance.now());
      } catch (error) {
        recorder.failure(error, startMs, performance.now());
        await sleep(ERROR_PAUSE_MS);
      }
      this.inFlight -= 1;
    }
  }

  /**
   * Calls begin when they are due, whether or not earlier ones have been answered, and their latency counts from when
   * they were due: neither a slow store nor a late generator hides behind a call that was not made.
   */
  private async openLoop(perSecond: number): Promise<void> {
    const total = Math.ceil(((this.untilMs - this.startMs) / 1000) * perSecond);
    let issued = 0;
    while (issued < total && !this.hooks.signal?.aborted) {
      const nowMs = performance.now();
      while (issued < total && this.inFlight < this.plan.concurrency) {
        const intendedMs = intendedStart(this.startMs, issued, perSecond);
        if (intendedMs > nowMs) break;
        issued += 1;
        void this.call(intendedMs);
      }
      if (nowMs >= this.untilMs) break;
      await sleep(OPEN_LOOP_STEP_MS);
    }
    // What was due and never begun, because the store had no answers left for it, is part of the result.
    const firstMeasured = Math.ceil((this.plan.warmupMs / 1000) * perSecond);
    this.due = total - firstMeasured;
    const deadline = performance.now() + DRAIN_MS;
    while (this.inFlight > 0 && performance.now() < deadline) await sleep(OPEN_LOOP_STEP_MS);
    this.abandoned = total - Math.max(issued, firstMeasured) + this.inFlight;
  }

  private async call(intendedMs: number): Promise<void> {
    const operation = this.workload.choose();
    this.inFlight += 1;
    try {
      const result = await this.workload.perform(operation, this.session);
      if (operation === 'get' && result === undefined) this.recorder.miss();
      this.recorder.success(operation, this.workload.weight(operation), intendedMs, performance.now());
    } catch (error) {
      this.recorder.failure(error, intendedMs, performance.now());
    }
    this.inFlight -= 1;
  }

  private sample(): void {
    const nowMs = performance.now();
    if (nowMs >= this.fromMs && nowMs < this.untilMs) {
      this.inFlightSum += this.inFlight;
      this.inFlightMax = Math.max(this.inFlightMax, this.inFlight);
      this.samples += 1;
    }
    const done = (nowMs - this.startMs) / (this.untilMs - this.startMs);
    this.hooks.onProgress?.(Math.min(1, done), this.recorder.operations);
  }

  private sleepUntil(atMs: number): Promise<void> {
    return sleep(Math.max(0, atMs - performance.now()), this.hooks.signal);
  }

  private async drainDeadline(): Promise<void> {
    await this.sleepUntil(this.untilMs);
    await sleep(DRAIN_MS, undefined, true);
  }
}

/** When call `index` of an open loop is due: on the grid, and on average at the rate that was asked for. */
export function intendedStart(startMs: number, index: number, perSecond: number): number {
  return startMs + Math.ceil((index * 1000) / perSecond / OPEN_LOOP_STEP_MS) * OPEN_LOOP_STEP_MS;
}

function difference(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): Record<string, number> {
  return Object.fromEntries(Object.entries(after).map(([name, seconds]) => [name, seconds - (before[name] ?? 0)]));
}

/** Ends at once, without an error, when the signal is given. */
export function sleep(ms: number, signal?: AbortSignal, mayExit = false): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (mayExit) timer.unref();
    signal?.addEventListener('abort', done, { once: true });
  });
}
