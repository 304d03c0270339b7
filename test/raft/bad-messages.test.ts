/** Messages that no correct peer sends change nothing, are counted, and never stop the node. */

import { votersOnly } from '../../engine/raft/index.ts';
import type { RaftMessage } from '../../engine/raft/index.ts';
import { assert, suite } from '../harness.ts';
import { Group, bytes } from './group.ts';

const test = suite('raft bad messages');

function forged(fields: Partial<RaftMessage>): RaftMessage {
  return {
    kind: 'append',
    from: 1,
    to: 2,
    term: 1,
    index: 0,
    logTerm: 0,
    commit: 0,
    entries: [],
    reject: false,
    hintIndex: 0,
    hintTerm: 0,
    context: 0,
    transfer: false,
    hibernate: false,
    membership: undefined,
    ...fields,
  };
}

function groupWithEntries(): Group {
  const group = new Group(3);
  const leader = group.elect(1);
  leader.node.propose(bytes('a'), group.nowMs);
  group.settle();
  group.advance(100);
  return group;
}

function refuses(fields: Partial<RaftMessage>, to = 2): void {
  const group = groupWithEntries();
  const { node } = group.replica(to);
  const { term, commit, lastIndex } = node;
  node.step(forged({ to, ...fields }), group.nowMs);
  assert.is(node.refusedMessages, 1);
  assert.equal([node.term, node.commit, node.lastIndex], [term, commit, lastIndex]);
  assert.ok(node.lastIndex >= 2);
}

const entry = (index: number, term: number) => ({ index, term, kind: 'normal' as const, data: bytes('x') });

test('for another peer', () => refuses({ to: 3 }, 2));
test('from itself', () => refuses({ from: 2 }));
test('of a term that no cluster reaches', () => refuses({ term: 2 ** 53, from: 3 }));
test('of a term that is no number', () => refuses({ term: NaN }));
test('from a second leader of the term', () => refuses({ from: 3, index: 2, logTerm: 1 }));
test('an append with a gap', () => refuses({ index: 2, logTerm: 1, entries: [entry(4, 1)] }));
test('an append whose terms fall', () => refuses({ index: 2, logTerm: 1, entries: [entry(3, 1), entry(4, 0)] }));
test('an append of a future term', () => refuses({ index: 2, logTerm: 1, entries: [entry(3, 2)] }));
test('a heartbeat with a commit beyond the log', () => refuses({ kind: 'heartbeat', commit: 99 }));
test('a snapshot without a configuration', () => refuses({ kind: 'snapshot', index: 9, logTerm: 1 }));
test('a snapshot of a future term', () =>
  refuses({ kind: 'snapshot', index: 9, logTerm: 2, membership: votersOnly([1, 2, 3]) }));
test('a snapshot from a second leader of the term', () =>
  refuses({ kind: 'snapshot', from: 3, index: 9, logTerm: 1, membership: votersOnly([1, 2, 3]) }));
test('an answer for entries that the leader does not have', () =>
  refuses({ kind: 'appendResponse', from: 2, index: 99 }, 1));

test('an append that contradicts what is committed does not replace it', () => {
  const group = groupWithEntries();
  const { node, disk } = group.replica(2);
  const before = disk.all().map((one) => one.term);
  node.step(forged({ from: 3, term: 9, index: 0, logTerm: 0, entries: [entry(1, 9), entry(2, 9)] }), group.nowMs);
  group.replica(2).begin(group.nowMs);
  group.replica(2).finish();
  assert.equal(
    disk.all().map((one) => one.term),
    before,
  );
});

test('answers of strangers count for nothing', () => {
  const group = groupWithEntries();
  group.cut(2, 3);
  const { node } = group.replica(1);
  node.propose(bytes('b'), group.nowMs);
  node.readIndex(1, group.nowMs);
  group.settle();
  for (const from of [7, 8, 9]) {
    node.step(forged({ kind: 'appendResponse', from, to: 1, index: 3, context: 99 }), group.nowMs);
    node.step(forged({ kind: 'heartbeatResponse', from, to: 1, context: 99 }), group.nowMs);
  }
  group.settle();
  assert.is(node.commit, 2);
  assert.equal(group.replica(1).reads, []);
});

test('an echo of a round that was never sent confirms no later read', () => {
  const group = groupWithEntries();
  group.cut(2, 3);
  const leader = group.replica(1);
  leader.node.step(forged({ kind: 'heartbeatResponse', from: 2, to: 1, context: 1000 }), group.nowMs);
  leader.node.readIndex(1, group.nowMs);
  group.settle();
  assert.equal(leader.reads, []);
});

test('only its leader can make a peer campaign at once', () => {
  const group = groupWithEntries();
  const { node } = group.replica(2);
  node.step(forged({ kind: 'timeoutNow', from: 3 }), group.nowMs);
  assert.is(node.role, 'follower');
  node.step(forged({ kind: 'timeoutNow', from: 1 }), group.nowMs);
  assert.is(node.role, 'candidate');
});

test('a pre-vote that was granted to an earlier campaign does not win this one', () => {
  const group = new Group(3);
  const { node } = group.replica(2);
  node.step(forged({ kind: 'heartbeat', from: 1, term: 5 }), group.nowMs);
  node.tick(group.nowMs + 2000);
  assert.is(node.role, 'preCandidate');
  node.step(forged({ kind: 'preVoteResponse', from: 3, term: 5 }), group.nowMs);
  assert.is(node.role, 'preCandidate');
  node.step(forged({ kind: 'preVoteResponse', from: 3, term: 6 }), group.nowMs);
  assert.is(node.role, 'candidate');
});

test('a peer takes no snapshot of a group that it does not belong to', () => {
  const group = groupWithEntries();
  const { node } = group.replica(2);
  node.step(forged({ kind: 'snapshot', index: 9, logTerm: 1, membership: votersOnly([1, 3]) }), group.nowMs);
  assert.equal([node.lastIndex, node.commit], [2, 2]);
  assert.is(group.replica(2).begin(group.nowMs).length, 0);
});

test('strangers do not wake a group that hibernates', () => {
  const group = new Group(3, { config: { hibernateAfterMs: 200 } });
  group.elect(1);
  group.advance(1000);
  const { node } = group.replica(1);
  assert.ok(node.isHibernating);
  node.step(forged({ kind: 'preVote', from: 9, to: 1, term: 99, index: 99, logTerm: 99 }), group.nowMs);
  node.reportNodeLost(9, group.nowMs);
  assert.ok(node.isHibernating);
  node.reportNodeLost(3, group.nowMs);
  assert.not.ok(node.isHibernating);
});
