import { createClient, handleJson, handleProtobuf, serveKv, type Client } from '../../rpc/client/index.ts';
import { connectLink, natsHeaders, rawConnect } from '../../rpc/nats/index.ts';
import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { startBroker } from '../../tools/broker.ts';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assert, eventually, suite } from '../harness.ts';
import { FakeCluster } from './fake-cluster.ts';

const test = suite('service: JSON for any NATS client');

let cluster: FakeCluster;
let client: Client;

test.before.each(() => {
  cluster = new FakeCluster(['m']);
  client = createClient(cluster, { cluster: 'test' });
});
test.after.each(() => client.close());

interface ErrorBody {
  error: { code: string; message: string; retryable: boolean; field?: string; outcomeUnknown?: boolean };
}

async function ask(verb: string, request: unknown): Promise<Record<string, unknown>> {
  const payload = typeof request === 'string' ? request : JSON.stringify(request);
  const answer = await handleJson(client, verb, Buffer.from(payload));
  return JSON.parse(Buffer.from(answer.payload).toString()) as Record<string, unknown>;
}

async function refused(verb: string, request: unknown): Promise<ErrorBody['error']> {
  const body = (await ask(verb, request)) as unknown as ErrorBody;
  assert.ok(body.error, `${verb} ${JSON.stringify(request).slice(0, 100)} was taken`);
  return body.error;
}

test('every verb, as the README says it', async () => {
  assert.equal(await ask('put', { key: 'a', value: 'b' }), { ok: true });
  assert.equal(await ask('get', { key: 'a' }), { value: 'b' });
  assert.equal(await ask('get', { key: 'none' }), { value: null });
  assert.equal(await ask('cas', { key: 'a', expected: 'b', value: 'c' }), { swapped: true });
  assert.equal(await ask('cas', { key: 'a', expected: 'b', value: 'd' }), { swapped: false, current: 'c' });
  assert.equal(await ask('cas', { key: 'n', expected: null, value: '1' }), { swapped: true });
  assert.equal(await ask('cas', { key: 'n', expected: '1', value: null }), { swapped: true });
  assert.equal(await ask('cas', { key: 'n', expected: '1', value: null }), { swapped: false, current: null });
  assert.equal(await ask('batch', { ops: [{ put: { key: 'b', value: '2' } }, { delete: { key: 'a' } }] }), {
    ok: true,
  });
  assert.equal(await ask('scan', {}), { entries: [{ key: 'b', value: '2' }], next: null });
  assert.equal(await ask('delete', { key: 'b' }), { ok: true });
  await ask('put', { key: 'x', value: '' });
  assert.equal(await ask('get', { key: 'x', read: 'stale', timeoutMs: 1000 }), { value: '' });
  assert.equal(await ask('deleteRange', { start: 'a', end: 'z' }), { ok: true });
  assert.equal(await ask('get', { key: 'x' }), { value: null });
});

test('bytes that are no text go in and out as base64', async () => {
  const key64 = Buffer.from([255, 0, 1]).toString('base64');
  const value64 = Buffer.from([0xc3, 0x28]).toString('base64');
  await ask('put', { key64, value64 });
  assert.equal(await ask('get', { key64 }), { value64 });
  assert.equal(await ask('scan', { gte64: key64 }), { entries: [{ key64, value64 }], next: null });
  await ask('put', { key: 'text', value64: Buffer.from('plain').toString('base64') });
  assert.equal(await ask('get', { key: 'text' }), { value: 'plain' });
});

test('a value of control characters does not grow beyond what a broker takes', async () => {
  await client.put('a', Buffer.alloc(LIMITS.valueBytes, 1));
  const answer = await handleJson(client, 'get', Buffer.from('{"key":"a"}'));
  assert.ok(answer.payload.length < 1024 * 1024, `${answer.payload.length} bytes`);
});

test('a scan goes on from next, both ways, until there is no more', async () => {
  const letters = 'abcdefghijklmnopqrstuvwxyz'.split('');
  await Promise.all(letters.map((letter) => client.put(letter, letter)));
  for (const reverse of [false, true]) {
    let keys = '';
    let from: Record<string, unknown> = {};
    for (;;) {
      const page = await ask('scan', { ...from, reverse, limit: 4 });
      const entries = page['entries'] as { key: string }[];
      assert.ok(entries.length <= 4);
      keys += entries.map((entry) => entry.key).join('');
      if (page['next'] === null) break;
      from = reverse ? { lte: page['next'] } : { gte: page['next'] };
    }
    assert.is(keys, (reverse ? letters.toReversed() : letters).join(''));
  }
});

