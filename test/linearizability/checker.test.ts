import { assert, suite } from '../harness.ts';
import { isLinearizable } from './brute-force.ts';
import { checkHistory } from './checker.ts';
import { describeOperation, type Input, type Operation, type Output } from './history.ts';
import { randomHistory, seededRandom } from './random-history.ts';

const test = suite('linearizability checker');

/** An operation of [from, to]; without an output it got no answer. */
function op(from: number, to: number, input: Input, output?: Output, key = 'k'): Operation {
  const returnedAt = output === undefined ? Infinity : to;
  return { key, client: from, input, invokedAt: from, returnedAt, output };
}
const put = (value: string): Input => ({ kind: 'put', value });
const cas = (expected: string | undefined, value: string | undefined): Input => ({ kind: 'cas', expected, value });
const get: Input = { kind: 'get' };
const remove: Input = { kind: 'delete' };
const read = (value: string | undefined): Output => ({ value });
const done: Output = {};
const swapped: Output = { swapped: true };
const held = (current: string | undefined): Output => ({ swapped: false, current });

const right: readonly (readonly [what: string, history: Operation[]])[] = [
  ['nothing at all', []],
  ['a read of what was written', [op(0, 1, put('a'), done), op(2, 3, get, read('a'))]],
  ['a read beside a write that sees the old value', [op(0, 9, put('a'), done), op(1, 2, get, read(undefined))]],
  ['a read beside a write that sees the new value', [op(0, 9, put('a'), done), op(1, 2, get, read('a'))]],
  [
    'two writes that overlap, read in either order',
    [op(0, 9, put('a'), done), op(0, 9, put('b'), done), op(10, 11, get, read('a'))],
  ],
  ['operations that touch count as concurrent', [op(0, 5, put('a'), done), op(5, 9, get, read(undefined))]],
  [
    'a write without an answer that took effect late',
    [op(0, 1, put('a')), op(2, 3, get, read(undefined)), op(4, 5, get, read('a'))],
  ],
  ['a write without an answer that never took effect', [op(0, 1, put('a')), op(2, 3, get, read(undefined))]],
  [
    'a delete without an answer that took effect',
    [op(0, 1, put('a'), done), op(2, 3, remove), op(4, 5, get, read(undefined))],
  ],
  [
    'a swap chain',
    [op(0, 1, cas(undefined, 'a'), swapped), op(2, 3, cas('a', 'b'), swapped), op(4, 5, get, read('b'))],
  ],
  [
    'a swap that fails and says why',
    [op(0, 1, put('a'), done), op(2, 3, cas('b', 'c'), held('a')), op(4, 5, get, read('a'))],
  ],
  [
    'a swap without an answer that explains the next one',
    [op(0, 1, cas(undefined, 'a')), op(2, 3, cas('a', 'b'), swapped)],
  ],
  ['keys that know nothing of each other', [op(0, 1, put('a'), done, 'x'), op(2, 3, get, read(undefined), 'y')]],
];
for (const [what, history] of right) {
  test(`accepts ${what}`, () => assert.is(checkHistory(history).result, 'linearizable'));
}

