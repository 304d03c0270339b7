import { connect, createClient, type Client, type ClientOptions } from '../../rpc/client/index.ts';
import {
  BatchCrossesRegions,
  BatchTooLarge,
  Closed,
  DeadlineExceeded,
  EpochNotMatch,
  InvalidArgument,
  InvalidConfig,
  KeyEmpty,
  KeyTooLong,
  NotLeader,
  ServerBusy,
  SessionExpired,
  Unavailable,
  ValueTooLarge,
} from '../../rpc/wire/errors.ts';
import { CommandCursor } from '../../rpc/wire/command.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, eventually, rejects, suite } from '../harness.ts';
import { expired, FakeCluster, type Asked } from './fake-cluster.ts';

const clients: Client[] = [];

function open(cluster: FakeCluster, options: Partial<ClientOptions> = {}): Client {
  const client = createClient(cluster, { cluster: 'test', attemptTimeoutMs: 100, timeoutMs: 5_000, ...options });
  clients.push(client);
  return client;
}

async function closeAll(): Promise<void> {
  for (const client of clients.splice(0)) await client.close();
}

const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString();

function hexOf(key: string): string {
  return Buffer.from(key).toString('hex');
}

/** Sequences of the calls of a write. */
function sequences(asked: Asked): number[] {
  const cursor = new CommandCursor(asked.request.write!);
  const found: number[] = [];
  while (cursor.next()) found.push(cursor.seq);
  return found;
}

const interfaceTest = suite('client: the key-value interface');
interfaceTest.after.each(closeAll);

interfaceTest('put, get, delete; an empty value is a value, a missing key is undefined', async () => {
  const client = open(new FakeCluster(['m']));
  await client.put('a', '1');
  await client.put(Buffer.from('z'), new Uint8Array(0));
  assert.is(text(await client.get('a')), '1');
  assert.is(text(await client.get('z')), '');
  assert.is(await client.get('nothing'), undefined);
  await client.delete('a');
  assert.is(await client.get('a'), undefined);
});

interfaceTest('compareAndSwap says whether it swapped and what stood there', async () => {
  const client = open(new FakeCluster());
  assert.equal(await client.compareAndSwap('k', undefined, 'one'), { swapped: true, current: undefined });
  const refused = await client.compareAndSwap('k', 'two', 'three');
  assert.is(refused.swapped, false);
  assert.is(text(refused.current), 'one');
  assert.equal(await client.compareAndSwap('k', 'one', undefined), { swapped: true, current: undefined });
  assert.equal(await client.compareAndSwap('k', 'one', 'two'), { swapped: false, current: undefined });
});

interfaceTest('batchGet gives the values in the order of the keys, wherever they lie', async () => {
  const client = open(new FakeCluster(['f', 'm', 't']));
  for (const key of ['a', 'g', 'n', 'u', 'b']) await client.put(key, key.toUpperCase());
  const values = await client.batchGet(['u', 'a', 'missing', 'n', 'g', 'b', 'a']);
  assert.equal(values.map(text), ['U', 'A', undefined, 'N', 'G', 'B', 'A']);
  assert.equal(await client.batchGet([]), []);
});

interfaceTest('an answer that did not fit into a frame is asked for in parts', async () => {
  const cluster = new FakeCluster(['m']);
  cluster.readValues = 3;
  const client = open(cluster);
  const keys = Array.from({ length: 20 }, (_, i) => `${i % 2 === 0 ? 'a' : 'z'}${i}`);
  await Promise.all(keys.map((key) => client.put(key, key)));
  assert.equal((await client.batchGet(keys)).map(text), keys);
  assert.equal((await Promise.all(keys.map((key) => client.get(key)))).map(text), keys);
});

interfaceTest('a batch is one call of one region, in order', async () => {
  const cluster = new FakeCluster(['m']);
  const client = open(cluster);
  await client.put('b', 'old');
  await client.batch([
    { type: 'put', key: 'a', value: '1' },
    { type: 'delete', key: 'b' },
    { type: 'put', key: 'a', value: '2' },
  ]);
  assert.equal((await client.batchGet(['a', 'b'])).map(text), ['2', undefined]);
  await client.batch([]);
});

