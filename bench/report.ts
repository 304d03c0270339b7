/** Reports as text for people. */

import { formatTable } from '../tools/commands/table.ts';
import type { CaseComparison, Comparison } from './compare.ts';
import type { DriverInfo } from './driver.ts';
import type { Environment } from './environment.ts';
import { KEY_BYTES } from './keys.ts';
import type { RunReport } from './run.ts';
import type { CaseReport } from './suite.ts';
import type { Verdict } from './targets.ts';

export function formatEnvironment(environment: Environment): string {
  const { date, commit, node, system, cpu, cores, memoryGib, command } = environment;
  return [
    `command    ${command}`,
    `when       ${date}${commit === undefined ? '' : `, commit ${commit}`}`,
    `machine    ${cores} cores (${cpu}), ${memoryGib} GiB, ${system}, Node ${node}`,
    '',
  ].join('\n');
}

/** One run, everything about it. */
export function formatRun(report: RunReport): string {
  return [
    formatDriver(report.driver),
    `workload   ${report.workload.name}: ${report.workload.summary}; ${payload(report)}, ${report.workload.distribution}`,
    `load       ${loadText(report)}`,
    '',
    `throughput ${count(report.operationsPerSecond)} operations/s (${count(report.operations)} in ${report.plan.durationMs / 1000} s)`,
    `in flight  ${fixed(report.inFlight.mean, 1)} calls on average, ${report.inFlight.max} at most`,
    `errors     ${errorsText(report)}`,
    `fsyncs     ${fsyncText(report)}`,
    `CPU        ${cpuText(report)}`,
    '',
    formatTable(latencyRows(report)),
    formatTable(
      report.series.map(({ second, operations, errors, meanMs, maxMs }) => ({
        second,
        operations,
        errors,
        'mean ms': fixed(meanMs),
        'max ms': fixed(maxMs),
      })),
    ),
  ].join('\n');
}

/** The four cases of one store, a line each. */
export function formatSuite(reports: readonly CaseReport[]): string {
  const [first] = reports;
  if (first === undefined) return '';
  return [formatDriver(first.driver), '', formatTable(reports.map(caseRow)), callsAreBatches()].join('\n');
}

/** The comparison: how each store was driven, the figures by workload, the ratios and the targets. */
export function formatComparison(comparison: Comparison): string {
  const { suite, rounds } = comparison;
  const { workload, concurrency, batchConcurrency } = suite;
  return [
    `${KEY_BYTES}-byte keys, ${workload.valueBytes}-byte values, ${count(workload.records)} records; ` +
      `${rounds === 1 ? 'one round' : `medians of ${rounds} rounds`}; ${suite.durationMs / 1000} s each after ${suite.warmupMs / 1000} s of warm-up; put and get: ` +
      `${count(concurrency)} callers; batch: ${count(batchConcurrency)} callers, ${workload.batchSize} puts each; serial: one caller of put`,
    '',
    ...comparison.drivers.map((driver) => `${formatDriver(driver)}\n`),
    formatTable(comparison.cases.map(comparisonRow)),
    callsAreBatches(),
    formatTable(comparison.verdicts.map(verdictRow)),
  ].join('\n');
}

function formatDriver({ name, description, durability, reads, batches }: DriverInfo): string {
  return [
    name,
    `  driven   ${description}`,
    `  a write  ${durability}`,
    `  a get    ${reads}`,
    `  a batch  ${batches}`,
  ].join('\n');
}

function callsAreBatches(): string {
  return 'An operation is a put or a get: a batch counts as its puts, its latency is that of the whole batch.\n';
}

function caseRow(report: CaseReport): Record<string, unknown> {
  const latency = Object.values(report.latency)[0];
  return {
    workload: report.caseName,
    callers: report.plan.concurrency,
    'operations/s': count(report.operationsPerSecond),
    'p50 ms': fixed(latency?.p50Ms),
    'p99 ms': fixed(latency?.p99Ms),
    'p99.9 ms': fixed(latency?.p999Ms),
    'max ms': fixed(latency?.maxMs),
    errors: errorsText(report),
    'fsyncs/operation': rate(report.fsyncsPerOperation),
    'CPU s': cpuText(report),
  };
}

