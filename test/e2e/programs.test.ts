/** The programs as a person uses them: `npm start`, then `mraft kv` and `mraft ctl` as it says, then Ctrl-C. */

import { spawn, type ChildProcess } from 'node:child_process';
import { request } from 'node:http';
import { fileURLToPath } from 'node:url';

import { startLocalCluster } from '../../tools/local-cluster.ts';
import { assert, eventually, suite } from '../harness.ts';
import { MRAFT, runMraft, type Run } from '../tools/mraft-process.ts';

const test = suite('programs', { timeoutMs: 90_000 });

const START = fileURLToPath(new URL('../../tools/start.js', import.meta.url));

let start: ChildProcess;
let printed = '';
let where: string[];

test.before(async () => {
  start = spawn(process.execPath, [START], { stdio: ['ignore', 'pipe', 'pipe'] });
  start.stdout?.on('data', (chunk) => (printed += String(chunk)));
  start.stderr?.on('data', (chunk) => (printed += String(chunk)));
  await eventually('npm start says how to talk to it', () => printed.includes('Ctrl-C stops them'), 60_000);
  const url = /nats:\/\/127\.0\.0\.1:\d+/.exec(printed)?.[0] ?? '';
  where = ['--nats', url, '--cluster', 'local'];
});

function kv(verb: string, ...args: string[]): Promise<Run> {
  return runMraft(['kv', verb, ...where, ...args]);
}

async function prints(expected: string, running: Promise<Run>, code = 0): Promise<void> {
  const run = await running;
  assert.is(run.stdout, expected, run.stderr);
  assert.is(run.code, code, run.stderr);
}

test('the commands that it prints work as they stand', async () => {
  const commands = printed.split('\n').filter((line) => line.includes('dist/tools/mraft.js'));
  assert.ok(commands.length >= 4, printed);
  for (const command of commands) {
    const [, args = ''] = command.split('mraft.js ');
    const run = await runMraft(args.split(' '));
    assert.is(run.code, 0, `${command}: ${run.stderr}`);
  }
});

test('kv scan ends in silence when its reader has enough', async () => {
  const puts = Array.from({ length: 60 }, (_, i) => ({ put: { key: `pipe${i}`, value: 'v'.repeat(8_000) } }));
  await prints('', runMraft(['kv', 'batch', ...where], { input: puts.map((put) => JSON.stringify(put)).join('\n') }));
  const scan = spawn(process.execPath, [MRAFT, 'kv', 'scan', ...where], { stdio: ['ignore', 'pipe', 'pipe'] });
  let complaint = '';
  scan.stderr.on('data', (chunk) => (complaint += String(chunk)));
  scan.stdout.destroy();
  const code = await new Promise((resolve) => scan.on('close', resolve));
  assert.is(complaint, '');
  assert.is(code, 0);
  await prints('', kv('delete-range', 'pipe', 'pipf'));
});

test('kv: every verb', async () => {
  await prints('', kv('put', 'k1', 'v1'));
  await prints('v1\n', kv('get', 'k1'));
  await prints('v1\n', kv('get', 'k1', '--read', 'lease'));
  await prints('', kv('get', 'k-none'), 3);
  await prints('{"key":"k-none","value":null}\n', kv('get', 'k-none', '--json'), 3);
  await prints('', kv('cas', 'k1', 'v1', 'v2'));
  await prints('v2\n', kv('cas', 'k1', 'v1', 'v3'), 3);
  await prints('{"swapped":false,"current":"v2"}\n', kv('cas', 'k1', 'v1', 'v3', '--json'), 3);
  await prints('', kv('cas', 'k2', '--absent', 'v4'));
  const input = '{"put": {"key": "k3", "value": "v5"}}\n{"delete": {"key": "k2"}}\n';
  await prints('', runMraft(['kv', 'batch', ...where], { input }));
  await prints('k1\tv2\nk3\tv5\n', kv('scan', '--gte', 'k1', '--lt', 'k9'));
  await prints('k3\tv5\n', kv('scan', '--gte', 'k1', '--lt', 'k9', '--reverse', '--limit', '1'));
  await prints('{"key":"k1","value":"v2"}\n', kv('scan', '--gte', 'k1', '--lt', 'k3', '--json'));
  await prints('', kv('delete', 'k1'));
  await prints('', kv('delete-range', 'k', 'l'));
  await prints('', kv('scan', '--gte', 'k', '--lt', 'l'));
});

test('kv: wrong input on standard input is refused by its line', async () => {
  const run = await runMraft(['kv', 'batch', ...where], { input: '{"put": {"key": "a", "value": "b"}}\nnonsense\n' });
  assert.is(run.code, 2);
  assert.match(run.stderr, 'line 2');
});

