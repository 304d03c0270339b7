/** Command lines and configurations that are wrong: one line that names the field, a non-zero exit, no data touched. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { freePort, startBroker, type Broker } from '../../tools/broker.ts';
import { LocalNode } from '../../tools/local-node.ts';
import { assert, eventually, suite } from '../harness.ts';
import { runMraft, type Run } from './mraft-process.ts';

const test = suite('command line', { timeoutMs: 60_000 });

let dir: string;
let data: string;

test.before.each(() => {
  dir = mkdtempSync(join(tmpdir(), 'mraft-cli-'));
  data = join(dir, 'data');
});
test.after.each(() => rmSync(dir, { recursive: true }));

const NOBODY = 'nats://127.0.0.1:9';

/** Flags of a node that would start, with some replaced; null leaves one out. */
function serveArgs(changed: Readonly<Record<string, string | null>> = {}): string[] {
  const flags: Record<string, string | null> = {
    '--cluster': 'c',
    '--node': '1',
    '--peers': '1',
    '--nats': NOBODY,
    '--data': data,
    '--log-level': 'warn',
    ...changed,
  };
  return ['serve', ...Object.entries(flags).flatMap(([flag, value]) => (value === null ? [] : [flag, value]))];
}

function isOneLine(run: Run): boolean {
  return run.stdout === '' && /^[^\n]+\n$/.test(run.stderr);
}

const refused: readonly (readonly [what: string, changed: Record<string, string | null>, named: string])[] = [
  ['an unknown flag', { '--nod': '1' }, '--nod'],
  ['no data directory', { '--data': null }, '--data'],
  ['no node id', { '--node': null }, '--node'],
  ['no cluster', { '--cluster': null }, '--cluster'],
  ['no broker', { '--nats': null }, '--nats'],
  ['an empty data directory', { '--data': '' }, '--data'],
  ['a node id that is no number', { '--node': 'one' }, '--node'],
  ['a negative node id', { '--node': '-1' }, '--node'],
  ['node id 0', { '--node': '0', '--peers': '0' }, '--node'],
  ['peers without this node', { '--peers': '2,3' }, '--peers'],
  ['neither peers nor join', { '--peers': null }, '--peers'],
  ['a label that is no pair', { '--label': 'zone' }, '--label'],
  ['a label with a space', { '--label': 'zone=a b' }, '--label'],
  ['a peer twice', { '--peers': '1,1' }, '--peers'],
  ['peers with a hole', { '--peers': '1,,3' }, '--peers'],
  ['a cluster name that is no subject token', { '--cluster': 'a.*' }, '--cluster'],
  ['a broker that is no address', { '--nats': 'http://x' }, '--nats'],
  ['0 workers', { '--workers': '0' }, '--workers'],
  ['NaN workers', { '--workers': 'NaN' }, '--workers'],
  ['half a worker', { '--workers': '1.5' }, '--workers'],
  ['too many workers', { '--workers': '1000000' }, '--workers'],
  ['0 regions', { '--regions': '0' }, '--regions'],
  ['a port out of range', { '--metrics': '70000' }, '--metrics'],
  [
    'a heartbeat not below half the election time-out',
    { '--election-timeout-ms': '200', '--heartbeat-ms': '100' },
    '--heartbeat-ms',
  ],
  ['a heartbeat above the default election time-out', { '--heartbeat-ms': '900' }, '--heartbeat-ms'],
  ['an election time-out of 0', { '--election-timeout-ms': '0' }, '--election-timeout-ms'],
  ['an unknown log level', { '--log-level': 'loud' }, '--log-level'],
];
test('serve refuses what is wrong in one line that names the flag, and touches no data', async () => {
  // Each run costs a start of Node; four at a time are quick on any machine.
  const waiting = [...refused];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [what, changed, named] = next;
      const run = await runMraft(serveArgs(changed));
      assert.is(run.code, 2, `${what}: exit code ${run.code}: ${run.stderr}`);
      assert.ok(isOneLine(run), `${what}: not one line: ${run.stdout}${run.stderr}`);
      assert.ok(run.stderr.includes(named), `${what}: does not name ${named}: ${run.stderr}`);
    }
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
  assert.not(existsSync(data), 'a data directory was made');
});

