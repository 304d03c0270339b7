/** Where the middle of a region is, and how large it is. */

import { measureRegion } from '../../engine/node/region-size.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import { assert, suite } from '../harness.ts';
import { region, text } from '../region/descriptors.ts';

const test = suite('size of a region');

function storeOf(sizes: readonly (readonly [string, number])[]): MemoryStore {
  const store = new MemoryStore();
  const batch = store.createBatch();
  for (const [key, valueBytes] of sizes) batch.put('data', text(key), Buffer.alloc(valueBytes));
  store.write(batch, { sync: true });
  return store;
}

const keyOf = (at: number): string => `k${String(at).padStart(6, '0')}`;
const whole = region(7, '', '');

test('the middle parts the bytes, not the keys', async () => {
  const sizes = Array.from({ length: 4_000 }, (_, at) => [keyOf(at), at < 3_000 ? 10 : 1_000] as const);
  const { sizeBytes, keys, middleKey } = await measureRegion(storeOf(sizes), whole);
  assert.is(keys, 4_000);
  assert.is(sizeBytes, 4_000 * 7 + 3_000 * 10 + 1_000 * 1_000);
  const at = Number(Buffer.from(middleKey!).toString().slice(1));
  assert.ok(at > 3_400 && at < 3_600, `at ${at}`);
});

test('only what lies in the region counts', async () => {
  const sizes = Array.from({ length: 100 }, (_, at) => [keyOf(at), 100] as const);
  const { keys, middleKey } = await measureRegion(storeOf(sizes), region(7, keyOf(40), keyOf(60)));
  assert.is(keys, 20);
  const at = Number(Buffer.from(middleKey!).toString().slice(1));
  assert.ok(at > 45 && at < 55, `at ${at}`);
});

test('a region with one key, or none, has no middle', async () => {
  assert.is((await measureRegion(storeOf([]), whole)).middleKey, undefined);
  assert.is((await measureRegion(storeOf([['a', 1_000]]), whole)).middleKey, undefined);
  assert.is(
    String(
      (
        await measureRegion(
          storeOf([
            ['a', 10],
            ['b', 10],
          ]),
          whole,
        )
      ).middleKey,
    ),
    'b',
  );
});

test('a huge first or last value does not make an empty half', async () => {
  for (const big of [0, 9]) {
    const sizes = Array.from({ length: 10 }, (_, at) => [keyOf(at), at === big ? 100_000 : 10] as const);
    const { middleKey } = await measureRegion(storeOf(sizes), whole);
    assert.ok(Buffer.from(middleKey!).toString() > keyOf(0), `the big one is ${big}`);
  }
});
