import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectLink, natsHeaders, rawConnect, type Link, type LinkOptions } from '../../rpc/nats/index.ts';
import { InvalidConfig, Unavailable } from '../../rpc/wire/errors.ts';
import { freePort, startBroker, type Broker } from '../../tools/broker.ts';
import { assert, eventually, rejects, suite } from '../harness.ts';

const test = suite('link to a broker', { timeoutMs: 60_000 });

let dir: string;
let broker: Broker;
const links: Link[] = [];

async function link(options: Partial<LinkOptions> = {}): Promise<Link> {
  const made = await connectLink({ servers: broker.url, ...options });
  links.push(made);
  return made;
}

/** Frames of `subject` as text, as they come. */
function collect(from: Link, subject: string, queue?: string): string[] {
  const got: string[] = [];
  from.subscribe(subject, (data) => got.push(Buffer.from(data).toString()), queue === undefined ? {} : { queue });
  return got;
}

/** Publishes until a subscriber has something: what is published around a reconnect may be lost. */
async function publishUntilHeard(from: Link, subject: string, text: string, got: string[]): Promise<void> {
  await eventually(`${subject} is heard`, () => {
    from.publish(subject, Buffer.from(text));
    return got.includes(text);
  });
}

test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mraft-link-'));
  broker = await startBroker({ dir });
});
test.after.each(async () => {
  broker.resume();
  for (const open of links.splice(0)) await open.close();
});
test.after(async () => {
  await broker.stop();
  rmSync(dir, { recursive: true, force: true });
});

test('a frame arrives with its subject and its reply subject', async () => {
  const receiver = await link();
  const sender = await link();
  const got: unknown[] = [];
  receiver.subscribe('a.*', (data, subject, replyTo, status) => {
    got.push([Buffer.from(data).toString(), subject, replyTo, status]);
  });
  await receiver.flush(1_000);
  assert.ok(sender.publish('a.b', Buffer.from('one')));
  assert.ok(sender.publish('a.c', Buffer.from('two'), 'back'));
  await eventually('both arrive', () => got.length === 2);
  assert.equal(got, [
    ['one', 'a.b', undefined, 0],
    ['two', 'a.c', 'back', 0],
  ]);
  assert.is(sender.stats.publishedFrames, 2);
  assert.is(receiver.stats.receivedBytes, 6);
});

test('the largest frames arrive whole, in order, behind each other in one stream', async () => {
  const receiver = await link();
  const sender = await link();
  const got: Buffer[] = [];
  receiver.subscribe('big', (data) => got.push(Buffer.from(data)));
  await receiver.flush(1_000);
  const sizes = [960 * 1024, 1, 65_536, 0, 300_001, 65_535];
  sizes.forEach((size, i) => assert.ok(sender.publish('big', Buffer.alloc(size, i + 1))));
  await eventually('all arrive', () => got.length === sizes.length);
  sizes.forEach((size, i) => assert.ok(got[i]!.equals(Buffer.alloc(size, i + 1)), `frame ${i}`));
});

test('flushNow hands a frame to the socket before the turn ends', async () => {
  const sender = await link();
  sender.publish('nobody', Buffer.alloc(1_000));
  assert.ok(sender.backlogBytes > 1_000);
  sender.flushNow();
  assert.is(sender.backlogBytes, 0);
});

test('a handler that throws harms neither its own nor other subscriptions', async () => {
  const thrown: unknown[] = [];
  const receiver = await link({ onHandlerError: (error) => thrown.push((error as Error).message) });
  receiver.subscribe('bad', () => {
    throw new Error('a bug');
  });
  const good = collect(receiver, 'good');
  await receiver.flush(1_000);
  const sender = await link();
  sender.publish('bad', Buffer.from('1'));
  sender.publish('bad', Buffer.from('2'));
  sender.publish('good', Buffer.from('3'));
  await eventually('the good one is heard', () => good.length === 1);
  assert.equal(thrown, ['a bug', 'a bug']);
  assert.is(receiver.stats.handlerErrors, 2);
});

test('a request to a subject without listeners is answered with status 503', async () => {
  const asker = await link();
  const statuses: number[] = [];
  asker.subscribe('inbox.>', (_data, _subject, _replyTo, status) => statuses.push(status));
  asker.publish('nobody.here', Buffer.from('?'), 'inbox.1.0');
  await eventually('the broker says so', () => statuses.length === 1);
  assert.equal(statuses, [503]);
});

