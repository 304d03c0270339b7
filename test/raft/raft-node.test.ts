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
