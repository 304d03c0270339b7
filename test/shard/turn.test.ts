/** The turn, on production code with a virtual clock and network: what a region promises its callers. */

import { encode, mraft } from '../../rpc/wire/codec.ts';
import { encodeCommand, type Call } from '../../rpc/wire/command.ts';
import { DiskFull } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, suite } from '../harness.ts';
import { CLUSTER, VirtualCluster, text, wholeRegion } from './virtual-cluster.ts';

const test = suite('turn');

function elected(nodes = 3): { cluster: VirtualCluster; leader: number; followers: number[] } {
  const cluster = new VirtualCluster({ nodes });
  const leader = cluster.elect().nodeId;
  cluster.settle();
  return { cluster, leader, followers: [...cluster.nodes.keys()].filter((id) => id !== leader) };
}

test('a write is answered after a majority has synced it, and read back', () => {
  const { cluster, leader } = elected();
  const response = cluster.put(leader, 'a', '1');
  assert.ok(response?.write, JSON.stringify(response));
  assert.is(cluster.value(leader, 'a'), '1');
  assert.is(cluster.value(leader, 'b'), null);
});

test('a write is not answered while no majority can sync it', () => {
  const { cluster, leader, followers } = elected();
  cluster.loses = (frame) => followers.includes(frame.to);
  assert.is(cluster.put(leader, 'a', '1'), undefined);
  cluster.loses = () => false;
  cluster.pass(500);
  assert.is(cluster.value(cluster.elect().nodeId, 'a'), '1');
});

test('a single node needs nobody', () => {
  const { cluster } = elected(1);
  assert.ok(cluster.put(1, 'a', '1')?.write);
  assert.is(cluster.value(1, 'a'), '1');
});

test('what was answered survives the crash of all nodes at once', () => {
  const { cluster, leader } = elected();
  for (let i = 0; i < 50; i++) assert.ok(cluster.put(leader, `k${i}`, `v${i}`)?.write);
  for (const id of cluster.nodes.keys()) cluster.crash(id);
  for (const id of [...cluster.nodes.keys()]) cluster.restart(id);
  const next = cluster.elect().nodeId;
  cluster.settle();
  for (let i = 0; i < 50; i++) assert.is(cluster.value(next, `k${i}`), `v${i}`);
});

test('a follower answers NotLeader with the leader', () => {
  const { cluster, leader, followers } = elected();
  const response = cluster.put(followers[0]!, 'a', '1');
  assert.is(response?.error?.code, 'NotLeader');
  assert.is(response?.error?.leaderNodeId, leader);
});

test('a stale read is served by a follower', () => {
  const { cluster, leader, followers } = elected();
  cluster.put(leader, 'a', '1');
  cluster.pass(300);
  assert.is(cluster.value(followers[0]!, 'a', mraft.ReadMode.STALE), '1');
});

test('a replica serves a linearizable read at the read index of its leader', () => {
  const { cluster, leader, followers } = elected();
  for (let i = 0; i < 20; i++) {
    assert.ok(cluster.put(leader, 'a', `${i}`)?.write);
    for (const follower of followers) assert.is(cluster.value(follower, 'a', mraft.ReadMode.REPLICA), `${i}`);
    assert.is(cluster.value(leader, 'a', mraft.ReadMode.REPLICA), `${i}`);
  }
});

test('a replica that does not reach its leader serves no linearizable read', () => {
  const { cluster, leader, followers } = elected();
  const apart = followers[0]!;
  cluster.put(leader, 'a', 'old');
  cluster.loses = (frame) => frame.to === apart || frame.from === apart;
  cluster.put(leader, 'a', 'new');
  const id = cluster.send(apart, { read: { mode: mraft.ReadMode.REPLICA, keys: [text('a')] } });
  cluster.pass(5_000);
  assert.is(cluster.node(apart).responses.get(id)?.error?.code, 'NotLeader');
});

