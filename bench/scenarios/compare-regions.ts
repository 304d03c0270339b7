/** Throughput against the number of regions: the same load on fresh clusters, in interleaved rounds. */

import { createDriver } from '../drivers.ts';
import { runSuite, type CaseName, type CaseReport, type SuiteOptions } from '../suite.ts';
import { median } from '../targets.ts';
import type { ScenarioHooks } from './stage.ts';
import { ratioOfMedians, sumOf, verdict, type ScenarioVerdict } from './verdict.ts';

export interface CompareRegionsRequest {
  /** Regions of each cluster; the others are held against the first. */
  readonly regions: readonly number[];
  readonly workers: number;
  readonly rounds: number;
  readonly suite: SuiteOptions;
}

export interface RegionsCase {
  readonly regions: number;
  readonly caseName: CaseName;
  readonly operationsPerSecond: number;
  readonly p99Ms: number;
  /** To the first number of regions, of the medians. */
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
  const reports: { regions: number; report: CaseReport }[] = [];
  for (let round = 1; round <= request.rounds; round++) {
    for (const regions of request.regions) {
      hooks.signal.throwIfAborted();
      hooks.onRound(round, regions);
      const driver = await createDriver('mraft', { regions, workers: request.workers, keepsRegions: true });
      for (const report of await runSuite(driver, request.suite, hooks)) reports.push({ regions, report });
    }
  }
  const runsOf = (regions: number, caseName: CaseName): CaseReport[] =>
    reports.filter((run) => run.regions === regions && run.report.caseName === caseName).map(({ report }) => report);
  const base = request.regions[0] as number;
  const cases = request.suite.cases.flatMap((caseName) =>
    request.regions.map((regions) => summarise(regions, caseName, runsOf(regions, caseName), runsOf(base, caseName))),
  );
  return { request, cases, verdicts: judge(base, cases) };
}

function summarise(
  regions: number,
  caseName: CaseName,
  runs: readonly CaseReport[],
  baseRuns: readonly CaseReport[],
): RegionsCase {
  const rates = (of: readonly CaseReport[]): number[] => of.map((run) => run.operationsPerSecond);
  return {
    regions,
    caseName,
    operationsPerSecond: median(rates(runs)) ?? 0,
    p99Ms: median(runs.map((run) => Object.values(run.latency)[0]?.p99Ms ?? 0)) ?? 0,
    ratio: ratioOfMedians(rates(runs), rates(baseRuns)),
    errors: runs.reduce((total, run) => total + sumOf(run.errors), 0),
    runs,
  };
}

function judge(base: number, cases: readonly RegionsCase[]): ScenarioVerdict[] {
  if (base !== TARGETS_BASE) return [];
  return cases.flatMap(({ regions, caseName, ratio }) => {
    const atLeast = TARGETS[regions];
    if (atLeast === undefined || caseName !== 'put') return [];
    return [verdict(`puts with ${regions} regions to those with ${base}`, ratio, { atLeast, unit: '×' })];
  });
}
