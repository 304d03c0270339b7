import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { assert, suite, type FileReport } from '../harness.ts';

const test = suite('harness');

interface Run {
  code: number | null;
  report: FileReport | undefined;
  output: string;
}

function runFixture(name: string): Promise<Run> {
  const path = fileURLToPath(new URL(`./fixtures/${name}.js`, import.meta.url));
  const child = fork(path, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  let report: FileReport | undefined;
  let output = '';
  child.on('message', (message) => (report = message as FileReport));
  child.stdout?.on('data', (chunk) => (output += chunk));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, report, output })));
}

test('tests that pass are counted and the process exits with 0', async () => {
  const run = await runFixture('passes');
  assert.is(run.code, 0);
  assert.is(run.report?.passed, 2);
  assert.equal(run.report?.failures, []);
});

test('a before hook that throws fails the tests of its suite', async () => {
  const run = await runFixture('before-throws');
  assert.is(run.code, 1);
  assert.is(run.report?.passed, 0);
  assert.match(run.report?.failures[0]?.message ?? '', 'set-up went wrong');
});

test('an after hook that throws is a failure', async () => {
  const run = await runFixture('after-throws');
  assert.is(run.code, 1);
  assert.match(run.report?.failures[0]?.message ?? '', 'clean-up went wrong');
});

test('a test that never ends fails by its time-out, and the next one runs', async () => {
  const run = await runFixture('hangs');
  assert.is(run.code, 1);
  assert.is(run.report?.passed, 1);
  assert.match(run.report?.failures[0]?.message ?? '', 'did not end within 50 ms');
});

test('a process that its tests keep alive is ended and reported', async () => {
  const run = await runFixture('leaks');
  assert.is(run.code, 1);
  assert.match(run.report?.failures[0]?.message ?? '', 'keeps the process alive');
});

test('a suite without tests is a failure', async () => {
  const run = await runFixture('empty');
  assert.is(run.code, 1);
  assert.match(run.output, 'a suite without tests');
});

test('a file without a suite is a failure', async () => {
  const run = await runFixture('no-suite');
  assert.is(run.code, 1);
  assert.match(run.output, 'no suite was registered');
});

test('leaving the process in a test is a failure, even with exit code 0', async () => {
  const run = await runFixture('exits-early');
  assert.is(run.code, 1);
  assert.match(run.output, 'ended before its tests');
});
