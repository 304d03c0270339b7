/** A snapshot is installed whole or not at all, whatever write the process dies in. */

import { SnapshotInstall, dropStaging, sweepStaging, type InstallOrder } from '../../engine/region/snapshot-install.ts';
import { encodeEntry } from '../../engine/store/entry-codec.ts';
import { logKey } from '../../engine/store/keys.ts';
import { RegionLog } from '../../engine/store/log-store.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import {
  listSessions,
  loadApplied,
  loadHardState,
  loadRegionRecord,
  loadTruncated,
  normalRecord,
  putApplied,
  putHardState,
  putRegionRecord,
  putSession,
} from '../../engine/store/region-records.ts';
import type { WriteBatch } from '../../engine/store/port.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { DiskFull, StorageFailure } from '../../rpc/wire/errors.ts';
import { assert, suite } from '../harness.ts';
import { thrownBy } from '../store/fixtures.ts';
import {
  INDEX,
  RECORD,
  REGION,
  TERM,
  chunksOf,
  contentsOf,
  receiverOf,
  sourceStore,
  stagedCount,
} from './snapshot-fixtures.ts';

const test = suite('the install of a snapshot');

const text = (value: string): Buffer => Buffer.from(value);

const BOOT = 5;
const STEP_BYTES = 20_000;
/** What the region was here before: wider than the snapshot's. */
const OLD: Region = { ...REGION, endKey: Buffer.from('yy'), epoch: { version: 2, confVersion: 5 } };

/** A node whose replica is far behind, with another region's data around it. */
function behind(): MemoryStore {
  const store = new MemoryStore();
  const batch = store.createBatch();
  for (const key of ['a', 'c-old', 'c00000001', 'y', 'yx', 'z'])
    batch.put('data', Buffer.from(key), Buffer.from('old'));
  for (let index = 1; index <= 20; index++) batch.put('log', logKey(REGION.regionId, index), Buffer.from([0, 1]));
  batch.put('log', logKey(REGION.regionId + 1, 3), Buffer.from([0, 1]));
  putSession(batch, REGION.regionId, Buffer.from('gone'), Buffer.from('old'));
  putSession(batch, REGION.regionId + 1, Buffer.from('other'), Buffer.from('kept'));
  putHardState(batch, REGION.regionId, { term: 3, vote: 20, commit: 20 });
  putApplied(batch, REGION.regionId, { index: 18, term: 1 });
  putRegionRecord(batch, normalRecord(OLD));
  store.write(batch, { sync: true });
  return store;
}

function stage(store: MemoryStore, source = sourceStore(600, 1_000)): InstallOrder {
  const chunks = chunksOf(source);
  const receiver = receiverOf(chunks[0]!);
  for (const chunk of chunks.slice(1)) receiver.onChunk(chunk, 0);
  const batch = store.createBatch();
  receiver.stage(batch);
  store.write(batch, { sync: false });
  return { head: receiver.head, chunks: receiver.stagedChunks, replaced: OLD, keepsLog: false, boot: BOOT };
}

function synced(store: MemoryStore): (batch: WriteBatch) => void {
  return (batch) => store.write(batch, { sync: true });
}

function begin(store: MemoryStore): SnapshotInstall {
  return SnapshotInstall.begin(store, stage(store), synced(store));
}

function finish(store: MemoryStore, install: SnapshotInstall): number {
  let steps = 1;
  while (!install.step(STEP_BYTES)) steps++;
  assert.ok(install.isDone);
  assert.is(stagedCount(store), 0);
  return steps;
}

