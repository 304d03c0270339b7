/** A short soak with a fixed seed: a program of its own, because it wants a mount namespace. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { assert, note, suite } from '../harness.ts';
import type { SoakReport } from './soak/soak.ts';

const test = suite('soak', { timeoutMs: 400_000 });

const PROGRAM = fileURLToPath(new URL('./soak/main.js', import.meta.url));
const SECONDS = 25;

test('under faults of every kind, one upon the other, a cluster keeps its promises and is whole afterwards', async () => {
  const report = await soak(['--seconds', String(SECONDS), '--seed', '1', '--json']);
  const { violations, nemesis, acknowledgedWrites, recordedCalls, jsonSwaps, restAfterMs } = report;
  note(
    `${nemesis.rounds} rounds: ${JSON.stringify(nemesis.faults)}; served again after ${nemesis.slowestRecoveryMs} ms`,
  );
  note(
    `${acknowledgedWrites} writes, ${recordedCalls} recorded calls, ${jsonSwaps} swaps; at rest after ${restAfterMs} ms`,
  );
  assert.equal(violations, []);
  assert.ok(nemesis.rounds > 0 && acknowledgedWrites > 0 && recordedCalls > 0 && jsonSwaps > 0);
});

test('its program tells its flags, and refuses a wrong one in one line that says what to do next', async () => {
  const wrong = [
    ['--sed', '1'],
    ['--seed', 'x'],
    ['--only', 'kill,rain'],
  ];
  const [help, ...refused] = await Promise.all([['--help'], ...wrong].map(run));
  assert.equal([help?.code, help?.errors], [0, '']);
  for (const flag of ['--seconds', '--seed', '--only', '--json']) assert.ok(help?.output.includes(flag), help?.output);
  for (const { code, output, errors } of refused) {
    assert.equal([code, output], [2, ''], errors);
    assert.match(errors, /^soak: [^\n]+; --help tells the flags\n$/);
  }
});

async function soak(args: readonly string[]): Promise<SoakReport> {
  const { code, output, errors } = await run(args);
  const line = output.split('\n').find((text) => text.startsWith('{'));
  if (line === undefined) throw new Error(`the soak ended with ${String(code)}:\n${errors}`);
  return JSON.parse(line) as SoakReport;
}

interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
}

async function run(args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, ['--enable-source-maps', PROGRAM, ...args]);
  let [output, errors] = ['', ''];
  child.stdout.on('data', (chunk) => (output += String(chunk)));
  child.stderr.on('data', (chunk) => (errors += String(chunk)));
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, output, errors };
}
