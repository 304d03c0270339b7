/** The scenarios on real clusters, as small as they go: their parts fit together, what they check holds, nothing is left. */

import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';

import type { ScaleReport } from '../../bench/scenarios/scale.ts';
import type { SnapshotReport } from '../../bench/scenarios/snapshot.ts';
import type { SplitReport } from '../../bench/scenarios/split.ts';
import { assert, eventually, note, suite } from '../harness.ts';

const PROGRAM = fileURLToPath(new URL('../../bench/mraft-bench.js', import.meta.url));
const test = suite('scenarios of mraft-bench', { timeoutMs: 180_000 });

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** @param onStart is told the id of the process */
function run(line: string, onStart?: (pid: number) => void): Promise<Ended> {
  const child = spawn(process.execPath, [PROGRAM, ...line.split(' ')], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  onStart?.(child.pid as number);
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })));
}

async function reportOf<T>(line: string): Promise<T> {
  const { code, stdout, stderr } = await run(`${line} --json`);
  assert.is(code, 0, stderr || stdout);
  return (JSON.parse(stdout) as { report: T }).report;
}

test('split: regions are split between puts, and the key space is tiled afterwards', async () => {
  const report = await reportOf<SplitReport>(
    'split --regions 4 -c 16 --records 1000 --timeout-ms 10000 --warmup 0.2 --rounds 1 --duration 1',
  );
  const [quiet, splitting] = report.windows;
  const done = splitting?.splits?.done ?? 0;
  note(`split: ${done} splits in 1 s, each ${splitting?.splits?.latency.p50Ms.toFixed(0)} ms`);
  assert.ok((quiet?.calls ?? 0) > 0 && (splitting?.calls ?? 0) > 0);
  assert.ok(done > 0, JSON.stringify(splitting?.splits));
  assert.equal(report.errors, {});
  assert.is(report.isSound, true, JSON.stringify(report.placementTiling));
  assert.is(report.placementTiling.regions, 4 + done);
  assert.is(report.served, 4 + done);
});

test('scale: a node joins and leaves, leaders even out, nothing that was acknowledged is lost', async () => {
  const report = await reportOf<ScaleReport>(
    'scale --steps 1,2,1 --regions 4 --records 300 --rate 100 --deadline-ms 10000 --warmup 0.2 --observe 3 --rounds 1',
  );
  const [round] = report.rounds;
  if (!round) throw new Error('there is no round');
  note(`scale: even ${round.changes.map(({ evenness }) => `${evenness.sinceMs} ms`).join(', ')} after each change`);
  assert.equal(
    round.changes.map(({ from, to, nodes }) => [from, to, nodes]),
    [
      [1, 2, [2]],
      [2, 1, [2]],
    ],
  );
  assert.equal(round.errors, {});
  assert.is(report.isSound, true, round.examples.join('; '));
  assert.is(round.verified, 300);
  assert.ok(round.acknowledgedWrites > 300);
});

test('snapshot: snapshots and plain copies hold the same keys, and callers put on while one is under way', async () => {
  const report = await reportOf<SnapshotReport>(
    'snapshot --megabytes 4 --rounds 1 -c 16 --timeout-ms 10000 --warmup 0.2 --duration 1',
  );
  const [speed] = report.speed;
  note(`snapshot: ${speed?.snapshotBytesPerSecond.toFixed(0)} B/s, plain copy ${speed?.copyBytesPerSecond.toFixed(0)}`);
  assert.ok((speed?.transferMs ?? 0) > 0 && (speed?.copyMs ?? 0) > 0);
  const [quiet, snapshot] = report.windows;
  assert.ok((quiet?.calls ?? 0) > 0 && (snapshot?.calls ?? 0) > 0);
  assert.ok((snapshot?.snapshots?.count ?? 0) > 0);
  assert.ok((snapshot?.snapshots?.underWay ?? 0) > 0, 'some of the window had a snapshot under way');
  assert.equal(report.errors, {});
});

test('Ctrl-C in the middle stops every process and removes the data', async () => {
  const before = new Set(clusterFolders());
  let pid = 0;
  const ended = run('split --splits 5000 -c 16 --regions 4 --records 500 --timeout-ms 10000', (id) => (pid = id));
  await eventually('the broker and three nodes are there', () => children(pid).length === 4, 60_000);
  const own = children(pid);
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  process.kill(pid, 'SIGINT');
  const { code, stderr } = await ended;
  assert.is(code, 130, stderr);
  assert.match(stderr, /interrupted by SIGINT/);
  assert.equal(own.filter(isAlive), []);
  const left = clusterFolders().filter((folder) => !before.has(folder) && mentions(folder, own));
  assert.equal(left, []);
});

function clusterFolders(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('mraft-cluster-'));
}

/** Whether a node of ours wrote its log there; other tests make such folders too. */
function mentions(folder: string, pids: readonly number[]): boolean {
  const log = `${tmpdir()}/${folder}/node-1.log`;
  const text = existsSync(log) ? readFileSync(log, 'utf8') : '';
  return pids.some((pid) => text.includes(`"pid":${pid}`));
}

function children(pid: number): number[] {
  const path = `/proc/${pid}/task/${pid}/children`;
  return existsSync(path) ? readFileSync(path, 'utf8').split(' ').filter(Boolean).map(Number) : [];
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
