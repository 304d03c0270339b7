/** The persisted log of a region: what replaces what, and what a restart finds. */

import { assert, suite } from '../harness.ts';
import type { Entry, LogReader } from '../../engine/raft/types.ts';
import { logIndexOf, logKey, metaKey, META_KIND } from '../../engine/store/keys.ts';
import { RegionLog } from '../../engine/store/log-store.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import type { WriteBatch } from '../../engine/store/port.ts';
import { putTruncated } from '../../engine/store/region-records.ts';
import { Internal, StorageFailure } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { bytes, text, thrownBy } from './fixtures.ts';

const test = suite('the log of a region');
const REGION = 7;
const ALL_BYTES = 1 << 30;

let store: MemoryStore;
test.before.each(() => {
  store = new MemoryStore();
});

function entry(index: number, term: number, data = `${term}.${index}`): Entry {
  return { index, term, kind: 'normal', data: bytes(data) };
}

/** Entries from `from` on with the given terms. */
function entriesFrom(from: number, ...terms: number[]): Entry[] {
  return terms.map((term, at) => entry(from + at, term));
}

function append(log: RegionLog, entries: readonly Entry[]): void {
  const batch = store.createBatch();
  log.append(batch, entries);
  store.write(batch, { sync: true });
}

/** Takes what the Raft core takes: the log must fit its port. */
function contents(log: LogReader): string[] {
  if (log.lastIndex < log.firstIndex) return [];
  return log.entries(log.firstIndex, log.lastIndex + 1, ALL_BYTES).map(({ data }) => text(data));
}

function deletesOf(log: RegionLog, entries: readonly Entry[]): number {
  const batch = store.createBatch();
  let deletes = 0;
  const counting: WriteBatch = {
    put: (...put) => batch.put(...put),
    delete: (...key) => {
      deletes++;
      batch.delete(...key);
    },
    clear: () => batch.clear(),
    count: 0,
    sizeBytes: 0,
  };
  log.append(counting, entries);
  store.write(batch, { sync: true });
  return deletes;
}

test('an empty log has no last entry, and term 0 before its first', () => {
  const log = new RegionLog(store, REGION);
  assert.equal([log.firstIndex, log.lastIndex], [1, 0]);
  assert.is(log.term(0), 0);
  assert.is(log.term(1), undefined);
});

test('what is appended is read back, in this process and in the next', () => {
  const log = new RegionLog(store, REGION);
  append(log, entriesFrom(1, 1, 1, 2));
  append(log, entriesFrom(4, 2, 5));
  for (const opened of [log, new RegionLog(store, REGION)]) {
    assert.equal([opened.firstIndex, opened.lastIndex], [1, 5]);
    assert.equal(contents(opened), ['1.1', '1.2', '2.3', '2.4', '5.5']);
    assert.equal(
      [0, 1, 2, 3, 4, 5, 6].map((index) => opened.term(index)),
      [0, 1, 1, 2, 2, 5, undefined],
    );
  }
});

test('the kind, an empty payload and a large one survive', () => {
  const log = new RegionLog(store, REGION);
  const large = Buffer.alloc(700_000, 3);
  append(log, [
    { index: 1, term: 2 ** 40, kind: 'normal', data: Buffer.alloc(0) },
    { index: 2, term: 2 ** 40, kind: 'confChange', data: large },
    { index: 3, term: 2 ** 40 + 1, kind: 'normal', data: bytes('x') },
  ]);
  const [noop, change, last] = new RegionLog(store, REGION).entries(1, 4, ALL_BYTES);
  assert.equal([noop!.kind, noop!.term, noop!.data.length], ['normal', 2 ** 40, 0]);
  assert.is(change!.kind, 'confChange');
  assert.equal(Buffer.from(change!.data), large);
  assert.is(last!.term, 2 ** 40 + 1);
});

test('a common append puts each entry and deletes nothing', () => {
  const log = new RegionLog(store, REGION);
  assert.is(deletesOf(log, entriesFrom(1, 1, 1, 1)), 0);
  assert.is(deletesOf(log, entriesFrom(4, 1, 2)), 0);
});

test('a shorter tail of another leader leaves nothing of the old one behind, also after a restart', () => {
  const log = new RegionLog(store, REGION);
  append(log, entriesFrom(1, 1, 1, 1, 1, 1, 1));
  assert.is(deletesOf(log, entriesFrom(3, 2, 2)), 2);
  for (const opened of [log, new RegionLog(store, REGION)]) {
    assert.is(opened.lastIndex, 4);
    assert.equal(contents(opened), ['1.1', '1.2', '2.3', '2.4']);
    assert.equal(
      [2, 3, 4, 5].map((index) => opened.term(index)),
      [1, 2, 2, undefined],
    );
  }
  append(log, entriesFrom(5, 3));
  assert.equal(contents(new RegionLog(store, REGION)), ['1.1', '1.2', '2.3', '2.4', '3.5']);
});

