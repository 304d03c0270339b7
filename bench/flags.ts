/** The flags of mraft-bench: read strictly, checked against each other before anything is started. */

import { InvalidArgumentError, Option, type Command } from 'commander';

import { InvalidConfig } from '../rpc/wire/errors.ts';
import { LIMITS } from '../rpc/wire/limits.ts';
import type { CompareRequest } from './compare.ts';
import { DISTRIBUTIONS, type DistributionName } from './distribution.ts';
import { DRIVERS, maxBatchSize, type DriverName, type DriverOptions } from './drivers.ts';
import { MOST_CALLERS } from './generator.ts';
import type { RunRequest } from './run.ts';
import { CASES, type CaseName } from './suite.ts';
import { WORKLOADS, type WorkloadOptions, type WorkloadSpec } from './workload.ts';

const MAX_RECORDS = 10_000_000;
const MAX_SECONDS = 86_400;
const MAX_ROUNDS = 100;
const RUN_WARMUP_SECONDS = 2;
/** Long enough for the JIT compilers of the stores that have one, when all share the cores. */
const COMPARE_WARMUP_SECONDS = 5;

export type OutputFormat = 'text' | 'json' | 'csv';

interface CommonFlags {
  readonly concurrency: number;
  readonly batchSize: number;
  readonly records: number;
  readonly valueSize: number;
  readonly warmup: number;
  readonly duration: number;
  readonly seed: number;
  readonly regions: number;
  readonly workers: number;
  readonly json?: boolean;
  readonly csv?: boolean;
}

interface RunFlags extends CommonFlags {
  readonly driver: DriverName;
  readonly workload: string;
  readonly distribution?: DistributionName;
  readonly target?: number;
  readonly readRatio: number;
  readonly scanLength: number;
  readonly nats?: string;
  readonly cluster?: string;
}

interface CompareFlags extends CommonFlags {
  readonly drivers: readonly DriverName[];
  readonly workloads: readonly CaseName[];
  readonly batchConcurrency: number;
  readonly rounds: number;
}

/** @returns a parser that commander calls; it names the flag when the number is none or out of range */
export function number(lowest: number, highest: number, kind: 'whole' | 'decimal' = 'whole'): (text: string) => number {
  const pattern = kind === 'whole' ? /^\d+$/ : /^\d+(\.\d+)?$/;
  return (text) => {
    const value = Number(text);
    if (pattern.test(text) && value >= lowest && value <= highest) return value;
    throw new InvalidArgumentError(`It must be a ${kind} number from ${lowest} to ${highest}.`);
  };
}

export function list<T extends string>(allowed: readonly T[]): (text: string) => T[] {
  return (text) => {
    const names = text.split(',') as T[];
    const unknown = names.find((name) => !allowed.includes(name));
    if (unknown !== undefined) throw new InvalidArgumentError(`'${unknown}' is none of ${allowed.join(', ')}.`);
    if (new Set(names).size < names.length) throw new InvalidArgumentError('A name stands in it twice.');
    return names;
  };
}

export function option<T>(flags: string, text: string, parse: (text: string) => T, value?: T): Option {
  const made = new Option(flags, text).argParser(parse);
  return value === undefined ? made : made.default(value);
}

function withCommonFlags(command: Command, warmupSeconds: number): Command {
  return command
    .addOption(
      option('-c, --concurrency <callers>', 'callers that wait for their answers', number(1, MOST_CALLERS), 1024),
    )
    .addOption(option('--batch-size <puts>', 'puts in one batch', number(1, LIMITS.batchOps), 32))
    .addOption(option('--records <count>', 'keys of the key space', number(1, MAX_RECORDS), 100_000))
    .addOption(option('--value-size <bytes>', 'size of a value', number(0, LIMITS.valueBytes), 128))
    .addOption(
      option('--warmup <seconds>', 'load that is not measured', number(0, MAX_SECONDS, 'decimal'), warmupSeconds),
    )
    .addOption(option('--duration <seconds>', 'load that is measured', number(0.1, MAX_SECONDS, 'decimal'), 10))
    .addOption(option('--seed <number>', 'of the random choices', number(0, 2 ** 32 - 1), 1))
    .addOption(option('--regions <count>', 'regions of a started mraft cluster', number(1, LIMITS.regionsPerNode), 48))
    .addOption(option('--workers <count>', 'workers of each started mraft node', number(1, LIMITS.workersPerNode), 1))
    .addOption(new Option('--json', 'print the report as JSON').conflicts('csv'))
    .addOption(new Option('--csv', 'print the series (run) or the runs (compare) as CSV'));
}

export function withRunFlags(command: Command): Command {
  return withCommonFlags(
    command
      .addOption(new Option('-d, --driver <name>', 'store to measure').choices(DRIVERS).default('mraft'))
      .addOption(new Option('-w, --workload <name>', 'what to do').choices(Object.keys(WORKLOADS)).default('put')),
    RUN_WARMUP_SECONDS,
  )
    .addOption(new Option('--distribution <name>', 'which keys; default: that of the workload').choices(DISTRIBUTIONS))
    .addOption(option('--target <calls/s>', 'open loop at this rate', number(1, 10_000_000)))
    .addOption(option('--read-ratio <share>', 'gets of the workload mixed', number(0, 1, 'decimal'), 0.5))
    .addOption(option('--scan-length <entries>', 'of a scan; the longest of ycsb-e', number(1, 100_000), 100))
    .option('--nats <url>', 'measure an mraft cluster that runs, at this broker')
    .option('--cluster <name>', 'its name');
}