test('a page is bounded in bytes, and one entry may pass the bound alone', async () => {
  const large = Buffer.alloc(LIMITS.scanPageBytes - 100, 'x');
  await Promise.all(['a', 'b', 'c'].map((key) => client.put(key, large)));
  await client.put('d', Buffer.alloc(LIMITS.valueBytes, 'y'));
  const page = await ask('scan', {});
  assert.is((page['entries'] as unknown[]).length, 1);
  assert.is(page['next'], 'b');
  const last = await ask('scan', { gte: 'd' });
  assert.is((last['entries'] as unknown[]).length, 1);
});

test('a session and a sequence make a request take effect once, whoever repeats it', async () => {
  const request = { key: 'n', expected: null, value: '1', session: 'me', seq: 5 };
  assert.equal(await ask('cas', request), { swapped: true });
  assert.equal(await ask('cas', request), { swapped: true });
  assert.equal(await ask('cas', { ...request, seq: 6 }), { swapped: false, current: '1' });
});

test('each wrong request has its code and its field', async () => {
  const cases: [string, unknown, string, string | undefined][] = [
    ['get', '{"key":', 'MalformedRequest', undefined],
    ['get', '', 'MalformedRequest', undefined],
    ['get', '[]', 'InvalidArgument', 'the request'],
    ['get', 'null', 'InvalidArgument', 'the request'],
    ['get', '7', 'InvalidArgument', 'the request'],
    ['get', {}, 'InvalidArgument', 'key'],
    ['get', { key: '' }, 'KeyEmpty', 'key'],
    ['get', { key: 7 }, 'InvalidArgument', 'key'],
    ['get', { key: null }, 'InvalidArgument', 'key'],
    ['get', { key: 'k'.repeat(LIMITS.keyBytes + 1) }, 'KeyTooLong', 'key'],
    ['get', { key: 'a', key64: 'YQ==' }, 'InvalidArgument', 'key'],
    ['get', { key64: 'YQ=' }, 'InvalidArgument', 'key64'],
    ['get', { key64: '%%%%' }, 'InvalidArgument', 'key64'],
    ['get', '{"key":"\\ud800"}', 'InvalidArgument', 'key'],
    ['get', { key: 'a', value: 'b' }, 'InvalidArgument', 'value'],
    ['get', { key: 'a', colour: 'b' }, 'InvalidArgument', 'colour'],
    ['get', '{"key":"a","__proto__":{}}', 'InvalidArgument', '__proto__'],
    ['get', { key: 'a', read: 'fresh' }, 'InvalidArgument', 'read'],
    ['get', { key: 'a', timeoutMs: '5' }, 'InvalidArgument', 'timeoutMs'],
    ['get', { key: 'a', timeoutMs: -5 }, 'InvalidArgument', 'timeoutMs'],
    ['get', { key: 'a', timeoutMs64: 'YQ==' }, 'InvalidArgument', 'timeoutMs64'],
    ['put', { key: 'a' }, 'InvalidArgument', 'value'],
    ['put', { key: 'a', value: null }, 'InvalidArgument', 'value'],
    ['put', { key: 'a', value: 'v'.repeat(LIMITS.valueBytes + 1) }, 'ValueTooLarge', 'value'],
    ['put', { key: 'a', value: 'v', session: 's' }, 'InvalidArgument', 'seq'],
    ['put', { key: 'a', value: 'v', seq: 1 }, 'InvalidArgument', 'session'],
    ['put', { key: 'a', value: 'v', session: '', seq: 1 }, 'InvalidArgument', 'session'],
    ['put', { key: 'a', value: 'v', session: 's'.repeat(65), seq: 1 }, 'InvalidArgument', 'session'],
    ['put', { key: 'a', value: 'v', session: 's', seq: 0 }, 'InvalidArgument', 'seq'],
    ['put', { key: 'a', value: 'v', session: 's', seq: 1.5 }, 'InvalidArgument', 'seq'],
    ['put', { key: 'a', value: 'v', session: 's', seq: 2 ** 53 }, 'InvalidArgument', 'seq'],
    ['cas', { key: 'a', value: 'v' }, 'InvalidArgument', 'expected'],
    ['cas', { key: 'a', expected: 'v' }, 'InvalidArgument', 'value'],
    ['batch', {}, 'InvalidArgument', 'ops'],
    ['batch', { ops: {} }, 'InvalidArgument', 'ops'],
    ['batch', { ops: [1] }, 'InvalidArgument', 'ops[0]'],
    ['batch', { ops: [{}] }, 'InvalidArgument', 'ops[0]'],
    ['batch', { ops: [{ put: { key: 'a', value: 'b' }, delete: { key: 'a' } }] }, 'InvalidArgument', 'ops[0]'],
    ['batch', { ops: [{ merge: { key: 'a' } }] }, 'InvalidArgument', 'ops[0]'],
    ['batch', { ops: [{ put: { key: 'a' } }] }, 'InvalidArgument', 'ops[0].put.value'],
    ['batch', { ops: [{ delete: { key: 'a', value: 'b' } }] }, 'InvalidArgument', 'value'],
    ['batch', { ops: [{ delete: { key: 'a', key64: 'YQ==' } }] }, 'InvalidArgument', 'ops[0].delete.key'],
    [
      'batch',
      { ops: [{ put: { key: 'a', value: '1' } }, { put: { key: 'z', value: '1' } }] },
      'BatchCrossesRegions',
      'operations',
    ],
    ['batch', { ops: Array(LIMITS.batchOps + 1).fill({ delete: { key: 'a' } }) }, 'BatchTooLarge', 'operations'],
    ['scan', { gte: 'b', lt: 'a' }, 'InvalidArgument', 'gte'],
    ['scan', { gte: 'a', gt: 'a' }, 'InvalidArgument', 'gt'],
    ['scan', { reverse: 'yes' }, 'InvalidArgument', 'reverse'],
    ['scan', { limit: LIMITS.scanPageEntries + 1 }, 'InvalidArgument', 'limit'],
    ['scan', { limit: -1 }, 'InvalidArgument', 'limit'],
    ['scan', { limit: 0.5 }, 'InvalidArgument', 'limit'],
    ['deleteRange', { start: 'b', end: 'a' }, 'InvalidArgument', 'start'],
    ['deleteRange', { start: 'b' }, 'InvalidArgument', 'end'],
    ['increment', { key: 'a' }, 'UnknownVerb', 'verb'],
    ['constructor', { key: 'a' }, 'UnknownVerb', 'verb'],
  ];
  for (const [verb, request, code, field] of cases) {
    const error = await refused(verb, request);
    const shown = `${verb} ${JSON.stringify(request).slice(0, 80)}: ${error.message}`;
    assert.is(error.code, code, shown);
    assert.is(error.field, field, shown);
    assert.is(error.retryable, false, shown);
  }
  assert.is(cluster.data.size, 0);
});