test('a queue group gets each message once', async () => {
  const [one, two, sender] = [await link(), await link(), await link()];
  const got = [collect(one, 'q', 'group'), collect(two, 'q', 'group')];
  await Promise.all([one.flush(1_000), two.flush(1_000)]);
  for (let i = 0; i < 50; i++) sender.publish('q', Buffer.from(String(i)));
  await eventually('all are heard', () => got[0]!.length + got[1]!.length === 50);
});

test('a frame over the broker payload limit is refused, not thrown', async () => {
  const sender = await link();
  assert.not(sender.publish('x', Buffer.alloc(sender.maxPayloadBytes + 1)));
  assert.is(sender.stats.refusedOversize, 1);
  assert.ok(sender.publish('x', Buffer.alloc(10)));
});

test('a killed broker: publish is refused at once, and subscriptions live again after its return', async () => {
  const receiver = await link();
  const sender = await link();
  const states: string[] = [];
  sender.onState((state) => states.push(state));
  const got = collect(receiver, 'again');
  await receiver.flush(1_000);
  await broker.kill();
  await eventually('the loss is seen', () => !sender.connected && !receiver.connected);
  assert.not(sender.publish('again', Buffer.from('lost')));
  assert.is(sender.stats.refusedDisconnected, 1);
  assert.is(sender.backlogBytes, 0);
  await broker.restart();
  await publishUntilHeard(sender, 'again', 'back', got);
  assert.not(got.includes('lost'));
  assert.equal(states.slice(0, 2), ['disconnected', 'connected']);
});

test('a frozen broker: memory stays bounded, the link is cut, and it works again soon after', async () => {
  const limit = 1024 * 1024;
  const sender = await link({ backlogBytes: limit });
  const receiver = await link();
  const got = collect(receiver, 'thaw');
  await receiver.flush(1_000);
  broker.freeze();
  const frame = Buffer.alloc(64 * 1024, 7);
  let most = 0;
  await eventually('publish is refused', () => {
    for (let i = 0; i < 100; i++) sender.publish('thaw', frame);
    sender.flushNow();
    most = Math.max(most, sender.backlogBytes);
    return sender.stats.refusedBacklog > 0;
  });
  assert.ok(most <= limit + frame.length + 100, `${most} bytes waited`);
  await eventually('the stale connection is cut', () => !sender.connected, 10_000);
  await eventually(
    'a few attempts have failed',
    () => sender.stats.refusedDisconnected > 0 || !sender.publish('thaw', frame),
  );
  await new Promise((resolve) => setTimeout(resolve, 3_500));
  broker.resume();
  const resumed = performance.now();
  await publishUntilHeard(sender, 'thaw', 'thawed', got);
  assert.ok(performance.now() - resumed < 5_000);
});

test('a link closes in bounded time while the broker is frozen', async () => {
  const frozen = await link();
  broker.freeze();
  for (let i = 0; i < 400; i++) frozen.publish('x', Buffer.alloc(64 * 1024));
  const began = performance.now();
  await frozen.close();
  assert.ok(performance.now() - began < 4_000);
  assert.not(frozen.publish('x', Buffer.alloc(1)));
  broker.resume();
});

test('a link closes while the broker is away', async () => {
  const orphan = await link();
  await broker.kill();
  await eventually('the loss is seen', () => !orphan.connected);
  await orphan.close();
  await broker.restart();
});

test('what was published before close is delivered', async () => {
  const receiver = await link();
  const got = collect(receiver, 'last');
  await receiver.flush(1_000);
  const sender = await link();
  sender.publish('last', Buffer.from('words'));
  await sender.close();
  await eventually('it arrives', () => got.length === 1);
});

test('a slow consumer bounds nothing of the sender: it is the broker who cuts it off', async () => {
  const sender = await link();
  const receiver = await link();
  let received = 0;
  receiver.subscribe('slow', () => {
    received++;
    const until = performance.now() + 5;
    while (performance.now() < until);
  });
  await receiver.flush(1_000);
  const frame = Buffer.alloc(128 * 1024);
  for (let i = 0; i < 400; i++) {
    sender.publish('slow', frame);
    if (i % 50 === 0) await sender.flush(2_000);
  }
  await eventually('most is received or dropped', () => received > 100);
  assert.ok(sender.connected);
});

