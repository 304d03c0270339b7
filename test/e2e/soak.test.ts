/** The soak's command line. It runs for minutes and draws its faults, so that it is no part of `npm test`. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { assert, suite } from '../harness.ts';

const test = suite('soak', { timeoutMs: 60_000 });

const PROGRAM = fileURLToPath(new URL('./soak/main.js', import.meta.url));

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