interfaceTest('a batch across regions is refused by name and changes nothing', async () => {
  const cluster = new FakeCluster(['m']);
  const client = open(cluster);
  const crossing = client.batch([
    { type: 'put', key: 'a', value: '1' },
    { type: 'put', key: 'z', value: '1' },
  ]);
  const error = await rejects(crossing, BatchCrossesRegions);
  assert.not(error.details.outcomeUnknown);
  assert.is(cluster.data.size, 0);
});

interfaceTest('scans go both ways across regions, page by page, within their bounds and limit', async () => {
  const cluster = new FakeCluster(['d', 'h', 'p']);
  const client = open(cluster);
  const letters = [...'abcdefghijklmnopqrstuvwxyz'];
  await Promise.all(letters.map((letter) => client.put(letter, letter)));
  const scan = async (options: Parameters<Client['scan']>[0]): Promise<string> => {
    let keys = '';
    for await (const entry of client.scan(options)) keys += text(entry.key)!;
    return keys;
  };
  const all = letters.join('');
  const backwards = letters.toReversed().join('');
  assert.is(await scan({}), all);
  assert.is(await scan({ reverse: true }), backwards);
  for (const page of [1, 2, 5, 100]) {
    cluster.scanPage = page;
    assert.is(await scan({ gte: 'c', lt: 'q' }), 'cdefghijklmnop');
    assert.is(await scan({ gt: 'c', lte: 'q' }), 'defghijklmnopq');
    assert.is(await scan({ gte: 'c', lt: 'q', reverse: true }), 'ponmlkjihgfedc');
    assert.is(await scan({ gt: 'd', lte: 'h', reverse: true }), 'hgfe');
    assert.is(await scan({ gte: 'd', lt: 'h' }), 'defg');
    assert.is(await scan({ limit: 10 }), all.slice(0, 10));
    assert.is(await scan({ limit: 10, reverse: true }), backwards.slice(0, 10));
    assert.is(await scan({ lt: 'd', reverse: true }), 'cba');
    assert.is(await scan({ gte: 'p', read: 'stale' }), 'pqrstuvwxyz');
  }
  assert.is(await scan({ limit: 0 }), '');
  assert.is(await scan({ gte: 'c', lt: 'c' }), '');
  assert.is(await scan({ gt: 'c', lte: 'c' }), '');
  assert.is(await scan({ lt: '' }), '');
});

interfaceTest('a scan that its reader leaves asks for no further page', async () => {
  const cluster = new FakeCluster(['m']);
  const client = open(cluster);
  await Promise.all([...'abcdefghijklmnopqrst'].map((letter) => client.put(letter, letter)));
  cluster.asked.length = 0;
  for await (const entry of client.scan()) if (text(entry.key) === 'b') break;
  assert.is(cluster.asked.length, 1);
});

interfaceTest('deleteRange removes [start, end) in every region it touches', async () => {
  const cluster = new FakeCluster(['d', 'h', 'p']);
  const client = open(cluster);
  await Promise.all([...'abcdefghijklmnopqrst'].map((letter) => client.put(letter, letter)));
  await client.deleteRange('c', 'q');
  let keys = '';
  for await (const entry of client.scan()) keys += text(entry.key)!;
  assert.is(keys, 'abqrst');
  await client.deleteRange('', 'b');
  assert.is(await client.get('a'), undefined);
  await client.deleteRange('x', 'x');
});

const inputTest = suite('client: bad input');
inputTest.after.each(closeAll);

