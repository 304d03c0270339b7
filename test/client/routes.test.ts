import { BatchCrossesRegions, DeadlineExceeded, EpochNotMatch, NotLeader } from '../../rpc/wire/errors.ts';
import { assert, eventually, rejects, suite } from '../harness.ts';
import { FakeCluster } from './fake-cluster.ts';
import { closeAll, hexOf, open, text } from './open-client.ts';

const test = suite('client: routes heal');
test.after.each(closeAll);

test('a hint of NotLeader is followed at once, and remembered', async () => {
  const cluster = new FakeCluster();
  cluster.staleRoutes = cluster.routes();
  const client = open(cluster);
  await client.put('a', '1');
  cluster.region(2).leaderNodeId = 3;
  await client.put('b', '2');
  assert.is(client.stats.retries['NotLeader'], 1);
  await client.put('c', '3');
  assert.is(client.stats.retries['NotLeader'], 1);
});

test('without a leader the peers are asked in turn until one leads', async () => {
  const cluster = new FakeCluster();
  cluster.region(2).leaderNodeId = 0;
  const client = open(cluster);
  const write = client.put('a', '1');
  await eventually('every peer was asked', () => cluster.nodes.every((node) => cluster.requestsTo(node).length > 0));
  cluster.region(2).leaderNodeId = 2;
  await write;
  assert.is(cluster.effects.get(hexOf('a')), 1);
});

test('two peers that point at each other do not spin the client', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.get('warm');
  cluster.asked.length = 0;
  cluster.intercept = ({ nodeId }) => new NotLeader('ask the other', { leaderNodeId: nodeId === 1 ? 2 : 1 });
  const write = client.put('a', '1', { timeoutMs: 400 });
  const error = await rejects(write, DeadlineExceeded);
  assert.instance(error.cause, NotLeader);
  assert.ok(cluster.asked.length < 30, `${cluster.asked.length} attempts`);
});

test('a split is learnt from EpochNotMatch, without asking for the routes', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  cluster.split(2, 'm', 9);
  await Promise.all([client.put('b', '2'), client.put('z', '2')]);
  assert.is(client.stats.routeFetches, 1);
  assert.ok(client.stats.retries['EpochNotMatch']! > 0);
  const wanted = cluster.asked.at(-1)!;
  assert.is(wanted.request.epoch?.version, 2);
});

test('a region that its node does not know sends the client for new routes', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  cluster.regions.length = 0;
  cluster.addRegion(20, '', '', 2, 5);
  await client.put('b', '2');
  assert.is(cluster.region(20).sessions.size, 1);
});

test('a batch whose region was split after its first attempt fails, saying that it may have taken effect', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 100 });
  await client.get('warm');
  let first = true;
  cluster.intercept = () => {
    if (!first) return undefined;
    first = false;
    cluster.split(2, 'm', 9);
    return 'drop';
  };
  const batch = client.batch([
    { type: 'put', key: 'a', value: '1' },
    { type: 'put', key: 'z', value: '1' },
  ]);
  const error = await rejects(batch, BatchCrossesRegions);
  assert.is(error.details.outcomeUnknown, true);
});

test('reads and range deletes are cut anew when their region was split under them', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  const keys = 'abcxyz'.split('');
  await Promise.all(keys.map((key) => client.put(key, key)));
  cluster.split(2, 'm', 9);
  assert.equal((await client.batchGet(keys)).map(text), keys);
  cluster.split(9, 'y', 10);
  await client.deleteRange('b', 'z');
  assert.equal((await client.batchGet(keys)).map(text), ['a', undefined, undefined, undefined, undefined, 'z']);
});

test('a range delete that was applied before its region was split is not applied again behind it', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 100 });
  await Promise.all('abcxyz'.split('').map((key) => client.put(key, key)));
  let first = true;
  cluster.intercept = ({ request }) => {
    if (!first || !request.write) return undefined;
    first = false;
    setImmediate(() => {
      cluster.split(2, 'm', 9);
      cluster.data.set(hexOf('x'), Buffer.from('written since'));
    });
    return 'apply-and-drop';
  };
  await client.deleteRange('a', 'zz');
  assert.is(text(await client.get('x')), 'written since');
});

test('a worker without listener is left at once for the next peer', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 60_000 });
  await client.put('a', '1');
  cluster.gone.add(1);
  cluster.region(2).leaderNodeId = 2;
  await client.put('b', '2');
  assert.ok(client.stats.unreachable > 0);
  assert.is(client.stats.attemptTimeouts, 0);
});

test('a silent peer is left after the attempt time-out', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 100 });
  await client.put('a', '1');
  cluster.intercept = ({ nodeId }) => (nodeId === 1 ? 'drop' : undefined);
  cluster.region(2).leaderNodeId = 3;
  await client.put('b', '2');
  assert.ok(client.stats.attemptTimeouts > 0);
  assert.is(cluster.effects.get(hexOf('b')), 1);
});

test('requests go to the worker that the slot table names, and to worker 0 of a node that tells no count', async () => {
  const cluster = new FakeCluster(['c', 'f', 'i', 'l', 'o', 'r', 'u']);
  cluster.workers = 4;
  const client = open(cluster);
  await Promise.all('abcdefghijklmnopqrstuvwxyz'.split('').map((key) => client.put(key, key)));
  assert.ok(new Set(cluster.asked.map((asked) => asked.worker)).size > 1);
  assert.is(Object.keys(client.stats.retries).length, 0);

  const shy = new FakeCluster(['m']);
  shy.workers = 1;
  shy.staleRoutes = { ...shy.routes(), nodes: [] };
  await open(shy).put('z', '1');
  assert.ok(shy.asked.every((asked) => asked.worker === 0));
});

test('stale reads are spread over all replicas', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  cluster.asked.length = 0;
  for (let i = 0; i < 9; i++) assert.is(text(await client.get('a', { read: 'stale' })), '1');
  for (const node of cluster.nodes) assert.is(cluster.requestsTo(node).length, 3);
});

test('calls wait for a cluster that is not there yet', async () => {
  const cluster = new FakeCluster();
  cluster.routesAnswer = 'nobody';
  const client = open(cluster);
  const write = client.put('a', '1');
  await eventually('it was asked for repeatedly', () => cluster.routesAsked > 3);
  cluster.routesAnswer = 'answer';
  await write;
});

test('an EpochNotMatch that names no regions sends the client for new routes', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  const before = client.stats.routeFetches;
  let told = false;
  cluster.intercept = () => {
    if (told) return undefined;
    told = true;
    return new EpochNotMatch('another epoch');
  };
  await client.put('b', '1');
  // The question may still have to wait for its turn.
  await eventually('the routes are asked for', async () => {
    await client.put('b', '1');
    return client.stats.routeFetches > before;
  });
});
