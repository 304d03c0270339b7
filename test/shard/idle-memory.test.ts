import { IdleMemory, type HeapSize } from '../../engine/shard/idle-memory.ts';
import { assert, suite } from '../harness.ts';

const IDLE = 0.01;
const mib = (held: number, used = held): HeapSize => ({
  heldBytes: held * 1024 * 1024,
  usedBytes: used * 1024 * 1024,
});

const test = suite('memory of an idle thread');

test('a thread that falls idle collects until V8 holds little beside what lives', () => {
  const memory = new IdleMemory();
  assert.is(memory.shouldCollect(IDLE, mib(60)), true);
  memory.collected(mib(60), mib(50, 20));
  assert.is(memory.shouldCollect(IDLE, mib(50, 20)), true);
  memory.collected(mib(50), mib(22, 20));
  assert.is(memory.shouldCollect(IDLE, mib(23, 21)), false);
});

test('a collection that gives nothing back is tried again, ever more rarely: space for young objects goes later', () => {
  const memory = new IdleMemory();
  const looks: number[] = [];
  for (let look = 0; look < 200; look++) {
    if (!memory.shouldCollect(IDLE, mib(80, 40))) continue;
    looks.push(look);
    memory.collected(mib(80, 41), mib(80, 40));
  }
  assert.equal(looks, [0, 2, 6, 14, 30, 62, 126, 190]);
});

test('an idle thread that grows little is left alone, for ever', () => {
  const memory = new IdleMemory();
  memory.shouldCollect(IDLE, mib(40));
  memory.collected(mib(40), mib(21, 20));
  for (let look = 0; look < 100; look++) assert.is(memory.shouldCollect(IDLE, mib(21 + (look % 5))), false);
});

test('a busy thread is never made to collect, and begins anew when it falls idle', () => {
  const memory = new IdleMemory();
  assert.is(memory.shouldCollect(0.5, mib(500)), false);
  assert.is(memory.shouldCollect(IDLE, mib(500)), true);
  memory.collected(mib(500), mib(500, 400));
  assert.is(memory.shouldCollect(IDLE, mib(500)), false, 'it gave nothing');
  assert.is(memory.shouldCollect(0.9, mib(500)), false, 'not the second time either');
  assert.is(memory.shouldCollect(IDLE, mib(500)), true);
});
