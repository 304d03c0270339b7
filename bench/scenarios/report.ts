/** Reports of scenarios as text for people. */

import { formatTable } from '../../tools/commands/table.ts';
import { count, fixed, rate } from '../report.ts';
import type { RegionsComparison } from './compare-regions.ts';
import type { ScaleChange, ScaleReport, ScaleRound } from './scale.ts';
import type { SplitCounts, SplitReport, SplitWindow } from './split.ts';
import type { Tiling } from './tiling.ts';
import { medianOf, type ScenarioVerdict } from './verdict.ts';

const MIB = 1024 * 1024;

export function formatSplit(report: SplitReport): string {
  const { request, windows, series, calls, regionsBefore, served } = report;
  const load = request.concurrency === 0 ? 'no load' : `${count(request.concurrency)} callers, closed loop, puts`;
  return [
    `cluster    3 nodes, ${request.workers} worker each, ${regionsBefore} regions at first; placement splits and merges nothing by itself${report.leadersWereEven ? '' : '; its leaders were not even when the load began'}`,
    `load       ${load} with a deadline of ${request.timeoutMs} ms; ${request.valueBytes}-byte values, ${count(request.records)} keys`,
    ...(series ? [`splits     ${splitsText(series)}`] : []),
    `calls      ${count(calls)}; errors: ${errorsText(report)}`,
    `regions    ${tilingText('placement', report.placementTiling)}; ${tilingText('clients', report.routesTiling)}`,
    `served     ${served} of ${report.routesTiling.regions} regions wrote and read their first key`,
    '',
    ...(windows.length > 0 ? [formatTable([...windows.map(windowRow), ...medianRows(windows)])] : []),
    formatVerdicts(report.verdicts),
  ].join('\n');
}

function windowRow(window: SplitWindow): Record<string, unknown> {
  const { round, kind, callsPerSecond, all, splits } = window;
  return {
    round,
    window: kind,
    'puts/s': count(callsPerSecond),
    'p50 ms': fixed(all.p50Ms),
    'p99 ms': fixed(all.p99Ms),
    'max ms': fixed(all.maxMs),
    errors: codesText(window.errors),
    splits: splits?.done,
    'splits/s': splits && fixed(splits.perSecond, 1),
    'a split p50 ms': splits && fixed(splits.latency.p50Ms),
    'max ms of a split': splits && fixed(splits.latency.maxMs),
    'not done': splits && codesText(splits.failed),
  };
}

function medianRows(windows: readonly SplitWindow[]): Record<string, unknown>[] {
  return (['quiet', 'splitting'] as const).map((kind) => ({
    round: 'median',
    window: kind,
    'puts/s': count(medianOf(windows, kind, (window) => window.callsPerSecond) ?? 0),
    'p50 ms': fixed(medianOf(windows, kind, (window) => window.all.p50Ms)),
    'p99 ms': fixed(medianOf(windows, kind, (window) => window.all.p99Ms)),
    'max ms': fixed(medianOf(windows, kind, (window) => window.all.maxMs)),
  }));
}

function splitsText({ done, failed, durationMs, perSecond, latency }: SplitCounts): string {
  return (
    `${done} in ${fixed(durationMs / 1000, 1)} s, ${fixed(perSecond, 1)} a second; each p50 ${fixed(latency.p50Ms)} ms, ` +
    `p99 ${fixed(latency.p99Ms)} ms, max ${fixed(latency.maxMs)} ms; not done: ${codesText(failed)}`
  );
}

function tilingText(who: string, { regions, problems, leaderless }: Tiling): string {
  const tiled = problems.length === 0 ? 'the key space is tiled' : problems.join('; ');
  return `as ${who} know${who === 'placement' ? 's' : ''} them: ${regions}, ${tiled}, ${leaderless} without a leader`;
}

export function formatScale({ request, rounds, verdicts }: ScaleReport): string {
  return [
    `cluster    ${request.steps.join(' → ')} nodes, ${request.workers} worker each, ${request.regions} regions; the ${request.leave} leave first`,
    `load       open loop, ${count(request.ratePerSecond)} calls/s, ${Math.round(request.readRatio * 100)} % gets, deadline ${request.deadlineMs} ms; ` +
      `${request.valueBytes}-byte values, ${count(request.records)} keys`,
    ...rounds.flatMap(roundLines),
    '',
    'Times count from when the change was asked for. Even: every node leads the mean of all live nodes, give or take a tenth, or',
    `one where a tenth is less; asked of every node four times a second, for ${request.observeMs / 1000} s.`,
    '',
    formatTable(rounds.flatMap(({ round, changes }) => changes.map((change) => ({ round, ...changeRow(change) })))),
    formatVerdicts(verdicts),
  ].join('\n');
}