function expectInstalled(store: MemoryStore): void {
  const { regionId } = REGION;
  assert.equal(loadRegionRecord(store, regionId), RECORD);
  assert.equal(loadApplied(store, regionId), { index: INDEX, term: TERM });
  assert.equal(loadTruncated(store, regionId), { index: INDEX, term: TERM });
  assert.equal(loadHardState(store, regionId), { term: 8, vote: 0, commit: INDEX });
  const log = new RegionLog(store, regionId);
  assert.equal([log.firstIndex, log.lastIndex, log.term(INDEX), log.hasRubbish], [INDEX + 1, INDEX, TERM, false]);
  const names = [...listSessions(store, regionId)].map(({ name }) => name.toString());
  assert.equal(names, ['s1', 's2', 's3']);
  assert.equal([...listSessions(store, regionId + 1)].length, 1, 'another region keeps its sessions');
  assert.ok(store.get('log', logKey(regionId + 1, 3)), 'and its log');
  const keys = store.scan('data', { limit: 10_000, maxBytes: 2 ** 30 }).entries.map(({ key }) => key.toString());
  assert.equal(keys.filter((key) => key.startsWith('c')).length, 600);
  assert.not(keys.includes('c-old'));
  assert.ok(keys.includes('a') && keys.includes('z'), 'the neighbours keep their keys');
}

test('it takes the place of the old data, log, sessions and states, over several steps', () => {
  const store = behind();
  assert.ok(finish(store, begin(store)) > 6);
  expectInstalled(store);
  assert.is(store.get('data', Buffer.from('yx')), undefined, 'what the old replica had beyond the new range is gone');
});

test('a term that is higher than the message is kept, with its vote', () => {
  const store = behind();
  const batch = store.createBatch();
  putHardState(batch, REGION.regionId, { term: 11, vote: 20, commit: 20 });
  store.write(batch, { sync: true });
  finish(store, begin(store));
  assert.equal(loadHardState(store, REGION.regionId), { term: 11, vote: 20, commit: INDEX });
});

test('a crash in any write, with any part of what was not synced, leaves the old replica or ends in the new one', () => {
  const old = contentsOf(behind());
  let endings = { old: 0, resumed: 0, complete: 0 };
  for (let dieAt = 1, isOver = false; !isOver; dieAt++) {
    for (const keep of [0, 1, 2, 5, Infinity]) {
      const store = behind();
      isOver = !dies(store, dieAt, () => finish(store, begin(store)));
      store.crash({ keepWrites: Math.min(keep, store.unsyncedWrites) });
      sweepStaging(store, () => true);
      const phase = loadRegionRecord(store, REGION.regionId)?.phase;
      if (phase === 'applying') {
        endings = { ...endings, resumed: endings.resumed + 1 };
        finish(store, new SnapshotInstall(store, REGION.regionId, BOOT + 1, synced(store)));
        expectInstalled(store);
      } else if (loadApplied(store, REGION.regionId).index === INDEX) {
        endings = { ...endings, complete: endings.complete + 1 };
        expectInstalled(store);
      } else {
        endings = { ...endings, old: endings.old + 1 };
        assert.equal(contentsOf(store), old);
      }
      assert.is(stagedCount(store), 0);
    }
  }
  assert.ok(endings.old > 0 && endings.resumed > 20 && endings.complete > 0, JSON.stringify(endings));
});

test('a crash while an install is gone on with is gone on with', () => {
  const store = behind();
  dies(store, 6, () => finish(store, begin(store)));
  for (let crash = 3; crash < 9; crash++) {
    store.crash({ keepWrites: crash % 3 });
    dies(store, crash, () => finish(store, new SnapshotInstall(store, REGION.regionId, BOOT, synced(store))));
    if (loadRegionRecord(store, REGION.regionId)?.phase === 'normal') break;
  }
  store.crash();
  if (loadRegionRecord(store, REGION.regionId)?.phase === 'applying') {
    finish(store, new SnapshotInstall(store, REGION.regionId, BOOT, synced(store)));
  }
  expectInstalled(store);
});

