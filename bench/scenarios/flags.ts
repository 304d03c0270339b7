/** The flags of the scenarios: read strictly, checked against each other before anything is started. */

import { InvalidArgumentError, Option, type Command } from 'commander';

import { LIMITS } from '../../rpc/wire/limits.ts';
import { list, number, option, refuse } from '../flags.ts';
import { MOST_CALLERS } from '../generator.ts';
import { CASES, type CaseName } from '../suite.ts';
import type { CompareRegionsRequest } from './compare-regions.ts';
import type { IdleRequest } from './idle.ts';
import type { ScaleRequest } from './scale.ts';
import { SNAPSHOT_PARTS, type SnapshotPart, type SnapshotRequest } from './snapshot.ts';
import type { SplitRequest } from './split.ts';

const MAX_RECORDS = 10_000_000;
const MAX_SECONDS = 86_400;
const MAX_ROUNDS = 100;
const MAX_NODES = 9;
const MAX_SNAPSHOT_MIB = 4_096;
const THOUSAND = 1_000;

interface CommonFlags {
  readonly workers: number;
  readonly records: number;
  readonly valueSize: number;
  readonly seed: number;
  readonly warmup: number;
  readonly json?: boolean;
}

function withCommonFlags(command: Command, defaults: { records: number; warmupSeconds: number }): Command {
  return command
    .addOption(option('--workers <count>', 'workers of each node', number(1, LIMITS.workersPerNode), 1))
    .addOption(option('--records <count>', 'keys of the key space', number(1, MAX_RECORDS), defaults.records))
    .addOption(option('--value-size <bytes>', 'size of a value', number(8, LIMITS.valueBytes), 128))
    .addOption(option('--seed <number>', 'of the random choices', number(0, 2 ** 32 - 1), 1))
    .addOption(
      option('--warmup <seconds>', 'load before that', number(0, MAX_SECONDS, 'decimal'), defaults.warmupSeconds),
    )
    .option('--json', 'print the report as JSON');
}

function regionsOption(): Option {
  return option('--regions <count>', 'regions at the beginning', number(1, LIMITS.regionsPerNode), 48);
}

// --- split -----------------------------------------------------------------------------------------------------------

interface SplitFlags extends CommonFlags {
  readonly regions: number;
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly duration: number;
  readonly rounds: number;
  readonly pauseMs: number;
  readonly splits?: number;
  readonly thousand?: boolean;
}

export function withSplitFlags(command: Command): Command {
  return withCommonFlags(
    command
      .addOption(option('-c, --concurrency <callers>', 'closed loop; 0: no load', number(0, MOST_CALLERS), 1024))
      .addOption(option('--timeout-ms <ms>', 'deadline of each put', number(100, LIMITS.timeoutMs), 1000))
      .addOption(regionsOption())
      .addOption(option('--rounds <count>', 'quiet and splitting windows', number(1, MAX_ROUNDS), 3))
      .addOption(option('--duration <seconds>', 'of each window', number(0.1, MAX_SECONDS, 'decimal'), 8))
      .addOption(option('--pause-ms <ms>', 'between two splits', number(0, 60_000), 0))
      .addOption(option('--splits <count>', 'so many in a row, in place of windows', number(1, 50_000)))
      .addOption(new Option('--thousand', 'the same as --splits 1000').conflicts('splits')),
    { records: 100_000, warmupSeconds: 3 },
  );
}

/** @throws InvalidConfig, which names the flag, for flags that contradict each other */
export function parseSplit(command: Command): { readonly request: SplitRequest; readonly json: boolean } {
  const flags = command.opts<SplitFlags>();
  const splits = flags.thousand === true ? THOUSAND : flags.splits;
  for (const name of ['rounds', 'duration'] as const) {
    const isGiven = command.getOptionValueSource(name) === 'cli';
    refuse(isGiven && splits !== undefined, name, 'there are no windows with --splits or --thousand');
  }
  refuse(flags.concurrency === 0 && splits === undefined, 'concurrency', '0 goes with --splits or --thousand only');
  return {
    request: {
      regions: flags.regions,
      workers: flags.workers,
      records: flags.records,
      valueBytes: flags.valueSize,
      seed: flags.seed,
      concurrency: flags.concurrency,
      timeoutMs: flags.timeoutMs,
      warmupMs: flags.warmup * 1000,
      durationMs: flags.duration * 1000,
      rounds: flags.rounds,
      pauseMs: flags.pauseMs,
      splits,
    },
    json: flags.json === true,
  };
}