test('an unreachable broker: Unavailable in time, or patience until it comes', async () => {
  const port = await freePort();
  const error = await rejects(connectLink({ servers: `127.0.0.1:${port}`, connectTimeoutMs: 200 }), Unavailable);
  assert.match(error.message, String(port));

  let attempts = 0;
  const patient = connectLink({
    servers: `nats://127.0.0.1:${port}`,
    keepTrying: true,
    onUnreachable: () => attempts++,
  });
  await eventually('it said so', () => attempts >= 2);
  const late = await startBroker({ dir, port });
  const made = await patient;
  assert.ok(made.connected);
  await made.close();
  await late.stop();
});

test('patience ends with its signal', async () => {
  const port = await freePort();
  const abort = new AbortController();
  const patient = connectLink({ servers: `127.0.0.1:${port}`, keepTrying: true, signal: abort.signal });
  abort.abort();
  await rejects(patient, Unavailable);
});

test('a server that takes connections and says nothing does not hold the first attempt forever', async () => {
  const silent: Server = createServer();
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as { port: number };
  await rejects(connectLink({ servers: `127.0.0.1:${port}`, connectTimeoutMs: 100 }), Unavailable);
  await new Promise((resolve) => silent.close(resolve));
});

test('a server that is no address is refused by field', async () => {
  for (const servers of ['http://x', 'nats://', [] as string[]]) {
    const error = await rejects(connectLink({ servers }), InvalidConfig);
    assert.is(error.details.field, 'servers');
  }
});

test('a refused subject is reported, and the rest goes on', async () => {
  const port = await freePort();
  const conf = join(dir, 'permissions.conf');
  writeFileSync(
    conf,
    'authorization { users = [ { user: n1, password: p, permissions: { publish: ["ok.>", "_INBOX.>"], subscribe: ["ok.>"] } } ] }',
  );
  const strict = await startBroker({ dir, port, args: ['-c', conf] });
  const refused: string[] = [];
  const limited = await connectLink({
    servers: `nats://n1:p@127.0.0.1:${port}`,
    onPermissionError: (operation, subject) => refused.push(`${operation} ${subject}`),
  });
  limited.subscribe('no.sub', () => {});
  limited.publish('no.pub', Buffer.from('x'));
  const got = collect(limited, 'ok.a');
  await publishUntilHeard(limited, 'ok.a', 'fine', got);
  await eventually('both are reported', () => refused.length === 2);
  assert.equal(refused.sort(), ['publish no.pub', 'subscription no.sub']);
  await rejects(connectLink({ servers: `nats://n1:wrong@127.0.0.1:${port}`, connectTimeoutMs: 100 }), Unavailable);
  await limited.close();
  await strict.stop();
});

test('a service answers its endpoints and the discovery of NATS', async () => {
  const server = await link();
  await server.addService({
    name: 'mraft-kv',
    version: '1.2.3',
    description: 'test',
    queue: 'mraft',
    endpoints: [
      {
        name: 'echo',
        subject: 'svc.*',
        handler: (request) => {
          if (request.header('Boom') !== '') throw new Error('a bug');
          request.respond(request.data, { 'Content-Type': request.header('Content-Type'), subject: request.subject });
        },
      },
    ],
  });
  await server.flush(1_000);
  const raw = await rawConnect({ servers: broker.url });
  const sent = natsHeaders();
  sent.set('Content-Type', 'text/plain');
  const answer = await raw.request('svc.get', Buffer.from('hello'), { timeout: 2_000, headers: sent });
  assert.is(answer.string(), 'hello');
  assert.is(answer.headers?.get('Content-Type'), 'text/plain');
  const ping = await raw.request('$SRV.PING.mraft-kv', undefined, { timeout: 2_000 });
  assert.is((ping.json() as { version: string }).version, '1.2.3');
  const info = await raw.request('$SRV.INFO.mraft-kv', undefined, { timeout: 2_000 });
  assert.is((info.json() as { endpoints: { subject: string }[] }).endpoints[0]!.subject, 'svc.*');
  const stats = await raw.request('$SRV.STATS.mraft-kv', undefined, { timeout: 2_000 });
  assert.is((stats.json() as { endpoints: { num_requests: number }[] }).endpoints[0]!.num_requests, 1);
  await raw.close();
});
