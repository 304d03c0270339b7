/**
 * Runs a soak: real processes under load and faults that a seed draws.
 *
 *     npm run soak -- --seconds 120 --seed 1 [--only kill,leave] [--json]
 *
 * Ends with 1 when something was found, and then keeps the data and the logs. Times that are promised are multiplied by
 * MRAFT_TEST_SLACK (default 2).
 */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { Command, InvalidArgumentError } from 'commander';

import { withoutSuites } from '../../harness.ts';
import { FAULTS } from './faults.ts';
import { OWN_NAMESPACE } from './fleet.ts';
import { soak, type SoakReport } from './soak.ts';

const NAMESPACE = ['-r', '-m'];
const EXIT_USAGE = 2;
withoutSuites();

const program = new Command('npm run soak --')
  .description(
    'A cluster of real processes under load and faults that a seed draws. Ends with 1 when something was found. ' +
      'Times that are promised are multiplied by MRAFT_TEST_SLACK (default 2).',
  )
  .option('--seconds <n>', 'how long faults come', wholeNumber, 60)
  .option('--seed <n>', 'draws the faults', wholeNumber, 1)
  .option('--only <faults>', `these faults alone, with commas between: ${faultList()}`, faultNames)
  .option('--json', 'the report as JSON, and nothing else', false)
  .allowExcessArguments(false)
  .showSuggestionAfterError(false)
  .configureOutput({
    outputError: (text, write) => write(`soak: ${text.replace(/^error: |\.?\n$/g, '')}; --help tells the flags\n`),
  })
  .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : EXIT_USAGE))
  .parse();
const { seconds, seed, only, json } = program.opts<{
  seconds: number;
  seed: number;
  only?: ReadonlySet<string>;
  json: boolean;
}>();

if (process.env[OWN_NAMESPACE] === undefined && spawnSync('unshare', [...NAMESPACE, 'true']).status === 0) {
  // Where mounts are ours alone, so that one node can have a disk that is soon full.
  const self = [process.execPath, ...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)];
  const env = { ...process.env, [OWN_NAMESPACE]: '1' };
  process.exitCode = spawnSync('unshare', [...NAMESPACE, ...self], { stdio: 'inherit', env }).status ?? 1;
} else {
  await run();
}

async function run(): Promise<void> {
  const slack = Number(process.env['MRAFT_TEST_SLACK'] ?? 2);
  const startedMs = performance.now();
  const say = (line: string): void => {
    if (!json) console.log(`${((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6)} s  ${line}`);
  };
  const report = await soak({ seed, seconds, slack, only, say });
  console.log(json ? JSON.stringify(report) : describe(report));
  process.exitCode = report.violations.length > 0 ? 1 : 0;
}

function describe({ violations, nemesis, dir, ...numbers }: SoakReport): string {
  const lines = Object.entries({ ...numbers, ...nemesis }).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  if (violations.length === 0) return [...lines, 'nothing was found'].join('\n');
  return [...lines, `FOUND, see ${dir}:`, ...violations.map((text) => `- ${text}`)].join('\n');
}

function faultList(): string {
  return FAULTS.map(({ name }) => name).join(', ');
}

function faultNames(text: string): ReadonlySet<string> {
  const names = text.split(',');
  const unknown = names.find((name) => !FAULTS.some((fault) => fault.name === name));
  if (unknown === undefined) return new Set(names);
  throw new InvalidArgumentError(`There is no fault '${unknown}', but ${faultList()}`);
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a positive whole number');
}