// --- scale -----------------------------------------------------------------------------------------------------------

interface ScaleFlags extends CommonFlags {
  readonly regions: number;
  readonly steps: readonly number[];
  readonly rate: number;
  readonly readRatio: number;
  readonly deadlineMs: number;
  readonly observe: number;
  readonly leave: ScaleRequest['leave'];
  readonly rounds: number;
}

export function withScaleFlags(command: Command): Command {
  return withCommonFlags(
    command
      .addOption(option('--steps <nodes>', 'how many nodes, with commas', steps, [1, 3, 5, 3, 1]))
      .addOption(regionsOption())
      .addOption(option('--rate <calls/s>', 'open loop', number(1, 1_000_000), 1000))
      .addOption(option('--read-ratio <share>', 'of the calls that are gets', number(0, 1, 'decimal'), 0.25))
      .addOption(option('--deadline-ms <ms>', 'of each call', number(100, LIMITS.timeoutMs), 2000))
      .addOption(option('--observe <seconds>', 'after each change', number(1, MAX_SECONDS, 'decimal'), 60))
      .addOption(new Option('--leave <which>', 'who leaves first').choices(['newest', 'oldest']).default('newest'))
      .addOption(option('--rounds <count>', 'each on a cluster of its own', number(1, MAX_ROUNDS), 3)),
    { records: 50_000, warmupSeconds: 5 },
  );
}

export function parseScale(command: Command): { readonly request: ScaleRequest; readonly json: boolean } {
  const flags = command.opts<ScaleFlags>();
  return {
    request: {
      steps: flags.steps,
      regions: flags.regions,
      workers: flags.workers,
      records: flags.records,
      valueBytes: flags.valueSize,
      seed: flags.seed,
      ratePerSecond: flags.rate,
      readRatio: flags.readRatio,
      deadlineMs: flags.deadlineMs,
      warmupMs: flags.warmup * 1000,
      observeMs: flags.observe * 1000,
      leave: flags.leave,
      rounds: flags.rounds,
    },
    json: flags.json === true,
  };
}

function steps(text: string): number[] {
  const nodes = text.split(',').map(number(1, MAX_NODES));
  if (nodes.length < 2 || nodes.some((count, at) => count === nodes[at - 1])) {
    throw new InvalidArgumentError(
      'It must be at least two numbers with commas between, each other than the one before.',
    );
  }
  return nodes;
}

// --- compare-regions -------------------------------------------------------------------------------------------------

interface CompareRegionsFlags extends CommonFlags {
  readonly regions: readonly number[];
  readonly workloads: readonly CaseName[];
  readonly rounds: number;
  readonly duration: number;
  readonly concurrency: number;
  readonly callersPerRegion: number;
}

const COMPARED_CASES = CASES.filter((name) => name !== 'batch');

export function withCompareRegionsFlags(command: Command): Command {
  return withCommonFlags(
    command
      .addOption(
        option('--regions <counts>', 'with commas; the first is what others are held against', counts, [48, 1000, 1]),
      )
      .addOption(option('--workloads <names>', 'of put, get, serial', list(COMPARED_CASES), ['put']))
      .addOption(option('--rounds <count>', 'every number of regions once a round', number(1, MAX_ROUNDS), 3))
      .addOption(option('--duration <seconds>', 'of each measurement', number(0.1, MAX_SECONDS, 'decimal'), 8))
      .addOption(option('-c, --concurrency <callers>', 'closed loop, for each cluster', number(1, MOST_CALLERS), 1024))
      .addOption(
        option(
          '--callers-per-region <count>',
          'of a second load, where they are more than the callers above; 0: there is none',
          number(0, MOST_CALLERS),
          16,
        ),
      ),
    { records: 100_000, warmupSeconds: 5 },
  );
}