test('a tail as long or longer replaces the old one without a delete', () => {
  const log = new RegionLog(store, REGION);
  append(log, entriesFrom(1, 1, 1, 1));
  assert.is(deletesOf(log, entriesFrom(2, 2, 2, 3)), 0);
  assert.equal(contents(new RegionLog(store, REGION)), ['1.1', '2.2', '2.3', '3.4']);
  assert.is(deletesOf(log, entriesFrom(1, 4, 4, 4, 4)), 0);
  assert.equal(contents(log), ['4.1', '4.2', '4.3', '4.4']);
});

test('two replacements in one batch leave what the second one says', () => {
  const log = new RegionLog(store, REGION);
  append(log, entriesFrom(1, 1, 1, 1, 1));
  const batch = store.createBatch();
  log.append(batch, entriesFrom(2, 2));
  log.append(batch, entriesFrom(3, 2, 3));
  store.write(batch, { sync: true });
  assert.equal(contents(new RegionLog(store, REGION)), ['1.1', '2.2', '2.3', '3.4']);
});

test('terms are known for every entry after many leaders, and after a restart that knows only the last', () => {
  const log = new RegionLog(store, REGION);
  const terms = Array.from({ length: 1_000 }, (_, n) => 1 + Math.floor(n / 2));
  append(log, entriesFrom(1, ...terms));
  const restarted = new RegionLog(store, REGION);
  for (const opened of [log, restarted]) {
    for (let index = 1000; index >= 1; index -= 3) assert.is(opened.term(index), terms[index - 1]);
    for (let index = 1; index <= 1000; index += 7) assert.is(opened.term(index), terms[index - 1]);
  }
  append(restarted, entriesFrom(500, 900, 901));
  assert.equal(
    [498, 499, 500, 501, 502].map((index) => restarted.term(index)),
    [249, 250, 900, 901, undefined],
  );
});

test('entries stop at the bytes asked for, but give at least one', () => {
  const log = new RegionLog(store, REGION);
  append(
    log,
    [1, 2, 3, 4].map((index) => entry(index, 1, 'x'.repeat(100))),
  );
  assert.is(log.entries(1, 5, 0).length, 1);
  assert.is(log.entries(1, 5, 250).length, 2);
  assert.is(log.entries(1, 5, 300).length, 3);
  assert.is(log.entries(2, 4, ALL_BYTES).length, 2);
});

test('regions next to each other never see each other', () => {
  const logs = [REGION - 1, REGION, REGION + 1].map((id) => new RegionLog(store, id));
  logs.forEach((log, at) => append(log, entriesFrom(1, at + 1, at + 1)));
  append(logs[1]!, entriesFrom(1, 9));
  assert.equal(
    [REGION - 1, REGION, REGION + 1].map((id) => contents(new RegionLog(store, id))),
    [['1.1', '1.2'], ['9.1'], ['3.1', '3.2']],
  );
});

test('a truncated log begins behind its truncated state, whatever a crash left below it', () => {
  append(new RegionLog(store, REGION), entriesFrom(1, 1, 1, 2, 2, 3));
  const batch = store.createBatch();
  putTruncated(batch, REGION, { index: 3, term: 2 });
  store.write(batch, { sync: true });
  const log = new RegionLog(store, REGION);
  assert.equal([log.firstIndex, log.lastIndex], [4, 5]);
  assert.equal(
    [2, 3, 4, 5].map((index) => log.term(index)),
    [undefined, 2, 2, 3],
  );
  assert.equal(contents(log), ['2.4', '3.5']);
  assert.instance(
    thrownBy(() => log.entries(3, 5, ALL_BYTES)),
    Internal,
  );
});

test('a log that was truncated to its end goes on from there', () => {
  append(new RegionLog(store, REGION), entriesFrom(1, 1, 1));
  const batch = store.createBatch();
  putTruncated(batch, REGION, { index: 10, term: 4 });
  store.write(batch, { sync: true });
  const log = new RegionLog(store, REGION);
  assert.equal([log.firstIndex, log.lastIndex, log.term(10)], [11, 10, 4]);
  append(log, entriesFrom(11, 5));
  assert.equal(contents(new RegionLog(store, REGION)), ['5.11']);
});

