/**
 * Runs the simulator: one seed in words, or many in numbers.
 *
 *     npm run sim -- --seed 7 --profile disk              what the seed drew, what it came to; a failure is made smaller
 *     npm run sim -- --seed 7 --trace                     every step
 *     npm run sim -- --seeds 2000 --profile mixed --json  many seeds on all cores
 *     npm run sim -- --config '{…}'                       a configuration as a failure printed it
 */

import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { PROFILE_CHOICES, profileOf, runBatch, seedTasks, type ProfileChoice, type SeedReport } from './batch.ts';
import { describeConfig, drawConfig, type SimConfig } from './config.ts';
import { shrink } from './shrink.ts';
import { simulate } from './simulation.ts';

const SHRINK_BUDGET_MS = 60_000;
/** Failures that are described; the others are only counted. */
const MOST_DESCRIBED = 5;
const PROGRESS_EVERY_MS = 10_000;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string' },
    profile: { type: 'string', default: 'default' },
    jobs: { type: 'string' },
    config: { type: 'string' },
    json: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    'no-shrink': { type: 'boolean', default: false },
  },
});

const seed = wholeNumber('seed', values.seed);
const choice = values.profile as ProfileChoice;
if (!PROFILE_CHOICES.includes(choice)) refuse(`--profile is one of ${PROFILE_CHOICES.join(', ')}, not '${choice}'`);
if (values.seeds === undefined) await runOne(givenConfig() ?? drawConfig(seed, profileOf(choice, seed)));
else await runMany(wholeNumber('seeds', values.seeds));

function givenConfig(): SimConfig | undefined {
  return values.config === undefined ? undefined : (JSON.parse(values.config) as SimConfig);
}

async function runOne(config: SimConfig): Promise<void> {
  if (!values.json) console.log(describeConfig(config));
  const startedMs = performance.now();
  const result = await simulate(config, values.trace ? { onTrace: (line) => console.log(line) } : {});
  const seconds = (performance.now() - startedMs) / 1000;
  const eventsPerSecond = Math.round(result.events / seconds);
  if (values.json) console.log(JSON.stringify({ ...result, seconds, eventsPerSecond }));
  else {
    const { config: _, violation: __, faults, changes, ...numbers } = result;
    const made = { faults: JSON.stringify(faults), changes: JSON.stringify(changes) };
    console.log({ ...numbers, ...made, eventsPerSecond });
  }
  if (!result.violation) return;
  process.exitCode = 1;
  if (values.json) return;
  const { check, message, atMs } = result.violation;
  console.log(`FAILED at ${atMs.toFixed(3)} ms: ${check}\n  ${message}`);
  if (!values['no-shrink'] && !values.trace) await makeSmaller(config, check);
}

async function makeSmaller(config: SimConfig, check: string): Promise<void> {
  console.log('looking for a smaller run that fails in the same way…');
  const smallest = await shrink(config, check, {
    budgetMs: SHRINK_BUDGET_MS,
    nowMs: () => performance.now(),
    run: async (candidate) => (await simulate(candidate)).violation,
    onSmaller: (candidate) => console.log(`  ${describeConfig(candidate)}`),
  });
  console.log("to see it:   npm run sim -- --trace --config '" + JSON.stringify(smallest) + "'");
  console.log('to keep it:  add this to test/sim/regressions.json');
  console.log(JSON.stringify({ name: check, config: smallest }, undefined, 2));
}

async function runMany(count: number): Promise<void> {
  const jobs = values.jobs === undefined ? availableParallelism() : wholeNumber('jobs', values.jobs);
  const startedMs = performance.now();
  const failures: SeedReport[] = [];
  const sums = {
    seeds: 0,
    events: 0,
    turns: 0,
    calls: 0,
    failedCalls: 0,
    crashes: 0,
    committed: 0,
    overwrites: 0,
    undecided: 0,
  };
  let saidMs = startedMs;
  await runBatch({
    tasks: seedTasks(seed, count, choice),
    jobs,
    onReport: (report) => {
      sums.seeds++;
      for (const name of ['events', 'turns', 'calls', 'failedCalls', 'crashes', 'committed', 'overwrites'] as const)
        sums[name] += report[name];
      sums.undecided += Number(report.undecided);
      if (report.violation) {
        failures.push(report);
        if (!values.json && failures.length <= MOST_DESCRIBED) describeFailure(report);
      }
      if (values.json || performance.now() - saidMs < PROGRESS_EVERY_MS) return;
      saidMs = performance.now();
      console.log(`${sums.seeds} of ${count} seeds, ${failures.length} failed`);
    },
  });
  const seconds = (performance.now() - startedMs) / 1000;
  const rates = { seconds, seedsPerSecond: sums.seeds / seconds, eventsPerSecond: Math.round(sums.events / seconds) };
  const failed = failures.map(({ seed: failing, profile, violation }) => ({
    seed: failing,
    profile,
    check: violation!.check,
  }));
  if (values.json) console.log(JSON.stringify({ profile: choice, from: seed, jobs, ...sums, ...rates, failed }));
  else {
    console.log({ ...sums, ...rates });
    console.log(`${sums.seeds} seeds, ${failures.length} failed`);
  }
  const first = failures[0];
  if (!first) return;
  process.exitCode = 1;
  if (!values.json && !values['no-shrink'] && first.events > 0) {
    await makeSmaller(drawConfig(first.seed, first.profile), first.violation!.check);
  }
}

function describeFailure({ seed: failing, profile, violation }: SeedReport): void {
  console.log(`FAILED: --seed ${failing} --profile ${profile}: ${violation!.check}`);
  console.log(`  ${describeConfig(drawConfig(failing, profile))}`);
  console.log(`  ${violation!.message}`);
}

function wholeNumber(name: string, text: string): number {
  const number = Number(text);
  if (!Number.isSafeInteger(number) || number < 0) refuse(`--${name} is a whole number, not '${text}'`);
  return number;
}

function refuse(why: string): never {
  console.error(why);
  process.exit(2);
}
