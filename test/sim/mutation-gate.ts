/** Whether the simulator notices a planted bug, after how many seeds, and by which check. */

import { readFileSync } from 'node:fs';
import { runBatch, seedTasks, type SeedReport, type SeedTask } from './batch.ts';
import { drawConfig } from './config.ts';
import type { Mutant } from './mutant.ts';
import { filesOf, mutate } from './mutants.ts';
import { simulate } from './simulation.ts';

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

/** A seed that fails without the mutant, too, says nothing about it and is passed over. */
export async function judge(mutant: Mutant, { from, seeds, jobs }: GateOptions): Promise<Verdict> {
  checkApplies(mutant);
  const ran = new Set<number>();
  for (;;) {
    let caught: SeedReport | undefined;
    const left = [...seedTasks(from, seeds, mutant.profile ?? 'mixed')].filter(({ seed }) => !ran.has(seed));
    await runBatch({
      tasks: left,
      jobs,
      execArgv: ['--no-warnings', '--import', LOADER],
      env: { ...process.env, MRAFT_SIM_MUTANT: mutant.name },
      isEnough: () => caught !== undefined,
      onReport: (report) => {
        if (caught) return;
        ran.add(report.seed);
        if (report.violation) caught = report;
      },
    });
    if (!caught || !(await failsAnyway(caught))) {
      return { mutant: mutant.name, seeds: ran.size, check: caught?.violation?.check };
    }
  }
}

const failing = new Map<string, boolean>();

/** Whether the seed fails in the code as it is. */
async function failsAnyway({ seed, profile }: SeedTask): Promise<boolean> {
  const key = `${profile} ${seed}`;
  let fails = failing.get(key);
  if (fails === undefined) {
    fails = (await simulate(drawConfig(seed, profile))).violation !== undefined;
    failing.set(key, fails);
  }
  return fails;
}
