/** The key layout: byte order is number order, and ranges hold what they name. */

import { assert, suite } from '../harness.ts';
import {
  META_KIND,
  logIndexOf,
  logKey,
  logRange,
  metaKey,
  metaRange,
  readU64,
  regionIdOf,
  sessionKey,
  sessionOf,
  sessionRange,
  setLogIndex,
  writeU64,
} from '../../engine/store/keys.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import {
  deleteRecords,
  deleteSession,
  listRegions,
  listSessions,
  loadApplied,
  loadHardState,
  loadRegion,
  loadTruncated,
  putApplied,
  putHardState,
  putRegion,
  putSession,
  putTruncated,
} from '../../engine/store/region-records.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { bytes, text } from './fixtures.ts';

const test = suite('keys and records');

const NUMBERS = [
  0,
  1,
  127,
  255,
  256,
  65_535,
  2 ** 24,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 32 + 1,
  2 ** 48 + 12_345,
  Number.MAX_SAFE_INTEGER - 1,
  Number.MAX_SAFE_INTEGER,
];

test('a number survives its eight bytes, which are those of a big-endian u64', () => {
  const target = Buffer.alloc(8);
  for (const number of NUMBERS) {
    writeU64(target, 0, number);
    assert.is(target.readBigUInt64BE(), BigInt(number));
    assert.is(readU64(target, 0), number);
  }
});

test('log keys are in the order of region, then index', () => {
  const keys = NUMBERS.flatMap((region) => NUMBERS.map((index) => logKey(region, index)));
  assert.equal(
    keys.toSorted((a, b) => Buffer.compare(a, b)),
    keys,
  );
  const key = logKey(3, 1);
  setLogIndex(key, 2 ** 40);
  assert.equal(key, logKey(3, 2 ** 40));
  assert.is(logIndexOf(key), 2 ** 40);
});

test('the range of a log holds its entries and no other region’s', () => {
  const { start, end } = logRange(5);
  for (const [key, inside] of [
    [logKey(5, 0), true],
    [logKey(5, Number.MAX_SAFE_INTEGER), true],
    [logKey(4, Number.MAX_SAFE_INTEGER), false],
    [logKey(6, 0), false],
  ] as const) {
    assert.is(Buffer.compare(start, key) <= 0 && Buffer.compare(key, end) < 0, inside);
  }
});

test('records of one kind lie together and carry their region', () => {
  const kinds = Object.values(META_KIND);
  assert.is(new Set(kinds).size, kinds.length);
  for (const kind of kinds) {
    const { start, end } = metaRange(kind);
    for (const other of kinds) {
      const key = metaKey(other, 2 ** 45);
      assert.is(Buffer.compare(start, key) <= 0 && Buffer.compare(key, end) < 0, other === kind);
      assert.is(regionIdOf(key), 2 ** 45);
    }
  }
});

test('sessions of a region are one range, whatever their names', () => {
  const { start, end } = sessionRange(9);
  for (const name of ['', '\x00', '\xff\xff', 'a'.repeat(64)]) {
    const key = sessionKey(9, Buffer.from(name, 'latin1'));
    assert.ok(Buffer.compare(start, key) <= 0 && Buffer.compare(key, end) < 0);
    assert.is(Buffer.from(sessionOf(key)).toString('latin1'), name);
    const neighbour = sessionKey(10, Buffer.from(name, 'latin1'));
    assert.not(Buffer.compare(neighbour, end) < 0);
  }
});

function region(regionId: number): Region {
  return {
    regionId,
    startKey: bytes(`from${regionId}`),
    endKey: Buffer.alloc(0),
    epoch: { version: 3, confVersion: 2 ** 33 },
    peers: [
      { peerId: 1, nodeId: 2, role: 'voter' },
      { peerId: 3, nodeId: 4, role: 'learner' },
    ],
  };
}

test('every record of a region comes back as it was put, and a region without records says so', () => {
  const store = new MemoryStore();
  assert.is(loadHardState(store, 1), undefined);
  assert.is(loadRegion(store, 1), undefined);
  assert.equal(loadApplied(store, 1), { index: 0, term: 0 });
  assert.equal(loadTruncated(store, 1), { index: 0, term: 0 });

  const batch = store.createBatch();
  putHardState(batch, 1, { term: 2 ** 50, vote: 7, commit: 0 });
  putApplied(batch, 1, { index: 5, term: 4 });
  putTruncated(batch, 1, { index: 3, term: 2 });
  putRegion(batch, region(1));
  store.write(batch, { sync: true });

  assert.equal(loadHardState(store, 1), { term: 2 ** 50, vote: 7, commit: 0 });
  assert.equal(loadApplied(store, 1), { index: 5, term: 4 });
  assert.equal(loadTruncated(store, 1), { index: 3, term: 2 });
  assert.equal(loadRegion(store, 1), region(1));
  assert.is(loadHardState(store, 2), undefined);

  deleteRecords(batch, 1);
  store.write(batch, { sync: true });
  assert.is(loadRegion(store, 1), undefined);
  assert.is(loadHardState(store, 1), undefined);
});

test('regions are listed by id, beyond one page', () => {
  const store = new MemoryStore();
  const batch = store.createBatch();
  const ids = Array.from({ length: 2_500 }, (_, n) => n * 3 + 1);
  for (const id of ids.toReversed()) putRegion(batch, region(id));
  putHardState(batch, 2, { term: 1, vote: 0, commit: 0 });
  store.write(batch, { sync: true });
  assert.equal(
    listRegions(store).map(({ regionId }) => regionId),
    ids,
  );
});

test('sessions are listed with what they remember, and each region has its own', () => {
  const store = new MemoryStore();
  const batch = store.createBatch();
  putSession(batch, 1, bytes('s1'), bytes('one'));
  putSession(batch, 1, bytes('s2'), bytes('two'));
  putSession(batch, 2, bytes('s1'), bytes('other'));
  store.write(batch, { sync: true });
  assert.equal(
    [...listSessions(store, 1)].map(({ name, record }) => [text(name), text(record)]),
    [
      ['s1', 'one'],
      ['s2', 'two'],
    ],
  );
  deleteSession(batch, 1, bytes('s1'));
  store.write(batch, { sync: true });
  assert.equal([...listSessions(store, 1)].length, 1);
});
