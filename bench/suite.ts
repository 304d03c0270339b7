/** The four workloads that mraft is held to, run one after the other on one fresh cluster. */

import type { Driver } from './driver.ts';
import { load, measure, type RunHooks, type RunReport, type RunRequest } from './run.ts';
import { WORKLOADS, type WorkloadOptions, type WorkloadSpec } from './workload.ts';

export const CASES = ['put', 'batch', 'get', 'serial'] as const;
export type CaseName = (typeof CASES)[number];

export interface SuiteOptions {
  readonly cases: readonly CaseName[];
  readonly workload: WorkloadOptions;
  /** Callers of `put` and `get`. */
  readonly concurrency: number;
  /** Callers of `batch`, with a batch each. */
  readonly batchConcurrency: number;
  readonly warmupMs: number;
  readonly durationMs: number;
}

export interface CaseReport extends RunReport {
  readonly caseName: CaseName;
}

/** Starts the store, fills it, measures the cases in order, and stops it, whatever happens. */
export function runSuite(driver: Driver, options: SuiteOptions, hooks: RunHooks = {}): Promise<CaseReport[]> {
  return runSuites(driver, [options], hooks);
}

/** As `runSuite`, several on one store, which the first of them fills. */
export async function runSuites(
  driver: Driver,
  suites: readonly [SuiteOptions, ...SuiteOptions[]],
  hooks: RunHooks = {},
): Promise<CaseReport[]> {
  try {
    hooks.onProgress?.('starting', 0, 0);
    await driver.start();
    hooks.signal?.throwIfAborted();
    const session = await driver.connect();
    try {
      // Gets must find something, and puts must meet keys that are there, as in a store that has been used.
      await load(session, requestFor('put', suites[0]), hooks);
      const reports: CaseReport[] = [];
      for (const options of suites) reports.push(...(await runCases(driver, session, options, hooks)));
      return reports;
    } finally {
      await session.close();
    }
  } finally {
    await driver.stop();
  }
}

async function runCases(
  driver: Driver,
  session: Awaited<ReturnType<Driver['connect']>>,
  options: SuiteOptions,
  hooks: RunHooks,
): Promise<CaseReport[]> {
  const reports: CaseReport[] = [];
  for (const caseName of options.cases) {
    hooks.signal?.throwIfAborted();
    reports.push({ caseName, ...(await measure(driver, session, requestFor(caseName, options), hooks)) });
  }
  return reports;
}

function requestFor(caseName: CaseName, options: SuiteOptions): RunRequest {
  const concurrency = {
    put: options.concurrency,
    get: options.concurrency,
    batch: options.batchConcurrency,
    serial: 1,
  };
  const { warmupMs, durationMs } = options;
  return {
    workload: WORKLOADS[caseName === 'serial' ? 'put' : caseName] as WorkloadSpec,
    options: options.workload,
    plan: { concurrency: concurrency[caseName], targetPerSecond: undefined, warmupMs, durationMs },
  };
}