inputTest('each wrong argument has its error and its field, and nothing is sent', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  const wrong = <T>(value: unknown): T => value as T;
  const long = 'k'.repeat(LIMITS.keyBytes + 1);
  const huge = Buffer.alloc(LIMITS.valueBytes + 1);
  type Failing = [() => Promise<unknown>, new (message: string) => Error, string];
  const cases: Failing[] = [
    [() => client.get(''), KeyEmpty, 'key'],
    [() => client.get(wrong(undefined)), InvalidArgument, 'key'],
    [() => client.get(wrong(7)), InvalidArgument, 'key'],
    [() => client.get(long), KeyTooLong, 'key'],
    [() => client.put('', 'v'), KeyEmpty, 'key'],
    [() => client.put('k', huge), ValueTooLarge, 'value'],
    [() => client.put('k', wrong(null)), InvalidArgument, 'value'],
    [() => client.put('k', wrong({})), InvalidArgument, 'value'],
    [() => client.delete(new Uint8Array(0)), KeyEmpty, 'key'],
    [() => client.compareAndSwap('k', huge, 'v'), ValueTooLarge, 'expected'],
    [() => client.compareAndSwap('k', huge.subarray(1), 'v'), ValueTooLarge, 'value'],
    [() => client.batchGet(['a', '']), KeyEmpty, 'keys[1]'],
    [() => client.batchGet(wrong('ab')), InvalidArgument, 'keys'],
    [() => client.batch(wrong(undefined)), InvalidArgument, 'operations'],
    [() => client.batch([wrong({ type: 'merge', key: 'k' })]), InvalidArgument, 'operations[0].type'],
    [() => client.batch([wrong(null)]), InvalidArgument, 'operations[0].type'],
    [() => client.batch([{ type: 'put', key: 'k', value: huge }]), ValueTooLarge, 'operations[0].value'],
    [
      () => client.batch([{ type: 'delete', key: 'k' }, { type: 'delete', key: long }]),
      KeyTooLong,
      'operations[1].key',
    ],
    [
      () => client.batch(Array.from({ length: LIMITS.batchOps + 1 }, () => ({ type: 'delete', key: 'k' }))),
      BatchTooLarge,
      'operations',
    ],
    [
      () =>
        client.batch([
          { type: 'put', key: 'a', value: huge.subarray(1) },
          { type: 'put', key: 'b', value: 'v' },
        ]),
      BatchTooLarge,
      'operations',
    ],
    [() => client.deleteRange('b', 'a'), InvalidArgument, 'start'],
    [() => client.deleteRange('a', ''), KeyEmpty, 'end'],
    [() => client.get('k', { timeoutMs: NaN }), InvalidArgument, 'timeoutMs'],
    [() => client.get('k', { timeoutMs: 0 }), InvalidArgument, 'timeoutMs'],
    [() => client.get('k', { timeoutMs: -1 }), InvalidArgument, 'timeoutMs'],
    [() => client.put('k', 'v', { timeoutMs: LIMITS.timeoutMs + 1 }), InvalidArgument, 'timeoutMs'],
    [() => client.get('k', { read: wrong('fresh') }), InvalidArgument, 'read'],
  ];
  for (const [call, expected, field] of cases) {
    const error = await rejects(call(), expected as unknown as typeof InvalidArgument);
    assert.is(error.details.field, field, String(call));
  }
  const scans: [Parameters<Client['scan']>[0], string][] = [
    [{ gte: 'b', lt: 'a' }, 'gte'],
    [{ gt: 'b', lte: 'a' }, 'gt'],
    [{ gt: 'a', gte: 'a' }, 'gt'],
    [{ lt: 'a', lte: 'a' }, 'lt'],
    [{ limit: -1 }, 'limit'],
    [{ limit: 1.5 }, 'limit'],
    [{ limit: NaN }, 'limit'],
    [{ read: wrong('x') }, 'read'],
  ];
  for (const [options, field] of scans) {
    try {
      client.scan(options);
      assert.unreachable(JSON.stringify(options));
    } catch (error) {
      assert.instance(error, InvalidArgument);
      assert.is((error as InvalidArgument).details.field, field);
    }
  }
  await client.get('k');
  assert.is(cluster.asked.length, 1);
});