test('bytes that are no UTF-8, and deep nesting, are malformed and nothing worse', async () => {
  const broken = await handleJson(client, 'get', Buffer.from([0x7b, 0xff, 0x7d]));
  assert.match(Buffer.from(broken.payload).toString(), 'MalformedRequest');
  const deep = await refused('get', '['.repeat(500_000));
  assert.is(deep.code, 'MalformedRequest');
  const nested = await refused('get', `{"key":${'['.repeat(10_000)}${']'.repeat(10_000)}}`);
  assert.is(nested.code, 'InvalidArgument');
});

test('an error says in its headers what a NATS service says', async () => {
  const wrong = await handleJson(client, 'get', Buffer.from('{"key":"","x\\r\\ny":1}'));
  assert.is(wrong.headers!['Nats-Service-Error-Code'], '400');
  assert.not(/[\r\n]/.test(wrong.headers!['Nats-Service-Error']!));
  cluster.intercept = () => 'drop';
  const late = await handleJson(client, 'get', Buffer.from('{"key":"a","timeoutMs":50}'));
  assert.is(late.headers!['Nats-Service-Error-Code'], '504');
  assert.is((JSON.parse(Buffer.from(late.payload).toString()) as ErrorBody).error.retryable, true);
});

test('who asks a node that leaves is told that asking again helps, and whether the write may have taken effect', async () => {
  cluster.intercept = () => 'drop';
  const asked = refused('put', { key: 'a', value: 'b' });
  await eventually('it is on its way', () => cluster.asked.length > 0);
  await client.close();
  const { code, retryable, outcomeUnknown } = await asked;
  assert.equal({ code, retryable, outcomeUnknown }, { code: 'Unavailable', retryable: true, outcomeUnknown: true });
  assert.is((await refused('get', { key: 'a' })).code, 'Unavailable');
});

