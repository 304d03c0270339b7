/** A check of replicas against each other: equal ones agree, and the first difference is found where it is. */

import { RangeHasher, firstDifference, groupPages, hashState, type HashPage } from '../../engine/region/consistency.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, suite } from '../harness.ts';
import { region, text } from './descriptors.ts';

const test = suite('consistency');

const VALUE_BYTES = 16 * 1024;
const keyOf = (at: number): Uint8Array => text(`k${String(at).padStart(6, '0')}`);

function storeOf(entries: number, change?: (store: MemoryStore) => void): MemoryStore {
  const store = new MemoryStore();
  const batch = store.createBatch();
  const value = Buffer.alloc(VALUE_BYTES, 'v');
  for (let at = 0; at < entries; at++) batch.put('data', keyOf(at), value);
  store.write(batch, { sync: true });
  change?.(store);
  return store;
}

function hash(store: MemoryStore, options: { pageEntries?: number; state?: string } = {}): readonly HashPage[] {
  const cursor = store.openCursor('data', { gte: text(''), limit: options.pageEntries ?? 7, maxBytes: 1 << 20 });
  const hasher = new RangeHasher(cursor, text(''), text(options.state ?? 'state'));
  for (let turns = 0; !hasher.step(); turns++) assert.ok(turns < 100_000);
  return hasher.pages;
}

function put(key: Uint8Array, value: string): (store: MemoryStore) => void {
  return (store) => {
    const batch = store.createBatch();
    batch.put('data', key, text(value));
    store.write(batch, { sync: true });
  };
}

test('equal data has equal pages, however it is read', () => {
  const own = hash(storeOf(100), { pageEntries: 3 });
  const leaders = groupPages(hash(storeOf(100), { pageEntries: 50 }));
  assert.ok(own.length > 5, `${own.length} pages`);
  assert.is(firstDifference(own, leaders), undefined);
  assert.is(firstDifference(hash(storeOf(0)), groupPages(hash(storeOf(0)))), undefined);
});

test('one value, one key more or one less is found, on the page where it lies', () => {
  const leaders = groupPages(hash(storeOf(100)));
  const changed = keyOf(58);
  const differing: Record<string, (store: MemoryStore) => void> = {
    'another value': put(changed, 'x'),
    'a key more': put(Buffer.concat([changed, text('!')]), 'x'),
    'a key less': (store) => store.deleteRange('data', changed, Buffer.concat([changed, text('\0')])),
  };
  for (const [what, change] of Object.entries(differing)) {
    const found = firstDifference(hash(storeOf(100, change)), leaders)!;
    assert.is(found.what, 'keys', what);
    assert.ok(Buffer.compare(found.after, changed) < 0, `${what} is behind ${String(found.after)}`);
    assert.ok(found.upTo.length === 0 || Buffer.compare(changed, found.upTo) <= 0, what);
  }
});

test('a difference behind the last page, or in an empty region, is found too', () => {
  const full = hash(storeOf(100));
  const more = hash(storeOf(100, put(text('z'), 'x')));
  assert.is(firstDifference(more, groupPages(full))?.what, 'keys');
  assert.is(firstDifference(full, groupPages(more))?.what, 'keys');
  assert.is(firstDifference(hash(storeOf(0)), groupPages(full))?.what, 'keys');
  assert.is(firstDifference(full, groupPages(hash(storeOf(0))))?.what, 'keys');
});

test('of two differences the first is named', () => {
  const own = hash(
    storeOf(100, (store) => {
      put(keyOf(80), 'x')(store);
      put(keyOf(10), 'x')(store);
    }),
  );
  const found = firstDifference(own, groupPages(hash(storeOf(100))))!;
  assert.ok(Buffer.compare(keyOf(10), found.upTo) <= 0);
  assert.ok(Buffer.compare(found.upTo, keyOf(80)) < 0);
});

test('the state of the region is compared too', () => {
  const found = firstDifference(hash(storeOf(9), { state: 'a' }), groupPages(hash(storeOf(9), { state: 'b' })));
  assert.is(found?.what, 'state');
  const sessions = [{ name: text('s'), record: text('1') }];
  const other = [{ name: text('s1'), record: text('') }];
  const of = (records: typeof sessions) => Buffer.from(hashState(region(7, 'a', 'b'), records)).toString('hex');
  assert.is.not(of(sessions), of(other), 'no two records look alike when they are joined');
  assert.is(of(sessions), of(sessions));
});

test('what a leader tells of a large region fits one entry, also with the longest keys', () => {
  const pages = Array.from({ length: 5_000 }, () => ({
    lastKey: Buffer.alloc(LIMITS.keyBytes),
    hash: Buffer.alloc(16),
  }));
  const groups = groupPages(pages);
  assert.ok(groups.length <= LIMITS.hashGroups);
  const sizeBytes = groups.reduce((sum, group) => sum + group.lastKey.length + 32, 0);
  assert.ok(sizeBytes < LIMITS.entryBytes, `${sizeBytes} bytes`);
});

test('a check sees the range as it was when it began', () => {
  const store = storeOf(50);
  const cursor = store.openCursor('data', { gte: text(''), limit: 5, maxBytes: 1 << 20 });
  const hasher = new RangeHasher(cursor, text(''), text('state'));
  hasher.step();
  put(keyOf(40), 'later')(store);
  while (!hasher.step());
  assert.is(firstDifference(hasher.pages, groupPages(hash(storeOf(50)))), undefined);
});
