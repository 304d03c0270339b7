/** What a run measures: latencies by operation, a series by second, errors by code. */

import { build, type Histogram } from 'hdr-histogram-js';

import type { Operation } from './workload.ts';

/** Latencies are kept in microseconds, with three digits, up to ten minutes. */
const HIGHEST_US = 600_000_000;
/** Of a second: the window's ends are sums of decimals, and a hair more than a second is no second line. */
const ROUNDING = 1e-6;

export interface LatencySummary {
  readonly count: number;
  readonly meanMs: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

export interface SecondSummary {
  readonly second: number;
  readonly operations: number;
  readonly errors: number;
  readonly meanMs: number;
  readonly maxMs: number;
}

interface Second {
  operations: number;
  calls: number;
  errors: number;
  sumMs: number;
  maxMs: number;
}

/**
 * Counts what falls into the measured window. A closed loop counts a call by its end: what ends inside the window was
 * done inside it. An open loop counts a call by its intended start and waits for its end, however late, because the
 * calls that are late are those that matter.
 */
export class Recorder {
  private readonly fromMs: number;
  private readonly untilMs: number;
  private readonly countsBy: 'start' | 'end';
  private readonly histograms = new Map<Operation, Histogram>();
  private readonly seconds: Second[];
  private readonly errorCounts = new Map<string, number>();
  private operationCount = 0;
  private callCount = 0;
  private missCount = 0;

  constructor(fromMs: number, untilMs: number, countsBy: 'start' | 'end') {
    this.fromMs = fromMs;
    this.untilMs = untilMs;
    this.countsBy = countsBy;
    this.seconds = Array.from({ length: Math.ceil((untilMs - fromMs) / 1000 - ROUNDING) }, () => ({
      operations: 0,
      calls: 0,
      errors: 0,
      sumMs: 0,
      maxMs: 0,
    }));
  }

  /** A call that succeeded; `weight` is how many operations it was. */
  success(operation: Operation, weight: number, startMs: number, endMs: number): void {
    const second = this.secondOf(startMs, endMs);
    if (second === undefined) return;
    const elapsedMs = endMs - startMs;
    recordLatency(this.histogramOf(operation), elapsedMs);
    this.operationCount += weight;
    this.callCount += 1;
    second.operations += weight;
    second.calls += 1;
    second.sumMs += elapsedMs;
    if (elapsedMs > second.maxMs) second.maxMs = elapsedMs;
  }

  /** A call that succeeded with nothing: no such key. */
  miss(): void {
    this.missCount += 1;
  }

  /** A call that failed. Its time is no latency. */
  failure(error: unknown, startMs: number, endMs: number): void {
    const second = this.secondOf(startMs, endMs);
    if (second === undefined) return;
    second.errors += 1;
    const code = codeOf(error);
    this.errorCounts.set(code, (this.errorCounts.get(code) ?? 0) + 1);
  }

  get operations(): number {
    return this.operationCount;
  }

  get calls(): number {
    return this.callCount;
  }

  /** Gets that found nothing, the warm-up included. */
  get misses(): number {
    return this.missCount;
  }

  get errors(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.errorCounts].sort(([a], [b]) => a.localeCompare(b)));
  }

  get latencies(): Partial<Record<Operation, LatencySummary>> {
    return Object.fromEntries([...this.histograms].map(([operation, histogram]) => [operation, summarise(histogram)]));
  }

  get series(): SecondSummary[] {
    return this.seconds.map(({ operations, calls, errors, sumMs, maxMs }, i) => ({
      second: i + 1,
      operations,
      errors,
      meanMs: calls === 0 ? 0 : sumMs / calls,
      maxMs,
    }));
  }

  private secondOf(startMs: number, endMs: number): Second | undefined {
    const atMs = this.countsBy === 'start' ? startMs : endMs;
    if (atMs < this.fromMs || atMs >= this.untilMs) return undefined;
    return this.seconds[Math.min(this.seconds.length - 1, Math.floor((atMs - this.fromMs) / 1000))];
  }

  private histogramOf(operation: Operation): Histogram {
    let histogram = this.histograms.get(operation);
    if (histogram === undefined) {
      histogram = latencyHistogram();
      this.histograms.set(operation, histogram);
    }
    return histogram;
  }
}

export function latencyHistogram(): Histogram {
  return build({ lowestDiscernibleValue: 1, highestTrackableValue: HIGHEST_US, numberOfSignificantValueDigits: 3 });
}

export function recordLatency(histogram: Histogram, elapsedMs: number): void {
  histogram.recordValue(Math.min(HIGHEST_US, Math.max(1, Math.round(elapsedMs * 1000))));
}

export function summarise(histogram: Histogram): LatencySummary {
  const at = (percentile: number): number => histogram.getValueAtPercentile(percentile) / 1000;
  return {
    count: histogram.totalCount,
    meanMs: histogram.mean / 1000,
    p50Ms: at(50),
    p90Ms: at(90),
    p99Ms: at(99),
    p999Ms: at(99.9),
    maxMs: histogram.maxValue / 1000,
  };
}

/** Of what a call threw, by what errors are counted. */
export function codeOf(error: unknown): string {
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && code !== '') return code;
  return error instanceof Error ? error.name : 'Unknown';
}