test('the same in protobuf', async () => {
  const call = async (verb: string, request: mraft.IKvRequest): Promise<mraft.IKvResponse> => {
    const answer = await handleProtobuf(client, verb, encode(mraft.KvRequest, request));
    return decode(mraft.KvResponse, answer.payload);
  };
  const bytes = (text: string): Buffer => Buffer.from(text);
  assert.not((await call('put', { key: bytes('a'), value: bytes('1') })).error);
  assert.equal(Buffer.from((await call('get', { key: bytes('a') })).value!).toString(), '1');
  assert.not((await call('get', { key: bytes('none') })).value);
  assert.is((await call('cas', { key: bytes('a'), expected: bytes('1'), value: bytes('2') })).swapped, true);
  assert.equal(Buffer.from((await call('cas', { key: bytes('a') })).current!).toString(), '2');
  await call('batch', { ops: [{ put: { key: bytes('b'), value: bytes('3') } }] });
  const page = await call('scan', { limit: 1 });
  assert.is(page.entries!.length, 1);
  assert.is(Buffer.from(page.next!).toString(), 'b');
  assert.is((await call('get', {})).error!.code, 'InvalidArgument');
  assert.is((await call('get', { key: bytes('') })).error!.code, 'KeyEmpty');
  assert.is((await call('get', { key: bytes('a'), value: bytes('a') })).error!.field, 'value');
  assert.is((await call('batch', { ops: [{}] })).error!.field, 'ops[0]');
  assert.is((await call('put', { key: bytes('a'), value: bytes('a'), seq: 1 })).error!.field, 'session');
  const garbage = await handleProtobuf(client, 'get', Buffer.from([0x0a, 0xff]));
  assert.is(decode(mraft.KvResponse, garbage.payload).error!.code, 'MalformedRequest');
});

test('over a broker: discovery, answers, errors and bounded work', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'mraft-json-'));
  const broker = await startBroker({ dir });
  const link = await connectLink({ servers: broker.url });
  const raw = await rawConnect({ servers: broker.url });
  try {
    const service = await serveKv(link, 'test', client, { version: '0.1.0', requests: 2 });
    await link.flush(1_000);
    const request = async (verb: string, body: string, contentType?: string) => {
      const headers = natsHeaders();
      if (contentType) headers.set('content-type', contentType);
      return raw.request(`mraft.test.kv.${verb}`, Buffer.from(body), { timeout: 5_000, headers });
    };
    assert.equal((await request('put', '{"key":"a","value":"1"}')).json(), { ok: true });
    assert.equal((await request('get', '{"key":"a"}')).json(), { value: '1' });
    const unknown = await request('fly', '{}');
    assert.is((unknown.json() as ErrorBody).error.code, 'UnknownVerb');
    assert.match(unknown.headers!.get('Nats-Service-Error'), 'UnknownVerb');
    const binary = await request(
      'get',
      Buffer.from(encode(mraft.KvRequest, { key: Buffer.from('a') })).toString('latin1'),
      'application/x-protobuf',
    );
    assert.is(Buffer.from(decode(mraft.KvResponse, binary.data).value!).toString(), '1');
    const info = (await raw.request('$SRV.INFO.mraft-kv', undefined, { timeout: 2_000 })).json() as {
      metadata: { cluster: string };
    };
    assert.is(info.metadata.cluster, 'test');

    cluster.intercept = () => 'drop';
    const stuck = [1, 2].map(() => request('get', '{"key":"a","timeoutMs":400}'));
    await eventually('both are being worked on', () => service.pending === 2);
    const busy = (await request('get', '{"key":"a"}')).json() as ErrorBody;
    assert.is(busy.error.code, 'ServerBusy');
    for (const answer of await Promise.all(stuck)) {
      assert.is((answer.json() as ErrorBody).error.code, 'DeadlineExceeded');
    }
    assert.is(service.pending, 0);
    await service.close();
  } finally {
    await raw.close();
    await link.close();
    await broker.stop();
    rmSync(dir, { recursive: true, force: true });
  }
});
