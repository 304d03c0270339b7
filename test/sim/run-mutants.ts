/**
 * The mutation gate: plants each bug of mutants.ts and runs seeds until a check notices it.
 *
 *     npm run sim:mutants                                   all, as a table
 *     npm run sim:mutants -- --only lease --seeds 100       those whose name has the word
 */

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { runBatch, seedTasks, type SeedReport } from './batch.ts';
import { filesOf, MUTANTS, mutate, type Mutant } from './mutants.ts';

const LOADER = new URL('./mutant-loader.js', import.meta.url).href;

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    seeds: { type: 'string', default: '500' },
    from: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    json: { type: 'boolean', default: false },
  },
});

interface Verdict {
  readonly mutant: string;
  readonly seeds: number;
  /** Undefined: it survived. */
  readonly check: string | undefined;
  readonly seconds: number;
}

const chosen = MUTANTS.filter((mutant) => mutant.name.includes(values.only));
for (const mutant of chosen) {
  for (const file of filesOf(mutant)) {
    mutate(mutant, file, readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'));
  }
}
const verdicts: Verdict[] = [];
for (const mutant of chosen) {
  const verdict = await judge(mutant);
  verdicts.push(verdict);
  if (!values.json)
    console.log(`| ${verdict.mutant} | ${verdict.check ? verdict.seeds : '—'} | ${verdict.check ?? 'SURVIVED'} |`);
}
const survivors = verdicts.filter((verdict) => !verdict.check);
if (values.json) console.log(JSON.stringify(verdicts));
console.log(`${verdicts.length} mutants, ${survivors.length} survived`);
process.exitCode = survivors.length > 0 || verdicts.length === 0 ? 1 : 0;

async function judge(mutant: Mutant): Promise<Verdict> {
  const startedMs = performance.now();
  let ran = 0;
  let caught: SeedReport | undefined;
  await runBatch({
    tasks: seedTasks(Number(values.from), Number(values.seeds), mutant.profile ?? 'mixed'),
    jobs: Number(values.jobs),
    execArgv: ['--no-warnings', '--import', LOADER],
    env: { ...process.env, MRAFT_SIM_MUTANT: mutant.name },
    isEnough: () => caught !== undefined,
    onReport: (report) => {
      ran++;
      if (report.violation && !caught) caught = report;
    },
  });
  const seconds = (performance.now() - startedMs) / 1000;
  return { mutant: mutant.name, seeds: ran, check: caught?.violation?.check, seconds };
}
