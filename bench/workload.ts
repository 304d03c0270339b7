/** What the callers do: YCSB's core workloads (Cooper et al., SoCC 2010) and a few that do one thing. */

import { createDistribution, type Distribution, type DistributionName } from './distribution.ts';
import type { Session } from './driver.ts';
import { KeyGroups, KeySpace } from './keys.ts';
import { Random } from './random.ts';

export const OPERATIONS = ['put', 'get', 'batch', 'scan', 'insert', 'read-modify-write'] as const;
export type Operation = (typeof OPERATIONS)[number];

export interface WorkloadSpec {
  readonly name: string;
  readonly summary: string;
  /** Shares of the operations; they add up to 1. */
  readonly mix: Partial<Record<Operation, number>>;
  readonly distribution: DistributionName;
  /** Whether the records must be there before. */
  readonly needsRecords: boolean;
}

export interface WorkloadOptions {
  readonly records: number;
  readonly valueBytes: number;
  readonly batchSize: number;
  /** Longest scan; lengths are uniform from 1 for YCSB, and exactly this for `scan`. */
  readonly scanLength: number;
  readonly seed: number;
}

/** Different values, so that nothing gains by seeing the same one again. */
const VALUES = 256;

export const WORKLOADS: Readonly<Record<string, WorkloadSpec>> = {
  put: spec('put', 'single puts', { put: 1 }, 'uniform', false),
  get: spec('get', 'single gets, linearizable where the store can', { get: 1 }, 'uniform', true),
  batch: spec('batch', 'batches of puts', { batch: 1 }, 'uniform', false),
  mixed: spec('mixed', 'gets and puts (--read-ratio)', { get: 0.5, put: 0.5 }, 'uniform', true),
  scan: spec('scan', 'scans of --scan-length entries', { scan: 1 }, 'uniform', true),
  'ycsb-a': spec('ycsb-a', 'update heavy: half gets, half puts', { get: 0.5, put: 0.5 }, 'zipfian', true),
  'ycsb-b': spec('ycsb-b', 'read mostly: 95 % gets, 5 % puts', { get: 0.95, put: 0.05 }, 'zipfian', true),
  'ycsb-c': spec('ycsb-c', 'read only', { get: 1 }, 'zipfian', true),
  'ycsb-d': spec('ycsb-d', 'read latest: 95 % gets, 5 % inserts', { get: 0.95, insert: 0.05 }, 'latest', true),
  'ycsb-e': spec('ycsb-e', 'short ranges: 95 % scans, 5 % inserts', { scan: 0.95, insert: 0.05 }, 'zipfian', true),
  'ycsb-f': spec(
    'ycsb-f',
    'half gets, half read-modify-writes',
    { get: 0.5, 'read-modify-write': 0.5 },
    'zipfian',
    true,
  ),
};

function spec(
  name: string,
  summary: string,
  mix: WorkloadSpec['mix'],
  distribution: DistributionName,
  needsRecords: boolean,
): WorkloadSpec {
  return { name, summary, mix, distribution, needsRecords };
}

/** One running workload: chooses operations and performs them. It holds no state of a caller. */
export class Workload {
  readonly spec: WorkloadSpec;
  private readonly options: WorkloadOptions;
  private readonly random: Random;
  private readonly keys: KeySpace;
  private readonly groups: KeyGroups | undefined;
  private readonly distribution: Distribution;
  private readonly groupDistribution: Distribution;
  private readonly values: readonly Buffer[];
  private readonly choices: readonly { readonly until: number; readonly operation: Operation }[];
  private readonly isYcsb: boolean;
  /** Records that have been inserted or soon will be. */
  private inserted: number;

  constructor(workloadSpec: WorkloadSpec, options: WorkloadOptions) {
    this.spec = workloadSpec;
    this.options = options;
    this.random = new Random(options.seed);
    this.keys = new KeySpace(options.records);
    this.groups = workloadSpec.mix.batch ? new KeyGroups(options.records, options.batchSize) : undefined;
    this.distribution = createDistribution(workloadSpec.distribution, options.records, this.random);
    this.groupDistribution = createDistribution(workloadSpec.distribution, this.groups?.count ?? 1, this.random);
    this.values = Array.from({ length: VALUES }, () => this.random.bytes(options.valueBytes));
    this.choices = cumulative(workloadSpec.mix);
    this.isYcsb = workloadSpec.name.startsWith('ycsb');
    this.inserted = options.records;
  }

  /** The next operation of the mix. */
  choose(): Operation {
    if (this.choices.length === 1) return (this.choices[0] as { operation: Operation }).operation;
    const share = this.random.next();
    for (const choice of this.choices) if (share < choice.until) return choice.operation;
    return (this.choices.at(-1) as { operation: Operation }).operation;
  }

  /** What one call of the operation counts as: a batch is its puts. */
  weight(operation: Operation): number {
    return operation === 'batch' ? this.options.batchSize : 1;
  }

  perform(operation: Operation, session: Session): Promise<unknown> {
    switch (operation) {
      case 'put':
        return session.put(this.nextKey(), this.nextValue());
      case 'get':
        return session.get(this.nextKey());
      case 'batch':
        return session.batch(this.nextGroup(), this.nextValue());
      case 'scan':
        return session.scan(this.nextKey(), this.scanLength());
      case 'insert':
        return session.put(this.keys.at(this.inserted++), this.nextValue());
      case 'read-modify-write':
        return this.readModifyWrite(session);
    }
  }

  /** Puts record `number`, for filling the store before the run. */
  load(number: number, session: Session): Promise<unknown> {
    return session.put(this.keys.at(number), this.nextValue());
  }

  private async readModifyWrite(session: Session): Promise<unknown> {
    const key = this.nextKey();
    await session.get(key);
    return session.put(key, this.nextValue());
  }

  private nextKey(): Buffer {
    return this.keys.at(this.distribution.next(this.inserted));
  }

  private nextGroup(): readonly Buffer[] {
    const groups = this.groups as KeyGroups;
    return groups.at(this.groupDistribution.next(groups.count));
  }

  private nextValue(): Buffer {
    return this.values[this.random.below(VALUES)] as Buffer;
  }

  private scanLength(): number {
    return this.isYcsb ? 1 + this.random.below(this.options.scanLength) : this.options.scanLength;
  }
}

function cumulative(mix: WorkloadSpec['mix']): { until: number; operation: Operation }[] {
  let until = 0;
  return OPERATIONS.filter((operation) => (mix[operation] ?? 0) > 0).map((operation) => {
    until += mix[operation] as number;
    return { until, operation };
  });
}
