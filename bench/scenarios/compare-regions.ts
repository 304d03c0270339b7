/**
 * Throughput against the number of regions, on fresh clusters, in interleaved rounds. Each is measured under two loads: the
 * same callers for all, which leave the more regions with less to put into an entry, and as many as it takes to load each.
 */

import { createDriver } from '../drivers.ts';
import { MOST_CALLERS } from '../generator.ts';
import { runSuites, type CaseName, type CaseReport, type SuiteOptions } from '../suite.ts';
import { median } from '../targets.ts';
import type { ScenarioHooks } from './stage.ts';
import { ratioOfMedians, sumOf, verdict, type ScenarioVerdict } from './verdict.ts';

export interface CompareRegionsRequest {
  /** Regions of each cluster; the others are held against the first. */
  readonly regions: readonly number[];
  readonly workers: number;
  readonly rounds: number;
  /** Its callers are the load that all clusters have in common. */
  readonly suite: SuiteOptions;
  /** Callers of the load that is to saturate a cluster, a region; where these are fewer than the common ones, it is those. */
  readonly callersPerRegion: number;
}

/** common: the same callers for every number of regions. saturating: so many a region. */
export type RegionsLoad = 'common' | 'saturating';

export interface RegionsCase {
  readonly regions: number;
  readonly caseName: CaseName;
  /** A cluster that the common callers saturate is measured under those alone. */
  readonly load: RegionsLoad;
  readonly callers: number;
  readonly operationsPerSecond: number;
  readonly p99Ms: number;
  /** To the first number of regions under the same load, of the medians. */
  readonly ratio: number | undefined;
  readonly errors: number;
  /** One a round. */
  readonly runs: readonly CaseReport[];
}

/** Also the shape of `compare-regions --json`. */
export interface RegionsComparison {
  readonly request: CompareRegionsRequest;
  readonly cases: readonly RegionsCase[];
  readonly verdicts: readonly ScenarioVerdict[];
}

/** What throughput must be at least, held against 48 regions. */
const TARGETS: Readonly<Record<number, number>> = { 1000: 0.8, 1: 0.5 };
const TARGETS_BASE = 48;

export async function compareRegions(
  request: CompareRegionsRequest,
  hooks: ScenarioHooks & { readonly onRound: (round: number, regions: number) => void },
): Promise<RegionsComparison> {
  const runs: RegionsRun[] = [];
  for (let round = 1; round <= request.rounds; round++) {
    for (const regions of request.regions) {
      hooks.signal.throwIfAborted();
      hooks.onRound(round, regions);
      const driver = await createDriver('mraft', { regions, workers: request.workers, keepsRegions: true });
      for (const report of await runSuites(driver, suitesOf(request, regions), hooks)) runs.push({ regions, report });
    }
  }
  const cases = casesOf(request, runs);
  return { request, cases, verdicts: judge(request.regions[0] as number, cases) };
}

/** Callers that are to saturate a cluster of so many regions. */
export function saturatingCallers({ suite, callersPerRegion }: CompareRegionsRequest, regions: number): number {
  return Math.min(Math.max(suite.concurrency, callersPerRegion * regions), MOST_CALLERS);
}

/** A serial caller is one, whatever the load. */
function suitesOf(request: CompareRegionsRequest, regions: number): [SuiteOptions, ...SuiteOptions[]] {
  const { suite } = request;
  const concurrency = saturatingCallers(request, regions);
  if (concurrency === suite.concurrency) return [suite];
  return [suite, { ...suite, concurrency, cases: suite.cases.filter((name) => name !== 'serial') }];
}

export interface RegionsRun {
  readonly regions: number;
  readonly report: CaseReport;
}

/** Every case under every load, from the runs of all rounds. */
export function casesOf(request: CompareRegionsRequest, runs: readonly RegionsRun[]): RegionsCase[] {
  const base = request.regions[0] as number;
  const runsOf = (regions: number, caseName: CaseName, callers: number): CaseReport[] =>
    runs
      .filter((run) => run.regions === regions && run.report.caseName === caseName)
      .map(({ report }) => report)
      .filter(({ plan }) => plan.concurrency === callers);
  return request.suite.cases.flatMap((caseName) =>
    request.regions.flatMap((regions) =>
      suitesOf(request, regions)
        .filter((suite) => suite.cases.includes(caseName))
        .map((suite, at) => {
          const load = at === 0 ? 'common' : 'saturating';
          const callersOf = (callers: number): number => (caseName === 'serial' ? 1 : callers);
          const callers = callersOf(suite.concurrency);
          const baseCallers = at === 0 ? callers : saturatingCallers(request, base);
          const own = runsOf(regions, caseName, callers);
          return { regions, load, callers, ...summarise(caseName, own, runsOf(base, caseName, baseCallers)) };
        }),
    ),
  );
}

function summarise(
  caseName: CaseName,
  runs: readonly CaseReport[],
  baseRuns: readonly CaseReport[],
): Omit<RegionsCase, 'regions' | 'load' | 'callers'> {
  const rates = (of: readonly CaseReport[]): number[] => of.map((run) => run.operationsPerSecond);
  return {
    caseName,
    operationsPerSecond: median(rates(runs)) ?? 0,
    p99Ms: median(runs.map((run) => Object.values(run.latency)[0]?.p99Ms ?? 0)) ?? 0,
    ratio: ratioOfMedians(rates(runs), rates(baseRuns)),
    errors: runs.reduce((total, run) => total + sumOf(run.errors), 0),
    runs,
  };
}

/** Of each load: one that is met under the other is no excuse. */
export function judge(base: number, cases: readonly RegionsCase[]): ScenarioVerdict[] {
  if (base !== TARGETS_BASE) return [];
  return cases.flatMap(({ regions, caseName, load, callers, ratio }) => {
    const atLeast = TARGETS[regions];
    if (atLeast === undefined || caseName !== 'put') return [];
    const measure = `puts with ${regions} regions to those with ${base}, ${load} load of ${callers} callers`;
    return [verdict(measure, ratio, { atLeast, unit: '×' })];
  });
}
