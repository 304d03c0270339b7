/** A process of a batch: runs the seeds that it is sent, one after the other, and reports each. */

import type { SeedReport, SeedTask } from './batch.ts';
import { drawConfig } from './config.ts';
import { simulate } from './simulation.ts';

const waiting: SeedTask[] = [];
let running = false;

process.on('message', (tasks: SeedTask[]) => {
  waiting.push(...tasks);
  if (!running) void work();
});
process.on('disconnect', () => process.exit());

async function work(): Promise<void> {
  running = true;
  for (let task = waiting.shift(); task; task = waiting.shift()) {
    const {
      config: _,
      virtualMs: __,
      faults: ___,
      changes: ____,
      ...rest
    } = await simulate(drawConfig(task.seed, task.profile));
    const report: SeedReport = { ...task, ...rest };
    process.send!(report);
  }
  running = false;
}
