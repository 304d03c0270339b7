import { Closed, DeadlineExceeded, ServerBusy, Unavailable } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, rejects, suite } from '../harness.ts';
import { FakeCluster } from './fake-cluster.ts';
import { closeAll, hexOf, open, text } from './open-client.ts';

const test = suite('client: batching, bounds and deadlines');
test.after.each(closeAll);

test('the calls of one turn leave as one frame a worker, one request a region and kind', async () => {
  const cluster = new FakeCluster(['m']);
  cluster.workers = 1;
  const client = open(cluster);
  await client.get('warm');
  cluster.frames = 0;
  cluster.asked.length = 0;
  const calls: Promise<unknown>[] = [];
  for (let i = 0; i < 100; i++) calls.push(client.put(`a${i}`, '1'), client.put(`z${i}`, '1'), client.get(`a${i}`));
  await Promise.all(calls);
  assert.is(cluster.frames, 2);
  assert.is(cluster.asked.length, 3);
});

test('calls gather behind unanswered frames, and leave together', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { inflightFrames: 1 });
  await client.get('warm');
  cluster.frames = 0;
  cluster.answerAfterMs = 30;
  const calls: Promise<unknown>[] = [];
  for (let turn = 0; turn < 10; turn++) {
    calls.push(client.put(`k${turn}`, '1'));
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all(calls);
  assert.is(cluster.frames, 2);
});

test('a region that does not answer does not hold back the others of its worker', async () => {
  const cluster = new FakeCluster(['m']);
  cluster.nodes = [1, 2, 3];
  cluster.workers = 1;
  for (const region of cluster.regions) region.leaderNodeId = 1;
  const client = open(cluster, { inflightFrames: 1, attemptTimeoutMs: 60_000 });
  await client.get('warm');
  cluster.intercept = ({ request }) => (request.regionId === 3 ? 'drop' : undefined);
  const stuck = rejects(client.put('z', '1', { timeoutMs: 3_000 }), DeadlineExceeded);
  await new Promise((resolve) => setTimeout(resolve, 5));
  for (let i = 0; i < 5; i++) await client.put(`a${i}`, '1', { timeoutMs: 2_000 });
  await stuck;
});

test('no frame passes the limits, whatever gathers', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.get('warm');
  let largest = 0;
  let commands = 0;
  const send = cluster.send.bind(cluster);
  cluster.send = (nodeId, worker, frame) => {
    largest = Math.max(largest, frame.length);
    return send(nodeId, worker, frame);
  };
  cluster.intercept = ({ request }) => {
    commands = Math.max(commands, request.write?.length ?? 0);
    return undefined;
  };
  const values = [1, 1_000, 50_000, 300_000, LIMITS.valueBytes];
  await Promise.all(Array.from({ length: 60 }, (_, i) => client.put(`k${i}`, Buffer.alloc(values[i % 5]!))));
  assert.ok(largest <= LIMITS.frameBytes, `frame of ${largest}`);
  assert.ok(commands <= LIMITS.entryBytes, `command of ${commands}`);
  assert.is(cluster.data.size, 60);
});

test('at the deadline a call fails with its last error and says whether it may have taken effect', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.get('warm');
  cluster.intercept = () => new ServerBusy('full');
  const busy = await rejects(client.put('a', '1', { timeoutMs: 150 }), DeadlineExceeded);
  assert.instance(busy.cause, ServerBusy);
  assert.is(busy.details.outcomeUnknown, true);
  const read = await rejects(client.get('a', { timeoutMs: 150 }), DeadlineExceeded);
  assert.is(read.details.outcomeUnknown, undefined);
  cluster.connected = false;
  const unsent = await rejects(client.put('a', '1', { timeoutMs: 150 }), DeadlineExceeded);
  assert.instance(unsent.cause, Unavailable);
  assert.is(unsent.details.outcomeUnknown, false);
  assert.is(client.pendingCalls, 0);
});

test('each call ends at its own deadline', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 60_000 });
  await client.get('warm');
  cluster.intercept = () => 'drop';
  const ended: number[] = [];
  const calls = [400, 50, 200, 100].map((timeoutMs) =>
    rejects(client.get('a', { timeoutMs }), DeadlineExceeded).then(() => ended.push(timeoutMs)),
  );
  await Promise.all(calls);
  assert.equal(ended, [50, 100, 200, 400]);
});

test('a broken connection is waited out', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  cluster.connected = false;
  const write = client.put('b', '2');
  await new Promise((resolve) => setTimeout(resolve, 50));
  cluster.connected = true;
  await write;
  assert.is(cluster.effects.get(hexOf('b')), 1);
});

test('more pending calls or bytes than the limits are refused at once as ServerBusy', async () => {
  const cluster = new FakeCluster();
  cluster.routesAnswer = 'nobody';
  const client = open(cluster);
  const value = Buffer.alloc(LIMITS.valueBytes);
  const outcomes: string[] = [];
  const calls: Promise<unknown>[] = [];
  const bytesFit = Math.floor(LIMITS.clientPendingBytes / LIMITS.valueBytes) - 1;
  for (let i = 0; i < bytesFit + 10; i++) {
    calls.push(client.put(`k${i}`, value, { timeoutMs: 300 }).catch((error: Error) => outcomes.push(error.name)));
  }
  await Promise.all(calls);
  assert.ok(outcomes.filter((name) => name === 'ServerBusy').length >= 8);
  assert.ok(outcomes.filter((name) => name === 'DeadlineExceeded').length >= bytesFit - 1);
  assert.is(client.pendingCalls, 0);
});

test('close rejects what is pending, closes the transport, and later calls are refused', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.get('warm');
  cluster.intercept = () => 'drop';
  const pending = [client.put('a', '1'), client.get('b')];
  await new Promise((resolve) => setTimeout(resolve, 5));
  const closing = client.close();
  for (const call of pending) await rejects(call, Closed);
  await closing;
  await client.close();
  assert.ok(cluster.closed);
  await rejects(client.get('a'), Closed);
});

test('bytes that are no answer are counted and harm nothing', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  for (let i = 0; i < 200; i++) {
    const garbage = Buffer.from(Array.from({ length: 1 + (i % 40) }, (_, j) => (i * 31 + j * 17) % 256));
    cluster.onResponse(garbage);
  }
  assert.ok(client.stats.malformedFrames > 0);
  assert.is(text(await client.get('a')), '1');
});

test('an answer of another kind than its request is a coded error', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  cluster.intercept = () => ({ write: {} });
  const error = await rejects(client.get('a'));
  assert.is((error as Error & { code?: string }).code, 'Internal');
});
