import { Inflights } from '../../engine/raft/inflights.ts';
import { assert, suite } from '../harness.ts';

const test = suite('raft inflights');

test('the window closes at its messages and at its bytes', () => {
  const messages = new Inflights(2, 1000);
  messages.add(1, 1);
  assert.not.ok(messages.full);
  messages.add(2, 1);
  assert.ok(messages.full);

  const bytes = new Inflights(100, 1000);
  bytes.add(1, 999);
  assert.not.ok(bytes.full);
  bytes.add(2, 5000);
  assert.ok(bytes.full);
});

test('an answer frees all that it includes, round and round the ring', () => {
  const inflights = new Inflights(3, 1000);
  for (let index = 1; index <= 100; index++) {
    inflights.add(index, index);
    if (!inflights.full) continue;
    assert.is(inflights.sizeBytes, 3 * index - 3);
    inflights.freeUpTo(index - 1);
    assert.is(inflights.count, 1);
    assert.is(inflights.sizeBytes, index);
  }
  inflights.freeUpTo(1000);
  assert.is(inflights.count, 0);
  assert.is(inflights.sizeBytes, 0);
  inflights.freeOldest();
  assert.is(inflights.count, 0);
});
