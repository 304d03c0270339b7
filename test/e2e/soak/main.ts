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
import { parseArgs } from 'node:util';

import { withoutSuites } from '../../harness.ts';
import { FAULTS } from './faults.ts';
import { OWN_NAMESPACE } from './fleet.ts';
import { soak, type SoakReport } from './soak.ts';

const NAMESPACE = ['-r', '-m'];
withoutSuites();

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    only: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const seconds = wholeNumber('seconds', values.seconds);
const seed = wholeNumber('seed', values.seed);
const only = values.only === undefined ? undefined : faultNames(values.only);

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
    if (!values.json) console.log(`${((performance.now() - startedMs) / 1_000).toFixed(1).padStart(6)} s  ${line}`);
  };
  const report = await soak({ seed, seconds, slack, only, say });
  console.log(values.json ? JSON.stringify(report) : describe(report));
  process.exitCode = report.violations.length > 0 ? 1 : 0;
}

function describe({ violations, nemesis, dir, ...numbers }: SoakReport): string {
  const lines = Object.entries({ ...numbers, ...nemesis }).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  if (violations.length === 0) return [...lines, 'nothing was found'].join('\n');
  return [...lines, `FOUND, see ${dir}:`, ...violations.map((text) => `- ${text}`)].join('\n');
}

function faultNames(text: string): Set<string> {
  const names = text.split(',');
  const unknown = names.find((name) => !FAULTS.some((fault) => fault.name === name));
  if (unknown === undefined) return new Set(names);
  console.error(`--only: there is no fault '${unknown}', but ${FAULTS.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  console.error(`--${name} must be a positive whole number, not '${text}'`);
  process.exit(2);
}