inputTest('what is just within the limits is taken', async () => {
  const client = open(new FakeCluster());
  const key = 'k'.repeat(LIMITS.keyBytes);
  const value = Buffer.alloc(LIMITS.valueBytes, 1);
  await client.put(key, value);
  assert.equal(Buffer.compare((await client.get(key))!, value), 0);
  const most = Array.from({ length: LIMITS.batchOps }, (_, i) => ({
    type: 'put' as const,
    key: `k${i}`,
    value: Buffer.alloc(100),
  }));
  await client.batch(most);
});

inputTest('wrong options of a client are refused by field', async () => {
  const cluster = new FakeCluster();
  const wrong: [Partial<ClientOptions>, string][] = [
    [{ cluster: 'a.b' }, 'cluster'],
    [{ timeoutMs: NaN }, 'timeoutMs'],
    [{ attemptTimeoutMs: 0 }, 'attemptTimeoutMs'],
    [{ inflightFrames: 0 }, 'inflightFrames'],
    [{ session: new Uint8Array(65) }, 'session'],
  ];
  for (const [options, field] of wrong) {
    try {
      createClient(cluster, { cluster: 'test', ...options });
      assert.unreachable(field);
    } catch (error) {
      assert.instance(error, InvalidConfig);
      assert.is((error as InvalidConfig).details.field, field);
    }
  }
  await rejects(connect({ servers: 'nats://x', cluster: '' }), InvalidConfig);
});

const routingTest = suite('client: routes heal');
routingTest.after.each(closeAll);

routingTest('a hint of NotLeader is followed at once, and remembered', async () => {
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

routingTest('without a leader the peers are asked in turn until one leads', async () => {
  const cluster = new FakeCluster();
  cluster.region(2).leaderNodeId = 0;
  const client = open(cluster);
  const write = client.put('a', '1');
  await eventually('every peer was asked', () => cluster.nodes.every((node) => cluster.requestsTo(node).length > 0));
  cluster.region(2).leaderNodeId = 2;
  await write;
  assert.is(cluster.effects.get(hexOf('a')), 1);
});

routingTest('two peers that point at each other do not spin the client', async () => {
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

routingTest('a split is learnt from EpochNotMatch, without asking for the routes', async () => {
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

routingTest('a region that its node does not know sends the client for new routes', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  cluster.regions.length = 0;
  cluster.addRegion(20, '', '', 2, 5);
  await client.put('b', '2');
  assert.is(cluster.region(20).sessions.size, 1);
});

routingTest('a batch whose region was split after its first attempt fails, saying that it may have taken effect', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
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

routingTest('reads and range deletes are cut anew when their region was split under them', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  const keys = [...'abcxyz'];
  await Promise.all(keys.map((key) => client.put(key, key)));
  cluster.split(2, 'm', 9);
  assert.equal((await client.batchGet(keys)).map(text), keys);
  cluster.split(9, 'y', 10);
  await client.deleteRange('b', 'z');
  assert.equal((await client.batchGet(keys)).map(text), ['a', undefined, undefined, undefined, undefined, 'z']);
});

routingTest('a range delete that was applied before its region was split is not applied again behind it', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await Promise.all([...'abcxyz'].map((key) => client.put(key, key)));
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

routingTest('a worker without listener is left at once for the next peer', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 60_000 });
  await client.put('a', '1');
  cluster.gone.add(1);
  cluster.region(2).leaderNodeId = 2;
  await client.put('b', '2');
  assert.ok(client.stats.unreachable > 0);
  assert.is(client.stats.attemptTimeouts, 0);
});

routingTest('a silent peer is left after the attempt time-out', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  cluster.intercept = ({ nodeId }) => (nodeId === 1 ? 'drop' : undefined);
  cluster.region(2).leaderNodeId = 3;
  await client.put('b', '2');
  assert.ok(client.stats.attemptTimeouts > 0);
  assert.is(cluster.effects.get(hexOf('b')), 1);
});

routingTest('requests go to the worker that the slot table names, and to worker 0 of a node that tells no count', async () => {
  const cluster = new FakeCluster(['c', 'f', 'i', 'l', 'o', 'r', 'u']);
  cluster.workers = 4;
  const client = open(cluster);
  await Promise.all([...'abcdefghijklmnopqrstuvwxyz'].map((key) => client.put(key, key)));
  assert.ok(new Set(cluster.asked.map((asked) => asked.worker)).size > 1);
  assert.is(Object.keys(client.stats.retries).length, 0);

  const shy = new FakeCluster(['m']);
  shy.workers = 1;
  shy.staleRoutes = { ...shy.routes(), nodes: [] };
  await open(shy).put('z', '1');
  assert.ok(shy.asked.every((asked) => asked.worker === 0));
});

routingTest('stale reads are spread over all replicas', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  cluster.asked.length = 0;
  for (let i = 0; i < 9; i++) assert.is(text(await client.get('a', { read: 'stale' })), '1');
  for (const node of cluster.nodes) assert.is(cluster.requestsTo(node).length, 3);
});

routingTest('calls wait for a cluster that is not there yet', async () => {
  const cluster = new FakeCluster();
  cluster.routesAnswer = 'nobody';
  const client = open(cluster);
  const write = client.put('a', '1');
  await eventually('it was asked for repeatedly', () => cluster.routesAsked > 3);
  cluster.routesAnswer = 'answer';
  await write;
});

const onceTest = suite('client: a write takes effect once');
onceTest.after.each(closeAll);

onceTest('an answer that was lost: the retry has the same session and sequence', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.get('warm');
  let lost = 0;
  cluster.intercept = ({ request }) => (request.write && lost++ < 2 ? 'apply-and-drop' : undefined);
  await client.put('a', '1');
  const writes = cluster.asked.filter((asked) => asked.request.write);
  assert.ok(writes.length >= 3);
  const commands = writes.map((asked) => new CommandCursor(asked.request.write!).session.toString('hex'));
  assert.is(new Set(commands).size, 1);
  assert.is(new Set(writes.flatMap(sequences)).size, 1);
  assert.is(cluster.effects.get(hexOf('a')), 1);
});

