import { connect, createClient, type Client, type ClientOptions } from '../../rpc/client/index.ts';
import {
  BatchCrossesRegions,
  BatchTooLarge,
  InvalidArgument,
  InvalidConfig,
  KeyEmpty,
  KeyTooLong,
  ValueTooLarge,
} from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, rejects, suite } from '../harness.ts';
import { FakeCluster } from './fake-cluster.ts';
import { closeAll, open, text } from './open-client.ts';

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

interfaceTest('a batchGet of long keys is cut so that each request fits a frame', async () => {
  const cluster = new FakeCluster(['m']);
  const client = open(cluster);
  const keys = Array.from({ length: 300 }, (_, i) => `a${i}`.padEnd(LIMITS.keyBytes, '-'));
  await client.put(keys[299]!, 'last');
  const values = await client.batchGet(keys);
  assert.equal(values.map(text), [...new Array<undefined>(299).fill(undefined), 'last']);
  for (const { request } of cluster.asked) {
    const sizeBytes = (request.read?.keys ?? []).reduce((sum, key) => sum + key.length, 0);
    assert.ok(sizeBytes <= LIMITS.frameTargetBytes, `a request of ${sizeBytes} bytes`);
  }
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
  const letters = 'abcdefghijklmnopqrstuvwxyz'.split('');
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
  await Promise.all('abcdefghijklmnopqrst'.split('').map((letter) => client.put(letter, letter)));
  cluster.asked.length = 0;
  for await (const entry of client.scan()) if (text(entry.key) === 'b') break;
  assert.is(cluster.asked.length, 1);
});

interfaceTest('deleteRange removes [start, end) in every region it touches', async () => {
  const cluster = new FakeCluster(['d', 'h', 'p']);
  const client = open(cluster);
  await Promise.all('abcdefghijklmnopqrst'.split('').map((letter) => client.put(letter, letter)));
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
      () =>
        client.batch([
          { type: 'delete', key: 'k' },
          { type: 'delete', key: long },
        ]),
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
  const misspelt = { servers: 'nats://x', cluster: 'test', timeoutMS: 5 };
  assert.is((await rejects(connect(misspelt), InvalidConfig)).details.field, 'timeoutMS');
});
