/** What engine/store/port.ts promises, asked of both implementations. */

import { assert, suite, type Suite } from '../harness.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import { COLUMNS, type ScanOptions, type Store } from '../../engine/store/port.ts';
import { openRocks, type RocksOwner } from '../../engine/store/rocks-store.ts';
import { Closed, Internal } from '../../rpc/wire/errors.ts';
import { bytes, pseudoRandom, removeDir, scratchDir, text, thrownBy, writeAll } from './fixtures.ts';

const ALL: ScanOptions = { limit: 1_000_000, maxBytes: 1 << 30 };

function describeStore(name: string, open: () => Promise<Store>, close: () => Promise<void>): void {
  const test: Suite = suite(`store port: ${name}`);
  let store: Store;
  test.before.each(async () => {
    store = await open();
  });
  test.after.each(close);

  const keysOf = (options: ScanOptions): string[] => store.scan('data', options).entries.map(({ key }) => text(key));

  test('a batch is seen whole as soon as it is written, and not before', () => {
    const batch = store.createBatch();
    batch.put('data', bytes('a'), bytes('1'));
    batch.put('meta', bytes('a'), bytes('2'));
    assert.is(store.get('data', bytes('a')), undefined);
    store.write(batch, { sync: false });
    assert.is(text(store.get('data', bytes('a'))), '1');
    assert.is(text(store.get('meta', bytes('a'))), '2');
    assert.is(store.get('log', bytes('a')), undefined);
  });

  test('columns are apart', () => {
    for (const column of COLUMNS) writeAll(store, [[column, 'k', column]]);
    for (const column of COLUMNS) assert.is(text(store.get(column, bytes('k'))), column);
    store.deleteRange('log', bytes(''), undefined);
    assert.equal(
      COLUMNS.map((column) => text(store.get(column, bytes('k')))),
      COLUMNS.map((column) => (column === 'log' ? undefined : column)),
    );
  });

  test('within a batch the later operation on a key wins', () => {
    const batch = store.createBatch();
    batch.put('data', bytes('a'), bytes('1'));
    batch.delete('data', bytes('a'));
    batch.delete('data', bytes('b'));
    batch.put('data', bytes('b'), bytes('2'));
    store.write(batch, { sync: true });
    assert.equal(keysOf(ALL), ['b']);
  });

  test('a batch counts what it holds and is empty after it is written or cleared', () => {
    const batch = store.createBatch();
    assert.equal([batch.count, batch.sizeBytes], [0, 0]);
    batch.put('data', bytes('key'), bytes('value'));
    batch.delete('log', bytes('other'));
    assert.equal([batch.count, batch.sizeBytes], [2, 13]);
    store.write(batch, { sync: false });
    assert.equal([batch.count, batch.sizeBytes], [0, 0]);
    batch.put('data', bytes('never'), bytes('value'));
    batch.clear();
    assert.equal([batch.count, batch.sizeBytes], [0, 0]);
    store.write(batch, { sync: true });
    assert.equal(keysOf(ALL), ['key']);
  });

  test('a batch larger than any memory it keeps is written whole, and the batch is used again', () => {
    const batch = store.createBatch();
    const value = Buffer.alloc(512 * 1024, 7);
    for (let n = 0; n < 20; n++) batch.put('data', bytes(`big${n}`), value);
    store.write(batch, { sync: false });
    batch.put('data', bytes('small'), bytes('1'));
    store.write(batch, { sync: false });
    assert.is(keysOf(ALL).length, 21);
    assert.equal(Buffer.from(store.get('data', bytes('big19'))!), value);
  });

  test('what a caller does to its buffers after the call changes nothing', () => {
    const batch = store.createBatch();
    const key = Buffer.from('key');
    const value = Buffer.from('value');
    batch.put('data', key, value);
    key.fill(0);
    value.fill(0);
    store.write(batch, { sync: false });
    const read = store.get('data', bytes('key'))!;
    assert.is(text(read), 'value');
    read.fill(0);
    assert.is(text(store.get('data', bytes('key'))), 'value');
  });

  test('a key or value that is a view into a larger buffer is that view', () => {
    const backing = new Uint8Array([9, 1, 2, 3, 9]);
    const batch = store.createBatch();
    batch.put('data', backing.subarray(1, 3), backing.subarray(2, 4));
    store.write(batch, { sync: false });
    assert.equal(Buffer.from(store.get('data', new Uint8Array([1, 2]))!), Buffer.from([2, 3]));
  });

  test('empty values and bytes of every kind come back as they were', () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, n) => n));
    const batch = store.createBatch();
    batch.put('data', all, all);
    batch.put('data', bytes('empty'), Buffer.alloc(0));
    store.write(batch, { sync: false });
    assert.equal(Buffer.from(store.get('data', all)!), all);
    assert.is(store.get('data', bytes('empty'))!.length, 0);
  });

  test('getMany answers in the order of the keys, absent and repeated ones included', () => {
    writeAll(store, [
      ['data', 'a', '1'],
      ['data', 'b', '2'],
    ]);
    const keys = ['b', 'x', 'a', 'b'].map(bytes);
    assert.equal(store.getMany('data', keys).map(text), ['2', undefined, '1', '2']);
    assert.equal(store.getMany('data', []), []);
  });

  test('keys are ordered by their bytes, shorter first, both ways', () => {
    const keys = ['', '\x00', 'a', 'a\x00', 'aa', 'b', '\x7f', '\u00ff'].map((key) => Buffer.from(key, 'latin1'));
    const batch = store.createBatch();
    for (const key of keys.slice(1).toReversed()) batch.put('data', key, bytes('v'));
    store.write(batch, { sync: false });
    const found = store.scan('data', ALL).entries.map(({ key }) => Buffer.from(key).toString('latin1'));
    assert.equal(found, ['\x00', 'a', 'a\x00', 'aa', 'b', '\x7f', '\u00ff']);
    const backwards = store.scan('data', { ...ALL, reverse: true }).entries;
    assert.equal(
      backwards.map(({ key }) => Buffer.from(key).toString('latin1')),
      found.toReversed(),
    );
  });

  test('every bound of a range includes or excludes as its name says, both ways', () => {
    writeAll(
      store,
      'abcde'.split('').map((key) => ['data', key, key] as const),
    );
    const ranges: [Partial<Record<'gt' | 'gte' | 'lt' | 'lte', string>>, string][] = [
      [{}, 'abcde'],
      [{ gte: 'b' }, 'bcde'],
      [{ gt: 'b' }, 'cde'],
      [{ lt: 'd' }, 'abc'],
      [{ lte: 'd' }, 'abcd'],
      [{ gt: 'b', lt: 'd' }, 'c'],
      [{ gte: 'b', lte: 'd' }, 'bcd'],
      [{ gte: 'bb', lte: 'dd' }, 'cd'],
      [{ gt: 'b', lte: 'b' }, ''],
      [{ gte: 'd', lt: 'b' }, ''],
      [{ gte: 'x' }, ''],
      [{ lt: 'a' }, ''],
    ];
    for (const [range, expected] of ranges) {
      const bounds = Object.fromEntries(Object.entries(range).map(([name, key]) => [name, bytes(key)]));
      assert.is(keysOf({ ...ALL, ...bounds }).join(''), expected, JSON.stringify(range));
      const reversed = keysOf({ ...ALL, ...bounds, reverse: true }).toReversed();
      assert.is(reversed.join(''), expected, `${JSON.stringify(range)} reversed`);
    }
  });

  test('a page ends at its limit and says that more may follow', () => {
    writeAll(
      store,
      'abc'.split('').map((key) => ['data', key, key] as const),
    );
    assert.equal(keysOf({ ...ALL, limit: 2 }), ['a', 'b']);
    assert.is(store.scan('data', { ...ALL, limit: 2 }).more, true);
    assert.is(store.scan('data', { ...ALL, limit: 4 }).more, false);
    assert.equal(keysOf({ ...ALL, limit: 2, reverse: true }), ['c', 'b']);
    assert.throws(() => store.scan('data', { ...ALL, limit: 0 }), isA(Internal));
  });

  test('a page ends with the entry that passes its bytes, and has at least one', () => {
    writeAll(
      store,
      'abcd'.split('').map((key) => ['data', key, '123456789'] as const),
    );
    assert.equal(keysOf({ ...ALL, maxBytes: 0 }), ['a']);
    assert.equal(keysOf({ ...ALL, maxBytes: 10 }), ['a', 'b']);
    assert.equal(keysOf({ ...ALL, maxBytes: 25 }), ['a', 'b', 'c']);
    assert.is(store.scan('data', { ...ALL, maxBytes: 25 }).more, true);
    assert.is(store.scan('data', { ...ALL, maxBytes: 40 }).more, false);
  });

  for (const count of [3, 2_000]) {
    test(`deleteRange removes [start, end) of ${count} keys and lies between the writes around it`, () => {
      const name = (n: number): string => String(n).padStart(6, '0');
      writeAll(
        store,
        Array.from({ length: count }, (_, n) => ['data', name(n), 'old'] as const),
      );
      store.deleteRange('data', bytes(name(1)), bytes(name(count - 1)));
      assert.equal(keysOf(ALL), [name(0), name(count - 1)]);
      writeAll(store, [['data', name(1), 'new']]);
      assert.equal(keysOf(ALL), [name(0), name(1), name(count - 1)]);
      store.deleteRange('data', bytes(name(1)), bytes(name(1)));
      store.deleteRange('data', bytes(name(2)), bytes(name(1)));
      assert.is(text(store.get('data', bytes(name(1)))), 'new');
      store.deleteRange('data', bytes(name(1)), undefined);
      assert.equal(keysOf(ALL), [name(0)]);
    });
  }

  const letters = (): void =>
    writeAll(
      store,
      'abcde'.split('').map((key) => ['data', key, key] as const),
    );

  test('a cursor shows the range as it was when it was opened, whatever is written meanwhile', () => {
    letters();
    const cursor = store.openCursor('data', { gte: bytes('b'), lt: bytes('e'), limit: 2, maxBytes: 1 << 20 });
    writeAll(store, [
      ['data', 'b', 'changed'],
      ['data', 'bb', 'added'],
      ['data', 'd', 'changed'],
    ]);
    store.deleteRange('data', bytes('c'), bytes('z'));
    const seen: string[] = [];
    for (let page = cursor.next(); ; page = cursor.next()) {
      assert.ok(page.entries.length <= 2);
      for (const { key, value } of page.entries) seen.push(`${text(key)}=${text(value)}`);
      if (!page.more) break;
    }
    assert.equal(seen, ['b=b', 'c=c', 'd=d']);
    assert.equal(cursor.next(), { entries: [], more: false });
    cursor.close();
    cursor.close();
    assert.equal(keysOf(ALL), ['a', 'b', 'bb']);
  });

  test('a page of a cursor ends with the entry that passes its bytes, and has at least one', () => {
    letters();
    const pages = (maxBytes: number): string[] => {
      const cursor = store.openCursor('data', { limit: 100, maxBytes });
      const lengths: string[] = [];
      for (let page = cursor.next(); ; page = cursor.next()) {
        lengths.push(page.entries.map(({ key }) => text(key)).join(''));
        if (!page.more) break;
      }
      cursor.close();
      return lengths.filter((keys) => keys !== '');
    };
    assert.equal(pages(0), ['a', 'b', 'c', 'd', 'e']);
    assert.equal(pages(3), ['ab', 'cd', 'e']);
    assert.equal(pages(1 << 20), ['abcde']);
  });

  test('a cursor of an empty range is at its end, one in reverse reads backwards, and a closed one is not read', () => {
    letters();
    assert.equal(store.openCursor('data', { ...ALL, gte: bytes('x') }).next(), { entries: [], more: false });
    const reverse = store.openCursor('data', { ...ALL, reverse: true });
    assert.is(
      reverse
        .next()
        .entries.map(({ key }) => text(key))
        .join(''),
      'edcba',
    );
    reverse.close();
    assert.throws(() => reverse.next(), isA(Internal));
    assert.throws(() => store.openCursor('data', { ...ALL, limit: 0 }), isA(Internal));
  });

  test('closing a store closes the cursors that were left open', async () => {
    letters();
    const cursor = store.openCursor('data', ALL);
    await store.close();
    assert.instance(
      thrownBy(() => store.openCursor('data', ALL)),
      Closed,
    );
    assert.ok(thrownBy(() => cursor.next()));
  });

  test('a long mixed history leaves what a plain sorted table would hold', () => {
    const random = pseudoRandom(7);
    const model = new Map<string, string>();
    const batch = store.createBatch();
    for (let round = 0; round < 200; round++) {
      for (let n = 0; n < 20; n++) {
        const key = `k${Math.floor(random() * 700)}`;
        if (random() < 0.7) {
          batch.put('data', bytes(key), bytes(`${round}.${n}`));
          model.set(key, `${round}.${n}`);
        } else {
          batch.delete('data', bytes(key));
          model.delete(key);
        }
      }
      store.write(batch, { sync: random() < 0.1 });
      if (random() < 0.05) {
        const [start, end] = [`k${Math.floor(random() * 700)}`, `k${Math.floor(random() * 700)}`].toSorted();
        store.deleteRange('data', bytes(start!), bytes(end!));
        for (const key of model.keys()) if (key >= start! && key < end!) model.delete(key);
      }
    }
    const expected = [...model].toSorted(([a], [b]) => (a < b ? -1 : 1));
    const paged: [string, string][] = [];
    let page = store.scan('data', { limit: 37, maxBytes: 1 << 20 });
    for (;;) {
      for (const { key, value } of page.entries) paged.push([text(key)!, text(value)!]);
      if (!page.more) break;
      page = store.scan('data', { gt: page.entries.at(-1)!.key, limit: 37, maxBytes: 1 << 20 });
    }
    assert.equal(paged, expected);
  });

  test('the counters count', () => {
    const before = { ...store.stats };
    writeAll(store, [['data', 'abc', 'defg']], true);
    writeAll(store, [['data', 'h', 'i']], false);
    assert.equal([store.stats.writes - before.writes, store.stats.syncs - before.syncs], [2, 1]);
    assert.is(store.stats.writtenBytes - before.writtenBytes, 9);
  });

  test('a closed store refuses every call', async () => {
    const batch = store.createBatch();
    batch.put('data', bytes('a'), bytes('1'));
    await store.close();
    await store.close();
    assert.instance(
      thrownBy(() => store.get('data', bytes('a'))),
      Closed,
    );
    assert.instance(
      thrownBy(() => store.getMany('data', [])),
      Closed,
    );
    assert.instance(
      thrownBy(() => store.scan('data', ALL)),
      Closed,
    );
    assert.instance(
      thrownBy(() => store.write(batch, { sync: true })),
      Closed,
    );
    assert.instance(
      thrownBy(() => store.deleteRange('data', bytes('a'), undefined)),
      Closed,
    );
    assert.instance(
      thrownBy(() => store.createBatch()),
      Closed,
    );
  });

  test('a batch of another store is refused', () => {
    const foreign = { put() {}, delete() {}, clear() {}, count: 0, sizeBytes: 0 };
    assert.instance(
      thrownBy(() => store.write(foreign, { sync: false })),
      Internal,
    );
  });
}

function isA(type: abstract new (...args: never[]) => Error) {
  return (error: Error): boolean => error instanceof type;
}

describeStore(
  'in memory',
  async () => new MemoryStore(),
  async () => {},
);

let owner: RocksOwner;
let dir: string;
describeStore(
  'RocksDB',
  async () => {
    dir = scratchDir();
    owner = await openRocks({ dir });
    return owner.store();
  },
  async () => {
    await owner.close();
    removeDir(dir);
  },
);