test('unknown commands, and values where none belong, are refused', async () => {
  const twice = [...serveArgs(), '--node', '2'];
  const wrong = [
    twice,
    ['sreve'],
    ['kv', 'got', 'a'],
    ['kv', 'get'],
    ['kv', 'put', 'a'],
    ['kv', 'cas', 'k', 'a', 'b', 'c'],
  ];
  for (const args of [...wrong, ['ctl', 'region', 'show', 'x'], ['kv', 'get', 'a', '--read', 'fast']]) {
    const run = await runMraft(args);
    assert.is(run.code, 2, `${args.join(' ')}: ${run.stderr}`);
    assert.ok(isOneLine(run), `${args.join(' ')}: not one line: ${run.stderr}`);
  }
});

test('a data directory that cannot be one is refused in one line that names it', async () => {
  writeFileSync(join(dir, 'file'), '');
  for (const path of [join(dir, 'file'), join(dir, 'file', 'below'), '/proc/mraft']) {
    const run = await runMraft(serveArgs({ '--data': path }));
    assert.ok(run.code !== 0 && run.code !== null, `${path}: exit code ${run.code}`);
    assert.ok(isOneLine(run), `${path}: not one line: ${run.stderr}`);
    assert.match(run.stderr, '--data');
  }
});

test('a directory with a database of something else is refused, and left alone', async () => {
  mkdirSync(data);
  writeFileSync(join(data, 'CURRENT'), 'MANIFEST-000001\n');
  const run = await runMraft(serveArgs());
  assert.is(run.code, 1, run.stderr);
  assert.ok(isOneLine(run), run.stderr);
  assert.match(run.stderr, '--data');
  assert.equal(readdirSync(data), ['CURRENT']);
  assert.is(readFileSync(join(data, 'CURRENT'), 'utf8'), 'MANIFEST-000001\n');
});

test('the data directory of another node or cluster, or one in use, is refused in one line', async () => {
  const broker = await startBroker({ dir });
  const node = localNode(broker);
  try {
    await node.start();
    const inUse = await runMraft(serveArgs({ '--nats': broker.url }));
    await node.term();
    const otherNode = await runMraft(serveArgs({ '--nats': broker.url, '--node': '2', '--peers': '1,2' }));
    const otherCluster = await runMraft(serveArgs({ '--nats': broker.url, '--cluster': 'd' }));
    for (const [run, code] of [
      [inUse, 'DataDirInUse'],
      [otherNode, 'DataDirMismatch'],
      [otherCluster, 'DataDirMismatch'],
    ] as const) {
      assert.is(run.code, 1, run.stderr);
      assert.ok(isOneLine(run), `not one line: ${run.stderr}`);
      assert.match(run.stderr, code);
      assert.match(run.stderr, '--data');
    }
    // And its own node finds it as it was.
    await node.start();
  } finally {
    await node.term();
    await broker.stop();
  }
});

test('without a broker a node keeps trying and says so, serves when it comes, and can be stopped before', async () => {
  const port = await freePort();
  const node = new LocalNode({
    id: 1,
    args: serveArgs({ '--nats': `nats://127.0.0.1:${port}` }).slice(1),
    dataDir: data,
    logPath: join(dir, 'node.log'),
    detached: false,
  });
  node.launch();
  await eventually('it says so', () => readFileSync(join(dir, 'node.log'), 'utf8').includes(`127.0.0.1:${port}`));
  assert.ok(node.isRunning);
  assert.equal(await node.term(), { code: 0, signal: null });
  node.launch();
  const broker = await startBroker({ dir, port });
  try {
    await node.ready();
  } finally {
    await node.term();
    await broker.stop();
  }
});

test('without a broker kv and ctl give up after their time-out with one line', async () => {
  for (const args of [
    ['kv', 'get', 'a'],
    ['ctl', 'region', 'list'],
  ]) {
    const run = await runMraft([...args, '--nats', NOBODY, '--timeout-ms', '300']);
    assert.is(run.code, 1, run.stderr);
    assert.ok(isOneLine(run), run.stderr);
    assert.match(run.stderr, 'Unavailable');
  }
});

function localNode(broker: Broker): LocalNode {
  const args = serveArgs({ '--nats': broker.url }).slice(1);
  return new LocalNode({ id: 1, args, dataDir: data, logPath: join(dir, 'node.log'), detached: false });
}
