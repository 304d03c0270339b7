import { IdleMemory } from '../../engine/shard/idle-memory.ts';
import { assert, suite } from '../harness.ts';

const MIB = 1024 * 1024;

const test = suite('memory of an idle thread');

test('a thread that falls idle collects what it grew by, and goes on while that gives much back', () => {
  const memory = new IdleMemory();
  assert.is(memory.shouldCollect(0.01, 60 * MIB), true);
  memory.collected(60 * MIB, 50 * MIB);
  assert.is(memory.shouldCollect(0.01, 51 * MIB), true);
  memory.collected(51 * MIB, 20 * MIB);
  assert.is(memory.shouldCollect(0.01, 21 * MIB), true, 'the last one gave much back');
  memory.collected(21 * MIB, 20 * MIB);
  assert.is(memory.shouldCollect(0.01, 21 * MIB), false);
});

test('an idle thread that grows little is left alone, for ever', () => {
  const memory = new IdleMemory();
  memory.shouldCollect(0.01, 20 * MIB);
  memory.collected(20 * MIB, 20 * MIB);
  memory.shouldCollect(0.01, 20 * MIB);
  memory.collected(20 * MIB, 20 * MIB);
  for (let i = 0; i < 100; i++) assert.is(memory.shouldCollect(0.02, (20 + (i % 5)) * MIB), false);
});

test('a busy thread is never made to collect', () => {
  const memory = new IdleMemory();
  assert.is(memory.shouldCollect(0.5, 500 * MIB), false);
  assert.is(memory.shouldCollect(0.01, 500 * MIB), true);
  memory.collected(500 * MIB, 400 * MIB);
  assert.is(memory.shouldCollect(0.9, 500 * MIB), false, 'not the second time either');
});