test('ctl: there is one region, two after a split by hand; nodes say how they are', async () => {
  const list = async (): Promise<{ regionId: number; start: string; end: string; leader: number; phase: string }[]> =>
    JSON.parse((await runMraft(['ctl', 'region', 'list', ...where, '--json'])).stdout) as [];
  const [whole, ...more] = await list();
  assert.is(more.length, 0);
  assert.is(`${whole?.start}-${whole?.end}`, '-');
  const split = await runMraft(['ctl', 'region', 'split', ...where, String(whole?.regionId), '--key', 'm']);
  assert.match(split.stdout, /^done: region \d+: split off region \d+ at 'm': done in /, split.stderr);
  const regions = await eventually('there are two', async () => {
    const listed = await list();
    return listed.length === 2 && listed.every(({ leader, phase }) => leader > 0 && phase === 'normal') && listed;
  });
  if (!regions) throw new Error('there are none');
  assert.equal(
    regions.map(({ start, end }) => [start, end]),
    [
      ['', 'm'],
      ['m', ''],
    ],
  );
  const shown = await runMraft(['ctl', 'region', 'show', ...where, '--json', String(regions[1]?.regionId)]);
  assert.is((JSON.parse(shown.stdout) as { regionId: number }).regionId, regions[1]?.regionId);
  const none = await runMraft(['ctl', 'region', 'show', ...where, '4711']);
  assert.is(none.code, 2);
  assert.match(none.stderr, 'no region 4711');

  const nodes = JSON.parse((await runMraft(['ctl', 'node', 'list', ...where, '--json'])).stdout) as {
    nodeId: number;
    leaders: number;
  }[];
  assert.equal(
    nodes.map(({ nodeId }) => nodeId),
    [1, 2, 3],
  );
  assert.is(
    // With that of placement.
    nodes.reduce((sum, { leaders }) => sum + leaders, 0),
    3,
  );
  for (const args of [
    ['node', 'list'],
    ['region', 'list', '--system'],
    ['raft', 'show', '2'],
  ]) {
    const table = await runMraft(['ctl', ...args, ...where]);
    const lines = table.stdout.trim().split('\n');
    assert.is(lines.length, 4, table.stdout);
    assert.ok(
      lines.every((line) => line.length <= 120),
      table.stdout,
    );
  }
});

test('Ctrl-C stops all processes, with exit code 0', async () => {
  const pids = /pids ([\d, ]+)/.exec(printed)?.[1]?.split(', ').map(Number) ?? [];
  assert.is(pids.length, 3, printed);
  const ended = new Promise((resolve) => start.once('exit', resolve));
  start.kill('SIGINT');
  assert.is(await ended, 0);
  for (const pid of pids) assert.throws(() => process.kill(pid, 0), /ESRCH/);
});

test.after(() => void start.kill('SIGINT'));

const metrics = suite('metrics', { timeoutMs: 60_000 });

metrics('a node serves Prometheus metrics on loopback, on a port of its choice when asked for 0', async () => {
  const cluster = await startLocalCluster({ nodes: 1, metricsPort: 0 });
  try {
    const { metrics: port } = cluster.node(1).readyLine;
    assert.type(port, 'number');
    const answered = await eventually('placement is led', async () => {
      const answer = await httpGet(`http://127.0.0.1:${port}/metrics`);
      return answer.body.includes('mraft_placement_leader 1') ? answer : undefined;
    });
    const { status, body = '' } = answered ?? {};
    assert.is(status, 200);
    for (const name of [
      'mraft_leaders 2',
      'mraft_regions{phase="normal"} 2',
      'mraft_regions{phase="merging"} 0',
      'mraft_regions{phase="applying"} 0',
      'mraft_splits_total 0',
      'mraft_merges_total 0',
      'mraft_snapshots_in_flight{direction="out"} 0',
      'mraft_snapshots_in_flight{direction="in"} 0',
      'mraft_operators{kind="leader"} 0',
      'mraft_operators_ended_total{kind="split",outcome="done"} 0',
      'mraft_scheduler_paused{scheduler="merge"} 0',
      'mraft_store_syncs_total',
      'mraft_requests_total',
      'process_cpu_seconds_total',
    ]) {
      assert.ok(body.includes(name), `${name} is missing`);
    }
    assert.is((await httpGet(`http://127.0.0.1:${port}/else`)).status, 404);
  } finally {
    await cluster.stop();
  }
});

function httpGet(url: string): Promise<{ status: number | undefined; body: string }> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += String(chunk)));
      response.on('end', () => resolve({ status: response.statusCode, body }));
    });
    asked.on('error', reject);
    asked.end();
  });
}