export function withCompareFlags(command: Command): Command {
  return withCommonFlags(
    command
      .addOption(option('--drivers <names>', 'stores, with commas', list(DRIVERS), ['mraft', 'etcd', 'jetstream']))
      .addOption(option('--workloads <names>', 'of put, batch, get, serial', list(CASES), [...CASES]))
      .addOption(option('--rounds <count>', 'every store once a round', number(1, MAX_ROUNDS), 3)),
    COMPARE_WARMUP_SECONDS,
  ).addOption(option('--batch-concurrency <callers>', 'callers of batch', number(1, MOST_CALLERS), 256));
}

export interface ParsedRun {
  readonly driver: DriverName;
  readonly driverOptions: DriverOptions;
  readonly request: RunRequest;
  readonly format: OutputFormat;
}

/** @throws InvalidConfig, which names the flag, for flags that contradict each other */
export function parseRun(command: Command): ParsedRun {
  const flags = command.opts<RunFlags>();
  const given = (name: keyof RunFlags): boolean => command.getOptionValueSource(name) === 'cli';
  const workload = parseWorkload(flags, given);
  const isOpen = flags.target !== undefined;
  checkBatch([flags.driver], flags);
  return {
    driver: flags.driver,
    driverOptions: { ...driverOptions(flags), existing: parseExisting(flags, given) },
    request: {
      workload,
      options: workloadOptions(flags, flags.scanLength),
      plan: {
        concurrency: isOpen && !given('concurrency') ? MOST_CALLERS : flags.concurrency,
        targetPerSecond: flags.target,
        warmupMs: flags.warmup * 1000,
        durationMs: flags.duration * 1000,
      },
    },
    format: formatOf(flags),
  };
}

export interface ParsedCompare {
  readonly request: CompareRequest;
  readonly format: OutputFormat;
}

/** @throws InvalidConfig, which names the flag, for flags that contradict each other */
export function parseCompare(command: Command): ParsedCompare {
  const flags = command.opts<CompareFlags>();
  if (flags.workloads.includes('batch')) checkBatch(flags.drivers, flags);
  return {
    request: {
      drivers: flags.drivers,
      rounds: flags.rounds,
      driverOptions: driverOptions(flags),
      suite: {
        cases: flags.workloads,
        workload: workloadOptions(flags, 1),
        concurrency: flags.concurrency,
        batchConcurrency: flags.batchConcurrency,
        warmupMs: flags.warmup * 1000,
        durationMs: flags.duration * 1000,
      },
    },
    format: formatOf(flags),
  };
}

function parseWorkload(flags: RunFlags, given: (name: keyof RunFlags) => boolean): WorkloadSpec {
  const workload = WORKLOADS[flags.workload] as WorkloadSpec;
  const { mix, name } = workload;
  refuse(given('readRatio') && name !== 'mixed', 'read-ratio', `has no meaning for the workload ${name}`);
  refuse(given('scanLength') && !mix.scan, 'scan-length', `has no meaning for the workload ${name}`);
  refuse(given('batchSize') && !mix.batch, 'batch-size', `has no meaning for the workload ${name}`);
  refuse(Boolean(mix.scan) && flags.driver === 'jetstream', 'workload', `a JetStream bucket cannot scan (${name})`);
  const distribution = flags.distribution ?? workload.distribution;
  if (name !== 'mixed') return { ...workload, distribution };
  return { ...workload, distribution, mix: { get: flags.readRatio, put: 1 - flags.readRatio } };
}

function parseExisting(
  flags: RunFlags,
  given: (name: keyof RunFlags) => boolean,
): { url: string; cluster: string } | undefined {
  const { nats, cluster, driver } = flags;
  if (nats === undefined && cluster === undefined) return undefined;
  refuse(nats === undefined, 'nats', 'is missing beside --cluster');
  refuse(cluster === undefined, 'cluster', 'is missing beside --nats');
  refuse(driver !== 'mraft', 'nats', `goes with the driver mraft, not with ${driver}`);
  for (const name of ['regions', 'workers'] as const) {
    refuse(given(name), name, 'belongs to a cluster that is started here; the one at --nats runs already');
  }
  return { url: nats as string, cluster: cluster as string };
}

function checkBatch(drivers: readonly DriverName[], flags: CommonFlags): void {
  const { batchSize, valueSize } = flags;
  for (const driver of drivers) {
    const most = maxBatchSize(driver);
    refuse(batchSize > most, 'batch-size', `${driver} takes at most ${most} puts in a batch`);
  }
  const keyBytes = 16;
  const sizeBytes = batchSize * (valueSize + keyBytes);
  refuse(
    sizeBytes > LIMITS.batchBytes,
    'batch-size',
    `a batch may hold ${LIMITS.batchBytes} bytes, this is ${sizeBytes}`,
  );
}

function workloadOptions(flags: CommonFlags, scanLength: number): WorkloadOptions {
  const { records, valueSize, batchSize, seed } = flags;
  return { records, valueBytes: valueSize, batchSize, scanLength, seed };
}

function driverOptions({ regions, workers }: CommonFlags): DriverOptions {
  return { regions, workers };
}

function formatOf({ json, csv }: CommonFlags): OutputFormat {
  if (json) return 'json';
  return csv ? 'csv' : 'text';
}

export function refuse(isWrong: boolean, field: string, what: string): void {
  if (isWrong) throw new InvalidConfig(`--${field}: ${what}`, { field });
}
