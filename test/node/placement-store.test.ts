/** Two nodes may both believe that they lead placement for a while; only one of them may have its way. */

import { assert, rejects, suite } from '../harness.ts';
import { PlacementStore } from '../../engine/node/placement-store.ts';
import type { BatchOperation } from '../../rpc/client/index.ts';
import { PlacementUnavailable } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { MemoryKv } from './memory-kv.ts';

const test = suite('what placement keeps');

let kv: MemoryKv;
test.before.each(() => {
  kv = new MemoryKv();
});

const takeOver = (nodeId: number): Promise<PlacementStore> =>
  PlacementStore.takeOver(kv, { nodeId, bootEpoch: 1 }, () => `drawn by ${nodeId}`);

test('the next leader finds what the last one wrote, and a higher term', async () => {
  const first = await takeOver(1);
  await first.write([
    { key: 'node/1', value: 'a' },
    { key: 'ids', value: '7' },
    { key: 'gone', value: 'x' },
  ]);
  await first.write([{ key: 'gone', value: null }]);
  const second = await takeOver(2);
  assert.equal(Object.fromEntries(second.records()), { ids: '7', 'node/1': 'a' });
  assert.is(second.leader.term, first.leader.term + 1);
  assert.is(second.clusterId, first.clusterId);
});

test('of several writes of one record in one call the last counts', async () => {
  const store = await takeOver(1);
  await store.write([
    { key: 'ids', value: '1' },
    { key: 'ids', value: '2' },
  ]);
  assert.equal((await takeOver(2)).records(), [['ids', '2']]);
});

test('a deposed leader cannot overwrite what its successor wrote', async () => {
  const old = await takeOver(1);
  await old.write([{ key: 'ids', value: '100' }]);
  const successor = await takeOver(2);
  await successor.write([{ key: 'ids', value: '200' }]);
  await rejects(old.write([{ key: 'ids', value: '150' }]), PlacementUnavailable);
  assert.equal((await takeOver(3)).records(), [['ids', '200']]);
});

test('no id is given twice when the deposed one is faster: its successor must read again', async () => {
  const old = await takeOver(1);
  const successor = await takeOver(2);
  await old.write([{ key: 'ids', value: '100' }]);
  await rejects(successor.write([{ key: 'ids', value: '100' }]), PlacementUnavailable);
});

test('of two who take over at once one is refused', async () => {
  await takeOver(1);
  const outcomes = await Promise.allSettled([takeOver(2), takeOver(3)]);
  assert.equal(outcomes.map((outcome) => outcome.status).sort(), ['fulfilled', 'rejected']);
});

test('descriptors are kept and forgotten, and read once by the next leader', async () => {
  const first = await takeOver(1);
  await first.writeDescriptors([
    { key: 'region/2', value: 'two' },
    { key: 'region/3', value: 'three' },
  ]);
  await first.writeDescriptors([{ key: 'region/2', value: null }]);
  const second = await takeOver(2);
  assert.equal(second.takeDescriptors(), ['three']);
  assert.equal(second.takeDescriptors(), []);
  assert.equal(second.records(), [], 'they are no records that the fence guards');
});

test('a million bytes of descriptors are written in parts that a batch may have', async () => {
  const sizes: number[] = [];
  kv.onBatch = (operations) => {
    const bytesOf = (operation: BatchOperation): number => ('value' in operation ? operation.value.length : 0);
    sizes.push(operations.reduce((sum, operation) => sum + operation.key.length + bytesOf(operation), 0));
  };
  const store = await takeOver(1);
  const value = 'x'.repeat(22_000);
  await store.writeDescriptors(Array.from({ length: 50 }, (_, at) => ({ key: `region/${at}`, value })));
  assert.ok(sizes.length > 2);
  assert.ok(sizes.every((size) => size <= LIMITS.batchBytes));
});
