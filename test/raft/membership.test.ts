/** How configurations follow from each other. */

import { changeMembership, isMember, votersOnly } from '../../engine/raft/index.ts';
import type { Membership } from '../../engine/raft/index.ts';
import { assert, suite } from '../harness.ts';
import { bytes } from './group.ts';
import { decodeChange, describeMembership } from './changes.ts';

const test = suite('raft membership');

function change(from: Membership, text: string): Membership {
  return changeMembership(from, decodeChange(bytes(text)));
}

function expect(from: Membership, text: string, expected: string): Membership {
  const next = change(from, text);
  assert.is(describeMembership(next), expected);
  return next;
}

const THREE = votersOnly([1, 2, 3]);

test('a simple change adds, removes or turns one peer', () => {
  expect(THREE, 'simple +4', 'voters 1 2 3 4');
  expect(THREE, 'simple -3', 'voters 1 2');
  expect(THREE, 'simple ~4', 'voters 1 2 3, learners 4');
  const learning = expect(THREE, 'simple ~3', 'voters 1 2, learners 3');
  expect(learning, 'simple +3', 'voters 1 2 3');
  expect(learning, 'simple -3', 'voters 1 2');
});

test('learners may come and go with one voter', () => {
  expect(THREE, 'simple +4 ~5 ~6', 'voters 1 2 3 4, learners 5 6');
});

test('a simple change of two voters is refused: their majorities might not meet', () => {
  for (const text of ['simple +4 +5', 'simple -2 -3', 'simple +4 -3', 'simple ~3 +4']) {
    assert.throws(() => change(THREE, text), /joint/, text);
  }
});

test('a joint change keeps the old voters until it is left', () => {
  const joint = expect(THREE, 'joint +4 +5 -2 -3', 'voters 1 4 5, outgoing 1 2 3, leaves by itself');
  assert.ok(isMember(joint, 2));
  const left = expect(joint, '', 'voters 1 4 5');
  assert.not.ok(isMember(left, 2));
  expect(THREE, 'jointManual +4', 'voters 1 2 3 4, outgoing 1 2 3');
});

test('a voter that becomes a learner votes in the outgoing half until it is left', () => {
  const joint = expect(THREE, 'joint ~3 +4', 'voters 1 2 4, outgoing 1 2 3, to learn 3, leaves by itself');
  expect(joint, '', 'voters 1 2 4, learners 3');
});

test('a peer that is changed more than once is what the last change says', () => {
  expect(THREE, 'joint ~3 +3', 'voters 1 2 3, outgoing 1 2 3, leaves by itself');
  expect(THREE, 'joint -3 ~3', 'voters 1 2, outgoing 1 2 3, to learn 3, leaves by itself');
  expect(THREE, 'simple ~4 -4', 'voters 1 2 3');
});

test('a joint configuration is left before anything else, and only then', () => {
  const joint = change(THREE, 'joint +4');
  assert.throws(() => change(joint, 'simple +5'), /leave it first/);
  assert.throws(() => change(joint, 'joint +5'), /leave it first/);
  assert.throws(() => change(THREE, ''), /nothing to leave/);
});

test('one voter stays', () => {
  assert.throws(() => change(votersOnly([1]), 'simple -1'), /no voter/);
  assert.throws(() => change(THREE, 'joint -1 -2 ~3'), /no voter/);
});

test('a change of something that is no peer is refused', () => {
  for (const peerId of [0, -1, 1.5, NaN, 2 ** 53]) {
    const bad = { mode: 'simple', changes: [{ action: 'addLearner', peerId }] } as const;
    assert.throws(() => changeMembership(THREE, bad), /no peer id/);
  }
});
