/** Whether the simulator notices a planted bug, after how many seeds, and by which check. */

import { readFileSync } from 'node:fs';
import { runBatch, seedTasks, type SeedReport } from './batch.ts';
import { filesOf, mutate, type Mutant } from './mutants.ts';

const LOADER = new URL('./mutant-loader.js', import.meta.url).href;

export interface Verdict {
  readonly mutant: string;
  /** Until it was noticed, or all. */
  readonly seeds: number;
  /** Undefined: it survived. */
  readonly check: string | undefined;
}

export interface GateOptions {
  readonly from: number;
  readonly seeds: number;
  readonly jobs: number;
}

/** @throws when the mutant's text is no longer in the code, exactly once */
export function checkApplies(mutant: Mutant): void {
  for (const file of filesOf(mutant)) {
    mutate(mutant, file, readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'));
  }
}

export async function judge(mutant: Mutant, { from, seeds, jobs }: GateOptions): Promise<Verdict> {
  checkApplies(mutant);
  let ran = 0;
  let caught: SeedReport | undefined;
  await runBatch({
    tasks: seedTasks(from, seeds, mutant.profile ?? 'mixed'),
    jobs,
    execArgv: ['--no-warnings', '--import', LOADER],
    env: { ...process.env, MRAFT_SIM_MUTANT: mutant.name },
    isEnough: () => caught !== undefined,
    onReport: (report) => {
      ran++;
      if (report.violation && !caught) caught = report;
    },
  });
  return { mutant: mutant.name, seeds: ran, check: caught?.violation?.check };
}
