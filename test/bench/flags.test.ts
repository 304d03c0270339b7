/** Wrong command lines: one line that names the flag, a non-zero exit, nothing started. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { assert, suite } from '../harness.ts';

const PROGRAM = fileURLToPath(new URL('../../bench/mraft-bench.js', import.meta.url));
const test = suite('flags of mraft-bench', { timeoutMs: 120_000 });

function run(line: string): { status: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...line.split(' ')], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

const WRONG: readonly (readonly [line: string, named: string])[] = [
  ['run --no-such-flag', '--no-such-flag'],
  ['run -c 0', '--concurrency'],
  ['run --value-size NaN', '--value-size'],
  ['run --value-size -1', '--value-size'],
  ['run --records 1e9', '--records'],
  ['run --duration Infinity', '--duration'],
  ['run --duration 0', '--duration'],
  ['run --target 0', '--target'],
  ['run --workers 0', '--workers'],
  ['run --workload nothing', '--workload'],
  ['run --driver nothing', '--driver'],
  ['run --json --csv', '--json'],
  ['run --nats nats://127.0.0.1:4222', '--cluster'],
  ['run --cluster local', '--nats'],
  ['run --nats nats://127.0.0.1:4222 --cluster local --driver etcd', '--nats'],
  ['run --nats nats://127.0.0.1:4222 --cluster local --regions 3', '--regions'],
  ['run --workload put --read-ratio 0.5', '--read-ratio'],
  ['run --workload get --batch-size 5', '--batch-size'],
  ['run --workload batch --batch-size 4096 --value-size 1000', '--batch-size'],
  ['run --workload scan --driver jetstream', '--workload'],
  ['compare --drivers etcd,nothing', '--drivers'],
  ['compare --drivers etcd,etcd', '--drivers'],
  ['compare --drivers etcd --batch-size 129', '--batch-size'],
  ['compare --rounds 0', '--rounds'],
  ['run -w put -w get', '--workload'],
  ['split --rounds 2 --splits 10', '--rounds'],
  ['split --thousand --splits 10', '--thousand'],
  ['split -c 0', '--concurrency'],
  ['split --splits 0', '--splits'],
  ['scale --steps 3', '--steps'],
  ['scale --steps 1,1', '--steps'],
  ['scale --steps 1,x', '--steps'],
  ['scale --leave nobody', '--leave'],
  ['scale --rate 0', '--rate'],
  ['scale --rounds 0', '--rounds'],
  ['snapshot --parts speed,nothing', '--parts'],
  ['snapshot --megabytes 0', '--megabytes'],
  ['snapshot --value-size 1', '--value-size'],
  ['compare-regions --regions 48,48', '--regions'],
  ['compare-regions --regions 0', '--regions'],
  ['run more', 'run'],
  ['nothing', 'nothing'],
];

for (const [line, named] of WRONG) {
  test(`${line}: refused in one line that names ${named}`, () => {
    const { status, stdout, stderr } = run(line);
    assert.ok(status !== 0, `exit ${status}`);
    assert.is(stdout, '');
    assert.is(stderr.trimEnd().split('\n').length, 1, stderr);
    assert.ok(stderr.includes(named), stderr);
  });
}

test('help shows every workload and examples', () => {
  const { status, stdout } = run('run --help');
  assert.is(status, 0);
  for (const part of ['ycsb-a', 'ycsb-f', 'Examples:', '--target']) assert.ok(stdout.includes(part), part);
});
