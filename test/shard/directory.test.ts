/** A node that comes back without its data must not speak for the one it was: what it promised is forgotten. */

import { assert, suite } from '../harness.ts';
import { Directory, type FrameSender } from '../../engine/shard/directory.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';

const test = suite('directory of nodes');
const FIRST: FrameSender = { bootEpoch: 10, workers: 2, incarnation: 7 };

test('frames of the node as it was first heard are read, those of an older boot are not', () => {
  const directory = new Directory(new MemoryStore());
  assert.is(directory.note(2, FIRST), 'changed');
  assert.is(directory.note(2, FIRST), 'current');
  assert.is(directory.note(2, { ...FIRST, bootEpoch: 11 }), 'changed');
  assert.is(directory.note(2, FIRST), 'olderBoot');
});

test('a node whose data was wiped is not listened to, however new its boot', () => {
  const directory = new Directory(new MemoryStore());
  directory.note(2, FIRST);
  assert.is(directory.note(2, { ...FIRST, bootEpoch: 99, incarnation: 8 }), 'otherIncarnation');
  assert.is(directory.note(2, { ...FIRST, bootEpoch: 99, incarnation: 0 }), 'otherIncarnation');
  assert.is(directory.note(2, FIRST), 'current');
});

test('it is remembered over restarts', () => {
  const store = new MemoryStore();
  new Directory(store).note(2, FIRST);
  const restarted = new Directory(store);
  assert.is(restarted.note(2, { ...FIRST, bootEpoch: 99, incarnation: 8 }), 'otherIncarnation');
  assert.is(restarted.note(2, FIRST), 'changed');
});

test('every worker of a node remembers the same', () => {
  const store = new MemoryStore();
  const [one, other] = [new Directory(store), new Directory(store)];
  one.note(2, FIRST);
  assert.is(other.note(2, { ...FIRST, incarnation: 8 }), 'otherIncarnation');
});

test('who did not say at first is remembered once it does', () => {
  const directory = new Directory(new MemoryStore());
  directory.note(2, { ...FIRST, incarnation: 0 });
  assert.is(directory.note(2, FIRST), 'current');
  assert.is(directory.note(2, { ...FIRST, incarnation: 8 }), 'otherIncarnation');
});

test('a node that is silent is spoken to at its first worker: it may have come back with fewer', () => {
  let isSilent = false;
  const directory = new Directory(new MemoryStore(), { isSilent: () => isSilent });
  directory.note(2, { bootEpoch: 1, workers: 8, incarnation: 5 });
  const others = Array.from({ length: 20 }, (_, regionId) => directory.workerOf(2, regionId)).filter(
    (worker) => worker > 0,
  );
  assert.ok(others.length > 0);
  isSilent = true;
  for (let regionId = 0; regionId < 20; regionId++) assert.is(directory.workerOf(2, regionId), 0);
});

test('frames of who is no member are not read, but a peer of a region is one before placement has heard of it', () => {
  const directory = new Directory(new MemoryStore(), { isNeighbour: (nodeId) => nodeId === 3 });
  const sender = { bootEpoch: 1, workers: 2, incarnation: 5 };
  assert.is(directory.note(9, sender), 'changed', 'as long as placement has said nothing');
  directory.noteMembers([1, 2]);
  assert.is(directory.note(2, sender), 'changed');
  assert.is(directory.note(3, { ...sender, incarnation: 6 }), 'changed');
  assert.is(directory.note(9, sender), 'notMember');
});