function roundLines(round: ScaleRound): string[] {
  const { findings, verified, acknowledgedWrites, staleReads, calls, examples } = round;
  return [
    `round ${round.round}    ${count(calls)} calls; errors: ${errorsText(round)}`,
    `           ${count(acknowledgedWrites)} writes acknowledged; of ${count(verified)} keys ${count(findings.sound)} hold the last acknowledged value or a later one, ` +
      `${findings.lost} an older one or none, ${findings.foreign} what nobody wrote; ${staleReads} stale reads`,
    ...examples.map((example) => `           ${example}`),
  ];
}

function changeRow({
  from,
  to,
  changedMs,
  evenness,
  load,
  moved,
  operators,
  samples,
}: ScaleChange): Record<string, unknown> {
  const seconds = (ms: number | undefined): string => (ms === undefined ? 'never' : fixed(ms / 1000, 1));
  return {
    nodes: `${from} → ${to}`,
    'joined or left, s': seconds(changedMs),
    'first even, s': seconds(evenness.firstMs),
    'even since, s': seconds(evenness.sinceMs),
    'leaders at the end': Object.values(samples.findLast(({ isEven }) => isEven !== undefined)?.leaders ?? {}).join(
      '/',
    ),
    'samples unknown': `${evenness.incomplete} of ${evenness.samples}`,
    'calls/s': count(load.callsPerSecond),
    'p50 ms': fixed(load.all.p50Ms),
    'p99 ms': fixed(load.all.p99Ms),
    'max ms': fixed(load.all.maxMs),
    errors: codesText(load.errors),
    snapshots: moved.snapshots,
    MiB: fixed(moved.snapshotBytes / MIB, 1),
    operators: codesText(operators),
  };
}

export function formatRegionsComparison({ request, cases, verdicts }: RegionsComparison): string {
  const { suite, rounds, workers } = request;
  return [
    `3 nodes, ${workers} worker each, ${suite.workload.valueBytes}-byte values, ${count(suite.workload.records)} records; ` +
      `${rounds === 1 ? 'one round' : `medians of ${rounds} rounds`}; ${suite.durationMs / 1000} s each after ${suite.warmupMs / 1000} s of warm-up; ` +
      `${count(suite.concurrency)} callers, and ${request.callersPerRegion} a region where those are more; placement splits and merges nothing`,
    '',
    formatTable(
      cases.map(({ regions, caseName, callers, operationsPerSecond, p99Ms, ratio, errors, runs }) => ({
        workload: caseName,
        regions,
        callers: count(callers),
        'operations/s': count(operationsPerSecond),
        rounds: runs.map((run) => count(run.operationsPerSecond)).join(' '),
        [`to ${request.regions[0]} regions`]: rate(ratio),
        'p99 ms': fixed(p99Ms),
        errors,
      })),
    ),
    formatVerdicts(verdicts),
  ].join('\n');
}

export function formatVerdicts(verdicts: readonly ScenarioVerdict[]): string {
  return formatTable(
    verdicts.map(({ measure, value, atLeast, atMost, unit, met }) => {
      const text = (figure: number): string => `${rate(figure)}${unit === undefined ? '' : ` ${unit}`}`;
      const bound =
        atLeast === undefined ? atMost !== undefined && `at most ${text(atMost)}` : `at least ${text(atLeast)}`;
      return {
        measure,
        value: value === undefined ? 'none' : text(value),
        target: bound || '-',
        verdict: bound ? (met ? 'met' : 'missed') : '-',
      };
    }),
  );
}

interface Errors {
  readonly errors: Readonly<Record<string, number>>;
  readonly errorMessages: Readonly<Record<string, string>>;
  readonly abandoned: number;
}

export function errorsText({ errors, errorMessages, abandoned }: Errors): string {
  const texts = Object.entries(errors).map(([code, times]) => `${code} ${times} (the first: ${errorMessages[code]})`);
  if (abandoned > 0) texts.push(`${abandoned} calls without an answer`);
  return texts.length === 0 ? 'none' : texts.join(', ');
}

export function codesText(counts: Readonly<Record<string, number>>): string {
  const texts = Object.entries(counts).map(([code, times]) => `${code} ${times}`);
  return texts.length === 0 ? 'none' : texts.join(', ');
}