onceTest('a compare-and-swap whose answer was lost still says that it swapped', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  let lost = false;
  cluster.intercept = () => (lost ? undefined : ((lost = true), 'apply-and-drop'));
  assert.is((await client.compareAndSwap('a', '1', '2')).swapped, true);
  assert.is(text(await client.get('a')), '2');
});

onceTest('duplicated frames and answers change nothing', async () => {
  const cluster = new FakeCluster(['m']);
  cluster.intercept = () => 'duplicate';
  const client = open(cluster);
  await Promise.all([...'abcxyz'].map((key) => client.put(key, key)));
  for (const key of 'abcxyz') assert.is(cluster.effects.get(hexOf(key)), 1);
  assert.ok(client.stats.unknownAnswers > 0);
});

onceTest('a late answer ends a call whose attempt had been given up', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 50 });
  await client.get('warm');
  cluster.answerAfterMs = 150;
  await client.put('a', '1', { timeoutMs: 2_000 });
  assert.is(cluster.effects.get(hexOf('a')), 1);
  assert.ok(client.stats.lateAnswers >= 1);
});

onceTest('the floor is the lowest unanswered sequence, and a call that is given up no longer holds it', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '0');
  const floors: number[] = [];
  const stuck = new Set<number>();
  cluster.intercept = (asked) => {
    const cursor = new CommandCursor(asked.request.write!);
    floors.push(cursor.floor);
    cursor.next();
    if (cursor.key.of(cursor.bytes).toString() === 'stuck') {
      stuck.add(cursor.seq);
      return 'drop';
    }
    return undefined;
  };
  const doomed = rejects(client.put('stuck', '1', { timeoutMs: 300 }), DeadlineExceeded);
  await eventually('it was sent', () => stuck.size === 1);
  const [seq] = stuck;
  for (let i = 0; i < 5; i++) await client.put('b', String(i));
  assert.ok(floors.every((floor) => floor <= seq!));
  assert.is(floors.at(-1), seq);
  await doomed;
  await client.put('c', '1');
  assert.is(floors.at(-1), seq! + 6);
});