test('a hole, a missing start and a damaged entry are storage failures, not wrong entries', () => {
  append(new RegionLog(store, REGION), entriesFrom(1, 1, 1, 1, 1));
  const batch = store.createBatch();
  batch.delete('log', logKey(REGION, 3));
  store.write(batch, { sync: true });
  const log = new RegionLog(store, REGION);
  assert.equal(log.entries(1, 3, ALL_BYTES).length, 2);
  assert.instance(
    thrownBy(() => log.entries(1, 5, ALL_BYTES)),
    StorageFailure,
  );
  assert.instance(
    thrownBy(() => log.entries(3, 5, ALL_BYTES)),
    StorageFailure,
  );

  batch.put('log', logKey(REGION, 4), Buffer.of(77));
  store.write(batch, { sync: true });
  assert.instance(
    thrownBy(() => new RegionLog(store, REGION)),
    StorageFailure,
  );

  batch.delete('log', logKey(REGION, 1));
  batch.put('log', logKey(REGION, 4), Buffer.of(0, 1));
  store.write(batch, { sync: true });
  assert.instance(
    thrownBy(() => new RegionLog(store, REGION)),
    StorageFailure,
  );
});

test('a damaged record of meta is a storage failure too', () => {
  const batch = store.createBatch();
  batch.put('meta', metaKey(META_KIND.truncatedState, REGION), Buffer.of(0xff));
  store.write(batch, { sync: true });
  assert.instance(
    thrownBy(() => new RegionLog(store, REGION)),
    StorageFailure,
  );
});

test('a gap, a step back into the truncated part and a falling term are refused', () => {
  const log = new RegionLog(store, REGION);
  append(log, entriesFrom(1, 1, 3));
  for (const wrong of [entriesFrom(4, 3), entriesFrom(0, 1), entriesFrom(3, 2), [entry(3, 3), entry(5, 3)]]) {
    const opened = new RegionLog(store, REGION);
    assert.instance(
      thrownBy(() => opened.append(store.createBatch(), wrong)),
      Internal,
    );
  }
});

function keysLeft(): number[] {
  return store.scan('log', { limit: 100_000, maxBytes: ALL_BYTES }).entries.map(({ key }) => logIndexOf(key));
}

function truncate(log: RegionLog, index: number): void {
  const batch = store.createBatch();
  log.truncateTo(batch, index);
  store.write(batch, { sync: false });
}

test('a log that is cut begins behind the cut, knows the term there, and leaves nothing on the disk', () => {
  const log = new RegionLog(store, REGION);
  append(log, entriesFrom(1, 1, 1, 2, 2, 3, 3));
  truncate(log, 4);
  assert.equal(contents(log), ['3.5', '3.6']);
  assert.equal([log.firstIndex, log.term(4), log.term(3), log.term(5), log.entryCount], [5, 2, undefined, 3, 2]);
  assert.equal(keysLeft(), [5, 6]);
  append(log, entriesFrom(7, 3));
  truncate(log, 7);
  assert.equal([log.firstIndex, log.lastIndex, log.term(7)], [8, 7, 3]);
  append(log, entriesFrom(8, 4));
  assert.equal(contents(new RegionLog(store, REGION)), ['4.8']);
});

test('a log is cut inside itself only', () => {
  const log = new RegionLog(store, REGION);
  append(log, entriesFrom(1, 1, 1));
  truncate(log, 1);
  for (const index of [0, 1, 3]) {
    assert.instance(
      thrownBy(() => truncate(log, index)),
      Internal,
    );
  }
});

test('a long log is deleted over several writes, and a crash between any two of them leaves it whole behind the cut', () => {
  const count = 2 * LIMITS.logDeletesPerBatch + 10;
  for (let crashAfter = 0; crashAfter <= 3; crashAfter++) {
    store = new MemoryStore();
    let log = new RegionLog(store, REGION);
    append(log, entriesFrom(1, ...Array.from({ length: count + 1 }, () => 1)));
    truncate(log, count);
    for (let step = 0; step < 3 && log.hasRubbish; step++) {
      const batch = store.createBatch();
      log.dropRubbish(batch);
      store.write(batch, { sync: false });
    }
    assert.not(log.hasRubbish);
    store.crash({ keepWrites: crashAfter });
    log = new RegionLog(store, REGION);
    assert.is(log.firstIndex, crashAfter === 0 ? 1 : count + 1);
    assert.is(log.lastIndex, count + 1);
    assert.is(log.hasRubbish, crashAfter === 1 || crashAfter === 2);
    while (log.hasRubbish) {
      const batch = store.createBatch();
      log.dropRubbish(batch);
      store.write(batch, { sync: false });
    }
    assert.is(keysLeft()[0], log.firstIndex);
  }
});

test('the size of a log follows what is appended, overwritten and cut', () => {
  const log = new RegionLog(store, REGION);
  const big = (from: number, count: number): Entry[] =>
    Array.from({ length: count }, (_, at) => entry(from + at, 1, 'x'.repeat(32 * 1024)));
  append(log, big(1, 100));
  const near = (expected: number): void =>
    assert.ok(Math.abs(log.sizeBytes - expected * 32 * 1024) <= 64 * 1024, `${log.sizeBytes} for ${expected}`);
  near(100);
  truncate(log, 60);
  near(40);
  append(log, big(81, 5));
  near(25);
  truncate(log, 85);
  near(0);
  append(log, big(86, 10));
  near(10);
});