test('a leader that was deposed gives no read index', () => {
  const { cluster, leader, followers } = elected();
  const [asker, other] = followers as [number, number];
  cluster.put(leader, 'a', 'old');
  // The asker and its old leader are together on the wrong side.
  cluster.loses = (frame) => frame.to === leader && frame.from === other;
  const id = cluster.send(asker, { read: { mode: mraft.ReadMode.REPLICA, keys: [text('a')] } });
  cluster.loses = (frame) => [frame.to, frame.from].includes(leader) && frame.to !== asker;
  cluster.settle();
  assert.is(cluster.node(asker).responses.get(id), undefined);
  cluster.pass(5_000);
  assert.is(cluster.node(asker).responses.get(id)?.error?.code, 'NotLeader');
});

test('a linearizable read is not answered by a leader that lost its quorum', () => {
  const { cluster, leader } = elected();
  cluster.put(leader, 'a', 'old');
  cluster.loses = (frame) => frame.to === leader || frame.from === leader;
  const id = cluster.send(leader, { read: { mode: mraft.ReadMode.LINEARIZABLE, keys: [text('a')] } });
  cluster.settle();
  assert.is(cluster.node(leader).responses.get(id), undefined);
  cluster.pass(4_000);
  assert.is(cluster.node(leader).responses.get(id)?.error?.code, 'NotLeader');
});

test('a lease read is not served on a lease that ran out while the loop stood still', () => {
  const { cluster, leader } = elected();
  cluster.put(leader, 'a', 'old');
  cluster.pass(200);
  assert.is(cluster.value(leader, 'a', mraft.ReadMode.LEASE), 'old');
  cluster.loses = (frame) => frame.to === leader || frame.from === leader;
  cluster.nowMs += 2_000;
  const response = cluster.read(leader, 'a', mraft.ReadMode.LEASE);
  assert.is(response?.read, undefined);
});

test('a lease read is answered by the quorum for the rest of a term in which the lease was given up', () => {
  const { cluster, leader, followers } = elected();
  cluster.put(leader, 'a', '1');
  cluster.pass(300);
  const [target] = followers as [number, number];
  const { shard } = cluster.node(leader);
  // The lease ends with the TimeoutNow that is sent, and lost; the hand-over ends without a new leader.
  cluster.loses = (frame) => frame.to === target;
  assert.ok(shard.transferLeader(2, target));
  cluster.pass(900);
  cluster.loses = () => false;
  cluster.pass(100);
  if (cluster.leader()?.nodeId !== leader) return;
  assert.is(cluster.value(leader, 'a', mraft.ReadMode.LEASE), '1');
});

test('a request of another epoch is answered with the current regions', () => {
  const { cluster, leader } = elected();
  for (const epoch of [
    { version: 0, confVersion: 1 },
    { version: 2, confVersion: 1 },
    { version: 1, confVersion: 7 },
  ]) {
    const response = cluster.ask(leader, { epoch, read: { mode: 0, keys: [text('a')] } });
    assert.is(response?.error?.code, 'EpochNotMatch');
    assert.is(response?.error?.regions?.length, 1);
  }
});

test('a repeated sequence of a session takes effect once, also after the crash of all nodes', () => {
  const { cluster, leader } = elected();
  const session = { session: 'caller', seq: 1 };
  assert.ok(cluster.put(leader, 'a', 'first', session)?.write);
  assert.ok(cluster.put(leader, 'a', 'second', { session: 'caller', seq: 2 })?.write);
  assert.ok(cluster.put(leader, 'a', 'first', session)?.write, 'a repeated write is answered as the first was');
  assert.is(cluster.value(leader, 'a'), 'second');
  for (const id of cluster.nodes.keys()) cluster.crash(id);
  for (const id of [...cluster.nodes.keys()]) cluster.restart(id);
  const next = cluster.elect().nodeId;
  cluster.settle();
  cluster.put(next, 'a', 'first', session);
  assert.is(cluster.value(next, 'a'), 'second');
});

