/** Medians, ratios and verdicts of a comparison. */

import { summarise } from '../../bench/compare.ts';
import { comparisonToCsv } from '../../bench/csv.ts';
import type { DriverName } from '../../bench/drivers.ts';
import { formatComparison } from '../../bench/report.ts';
import type { CaseName, CaseReport } from '../../bench/suite.ts';
import { judge, median, type CaseMedians } from '../../bench/targets.ts';
import { WORKLOADS, type WorkloadSpec } from '../../bench/workload.ts';
import { assert, suite } from '../harness.ts';

const test = suite('comparison');
const INFO = { name: 'x', description: 'd', durability: 'w', reads: 'r', batches: 'b', canScan: true };
const OPTIONS = { records: 10, valueBytes: 128, batchSize: 32, scanLength: 1, seed: 1 };

function medians(operationsPerSecond: number, p50Ms = 1, fsyncsPerOperation?: number): CaseMedians {
  return {
    operationsPerSecond,
    p50Ms,
    p99Ms: p50Ms,
    fsyncsPerOperation,
    serverCpuSeconds: 1,
    generatorCpuSeconds: 1,
  };
}

function reportOf(operationsPerSecond: number, fsyncs: number | undefined): CaseReport {
  const latency = { count: 1, meanMs: 1, p50Ms: 2, p90Ms: 3, p99Ms: 4, p999Ms: 5, maxMs: 6 };
  return {
    caseName: 'put',
    driver: INFO,
    workload: WORKLOADS['put'] as WorkloadSpec,
    options: OPTIONS,
    plan: { concurrency: 1024, targetPerSecond: undefined, warmupMs: 0, durationMs: 1000 },
    operations: operationsPerSecond,
    calls: operationsPerSecond,
    operationsPerSecond,
    errors: { ServerBusy: 2 },
    misses: 1,
    latency: { put: latency },
    series: [],
    inFlight: { mean: 1, max: 1 },
    due: 0,
    abandoned: 0,
    generatorCpuSeconds: 0.5,
    generatorBusy: 0.5,
    serverCpuSeconds: { a: 1, b: 0.25 },
    fsyncs,
    fsyncsPerOperation: fsyncs === undefined ? undefined : fsyncs / operationsPerSecond,
  };
}

test('the median is the middle, whatever the order, and not the mean', () => {
  assert.is(median([100, 1, 3]), 3);
  assert.is(median([4, 1, 3, 2]), 2.5);
  assert.is(median([]), undefined);
});

test('a target is met at its figure and missed beside it', () => {
  const figures: Partial<Record<CaseName, Partial<Record<DriverName, CaseMedians>>>> = {
    put: { mraft: medians(60_000, 1, 0.02), etcd: medians(10_000), jetstream: medians(20_000) },
    batch: { mraft: medians(99_999), etcd: medians(20_000) },
    get: { mraft: medians(30_000), etcd: medians(3_001) },
    serial: { mraft: medians(500, 1.5), etcd: medians(800, 1) },
  };
  const verdicts = judge((driver, caseName) => figures[caseName]?.[driver]);
  const text = verdicts.map(({ caseName, peer, met }) => `${caseName} ${peer ?? '-'} ${met}`);
  assert.equal(text, [
    'put etcd true',
    'put jetstream false',
    'put - true',
    'put - true',
    'batch etcd false',
    'batch - false',
    'get etcd false',
    'serial etcd true',
  ]);
});

test('a target without figures of both sides gets no verdict', () => {
  assert.equal(
    judge(() => undefined),
    [],
  );
  const onlyEtcd = judge((driver) => (driver === 'etcd' ? medians(1) : undefined));
  assert.equal(onlyEtcd, []);
});

test('a summary holds the medians over the rounds and all errors', () => {
  const summary = summarise('put', 'etcd', [reportOf(300, 3), reportOf(100, 4), reportOf(200, undefined)]);
  assert.is(summary.medians.operationsPerSecond, 200);
  assert.is(summary.medians.serverCpuSeconds, 1.25);
  assert.is(summary.medians.p50Ms, 2);
  assert.is(summary.medians.fsyncsPerOperation, (0.01 + 0.04) / 2);
  assert.is(summary.errors, 6);
  assert.is(summary.misses, 3);
});

test('text and CSV show every store, every round and every verdict', () => {
  const comparison = {
    rounds: 2,
    suite: {
      cases: ['put'] as const,
      workload: OPTIONS,
      concurrency: 1024,
      batchConcurrency: 256,
      warmupMs: 0,
      durationMs: 1000,
    },
    drivers: [INFO],
    cases: [
      summarise('put', 'mraft', [reportOf(60_000, 600), reportOf(60_000, 600)]),
      summarise('put', 'etcd', [reportOf(10_000, 600), reportOf(10_000, 600)]),
    ],
    verdicts: judge((driver) => (driver === 'mraft' ? medians(60_000) : medians(10_000))),
  };
  const text = formatComparison(comparison);
  for (const part of [
    'mraft',
    'etcd',
    '60,000',
    '6 ×',
    'met',
    '128-byte values',
    '1,024 callers',
    '2 gets found nothing',
  ]) {
    assert.ok(text.includes(part), `'${part}' in\n${text}`);
  }
  const lines = comparisonToCsv(comparison).trim().split('\n');
  assert.is(lines.length, 5);
  const columns = (lines[0] as string).split(',').length;
  for (const line of lines) assert.is(line.split(',').length, columns);
});
