import { firstPage, pages } from '../../engine/node/list-page.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, suite } from '../harness.ts';

const test = suite('lists in parts that a message carries');

test('pages hold the list, in order, each within its bounds', () => {
  const list = Array.from({ length: 100 }, (_, at) => 'x'.repeat((at * 37) % 90));
  const parts = [...pages(list, { entries: 10, bytes: 200 })];
  assert.equal(parts.flat(), list);
  for (const part of parts) {
    assert.ok(part.length > 0 && part.length <= 10);
    assert.ok(part.length === 1 || part.reduce((sum, entry) => sum + entry.length + 2, 0) <= 200);
  }
});

test('an entry that passes the bound goes alone', () => {
  assert.equal([...pages(['a', 'b'.repeat(300), 'c'], { entries: 10, bytes: 200 })], [['a'], ['b'.repeat(300)], ['c']]);
  assert.equal([...pages([], { entries: 10, bytes: 200 })], []);
});

test('regions with the longest keys fit the answer of a stock broker', () => {
  const key = 'k'.repeat(Math.ceil((LIMITS.keyBytes * 4) / 3));
  const regions = Array.from({ length: LIMITS.placementListEntries }, (_, regionId) => ({
    regionId,
    startKey: key,
    endKey: key,
  }));
  const page = firstPage(regions);
  assert.ok(page.length > 1);
  assert.ok(Buffer.byteLength(JSON.stringify(page)) < LIMITS.frameBytes);
});