onceTest('a forgotten session: new calls go on under a new one, tried ones fail with SessionExpired', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '0');
  const sessions = new Set<string>();
  let first = true;
  cluster.intercept = ({ request }) => {
    const session = new CommandCursor(request.write!).session.toString('hex');
    sessions.add(session);
    if (sessions.size === 1) {
      if (!first) return expired();
      first = false;
      return expired();
    }
    return undefined;
  };
  await client.put('fresh', '1');
  assert.is(sessions.size, 2);
  assert.is(cluster.effects.get(hexOf('fresh')), 1);
  assert.is(client.stats.sessions, 2);

  let attempts = 0;
  cluster.intercept = () => (++attempts === 1 ? 'apply-and-drop' : expired());
  const error = await rejects(client.put('tried', '1'), SessionExpired);
  assert.is(error.details.outcomeUnknown, true);
  assert.is(cluster.effects.get(hexOf('tried')), 1);
});

onceTest('a user with a session and a sequence of their own has a write once over several clients', async () => {
  const cluster = new FakeCluster();
  const session = Buffer.from('mine');
  await open(cluster).withSession(session, 7).compareAndSwap('a', undefined, '1');
  const again = await open(cluster).withSession(session, 7).compareAndSwap('a', undefined, '1');
  assert.is(again.swapped, true);
  assert.is(cluster.effects.get(hexOf('a')), 1);
  for (const seq of [0, -1, 1.5, NaN]) assert.throws(() => open(cluster).withSession(session, seq));
  assert.throws(() => open(cluster).withSession(new Uint8Array(0), 1));
});

onceTest('the calls of one command are answered each by its own result', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('taken', 'x');
  const [one, two, three, four] = await Promise.all([
    client.compareAndSwap('taken', undefined, 'y'),
    client.put('p', '1'),
    client.compareAndSwap('free', undefined, 'z'),
    client.compareAndSwap('taken', 'x', 'w'),
  ]);
  assert.is(text(one.current), 'x');
  assert.is(two, undefined);
  assert.is(three.swapped, true);
  assert.is(four.swapped, true);
  assert.is(cluster.asked.filter((asked) => asked.request.write).length, 2);
});

const loadTest = suite('client: batching, bounds and deadlines');
loadTest.after.each(closeAll);

loadTest('the calls of one turn leave as one frame a worker, one request a region and kind', async () => {
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

loadTest('calls gather behind unanswered frames, and leave together', async () => {
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

loadTest('a region that does not answer does not hold back the others of its worker', async () => {
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

loadTest('no frame passes the limits, whatever gathers', async () => {
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

loadTest('at the deadline a call fails with its last error and says whether it may have taken effect', async () => {
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

loadTest('each call ends at its own deadline', async () => {
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

loadTest('a broken connection is waited out', async () => {
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

loadTest('more pending calls or bytes than the limits are refused at once as ServerBusy', async () => {
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

loadTest('close rejects what is pending, closes the transport, and later calls are refused', async () => {
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

loadTest('bytes that are no answer are counted and harm nothing', async () => {
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

loadTest('an answer of another kind than its request is a coded error', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  cluster.intercept = () => ({ write: {} });
  const error = await rejects(client.get('a'));
  assert.is((error as Error & { code?: string }).code, 'Internal');
});

loadTest('the errors of an old epoch with the regions of a new one carry those regions', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster);
  await client.put('a', '1');
  let told = false;
  cluster.intercept = () => {
    if (told) return undefined;
    told = true;
    return new EpochNotMatch('another epoch');
  };
  await client.put('b', '1');
  assert.is(client.stats.routeFetches >= 1, true);
});