const wrong: readonly (readonly [what: string, history: Operation[]])[] = [
  ['a stale read', [op(0, 1, put('a'), done), op(2, 3, put('b'), done), op(4, 5, get, read('a'))]],
  ['a lost write', [op(0, 1, put('a'), done), op(2, 3, get, read(undefined))]],
  ['a read of what nobody wrote', [op(0, 1, put('a'), done), op(2, 3, get, read('z'))]],
  [
    'a read that goes back behind another',
    [op(0, 9, put('a'), done), op(1, 2, get, read('a')), op(3, 4, get, read(undefined))],
  ],
  ['two swaps that both won', [op(0, 1, cas(undefined, 'a'), swapped), op(0, 1, cas(undefined, 'b'), swapped)]],
  ['a swap that failed against what it expected', [op(0, 1, put('a'), done), op(2, 3, cas('a', 'b'), held('a'))]],
  [
    'a swap that failed and took effect',
    [op(0, 1, put('a'), done), op(2, 3, cas('b', 'c'), held('a')), op(4, 5, get, read('c'))],
  ],
  [
    'a write that was applied twice',
    [op(0, 1, put('a'), done), op(2, 3, put('b'), done), op(4, 5, get, read('b')), op(6, 7, get, read('a'))],
  ],
  ['a deleted value that returns', [op(0, 1, put('a'), done), op(2, 3, remove, done), op(4, 5, get, read('a'))]],
  ['a write without an answer seen before it was asked', [op(4, 5, put('a')), op(0, 1, get, read('a'))]],
  [
    'a write without an answer that comes and goes',
    [op(0, 1, put('a')), op(2, 3, get, read('a')), op(4, 5, get, read(undefined)), op(6, 7, get, read('a'))],
  ],
  ['one key of several', [op(0, 1, put('a'), done, 'x'), op(2, 3, get, read('a'), 'x'), op(4, 5, get, read('a'), 'y')]],
];
for (const [what, history] of wrong) {
  test(`refuses ${what}`, () => {
    const verdict = checkHistory(history);
    assert.is(verdict.result, 'violation');
    assert.match(verdict.result === 'violation' ? verdict.explanation : '', 'no order explains');
  });
}

const ROUNDS = 8_000;

test('agrees with a brute-force checker on small random histories, good and bad', () => {
  const random = seededRandom(2_024);
  const counts = { linearizable: 0, violation: 0 };
  for (let round = 0; round < ROUNDS; round++) {
    const history = randomHistory(random, { operations: 2 + Math.floor(random() * 5), wrong: round % 2 === 1 });
    const expected = isLinearizable(history) ? 'linearizable' : 'violation';
    const { result } = checkHistory(history);
    assert.is(result, expected, `round ${round}:\n${history.map(describeOperation).join('\n')}`);
    counts[expected] += 1;
  }
  // Both kinds must be there in numbers, or the agreement says little.
  assert.ok(counts.linearizable > ROUNDS / 4, `${counts.linearizable} linearizable`);
  assert.ok(counts.violation > ROUNDS / 10, `${counts.violation} violations`);
});

test('never refuses what a register answered, in longer histories', () => {
  const random = seededRandom(7);
  for (let round = 0; round < 300; round++) {
    const history = randomHistory(random, { operations: 60, wrong: false, spanMs: 120 });
    assert.is(checkHistory(history).result, 'linearizable', history.map(describeOperation).join('\n'));
  }
});

test('decides thousands of operations of a few keys, with dozens of lost answers', () => {
  const history: Operation[] = [];
  for (let at = 0; at < 4_000; at++) {
    const key = `k${at % 4}`;
    const from = at * 10;
    history.push(op(from, from + 25, put(`v${at}`), at % 50 === 0 ? undefined : done, key));
    if (at % 50 !== 0) history.push(op(from + 30, from + 35, get, read(`v${at}`), key));
  }
  assert.is(checkHistory(history).result, 'linearizable');
  history.push(op(50_000, 50_001, get, read('v3'), 'k3'));
  assert.is(checkHistory(history).result, 'violation');
});

test('decides hundreds of reads at a time', () => {
  const history = [op(0, 1, put('old'), done), op(2, 500, put('new'), done)];
  for (let at = 0; at < 300; at++) history.push(op(3 + at, 400 + at, get, read(at % 3 === 0 ? 'new' : 'old')));
  assert.is(checkHistory(history).result, 'linearizable');
  assert.is(checkHistory([...history, op(600, 601, get, read('old'))]).result, 'violation');
});

test('gives up rather than search without end', () => {
  const history = Array.from({ length: 40 }, (_, at) => op(0, 100, cas(undefined, `v${at}`), held(`v${at + 1}`)));
  assert.is(checkHistory(history, { maxStates: 0 }).result, 'violation');
  const writes = Array.from({ length: 40 }, (_, at) => op(0, 100, put(`v${at}`), done));
  assert.is(checkHistory([...writes, op(101, 102, get, read('z'))], { maxStates: 1_000 }).result, 'undecided');
});
