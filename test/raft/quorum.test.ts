import { Quorum } from '../../engine/raft/index.ts';
import { assert, suite } from '../harness.ts';

const test = suite('raft quorum');

test('the highest value of a quorum is the lowest of the best majority', () => {
  const cases: [number[], number][] = [
    [[7], 7],
    [[7, 3], 3],
    [[7, 3, 5], 5],
    [[9, 1, 1], 1],
    [[4, 4, 9, 2], 4],
    [[1, 2, 3, 4, 5], 3],
    [[5, 5, 5, 1, 1], 5],
  ];
  for (const [values, expected] of cases) {
    const quorum = new Quorum(values.map((_, at) => at + 1));
    assert.is(quorum.highest(Float64Array.from(values)), expected);
  }
});

test('a vote is decided as soon as, and not before, a majority says so', () => {
  const quorum = new Quorum([1, 2, 3, 4]);
  assert.is(quorum.tally(Int8Array.from([1, 1, 0, 0])), 'pending');
  assert.is(quorum.tally(Int8Array.from([1, 1, 1, 0])), 'won');
  assert.is(quorum.tally(Int8Array.from([1, 1, -1, 0])), 'pending');
  assert.is(quorum.tally(Int8Array.from([1, 1, -1, -1])), 'lost');
});

test('a configuration without voters decides nothing', () => {
  const quorum = new Quorum([]);
  assert.is(quorum.highest(new Float64Array(0)), -Infinity);
  assert.is.not(quorum.tally(new Int8Array(0)), 'won');
  assert.not.ok(quorum.isAlone(-1));
});

test('peers are known by slot, whatever order they were given in', () => {
  const quorum = new Quorum([30, 10, 20, 10]);
  assert.equal(quorum.peers, [10, 20, 30]);
  assert.is(quorum.slotOf(30), 2);
  assert.is(quorum.slotOf(40), -1);
  assert.not.ok(quorum.isVoter(-1));
});

test('in a joint configuration both majorities must agree, and learners do not count', () => {
  const quorum = new Quorum([1, 4, 5], [1, 2, 3], [6]);
  assert.equal(quorum.peers, [1, 2, 3, 4, 5, 6]);
  assert.is(quorum.highest(Float64Array.from([9, 8, 1, 3, 2, 100])), 3);
  assert.is(quorum.highest(Float64Array.from([9, 1, 2, 8, 7, 100])), 2);
  assert.is(quorum.tally(Int8Array.from([1, 1, 0, 0, 0, 1])), 'pending');
  assert.is(quorum.tally(Int8Array.from([1, 1, 0, 0, 1, 0])), 'won');
  assert.is(quorum.tally(Int8Array.from([1, 1, 1, -1, -1, 1])), 'lost');
  assert.not.ok(quorum.isVoter(quorum.slotOf(6)));
  assert.ok(quorum.isVoter(quorum.slotOf(2)));
});

test('who is alone in one half only is not alone', () => {
  assert.not.ok(new Quorum([1], [1, 2]).isAlone(0));
  assert.ok(new Quorum([1], [], [2]).isAlone(0));
});
