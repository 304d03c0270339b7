/** One workload on one store, from the warm-up to the report. */

import type { Driver, DriverInfo, Session } from './driver.ts';
import { loadRecords, runLoad, type LoadPlan, type LoadResult } from './generator.ts';
import type { LatencySummary, SecondSummary } from './recorder.ts';
import { Workload, type Operation, type WorkloadOptions, type WorkloadSpec } from './workload.ts';

export interface RunRequest {
  readonly workload: WorkloadSpec;
  readonly options: WorkloadOptions;
  readonly plan: LoadPlan;
}

/** What was measured; also the shape of `--json`. */
export interface RunReport {
  readonly driver: DriverInfo;
  readonly workload: WorkloadSpec;
  readonly options: WorkloadOptions;
  readonly plan: LoadPlan;
  readonly operations: number;
  readonly calls: number;
  readonly operationsPerSecond: number;
  readonly errors: Readonly<Record<string, number>>;
  /** Gets that found no such key. The records were there before, so it should be none. */
  readonly misses: number;
  readonly latency: Partial<Record<Operation, LatencySummary>>;
  readonly series: readonly SecondSummary[];
  readonly inFlight: { readonly mean: number; readonly max: number };
  /** Of an open loop: calls that were due, and those that had no answer when the run ended. */
  readonly due: number;
  readonly abandoned: number;
  readonly generatorCpuSeconds: number;
  /** Share of the window in which the generator's event loop was busy; near 1 the generator may be the limit. */
  readonly generatorBusy: number;
  readonly serverCpuSeconds: Readonly<Record<string, number>>;
  /** Undefined where the store does not count them. */
  readonly fsyncs: number | undefined;
  readonly fsyncsPerOperation: number | undefined;
}

export interface RunHooks {
  readonly onProgress?: (phase: string, done: number, operations: number) => void;
  readonly signal?: AbortSignal;
}

const LOAD_CONCURRENCY = 1024;

/** Fills the store with `options.records` records. */
export async function load(session: Session, request: RunRequest, hooks: RunHooks = {}): Promise<void> {
  const { workload, options } = request;
  const filler = new Workload(workload, options);
  await loadRecords(session, filler, options.records, LOAD_CONCURRENCY, {
    onProgress: (loaded) => hooks.onProgress?.('loading', loaded / options.records, loaded),
    signal: hooks.signal,
  });
}

/** Warms up, measures, reports. The store must be started, and filled where the workload needs records. */
export async function measure(
  driver: Driver,
  session: Session,
  request: RunRequest,
  hooks: RunHooks = {},
): Promise<RunReport> {
  const workload = new Workload(request.workload, request.options);
  const result = await runLoad(session, workload, request.plan, {
    usage: () => driver.usage(),
    onProgress: (done, operations) => hooks.onProgress?.(request.workload.name, done, operations),
    ...(hooks.signal === undefined ? {} : { signal: hooks.signal }),
  });
  return report(driver.info, request, result);
}

function report(driver: DriverInfo, request: RunRequest, result: LoadResult): RunReport {
  const { recorder, fsyncs } = result;
  return {
    driver,
    workload: request.workload,
    options: request.options,
    plan: request.plan,
    operations: recorder.operations,
    calls: recorder.calls,
    operationsPerSecond: recorder.operations / (result.durationMs / 1000),
    errors: recorder.errors,
    misses: recorder.misses,
    latency: recorder.latencies,
    series: recorder.series,
    inFlight: result.inFlight,
    due: result.due,
    abandoned: result.abandoned,
    generatorCpuSeconds: result.generatorCpuSeconds,
    generatorBusy: result.generatorBusy,
    serverCpuSeconds: result.serverCpuSeconds,
    fsyncs,
    fsyncsPerOperation: fsyncs === undefined || recorder.operations === 0 ? undefined : fsyncs / recorder.operations,
  };
}
