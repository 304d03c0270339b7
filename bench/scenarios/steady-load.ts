/**
 * Load that goes on while things happen to the cluster, with windows in which it is measured; errors are counted from its
 * beginning to its end, also between windows.
 */

import type { Histogram } from 'hdr-histogram-js';

import { intendedStart, sleep } from '../generator.ts';
import { codeOf, latencyHistogram, recordLatency, summarise, type LatencySummary } from '../recorder.ts';
import type { Operation } from '../workload.ts';

export interface SteadyPlan {
  /** Callers that wait for their answers; of no meaning beside `targetPerSecond`. */
  readonly concurrency: number;
  /** Open loop: calls begin when they are due, and their latency counts from then. */
  readonly targetPerSecond: number | undefined;
  /** How long a call may take by itself; windows of an open loop wait so long for what began in them. */
  readonly timeoutMs: number;
}

/** One call, from its beginning to its end. */
export type Call = () => Promise<Operation>;

export interface WindowReport {
  readonly durationMs: number;
  readonly calls: number;
  readonly callsPerSecond: number;
  readonly latency: Partial<Record<Operation, LatencySummary>>;
  /** Of all operations together. */
  readonly all: LatencySummary;
  readonly errors: Readonly<Record<string, number>>;
  /** A row a second. */
  readonly series: readonly WindowSecond[];
}

export interface WindowSecond {
  calls: number;
  errors: number;
  maxMs: number;
}

const STEP_MS = 1;
/** A store that refuses at once must not turn the callers into a busy loop. */
const ERROR_PAUSE_MS = 1;
/** Beyond the calls' own deadlines, what is under way at the end is waited for so long. */
const DRAIN_MS = 5_000;

export class SteadyLoad {
  private readonly call: Call;
  private readonly plan: SteadyPlan;
  private readonly windows = new Set<Window>();
  private readonly errorCounts = new Map<string, number>();
  private readonly messages = new Map<string, string>();
  private running: Promise<unknown> = Promise.resolve();
  private stopped = false;
  private inFlight = 0;
  private callCount = 0;

  constructor(call: Call, plan: SteadyPlan) {
    this.call = call;
    this.plan = plan;
  }

  get calls(): number {
    return this.callCount;
  }

  /** By code, since the load began. */
  get errors(): Readonly<Record<string, number>> {
    return sorted(this.errorCounts);
  }

  /** The first message of each code. */
  get errorMessages(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.messages);
  }

  start(): void {
    const { targetPerSecond, concurrency } = this.plan;
    this.running =
      targetPerSecond === undefined
        ? Promise.all(Array.from({ length: concurrency }, () => this.caller()))
        : this.openLoop(targetPerSecond);
  }

  /** Measures from now on for so long; a closed loop by when calls end, an open one by when they were due. */
  async window(durationMs: number, signal?: AbortSignal): Promise<WindowReport> {
    const isOpen = this.plan.targetPerSecond !== undefined;
    const window = new Window(performance.now(), durationMs, isOpen ? 'start' : 'end');
    this.windows.add(window);
    try {
      await sleep(durationMs + (isOpen ? this.plan.timeoutMs : 0), signal);
      signal?.throwIfAborted();
    } finally {
      this.windows.delete(window);
    }
    return window.report();
  }

  /** No new calls. @returns how many had no answer long after their deadlines */
  async stop(): Promise<number> {
    this.stopped = true;
    await Promise.race([this.running, sleep(this.plan.timeoutMs + DRAIN_MS, undefined, true)]);
    const deadlineMs = performance.now() + this.plan.timeoutMs + DRAIN_MS;
    while (this.inFlight > 0 && performance.now() < deadlineMs) await sleep(STEP_MS);
    return this.inFlight;
  }

  private async caller(): Promise<void> {
    while (!this.stopped) {
      const succeeded = await this.make(performance.now());
      if (!succeeded) await sleep(ERROR_PAUSE_MS);
    }
  }

  private async openLoop(perSecond: number): Promise<void> {
    const startMs = performance.now();
    for (let index = 0; !this.stopped;) {
      const dueMs = intendedStart(startMs, index, perSecond);
      if (dueMs > performance.now()) {
        await sleep(STEP_MS);
        continue;
      }
      index += 1;
      void this.make(dueMs);
    }
  }

  private async make(startMs: number): Promise<boolean> {
    this.inFlight += 1;
    try {
      const operation = await this.call();
      const endMs = performance.now();
      this.callCount += 1;
      for (const window of this.windows) window.success(operation, startMs, endMs);
      return true;
    } catch (error) {
      this.failed(error, startMs);
      return false;
    } finally {
      this.inFlight -= 1;
    }
  }

  private failed(error: unknown, startMs: number): void {
    const code = codeOf(error);
    count(this.errorCounts, code);
    if (!this.messages.has(code)) this.messages.set(code, error instanceof Error ? error.message : String(error));
    const endMs = performance.now();
    for (const window of this.windows) window.failure(code, startMs, endMs);
  }
}

class Window {
  private readonly fromMs: number;
  private readonly durationMs: number;
  private readonly countsBy: 'start' | 'end';
  private readonly histograms = new Map<Operation, Histogram>();
  private readonly errorCounts = new Map<string, number>();
  private readonly seconds: WindowSecond[];

  constructor(fromMs: number, durationMs: number, countsBy: 'start' | 'end') {
    this.fromMs = fromMs;
    this.durationMs = durationMs;
    this.countsBy = countsBy;
    const seconds = Math.max(1, Math.ceil(durationMs / 1000));
    this.seconds = Array.from({ length: seconds }, () => ({ calls: 0, errors: 0, maxMs: 0 }));
  }

  success(operation: Operation, startMs: number, endMs: number): void {
    const second = this.secondOf(startMs, endMs);
    if (!second) return;
    let histogram = this.histograms.get(operation);
    if (!histogram) this.histograms.set(operation, (histogram = latencyHistogram()));
    recordLatency(histogram, endMs - startMs);
    second.calls += 1;
    second.maxMs = Math.max(second.maxMs, endMs - startMs);
  }

  failure(code: string, startMs: number, endMs: number): void {
    const second = this.secondOf(startMs, endMs);
    if (!second) return;
    second.errors += 1;
    count(this.errorCounts, code);
  }

  report(): WindowReport {
    const all = latencyHistogram();
    for (const histogram of this.histograms.values()) all.add(histogram);
    return {
      durationMs: this.durationMs,
      calls: all.totalCount,
      callsPerSecond: (all.totalCount * 1000) / this.durationMs,
      latency: Object.fromEntries([...this.histograms].map(([operation, part]) => [operation, summarise(part)])),
      all: summarise(all),
      errors: sorted(this.errorCounts),
      series: this.seconds,
    };
  }

  private secondOf(startMs: number, endMs: number): WindowSecond | undefined {
    const atMs = (this.countsBy === 'start' ? startMs : endMs) - this.fromMs;
    if (atMs < 0 || atMs >= this.durationMs) return undefined;
    return this.seconds[Math.floor(atMs / 1000)];
  }
}

function count(counts: Map<string, number>, code: string): void {
  counts.set(code, (counts.get(code) ?? 0) + 1);
}

function sorted(counts: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...counts].sort(([a], [b]) => a.localeCompare(b)));
}