export function parseCompareRegions(command: Command): {
  readonly request: CompareRegionsRequest;
  readonly json: boolean;
} {
  const flags = command.opts<CompareRegionsFlags>();
  const { regions, workers, rounds, workloads, records, valueSize, seed, concurrency } = flags;
  const { callersPerRegion } = flags;
  return {
    request: {
      regions,
      workers,
      rounds,
      callersPerRegion,
      suite: {
        cases: workloads,
        workload: { records, valueBytes: valueSize, batchSize: 1, scanLength: 1, seed },
        concurrency,
        batchConcurrency: 1,
        warmupMs: flags.warmup * 1000,
        durationMs: flags.duration * 1000,
      },
    },
    json: flags.json === true,
  };
}

function counts(text: string): number[] {
  const numbers = text.split(',').map(number(1, LIMITS.regionsPerNode));
  if (new Set(numbers).size < numbers.length) throw new InvalidArgumentError('A number stands in it twice.');
  return numbers;
}

// --- idle ------------------------------------------------------------------------------------------------------------

interface IdleFlags {
  readonly regions: number;
  readonly baseRegions: number;
  readonly workers: number;
  readonly rounds: number;
  readonly duration: number;
  readonly json?: boolean;
}

export function withIdleFlags(command: Command): Command {
  const regions = number(1, LIMITS.regionsPerNode);
  return command
    .addOption(option('--regions <count>', 'that sleep', regions, 2000))
    .addOption(option('--base-regions <count>', 'of the cluster that memory is held against', regions, 48))
    .addOption(option('--workers <count>', 'workers of each node', number(1, LIMITS.workersPerNode), 1))
    .addOption(option('--rounds <count>', 'each on clusters of its own', number(1, MAX_ROUNDS), 3))
    .addOption(option('--duration <seconds>', 'to watch what sleeps', number(1, MAX_SECONDS, 'decimal'), 20))
    .option('--json', 'print the report as JSON');
}

/** @throws InvalidConfig, which names the flag, for flags that contradict each other */
export function parseIdle(command: Command): { readonly request: IdleRequest; readonly json: boolean } {
  const { regions, baseRegions, workers, rounds, duration, json } = command.opts<IdleFlags>();
  refuse(baseRegions >= regions, 'base-regions', 'must be fewer than --regions');
  return { request: { regions, baseRegions, workers, rounds, durationMs: duration * 1000 }, json: json === true };
}

// --- snapshot --------------------------------------------------------------------------------------------------------

interface SnapshotFlags {
  readonly parts: readonly SnapshotPart[];
  readonly workers: number;
  readonly megabytes: number;
  readonly valueSize: number;
  readonly seed: number;
  readonly rounds: number;
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly warmup: number;
  readonly duration: number;
  readonly json?: boolean;
}

const MIB = 1024 * 1024;

export function withSnapshotFlags(command: Command): Command {
  return command
    .addOption(option('--parts <names>', 'of speed, foreground', list(SNAPSHOT_PARTS), [...SNAPSHOT_PARTS]))
    .addOption(option('--workers <count>', 'workers of each node', number(1, LIMITS.workersPerNode), 1))
    .addOption(
      option(
        '--megabytes <MiB>',
        'of the region; default: where placement would split it',
        number(1, MAX_SNAPSHOT_MIB),
        96,
      ),
    )
    .addOption(option('--value-size <bytes>', 'size of a value', number(8, LIMITS.valueBytes), 1024))
    .addOption(option('--seed <number>', 'of the random choices', number(0, 2 ** 32 - 1), 1))
    .addOption(option('--rounds <count>', 'of both parts', number(1, MAX_ROUNDS), 3))
    .addOption(option('-c, --concurrency <callers>', 'of the foreground', number(1, MOST_CALLERS), 1024))
    .addOption(option('--timeout-ms <ms>', 'deadline of each put', number(100, LIMITS.timeoutMs), 5000))
    .addOption(option('--warmup <seconds>', 'load before that', number(0, MAX_SECONDS, 'decimal'), 5))
    .addOption(option('--duration <seconds>', 'of each window', number(0.1, MAX_SECONDS, 'decimal'), 10))
    .option('--json', 'print the report as JSON');
}

export function parseSnapshot(command: Command): { readonly request: SnapshotRequest; readonly json: boolean } {
  const { megabytes, valueSize, warmup, duration, json, ...flags } = command.opts<SnapshotFlags>();
  return {
    request: {
      ...flags,
      sizeBytes: megabytes * MIB,
      valueBytes: valueSize,
      warmupMs: warmup * 1000,
      durationMs: duration * 1000,
    },
    json: json === true,
  };
}