test('a sequence below the floor is a late duplicate', () => {
  const { cluster, leader } = elected();
  cluster.put(leader, 'a', 'new', { session: 'caller', seq: 9, floor: 9 });
  const response = cluster.put(leader, 'a', 'ghost', { session: 'caller', seq: 3, floor: 1 });
  assert.is(response?.write?.results?.[0]?.error?.code, 'StaleSequence');
  assert.is(cluster.value(leader, 'a'), 'new');
});

test('a session cannot be made to remember more than its window', () => {
  const { cluster, leader } = elected();
  const window = LIMITS.sessionWindow;
  const put = (seq: number, floor: number) => cluster.put(leader, 'a', 'v', { session: 'caller', seq, floor });
  assert.ok(put(window, 1)?.write);
  assert.is(put(window + 1, 1)?.error?.code, 'InvalidArgument');
  assert.is(put(0, 0)?.error?.code, 'InvalidArgument');
  assert.ok(put(1, 1)?.write, 'the floor itself is not answered yet');
});

test('compare-and-swap sees the writes of its own entry', () => {
  const { cluster, leader } = elected();
  const swap = (expected: string | undefined, value: string | undefined) =>
    cluster.write(leader, {
      kind: 'compareAndSwap',
      key: text('n'),
      expected: expected === undefined ? undefined : text(expected),
      value: value === undefined ? undefined : text(value),
    })?.write?.results?.[0];
  assert.is(swap(undefined, '1')?.swapped, true);
  const lost = swap(undefined, '2');
  assert.is(lost?.swapped, false);
  assert.is(Buffer.from(lost!.current!).toString(), '1');
  assert.is(swap('1', '2')?.swapped, true);
  assert.is(swap('2', undefined)?.swapped, true);
  assert.is(cluster.value(leader, 'n'), null);
});

test('a compare-and-swap that did not swap does not swap when its request comes again', () => {
  const { cluster, leader } = elected();
  const swap = (seq: number) =>
    cluster.write(
      leader,
      { kind: 'compareAndSwap', key: text('n'), expected: undefined, value: text('mine') },
      { session: 'caller', seq },
    )?.write?.results?.[0];
  cluster.put(leader, 'n', 'other');
  assert.is(swap(1)?.swapped, false);
  assert.is(swap(1)?.swapped, false, 'it would not swap now either');
  cluster.write(leader, { kind: 'delete', key: text('n') });
  assert.is(swap(1)?.error?.code, 'SequenceSpent');
  assert.is(cluster.value(leader, 'n'), null);
  for (const id of cluster.nodes.keys()) cluster.crash(id);
  for (const id of [...cluster.nodes.keys()]) cluster.restart(id);
  const next = cluster.elect().nodeId;
  cluster.settle();
  cluster.write(
    next,
    { kind: 'compareAndSwap', key: text('n'), expected: undefined, value: text('mine') },
    { session: 'caller', seq: 1 },
  );
  assert.is(cluster.value(next, 'n'), null, 'also not behind a crash');
  assert.is(swap(2)?.swapped ?? true, true);
});

test('what many swaps found is answered in parts that fit a frame, and each call ends', () => {
  const { cluster, leader } = elected();
  const keys = ['a', 'b', 'c'];
  for (const key of keys) cluster.write(leader, { kind: 'put', key: text(key), value: Buffer.alloc(200_000, 7) });
  const calls = keys.map((key, i): Call => {
    const operation = { kind: 'compareAndSwap', key: text(key), expected: undefined, value: text('x') } as const;
    return { seq: i + 1, operation };
  });
  const found = new Set<number>();
  for (let left = calls; left.length > 0; left = calls.filter((call) => !found.has(call.seq))) {
    const { results } = cluster.ask(leader, { write: encodeCommand(text('caller'), 1, left) })!.write!;
    const before = found.size;
    for (const result of results!) if (result.current) found.add(left[result.position ?? 0]!.seq);
    assert.ok(found.size > before, 'each part moves on');
  }
  assert.is(cluster.value(leader, 'a')!.length, 200_000);
});

