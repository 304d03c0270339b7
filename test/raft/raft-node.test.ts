/** A group in which everything goes well. */

import { assert, suite } from '../harness.ts';
import { Group, appliedText, bytes } from './group.ts';

const test = suite('raft node');

test('a group elects one leader within two election time-outs', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const group = new Group(3, { seed });
    group.advance(4000);
    assert.is(group.leaders.length, 1);
  }
});

test('the only voter leads and commits on its first tick', () => {
  const group = new Group(1);
  group.replica(1).node.tick(0);
  group.settle();
  assert.is(group.leader.node.commit, 1);
  assert.ok(group.leader.node.hasLease(0));
});

test('a proposal is applied by every replica, in order', () => {
  const group = new Group(3);
  const leader = group.elect(1);
  for (const text of ['a', 'b', 'c']) assert.ok(leader.node.propose(bytes(text), group.nowMs).ok);
  group.settle();
  group.advance(100);
  for (const replica of group.replicas) assert.equal(appliedText(replica), ['a', 'b', 'c']);
});

test('proposals of one turn leave in one append', () => {
  const group = new Group(3);
  const leader = group.elect(1);
  for (let at = 0; at < 10; at++) leader.node.propose(bytes('x'), group.nowMs);
  const appends = leader.begin(group.nowMs).filter((message) => message.kind === 'append');
  assert.equal(
    appends.map((message) => [message.to, message.entries.length]),
    [
      [2, 10],
      [3, 10],
    ],
  );
});

test('reads of one turn share a heartbeat round and get the commit index', () => {
  const group = new Group(3);
  const leader = group.elect(1);
  leader.node.propose(bytes('a'), group.nowMs);
  group.settle();
  for (let id = 1; id <= 5; id++) assert.ok(leader.node.readIndex(id, group.nowMs).ok);
  const sent = leader.begin(group.nowMs);
  assert.equal(
    sent.map((message) => message.kind),
    ['heartbeat', 'heartbeat'],
  );
  leader.finish();
  for (const message of sent) group.deliver(message);
  group.settle();
  assert.equal(
    leader.reads,
    [1, 2, 3, 4, 5].map((id) => ({ id, index: 2 })),
  );
});

test('only a leader takes proposals and reads', () => {
  const group = new Group(3);
  group.elect(1);
  const follower = group.replica(2).node;
  assert.equal(follower.propose(bytes('a'), group.nowMs), { ok: false, reason: 'notLeader' });
  assert.equal(follower.readIndex(1, group.nowMs), { ok: false, reason: 'notLeader' });
  assert.not.ok(follower.transferLeadership(3, group.nowMs));
  assert.is(follower.leader, 1);
});

test('proposals are refused while too much is uncommitted, and taken again afterwards', () => {
  const group = new Group(3, { config: { maxUncommittedBytes: 1000 } });
  const leader = group.elect(1);
  group.cut(1);
  assert.ok(leader.node.propose(new Uint8Array(5000), group.nowMs).ok, 'the first may be of any size');
  assert.equal(leader.node.propose(bytes('a'), group.nowMs), { ok: false, reason: 'busy' });
  group.settle();
  group.heal();
  leader.node.reportUnreachable(2);
  group.settle();
  assert.ok(leader.node.propose(bytes('a'), group.nowMs).ok);
});

test('what a restarted peer applied and committed is where it was', () => {
  const group = new Group(3);
  group.elect(1).node.propose(bytes('a'), group.nowMs);
  group.settle();
  group.advance(100);
  group.crash(2);
  group.restart(2);
  const { node } = group.replica(2);
  assert.equal([node.applied, node.commit, node.lastIndex], [2, 2, 2]);
  assert.not.ok(node.hasReady());
});

test('a driver is told of a leader that steps down, even if there is nothing to do', () => {
  const group = new Group(3);
  const leader = group.elect(1);
  group.advance(200);
  group.cut(1);
  leader.node.tick(group.nowMs + 2000);
  assert.is(leader.node.role, 'follower');
  assert.ok(leader.node.hasReady());
});

test('a Ready is not handed out while the entries of the last one are not persisted', () => {
  const group = new Group(3);
  const leader = group.elect(1);
  leader.node.propose(bytes('a'), group.nowMs);
  leader.node.ready(group.nowMs);
  assert.throws(() => leader.node.ready(group.nowMs), /before the entries of the last one were persisted/);
});

test('a leader counts itself only when its disk has the entry', () => {
  const group = new Group(3);
  const leader = group.elect(1);
  group.cut(3);
  leader.node.propose(bytes('a'), group.nowMs);
  const sent = leader.begin(group.nowMs);
  for (const message of sent) group.deliver(message);
  const follower = group.replica(2);
  for (const message of [...follower.begin(group.nowMs), ...follower.finish()]) group.deliver(message);
  assert.is(leader.node.commit, 1, 'one disk of three has it');
  leader.finish();
  assert.is(leader.node.commit, 2);
});

test('time that goes back does not make anything due or undue', () => {
  const group = new Group(3);
  const leader = group.elect(1);
  group.advance(500);
  leader.node.tick(0);
  assert.ok(leader.node.hasLease(0));
  assert.is(leader.node.role, 'leader');
});

test('a tick with nothing due makes no work', () => {
  const group = new Group(3);
  group.elect(1);
  group.advance(100);
  for (const replica of group.replicas) {
    replica.node.tick(group.nowMs + 1);
    assert.not.ok(replica.node.hasReady());
  }
});

test('a busy leader sends appends in place of heartbeats, and keeps its lease by them', () => {
  const group = new Group(3);
  const leader = group.elect(1);
  const kinds = new Set<string>();
  group.drops = (message) => {
    if (message.from === 1) kinds.add(message.kind);
    return false;
  };
  for (let at = 0; at < 300; at++) {
    leader.node.propose(bytes(`${at}`), group.nowMs);
    group.advance(10);
    assert.ok(leader.node.hasLease(group.nowMs));
  }
  assert.equal([...kinds], ['append']);
});

test('entries keep the bytes that were proposed, not copies', () => {
  const group = new Group(3);
  const leader = group.elect(1);
  const data = bytes('a');
  leader.node.propose(data, group.nowMs);
  group.settle();
  assert.is(leader.applied.at(-1)?.data, data);
  assert.is(group.replica(2).disk.all().at(-1)?.data, data);
});