function comparisonRow({ caseName, driver, medians, errors, misses, runs }: CaseComparison): Record<string, unknown> {
  const cpuSeconds = medians.serverCpuSeconds + medians.generatorCpuSeconds;
  const operations = medians.operationsPerSecond * ((runs[0]?.plan.durationMs ?? 0) / 1000);
  return {
    workload: caseName,
    store: driver,
    'operations/s': count(medians.operationsPerSecond),
    rounds: runs.map((run) => count(run.operationsPerSecond)).join(' '),
    'p50 ms': fixed(medians.p50Ms),
    'p99 ms': fixed(medians.p99Ms),
    'fsyncs/operation': rate(medians.fsyncsPerOperation),
    'servers CPU s': fixed(medians.serverCpuSeconds),
    'generator CPU s': fixed(medians.generatorCpuSeconds),
    'CPU µs/operation': operations === 0 ? '-' : fixed((cpuSeconds * 1e6) / operations, 1),
    errors: misses === 0 ? errors : `${errors}, ${misses} gets found nothing`,
  };
}

function verdictRow({ caseName, measure, peer, atLeast, atMost, value, met }: Verdict): Record<string, unknown> {
  const isRatio = peer !== undefined;
  const text = (figure: number): string => (measure === 'operations/s' && !isRatio ? count(figure) : rate(figure));
  return {
    workload: caseName,
    measure,
    'mraft to': peer ?? '(itself)',
    value: `${text(value)}${isRatio ? ' ×' : ''}`,
    target: atLeast === undefined ? `at most ${text(atMost ?? 0)}` : `at least ${text(atLeast)}`,
    verdict: met ? 'met' : 'missed',
  };
}

function latencyRows(report: RunReport): Record<string, unknown>[] {
  return Object.entries(report.latency).map(([operation, latency]) => ({
    operation,
    calls: latency.count,
    'mean ms': fixed(latency.meanMs),
    'p50 ms': fixed(latency.p50Ms),
    'p90 ms': fixed(latency.p90Ms),
    'p99 ms': fixed(latency.p99Ms),
    'p99.9 ms': fixed(latency.p999Ms),
    'max ms': fixed(latency.maxMs),
  }));
}

function payload({ options, workload }: RunReport): string {
  const batch = workload.mix.batch === undefined ? '' : `, batches of ${options.batchSize}`;
  return `${KEY_BYTES}-byte keys, ${options.valueBytes}-byte values${batch}, ${count(options.records)} records`;
}

function loadText({ plan, due, abandoned }: RunReport): string {
  const times = `${plan.warmupMs / 1000} s of warm-up, ${plan.durationMs / 1000} s measured`;
  if (plan.targetPerSecond === undefined) return `closed loop, ${plan.concurrency} callers, ${times}`;
  return (
    `open loop, ${count(plan.targetPerSecond)} calls/s wanted, at most ${plan.concurrency} under way, ${times}; latency ` +
    `counts from the intended start; ${count(due)} calls were due, ${count(abandoned)} of them had no answer at the end`
  );
}

function errorsText({ errors, misses }: RunReport): string {
  const entries = Object.entries(errors).map(([code, times]) => `${code} ${times}`);
  if (misses > 0) entries.push(`${misses} gets found nothing`);
  return entries.length === 0 ? 'none' : entries.join(', ');
}

function fsyncText({ fsyncs, fsyncsPerOperation }: RunReport): string {
  if (fsyncs === undefined) return 'not counted by this store';
  return `${count(fsyncs)} on all members, ${rate(fsyncsPerOperation)} an operation`;
}

function cpuText({ serverCpuSeconds, generatorCpuSeconds, generatorBusy }: RunReport): string {
  const servers = Object.entries(serverCpuSeconds).map(([name, seconds]) => `${name} ${fixed(seconds)}, `);
  return `${servers.join('')}generator ${fixed(generatorCpuSeconds)} (its thread ${Math.round(generatorBusy * 100)} % busy)`;
}

export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

export function fixed(value: number | undefined, digits = 2): string {
  return value === undefined ? '-' : value.toFixed(digits);
}

/** Three significant digits. */
export function rate(value: number | undefined): string {
  return value === undefined ? 'n/a' : String(Number(value.toPrecision(3)));
}
