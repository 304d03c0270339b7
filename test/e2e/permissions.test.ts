/** A broker with permissions: the very text of rpc/nats/README.md, a real nats-server, and nodes, clients and people under it. */

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { Calls, connectLink } from '../../rpc/nats/index.ts';
import { MraftError } from '../../rpc/wire/errors.ts';
import { subjects } from '../../rpc/wire/subjects.ts';
import { Admin } from '../../tools/admin.ts';
import { startBroker, type Broker } from '../../tools/broker.ts';
import { LocalNode } from '../../tools/local-node.ts';
import { assert, eventually, rejects, suite } from '../harness.ts';
import { runMraft, type Run } from '../tools/mraft-process.ts';

const test = suite('permissions', { timeoutMs: 120_000 });

const CLUSTER = 'orders';
/** Built files lie below dist/. */
const README = fileURLToPath(new URL('../../../rpc/nats/README.md', import.meta.url));
const SECRETS: Readonly<Record<string, string>> = {
  node1: 'secret1',
  node2: 'secret2',
  node3: 'secret3',
  client: 'secret4',
  json: 'secret5',
  operator: 'secret6',
};

let dir: string;
let broker: Broker;
let nodes: LocalNode[];
let operator: Admin;

const urlOf = (user: string): string => `nats://${user}:${SECRETS[user]}@127.0.0.1:${broker.port}`;

test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mraft-permissions-'));
  const [, config = ''] = /```nats-server\n([\s\S]*?)```/.exec(readFileSync(README, 'utf8')) ?? [];
  writeFileSync(join(dir, 'broker.conf'), config);
  broker = await startBroker({ dir, args: ['-c', join(dir, 'broker.conf')] });
  nodes = [1, 2, 3].map((id) => {
    const dataDir = join(dir, `node-${id}`);
    const args = ['--cluster', CLUSTER, '--node', String(id), '--peers', '1,2,3', '--nats', urlOf(`node${id}`)];
    const logPath = join(dir, `node-${id}.log`);
    return new LocalNode({ id, args: [...args, '--data', dataDir], dataDir, logPath, detached: false });
  });
  for (const node of nodes) node.launch();
  await Promise.all(nodes.map((node) => node.ready()));
  operator = await Admin.connect({ cluster: CLUSTER, nats: urlOf('operator') });
  await eventually(
    'placement knows the nodes, and the region of keys',
    async () => {
      const known = (await operator.placement('node.list')) as { state: string }[];
      return known.filter(({ state }) => state === 'up').length === 3 && (await operator.placedRegions()).length === 1;
    },
    60_000,
  );
});
test.after(async () => {
  await operator.close();
  await Promise.all(nodes.map((node) => node.term()));
  await broker.stop();
  rmSync(dir, { recursive: true });
});

const mraft = (user: string, ...args: string[]): Promise<Run> =>
  runMraft([...args, '--cluster', CLUSTER, '--nats', urlOf(user), '--timeout-ms', '3000']);

/** What the broker complains of while something is done over a connection of this user. */
async function refusals(user: string, act: (calls: Calls) => Promise<unknown>): Promise<string[]> {
  const refused: string[] = [];
  const onPermissionError = (operation: string, subject: string): void => void refused.push(`${operation} ${subject}`);
  const link = await connectLink({ servers: urlOf(user), name: 'permissions', onPermissionError });
  const calls = new Calls(link);
  try {
    await act(calls);
    await link.flush(2_000);
    await new Promise((resolve) => setTimeout(resolve, 300));
  } finally {
    calls.close();
    await link.close();
  }
  return refused;
}

test('nodes find each other and serve, and nothing that they need is refused', async () => {
  await eventually('a key is written', async () => (await mraft('client', 'kv', 'put', 'a', '1')).code === 0, 30_000);
  assert.is((await mraft('client', 'kv', 'get', 'a')).stdout, '1\n');
  const split = await mraft('operator', 'ctl', 'region', 'split', '2', '--key', 'm');
  assert.is(split.code, 0, split.stderr);
  const [first, second] =
    (await eventually('there are two', async () => {
      const regions = await operator.placedRegions();
      return regions.length === 2 ? regions : undefined;
    })) ?? [];
  const merged = await mraft('operator', 'ctl', 'region', 'merge', String(second?.regionId), String(first?.regionId));
  assert.is(merged.code, 0, merged.stderr);
  for (const { logPath } of nodes) assert.not.match(readFileSync(logPath, 'utf8'), /the broker refuses/);
});

test('who talks JSON reads and writes keys, and is nobody to the rest', async () => {
  const refused = await refusals('json', async (calls) => {
    await rejects(calls.ask(subjects.kv(CLUSTER, 'nothing'), {}, 1_000), MraftError);
    await rejects(calls.ask(subjects.placement(CLUSTER, 'settings.set'), { patch: { replicas: 1 } }, 500), MraftError);
    await rejects(calls.ask(subjects.client(CLUSTER, 1, 0), {}, 500), MraftError);
  });
  assert.is(refused.length, 2, refused.join());
});

test('a client changes keys and nothing else', async () => {
  for (const args of [
    ['settings', 'set', 'replicas=1'],
    ['node', 'drain', '1', '--no-wait'],
    ['region', 'unsafe-recover', '2', '1', '--lost', '2,3'],
  ]) {
    const run = await mraft('client', 'ctl', ...args);
    assert.is(run.code, 1, args.join(' '));
    assert.match(run.stderr, /^mraft: (PlacementUnavailable|Unavailable): [^\n]+\n$/);
  }
  assert.is(((await operator.placement('settings.get')) as { replicas: number }).replicas, 3);
  const states = ((await operator.placement('node.list')) as { state: string }[]).map(({ state }) => state);
  assert.equal(states, ['up', 'up', 'up']);
});

test('a node speaks only as itself, to peers and by gossip, and gives no orders to placement', async () => {
  const link = subjects.peer(CLUSTER, 3, 0, 'raft', 1);
  const refused = await refusals('node2', async (calls) => {
    const silent = [link, subjects.gossip(CLUSTER, 3, 1), subjects.placement(CLUSTER, 'node.drain')];
    for (const subject of silent) await rejects(calls.ask(subject, { nodeId: 1 }, 300), MraftError);
    // As itself it may.
    await rejects(calls.ask(subjects.peer(CLUSTER, 3, 0, 'raft', 2), {}, 300), MraftError);
  });
  assert.is(refused.length, 3, refused.join());
  assert.ok(refused[0]?.includes(link));
});

test('an operator sees everything but keys', async () => {
  const list = await mraft('operator', 'ctl', 'region', 'list', '--system');
  assert.is(list.code, 0, list.stderr);
  assert.is((await mraft('operator', 'kv', 'put', 'a', '2')).code, 1);
  assert.is((await mraft('client', 'kv', 'get', 'a')).stdout, '1\n');
});
