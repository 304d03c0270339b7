/** The simulator itself: that it repeats, that what it found stays found, and that it notices what it should. */

import { availableParallelism } from 'node:os';
import { assert, suite } from '../harness.ts';
import { runBatch, seedTasks, type SeedReport } from './batch.ts';
import { describeConfig, drawConfig, NO_FAULTS, type SimConfig } from './config.ts';
import { EventQueue } from './event-queue.ts';
import { MUTANTS } from './mutants.ts';
import { checkApplies, judge } from './mutation-gate.ts';
import { Random } from './random.ts';
import { loadRegressions } from './regressions.ts';
import { shrink } from './shrink.ts';
import { simulate } from './simulation.ts';

const test = suite('simulator', { timeoutMs: 400_000 });

const JOBS = Math.min(2, availableParallelism());
const SEEDS = Number(process.env['MRAFT_SIM_SEEDS'] ?? 400);
/** Planted bugs of different kinds that few seeds notice; `npm run sim:mutants` tries all. */
const SAMPLE = ['acknowledges before the sync', 'votes twice in a term', 'applies a sequence again'];

async function reportsOf(from: number, count: number): Promise<SeedReport[]> {
  const reports: SeedReport[] = [];
  await runBatch({ tasks: seedTasks(from, count, 'mixed'), jobs: JOBS, onReport: (report) => reports.push(report) });
  return reports;
}

test('seeds of every profile keep every promise', async () => {
  const failures = (await reportsOf(1, SEEDS)).filter((report) => report.violation);
  const described = failures.map(
    ({ seed, profile, violation }) =>
      `npm run sim -- --seed ${seed} --profile ${profile}\n  ${violation!.check}: ${violation!.message}\n` +
      `  ${describeConfig(drawConfig(seed, profile))}`,
  );
  assert.is(described.slice(0, 3).join('\n'), '');
});

test('what it found once does not come back', async () => {
  for (const { name, config } of loadRegressions()) {
    const { violation } = await simulate(config);
    assert.is(violation, undefined, `${name}: ${violation?.check}: ${violation?.message}`);
  }
});

test('a seed gives the same trace twice, in this process and in others', async () => {
  const elsewhere = await reportsOf(101, 8);
  const hashes = new Set<string>();
  for (const { seed, profile, traceHash } of elsewhere) {
    const here = await simulate(drawConfig(seed, profile));
    assert.is(here.traceHash, traceHash, `seed ${seed}`);
    hashes.add(traceHash);
  }
  assert.is(hashes.size, 8, 'and every seed another');
});

test('every planted bug still finds its place in the code', () => {
  for (const mutant of MUTANTS) checkApplies(mutant);
  assert.is(new Set(MUTANTS.map((mutant) => mutant.name)).size, MUTANTS.length);
});

test('planted bugs are noticed', async () => {
  for (const name of SAMPLE) {
    const mutant = MUTANTS.find((candidate) => candidate.name === name)!;
    const { check } = await judge(mutant, { from: 1, seeds: 100, jobs: JOBS });
    assert.ok(check, `${name} survived`);
  }
});

test('a failing run is made smaller as long as it fails in the same way', async () => {
  const config: SimConfig = {
    ...drawConfig(1, 'default'),
    clients: 5,
    regions: 8,
    faults: { ...NO_FAULTS, loss: 0.1, crashEvery: 300, pauseEvery: 300, stalls: 0.1 },
  };
  const smallest = await shrink(config, 'planted', {
    budgetMs: 60_000,
    nowMs: () => 0,
    run: (candidate) =>
      Promise.resolve(
        candidate.faults.crashEvery > 0 && candidate.clients >= 2
          ? { check: 'planted', message: '', atMs: 0 }
          : candidate.faults.loss > 0
            ? { check: 'another', message: '', atMs: 0 }
            : undefined,
      ),
  });
  assert.is(smallest.clients, 2);
  assert.is(smallest.regions, 1);
  assert.equal(smallest.faults, { ...NO_FAULTS, crashEvery: 300 });
});

test('events run in the order of their times, and of their planning within one moment', () => {
  const random = new Random(7);
  const queue = new EventQueue();
  const planned = Array.from({ length: 500 }, (_, i) => ({ atMs: random.below(40), i }));
  const ran: typeof planned = [];
  for (const event of planned) queue.push(event.atMs, () => ran.push(event));
  for (let event = queue.pop(); event; event = queue.pop()) event.run();
  assert.equal(
    ran,
    [...planned].sort((a, b) => a.atMs - b.atMs || a.i - b.i),
  );
});
