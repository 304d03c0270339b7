/**
 * Several thousand short random schedules. `node dist/test/raft/schedule.test.js --seed N` runs one of them,
 * `--seeds N` as many as that, `--from N` with others than the first.
 */

import { assert, suite } from '../harness.ts';
import { BrokenPromise, Schedule } from './schedule.ts';

const STEPS = 1000;
const test = suite('raft random schedules', { timeoutMs: 300_000 });

function argument(name: string): number | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : Number(process.argv[at + 1]);
}

const one = argument('--seed');
const first = one ?? argument('--from') ?? 1;
const last = one ?? first + (argument('--seeds') ?? 3000) - 1;

test(`the promises of Raft hold in ${last - first + 1} schedules`, () => {
  const totals: Record<string, number> = {};
  for (let seed = first; seed <= last; seed++) {
    const schedule = new Schedule(seed);
    try {
      schedule.run(STEPS);
    } catch (error) {
      throw new BrokenPromise(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
    for (const [name, count] of Object.entries(schedule.stats)) totals[name] = (totals[name] ?? 0) + count;
  }
  if (process.argv.length > 2) console.log(totals);
  // A schedule in which nothing happens proves nothing.
  if (one === undefined)
    for (const [name, count] of Object.entries(totals)) assert.ok(count > (last - first) / 2, name);
});
