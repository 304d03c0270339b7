/**
 * The mutation gate: plants each bug of mutants.ts and runs seeds until a check notices it. Prints a table in Markdown.
 *
 *     npm run sim:mutants                                   all
 *     npm run sim:mutants -- --only lease --seeds 100       those whose name has the word
 */

import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { MUTANTS } from './mutants.ts';
import { checkApplies, judge } from './mutation-gate.ts';

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: '' },
    seeds: { type: 'string', default: '500' },
    from: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
  },
});

const chosen = MUTANTS.filter((mutant) => mutant.name.includes(values.only));
for (const mutant of chosen) checkApplies(mutant);
console.log('| planted bug | seeds | noticed by |\n| --- | --- | --- |');
let survived = 0;
for (const mutant of chosen) {
  const options = { from: Number(values.from), seeds: Number(values.seeds), jobs: Number(values.jobs) };
  const { seeds, check } = await judge(mutant, options);
  if (!check) survived++;
  console.log(`| ${mutant.name} | ${seeds} | ${check ?? 'NOTHING: it survived'} |`);
}
console.log(`${chosen.length} mutants, ${survived} survived`);
process.exitCode = survived > 0 || chosen.length === 0 ? 1 : 0;