test('a range delete keeps what is outside of it, and what was written after it', () => {
  const { cluster, leader } = elected();
  for (const key of ['a', 'b', 'c', 'd']) cluster.put(leader, key, key);
  assert.ok(cluster.write(leader, { kind: 'deleteRange', start: text('b'), end: text('d') })?.write);
  cluster.put(leader, 'c', 'again');
  assert.equal(
    ['a', 'b', 'c', 'd'].map((key) => cluster.value(leader, key)),
    ['a', null, 'again', 'd'],
  );
});

test('a range delete that comes again deletes nothing that was written since, but for what it had not deleted', () => {
  const cluster = new VirtualCluster();
  const { nodeId } = cluster.elect();
  const keys = ['a', 'b', 'c', 'd'];
  const refill = (): void => keys.forEach((key) => cluster.put(nodeId, key, 'since'));
  const deleteRange = (start: string, end: string, options = { session: 'user', seq: 5 }) =>
    cluster.write(nodeId, { kind: 'deleteRange', start: text(start), end: text(end) }, options);
  const left = (): (string | null)[] => keys.map((key) => cluster.value(nodeId, key));
  refill();
  assert.ok(deleteRange('b', 'c')?.write);
  refill();
  assert.ok(deleteRange('b', 'c')?.write);
  assert.equal(left(), ['since', 'since', 'since', 'since']);
  assert.ok(deleteRange('a', 'd')?.write, 'a part of the same delete that lay in another region');
  assert.equal(left(), [null, 'since', null, 'since']);
  refill();
  for (const id of [1, 2, 3]) cluster.crash(id);
  for (const id of [1, 2, 3]) cluster.restart(id);
  cluster.elect();
  const again = cluster.elect().nodeId;
  cluster.write(again, { kind: 'deleteRange', start: text('a'), end: text('d') }, { session: 'user', seq: 5 });
  assert.equal(
    keys.map((key) => cluster.value(again, key)),
    ['since', 'since', 'since', 'since'],
    'also after a restart',
  );
});

test('a range delete of which is forgotten what it deleted is neither done again nor called done', () => {
  const cluster = new VirtualCluster();
  const { nodeId } = cluster.elect();
  cluster.put(nodeId, 'x', 'v');
  const long = 'k'.repeat(LIMITS.keyBytes - 1);
  const deleteRange = (start: string, end: string, seq: number) =>
    cluster.write(nodeId, { kind: 'deleteRange', start: text(start), end: text(end) }, { session: 'user', seq });
  assert.ok(deleteRange('a', 'b', 1)?.write);
  for (let seq = 2; seq < 8; seq++) assert.ok(deleteRange(`${long}a`, `${long}b`, seq)?.write);
  const answer = deleteRange('a', 'z', 1)?.write?.results?.[0]?.error;
  assert.is(answer?.code, 'StaleSequence');
  assert.is(cluster.value(nodeId, 'x'), 'v');
});

test('a page of a scan goes both ways and says whether there is more', () => {
  const { cluster, leader } = elected();
  for (const key of ['a', 'b', 'c']) cluster.put(leader, key, key);
  const scan = (options: mraft.IScan) => {
    const { entries, more } = cluster.ask(leader, { scan: options })!.scan!;
    return [entries!.map((entry) => Buffer.from(entry.key!).toString()).join(''), more ?? false];
  };
  assert.equal(scan({}), ['abc', false]);
  assert.equal(scan({ limit: 2 }), ['ab', true]);
  assert.equal(scan({ reverse: true, limit: 1 }), ['c', true]);
  assert.equal(scan({ start: text('b') }), ['bc', false]);
  assert.equal(scan({ end: text('b') }), ['a', false]);
  assert.equal(scan({ start: text('c'), end: text('b') }), ['', false]);
});

test('a read of many large values is answered in parts that fit a frame', () => {
  const { cluster, leader } = elected();
  const keys = Array.from({ length: 10 }, (_, i) => text(`k${i}`));
  for (const key of keys) cluster.write(leader, { kind: 'put', key, value: Buffer.alloc(100_000, 7) });
  let answered = 0;
  for (let asks = 0; answered < keys.length; asks++) {
    assert.ok(asks < keys.length, 'each part moves on');
    const { values } = cluster.ask(leader, { read: { mode: 0, keys: keys.slice(answered) } })!.read!;
    assert.ok(values!.length > 0 && values!.length * 100_000 <= 512 * 1024);
    answered += values!.length;
  }
});

