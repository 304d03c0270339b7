/** Reports as comma-separated values: a header line, then a line a row. */

import type { Comparison } from './compare.ts';
import type { RunReport } from './run.ts';

type Cell = string | number | undefined;

/** The series of a run, a line a second. */
export function runToCsv(report: RunReport): string {
  const header = ['driver', 'workload', 'second', 'operations', 'errors', 'mean_ms', 'max_ms'];
  const rows = report.series.map(({ second, operations, errors, meanMs, maxMs }): Cell[] => [
    report.driver.name,
    report.workload.name,
    second,
    operations,
    errors,
    meanMs,
    maxMs,
  ]);
  return toCsv(header, rows);
}

/** All runs of a comparison, a line each. */
export function comparisonToCsv(comparison: Comparison): string {
  const header = [
    ...['workload', 'driver', 'round', 'callers', 'operations_per_second'],
    ...['mean_ms', 'p50_ms', 'p99_ms', 'max_ms', 'errors', 'fsyncs_per_operation', 'servers_cpu_s', 'generator_cpu_s'],
  ];
  const rows = comparison.cases.flatMap(({ caseName, driver, runs }) =>
    runs.map((run, round): Cell[] => {
      const latency = Object.values(run.latency)[0];
      return [
        ...[caseName, driver, round + 1, run.plan.concurrency, run.operationsPerSecond],
        ...[latency?.meanMs, latency?.p50Ms, latency?.p99Ms, latency?.maxMs],
        ...[sum(run.errors), run.fsyncsPerOperation, sum(run.serverCpuSeconds), run.generatorCpuSeconds],
      ];
    }),
  );
  return toCsv(header, rows);
}

function toCsv(header: readonly string[], rows: readonly (readonly Cell[])[]): string {
  return [header, ...rows].map((row) => row.map(cell).join(',')).join('\n') + '\n';
}

function cell(value: Cell): string {
  if (value === undefined) return '';
  return typeof value === 'number' ? String(Number(value.toPrecision(6))) : value;
}

function sum(values: Readonly<Record<string, number>>): number {
  return Object.values(values).reduce((total, value) => total + value, 0);
}