test('where the log has what the snapshot ends with, what the peer promised stays: only its data is replaced', () => {
  const promised = 1_200;
  const withLog = (): MemoryStore => {
    const store = behind();
    const batch = store.createBatch();
    for (let index = 21; index <= promised; index++) {
      batch.put(
        'log',
        logKey(REGION.regionId, index),
        encodeEntry({ index, term: TERM, kind: 'normal', data: text('x') }),
      );
    }
    putHardState(batch, REGION.regionId, { term: 8, vote: 20, commit: 1_100 });
    store.write(batch, { sync: true });
    return store;
  };
  const begun = (store: MemoryStore): SnapshotInstall =>
    SnapshotInstall.begin(store, { ...stage(store), keepsLog: true }, synced(store));
  let resumed = 0;
  for (let dieAt = 1, isOver = false; !isOver; dieAt++) {
    const store = withLog();
    isOver = !dies(store, dieAt, () => finish(store, begun(store)));
    store.crash({ keepWrites: dieAt % 3 });
    sweepStaging(store, () => true);
    const log = new RegionLog(store, REGION.regionId);
    assert.equal([log.firstIndex, log.lastIndex, log.term(promised)], [1, promised, TERM], `died at ${dieAt}`);
    assert.equal(loadHardState(store, REGION.regionId), { term: 8, vote: 20, commit: 1_100 });
    if (loadRegionRecord(store, REGION.regionId)?.phase !== 'applying') continue;
    resumed++;
    finish(store, new SnapshotInstall(store, REGION.regionId, BOOT + 1, synced(store)));
    assert.equal(loadApplied(store, REGION.regionId), { index: INDEX, term: TERM });
    assert.equal(loadTruncated(store, REGION.regionId), { index: 0, term: 0 });
    assert.equal(new RegionLog(store, REGION.regionId).lastIndex, promised);
    assert.is(store.get('data', text('c-old')), undefined);
  }
  assert.ok(resumed > 5, `${resumed} installs were gone on with`);
});

/** Runs until the `nth` write, in which the process dies. False: it ended before. */
function dies(store: MemoryStore, nth: number, work: () => void): boolean {
  class Died extends Error {}
  const write = store.write.bind(store);
  const deleteRange = store.deleteRange.bind(store);
  let left = nth;
  const tick = (): void => {
    if (--left === 0) throw new Died();
  };
  // Half of them before the write, half behind it.
  store.write = (batch, options) => {
    if (nth % 2 === 0) tick();
    write(batch, options);
    if (nth % 2 === 1) tick();
  };
  store.deleteRange = (column, start, end) => {
    tick();
    deleteRange(column, start, end);
  };
  try {
    work();
    return false;
  } catch (error) {
    if (!(error instanceof Died)) throw error;
    return true;
  } finally {
    store.write = write;
    store.deleteRange = deleteRange;
  }
}

test('a full disk holds it up, and it goes on where it was', () => {
  const store = behind();
  const order = stage(store);
  store.diskFull = true;
  assert.instance(
    thrownBy(() => SnapshotInstall.begin(store, order, synced(store))),
    DiskFull,
  );
  assert.is(loadRegionRecord(store, REGION.regionId)?.phase, 'normal');
  store.diskFull = false;
  const install = SnapshotInstall.begin(store, order, synced(store));
  for (let step = 0, isDone = false; !isDone; step++) {
    store.diskFull = step % 3 !== 2;
    try {
      isDone = install.step(STEP_BYTES);
    } catch (error) {
      assert.instance(error, DiskFull);
    }
  }
  store.diskFull = false;
  expectInstalled(store);
});

test('what was staged and not begun is swept at a start, what was begun is not', () => {
  const store = behind();
  stage(store);
  assert.ok(stagedCount(store) > 3);
  sweepStaging(store, (regionId) => regionId !== REGION.regionId);
  assert.ok(stagedCount(store) > 3, 'another worker has that region');
  sweepStaging(store, () => true);
  assert.is(stagedCount(store), 0);
  begin(store);
  const before = stagedCount(store);
  sweepStaging(store, () => true);
  assert.is(stagedCount(store), before);
});

test('an install whose chunks are gone is a failure of the disk', () => {
  const store = behind();
  begin(store);
  dropStaging(store, REGION.regionId);
  assert.instance(
    thrownBy(() => new SnapshotInstall(store, REGION.regionId, BOOT, synced(store))),
    StorageFailure,
  );
});