test('a small frame that asks for much does not make a turn long, and who waits no more is not answered', () => {
  const { cluster, leader } = elected();
  for (let i = 0; i < 10; i++) {
    cluster.write(leader, { kind: 'put', key: text(`k${i}`), value: Buffer.alloc(100_000, 7) });
  }
  const node = cluster.node(leader);
  const scan = { mode: mraft.ReadMode.STALE };
  const patient = Array.from({ length: 40 }, () => cluster.send(leader, { scan }));
  const hasty = cluster.send(leader, { scan, timeoutMs: 1 });
  node.shard.turn();
  const answered = () => patient.filter((id) => node.responses.has(id)).length;
  assert.ok(answered() > 0 && answered() < patient.length, `${answered()} of ${patient.length} in one turn`);
  cluster.nowMs += 10;
  cluster.settle();
  assert.is(answered(), patient.length);
  assert.is(node.responses.has(hasty), false);
});

test('what is wrong with a command is answered, and nothing of it enters the log', () => {
  const { cluster, leader } = elected();
  const code = (operation: Parameters<VirtualCluster['write']>[1]) => cluster.write(leader, operation)?.error?.code;
  assert.is(code({ kind: 'put', key: text(''), value: text('v') }), 'KeyEmpty');
  assert.is(code({ kind: 'put', key: Buffer.alloc(8 * 1024 + 1), value: text('v') }), 'KeyTooLong');
  assert.is(code({ kind: 'put', key: text('k'), value: Buffer.alloc(512 * 1024 + 1) }), 'ValueTooLarge');
  assert.is(code({ kind: 'batch', mutations: [] }), 'InvalidArgument');
  assert.is(code({ kind: 'deleteRange', start: text('b'), end: text('a') }), 'InvalidArgument');
  const before = cluster.node(leader).shard.stats().entriesProposed;
  const malformed = cluster.ask(leader, { write: Buffer.from([0x1a, 0x05, 0x08]) });
  assert.is(malformed?.error?.code, 'MalformedRequest');
  assert.is(cluster.node(leader).shard.stats().entriesProposed, before);
});

test('hostile frames of peers are dropped and counted, and the region serves on', () => {
  const { cluster, leader, followers } = elected();
  const { shard } = cluster.node(leader);
  const from = followers[0]!;
  const frame = (fields: Partial<mraft.IPeerFrame>): Uint8Array =>
    encode(mraft.PeerFrame, { cluster: CLUSTER, fromNode: from, bootEpoch: 1, workers: 1, messages: [], ...fields });
  const message = { regionId: 2, kind: 0, from: from * 10, to: leader * 10, term: 1, entries: [] };
  shard.receivePeerFrame(Buffer.from('garbage'), from);
  shard.receivePeerFrame(frame({ cluster: 'other' }), from);
  shard.receivePeerFrame(frame({ fromNode: 99 }), from);
  shard.receivePeerFrame(frame({ bootEpoch: 0 }), from);
  shard.receivePeerFrame(frame({ messages: [{ ...message, regionId: 77, kind: mraft.MessageKind.VOTE }] }), from);
  shard.receivePeerFrame(frame({ messages: [{ ...message, from: followers[1]! * 10 }] }), from);
  shard.receivePeerFrame(frame({ messages: [{ ...message, kind: 99 as mraft.MessageKind }] }), from);
  shard.receivePeerFrame(
    frame({ messages: [{ ...message, entries: [{ term: 9, index: 4, data: text('x') }] }] }),
    from,
  );
  cluster.settle();
  const { dropped } = shard.stats();
  assert.is(dropped.malformed, 3);
  assert.is(dropped.otherCluster, 1);
  assert.is(dropped.otherSender, 1);
  assert.is(dropped.olderBoot, 1);
  assert.is(dropped.unknownRegion, 1);
  assert.is(dropped.otherPeer, 1);
  assert.ok(cluster.put(leader, 'a', '1')?.write);
});

