/** Several stores on the same machine and workloads, interleaved over rounds, so that all meet the same weather. */

import type { DriverInfo } from './driver.ts';
import { createDriver, type DriverName, type DriverOptions } from './drivers.ts';
import type { RunHooks } from './run.ts';
import { runSuite, type CaseName, type CaseReport, type SuiteOptions } from './suite.ts';
import { judge, median, type CaseMedians, type Verdict } from './targets.ts';

export interface CompareRequest {
  readonly drivers: readonly DriverName[];
  readonly rounds: number;
  readonly driverOptions: DriverOptions;
  readonly suite: SuiteOptions;
}

export interface CaseComparison {
  readonly caseName: CaseName;
  readonly driver: DriverName;
  readonly medians: CaseMedians;
  readonly errors: number;
  /** Gets that found no such key. */
  readonly misses: number;
  /** One a round. */
  readonly runs: readonly CaseReport[];
}

/** Also the shape of `compare --json`. */
export interface Comparison {
  readonly rounds: number;
  readonly suite: SuiteOptions;
  readonly drivers: readonly DriverInfo[];
  readonly cases: readonly CaseComparison[];
  readonly verdicts: readonly Verdict[];
}

export interface CompareHooks extends RunHooks {
  readonly onRound?: (round: number, driver: DriverName) => void;
}

export async function compare(request: CompareRequest, hooks: CompareHooks = {}): Promise<Comparison> {
  const infos = new Map<DriverName, DriverInfo>();
  const reports: { driver: DriverName; report: CaseReport }[] = [];
  for (let round = 1; round <= request.rounds; round++) {
    for (const name of request.drivers) {
      hooks.signal?.throwIfAborted();
      hooks.onRound?.(round, name);
      const driver = await createDriver(name, request.driverOptions);
      infos.set(name, driver.info);
      for (const report of await runSuite(driver, request.suite, hooks)) reports.push({ driver: name, report });
    }
  }
  const cases = request.suite.cases.flatMap((caseName) =>
    request.drivers.map((driver) => {
      const runs = reports
        .filter((entry) => entry.driver === driver && entry.report.caseName === caseName)
        .map((entry) => entry.report);
      return summarise(caseName, driver, runs);
    }),
  );
  return {
    rounds: request.rounds,
    suite: request.suite,
    drivers: [...infos.values()],
    cases,
    verdicts: judge(
      (driver, caseName) => cases.find((entry) => entry.driver === driver && entry.caseName === caseName)?.medians,
    ),
  };
}

export function summarise(caseName: CaseName, driver: DriverName, runs: readonly CaseReport[]): CaseComparison {
  const middle = (figure: (run: CaseReport) => number | undefined): number | undefined =>
    median(runs.map(figure).filter((value) => value !== undefined));
  return {
    caseName,
    driver,
    medians: {
      operationsPerSecond: middle((run) => run.operationsPerSecond) ?? 0,
      p50Ms: middle((run) => Object.values(run.latency)[0]?.p50Ms) ?? 0,
      p99Ms: middle((run) => Object.values(run.latency)[0]?.p99Ms) ?? 0,
      fsyncsPerOperation: middle((run) => run.fsyncsPerOperation),
      serverCpuSeconds: middle((run) => sum(Object.values(run.serverCpuSeconds))) ?? 0,
      generatorCpuSeconds: middle((run) => run.generatorCpuSeconds) ?? 0,
    },
    errors: sum(runs.flatMap((run) => Object.values(run.errors))),
    misses: sum(runs.map((run) => run.misses)),
    runs,
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
