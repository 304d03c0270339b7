/** What mraft must reach, and whether it did. */

import type { DriverName } from './drivers.ts';
import type { CaseName } from './suite.ts';

/** The figures of one case on one store, medians over the rounds. */
export interface CaseMedians {
  readonly operationsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly fsyncsPerOperation: number | undefined;
  readonly serverCpuSeconds: number;
  readonly generatorCpuSeconds: number;
}

export interface Target {
  readonly caseName: CaseName;
  readonly measure: 'operations/s' | 'p50 ms' | 'fsyncs/operation';
  /** A ratio to this peer; undefined: an absolute figure. */
  readonly peer: DriverName | undefined;
  readonly atLeast?: number;
  readonly atMost?: number;
}

export const TARGETS: readonly Target[] = [
  { caseName: 'put', measure: 'operations/s', peer: 'etcd', atLeast: 6 },
  { caseName: 'put', measure: 'operations/s', peer: 'jetstream', atLeast: 3.5 },
  { caseName: 'put', measure: 'operations/s', peer: undefined, atLeast: 60_000 },
  { caseName: 'put', measure: 'fsyncs/operation', peer: undefined, atMost: 1 / 50 },
  { caseName: 'batch', measure: 'operations/s', peer: 'etcd', atLeast: 6 },
  { caseName: 'batch', measure: 'operations/s', peer: undefined, atLeast: 100_000 },
  { caseName: 'get', measure: 'operations/s', peer: 'etcd', atLeast: 10 },
  { caseName: 'serial', measure: 'p50 ms', peer: 'etcd', atMost: 1.5 },
];

export interface Verdict extends Target {
  /** The ratio, or the absolute figure. */
  readonly value: number;
  readonly met: boolean;
}

/** The verdicts on all targets for which there are figures. */
export function judge(medians: (driver: DriverName, caseName: CaseName) => CaseMedians | undefined): Verdict[] {
  return TARGETS.flatMap((target) => {
    const own = figure(medians('mraft', target.caseName), target);
    const peer = target.peer === undefined ? 1 : figure(medians(target.peer, target.caseName), target);
    if (own === undefined || peer === undefined || peer === 0) return [];
    const value = own / peer;
    const met = value >= (target.atLeast ?? -Infinity) && value <= (target.atMost ?? Infinity);
    return [{ ...target, value, met }];
  });
}

function figure(medians: CaseMedians | undefined, target: Target): number | undefined {
  switch (target.measure) {
    case 'operations/s':
      return medians?.operationsPerSecond;
    case 'p50 ms':
      return medians?.p50Ms;
    case 'fsyncs/operation':
      return medians?.fsyncsPerOperation;
  }
}

/** The middle value, or the mean of the two in the middle; undefined for none. */
export function median(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] as number) + upper) / 2;
}