test('a frame of an older boot is dropped after a restart', () => {
  const { cluster, leader, followers } = elected();
  const [restarted] = followers as [number, number];
  cluster.crash(restarted);
  cluster.restart(restarted);
  cluster.pass(500);
  const ghost = encode(mraft.PeerFrame, {
    cluster: CLUSTER,
    fromNode: restarted,
    bootEpoch: 1,
    workers: 1,
    messages: [],
  });
  const { shard } = cluster.node(leader);
  const before = shard.stats().dropped.olderBoot;
  shard.receivePeerFrame(ghost, restarted);
  cluster.settle();
  assert.is(shard.stats().dropped.olderBoot, before + 1);
});

test('a full disk refuses writes, keeps what it had, and goes on when there is room', () => {
  const { cluster } = elected(1);
  cluster.put(1, 'a', '1');
  const { store, shard } = cluster.node(1);
  store.diskFull = true;
  const id = cluster.send(1, { read: { mode: 0, keys: [text('a')] } });
  cluster.settle();
  assert.ok(cluster.node(1).responses.get(id)?.read, 'a read needs no room');
  assert.throws(() => cluster.put(1, 'b', '2'), /full|room/i);
  assert.ok(shard.isStalled);
  store.diskFull = false;
  shard.requestTick();
  cluster.settle();
  assert.is(cluster.value(1, 'b'), '2');
});

test('a range delete that meets a full disk is done when there is room, and answered once', () => {
  const { cluster } = elected(1);
  for (const key of ['a', 'b', 'c']) cluster.put(1, key, key);
  const { store, shard } = cluster.node(1);
  const deleteRange = store.deleteRange.bind(store);
  let refusals = 2;
  store.deleteRange = (column, start, end) => {
    if (refusals-- > 0) throw new DiskFull('no room for a range delete');
    deleteRange(column, start, end);
  };
  const operation = { kind: 'deleteRange', start: text('a'), end: text('c') } as const;
  const id = cluster.send(1, { write: commandOf({ seq: 0, operation }) });
  assert.throws(() => cluster.settle(), /no room/);
  assert.throws(() => shard.turn(), /no room/);
  assert.is(cluster.node(1).responses.get(id), undefined);
  shard.requestTick();
  cluster.settle();
  assert.ok(cluster.node(1).responses.get(id)?.write);
  assert.equal(
    ['a', 'b', 'c'].map((key) => cluster.value(1, key)),
    [null, null, 'c'],
  );
});

test('one sync serves many regions', () => {
  const ids = [1, 2, 3];
  const regions = Array.from({ length: 16 }, (_, i) => ({
    ...wholeRegion(ids),
    regionId: i + 2,
    startKey: i === 0 ? Buffer.alloc(0) : Buffer.from([i]),
    endKey: i === 15 ? Buffer.alloc(0) : Buffer.from([i + 1]),
  }));
  const cluster = new VirtualCluster({ regions });
  for (const region of regions) cluster.elect(region.regionId);
  cluster.pass(500);
  const before = [...cluster.nodes.values()].reduce((sum, node) => sum + node.store.stats.syncs, 0);
  for (const region of regions) {
    const leader = cluster.leader(region.regionId)!.nodeId;
    const key = Buffer.concat([region.startKey, Buffer.from('key')]);
    const call = { seq: 0, operation: { kind: 'put', key, value: text('v') } } as const;
    cluster.send(leader, { regionId: region.regionId, write: commandOf(call) });
  }
  cluster.settle();
  const syncs = [...cluster.nodes.values()].reduce((sum, node) => sum + node.store.stats.syncs, 0) - before;
  assert.ok(syncs <= 12, `16 regions took ${syncs} syncs on 3 nodes`);
});

function commandOf(call: Call): Uint8Array {
  return encodeCommand(new Uint8Array(0), 0, [call]);
}
