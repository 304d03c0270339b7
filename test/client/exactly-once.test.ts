import { CommandCursor } from '../../rpc/wire/command.ts';
import { DeadlineExceeded, SessionExpired } from '../../rpc/wire/errors.ts';
import { assert, eventually, rejects, suite } from '../harness.ts';
import { expired, FakeCluster, type Asked } from './fake-cluster.ts';
import { closeAll, hexOf, open, text } from './open-client.ts';

/** Sequences of the calls of a write. */
function sequences(asked: Asked): number[] {
  const cursor = new CommandCursor(asked.request.write!);
  const found: number[] = [];
  while (cursor.next()) found.push(cursor.seq);
  return found;
}

const test = suite('client: a write takes effect once');
test.after.each(closeAll);

test('an answer that was lost: the retry has the same session and sequence', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 100 });
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

test('a compare-and-swap whose answer was lost still says that it swapped', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 100 });
  await client.put('a', '1');
  let lost = false;
  cluster.intercept = () => (lost ? undefined : ((lost = true), 'apply-and-drop'));
  assert.is((await client.compareAndSwap('a', '1', '2')).swapped, true);
  assert.is(text(await client.get('a')), '2');
});

test('duplicated frames and answers change nothing', async () => {
  const cluster = new FakeCluster(['m']);
  cluster.intercept = () => 'duplicate';
  const client = open(cluster);
  await Promise.all('abcxyz'.split('').map((key) => client.put(key, key)));
  for (const key of 'abcxyz') assert.is(cluster.effects.get(hexOf(key)), 1);
  assert.ok(client.stats.unknownAnswers > 0);
});

test('a late answer ends a call whose attempt had been given up', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 50 });
  await client.get('warm');
  cluster.answerAfterMs = 150;
  await client.put('a', '1', { timeoutMs: 2_000 });
  assert.is(cluster.effects.get(hexOf('a')), 1);
  assert.ok(client.stats.lateAnswers >= 1);
});

test('the floor is the lowest unanswered sequence, and a call that is given up no longer holds it', async () => {
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

test('a forgotten session: new calls go on under a new one, tried ones fail with SessionExpired', async () => {
  const cluster = new FakeCluster();
  const client = open(cluster, { attemptTimeoutMs: 100 });
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

test('a user with a session and a sequence of their own has a write once over several clients', async () => {
  const cluster = new FakeCluster();
  const session = Buffer.from('mine');
  await open(cluster).withSession(session, 7).compareAndSwap('a', undefined, '1');
  const again = await open(cluster).withSession(session, 7).compareAndSwap('a', undefined, '1');
  assert.is(again.swapped, true);
  assert.is(cluster.effects.get(hexOf('a')), 1);
  for (const seq of [0, -1, 1.5, NaN]) assert.throws(() => open(cluster).withSession(session, seq));
  assert.throws(() => open(cluster).withSession(new Uint8Array(0), 1));
});

test('the calls of one command are answered each by its own result', async () => {
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
