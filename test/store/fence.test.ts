/** Amnesia is noticed: a database that lost what was durable once is not opened as if nothing had happened. */

import fs from 'node:fs';
import path from 'node:path';

import { assert, suite } from '../harness.ts';
import { nextBootEpoch, openDataDir } from '../../engine/store/data-dir.ts';
import { checkFences, Fence, type FenceKeeper } from '../../engine/store/fence.ts';
import { FenceFile, prepareFences, readFences } from '../../engine/store/fence-file.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import type { Store } from '../../engine/store/port.ts';
import { openRocks } from '../../engine/store/rocks-store.ts';
import { Amnesia, StorageFailure } from '../../rpc/wire/errors.ts';
import { bytes, pseudoRandom, removeDir, scratchDir, text, thrownBy } from './fixtures.ts';

const NODE = { cluster: 'blue', nodeId: 3 };
const BATCHES = 40;

/** As a worker writes: a synced batch, whose number goes to the fence, and an unsynced one. */
function writeTurns(store: Store, fence: Fence, first: number, count: number): void {
  for (let number = first; number < first + count; number++) {
    const batch = store.createBatch();
    batch.put('data', bytes(`key ${number}`), Buffer.alloc(100, number));
    fence.addMark(batch);
    store.write(batch, { sync: true });
    fence.pass();
    batch.put('data', bytes('applied'), bytes(String(number)));
    store.write(batch, { sync: false });
  }
}

class KeptInMemory implements FenceKeeper {
  passed = 0;

  keep(mark: number): void {
    this.passed = mark;
  }
}

function amnesiaOf(store: Store, fences: ReadonlyMap<number, number | undefined>): boolean {
  const error = thrownBy(() => checkFences(store, fences));
  if (error !== undefined) assert.instance(error, Amnesia);
  return error !== undefined;
}

const memory = suite('the fence');

memory('a crash that keeps what was synced is no amnesia, whatever else it loses', () => {
  for (const keepWrites of [0, 1]) {
    const store = new MemoryStore();
    const keeper = new KeptInMemory();
    writeTurns(store, new Fence(store, 0, keeper), 0, 5);
    store.crash({ keepWrites });
    assert.is(keeper.passed, 5);
    assert.not(amnesiaOf(store, new Map([[0, keeper.passed]])));
  }
});

memory('a batch that was synced and lost is noticed, of any worker', () => {
  for (const forgetful of [0, 1]) {
    const store = new MemoryStore();
    const keepers = [new KeptInMemory(), new KeptInMemory()];
    const fences = keepers.map((keeper, worker) => new Fence(store, worker, keeper));
    for (const fence of fences) writeTurns(store, fence, 0, 3);
    const batch = store.createBatch();
    fences[forgetful]!.addMark(batch);
    // The disk said that it had synced this.
    store.write(batch, { sync: false });
    fences[forgetful]!.pass();
    store.crash({ keepWrites: 0 });
    assert.ok(amnesiaOf(store, new Map(keepers.map((keeper, worker) => [worker, keeper.passed]))));
  }
});

memory('a batch that is durable although its process died before it passed the fence is no amnesia', () => {
  const store = new MemoryStore();
  const keeper = new KeptInMemory();
  const fence = new Fence(store, 0, keeper);
  writeTurns(store, fence, 0, 3);
  const batch = store.createBatch();
  fence.addMark(batch);
  store.write(batch, { sync: true });
  assert.is(keeper.passed, 3);
  assert.not(amnesiaOf(store, new Map([[0, keeper.passed]])));
});

memory('a count goes on where it stopped, after restarts and with other numbers of workers', () => {
  const store = new MemoryStore();
  const keeper = new KeptInMemory();
  writeTurns(store, new Fence(store, 1, keeper), 0, 3);
  writeTurns(store, new Fence(store, 1, keeper), 3, 3);
  assert.is(keeper.passed, 6);
  // Worker 1 is no more; what it synced is still held against its fence.
  assert.not(
    amnesiaOf(
      store,
      new Map([
        [0, 0],
        [1, 6],
      ]),
    ),
  );
  assert.ok(
    amnesiaOf(
      store,
      new Map([
        [0, 0],
        [1, 7],
      ]),
    ),
  );
});

memory('an empty database beside a fence that was passed is noticed, and a new node is not', () => {
  assert.ok(amnesiaOf(new MemoryStore(), new Map([[0, 1]])));
  assert.not(amnesiaOf(new MemoryStore(), new Map([[0, 0]])));
  assert.not(amnesiaOf(new MemoryStore(), new Map()));
});

memory('a fence that is gone or cannot be read is not taken for one that was never passed', () => {
  const store = new MemoryStore();
  writeTurns(store, new Fence(store, 0, new KeptInMemory()), 0, 1);
  assert.ok(amnesiaOf(store, new Map()));
  assert.ok(amnesiaOf(store, new Map([[0, undefined]])));
  assert.not(amnesiaOf(new MemoryStore(), new Map([[0, undefined]])), 'it was being made when the power failed');
});

let dir: string;
const files = suite('a fence on disk', { timeoutMs: 60_000 });
files.before.each(() => void (dir = scratchDir()));
files.after.each(() => removeDir(dir));

files('is read as it was written, and the next one starts from it', () => {
  prepareFences(dir, 2);
  assert.equal(
    readFences(dir),
    new Map([
      [0, 0],
      [1, 0],
    ]),
  );
  for (const mark of [1, 2, 3, 2 ** 40 + 5]) {
    const fence = new FenceFile(dir, 1);
    fence.keep(mark);
    fence.close();
    assert.is(readFences(dir).get(1), mark);
  }
  prepareFences(dir, 3);
  assert.equal(
    readFences(dir),
    new Map([
      [0, 0],
      [1, 2 ** 40 + 5],
      [2, 0],
    ]),
  );
});

files('a write that is torn leaves the one before it; two damaged places are no fence at all', () => {
  prepareFences(dir, 1);
  const fence = new FenceFile(dir, 0);
  for (const mark of [7, 8]) fence.keep(mark);
  fence.close();
  const name = path.join(dir, 'fence.0');
  const content = fs.readFileSync(name);
  const places = [0, 512];
  const marks = places.map((place) => {
    const torn = Buffer.from(content);
    torn.writeUInt32BE(0xdead_beef, place + 4);
    fs.writeFileSync(name, torn);
    return readFences(dir).get(0);
  });
  assert.equal(new Set(marks), new Set([7, 8]));
  for (const place of places) content.writeUInt8(content.readUInt8(place + 9) ^ 1, place + 9);
  fs.writeFileSync(name, content);
  assert.equal(readFences(dir), new Map([[0, undefined]]));
  assert.instance(
    thrownBy(() => new FenceFile(dir, 0)),
    StorageFailure,
  );
  assert.instance(
    thrownBy(() => new FenceFile(dir, 1)),
    StorageFailure,
  );
});

const rocks = suite('a node whose RocksDB forgot', { timeoutMs: 60_000 });
rocks.before.each(() => void (dir = path.join(scratchDir(), 'data')));
rocks.after.each(() => removeDir(path.dirname(dir)));

/** Runs a node's writes on a new directory and stops as a kill does: what is in the page cache stays. */
async function useAndKill(): Promise<string> {
  const copy = `${dir}-killed`;
  const { storeDir } = openDataDir(dir, NODE);
  const owner = await openRocks({ dir: storeDir });
  checkFences(owner.store(), readFences(dir));
  prepareFences(dir, 1);
  nextBootEpoch(dir, 0);
  const store = owner.store();
  const file = new FenceFile(dir, 0);
  writeTurns(store, new Fence(store, 0, file), 0, BATCHES);
  // A database that is closed in good order would sync and flush: its files are taken as they lie while it is open.
  fs.cpSync(dir, copy, { recursive: true });
  file.close();
  await owner.close();
  return copy;
}

/** What a start says to a directory: the last number that was applied, or the error. */
async function start(from: string): Promise<string | Error> {
  try {
    const { storeDir } = openDataDir(from, NODE);
    const owner = await openRocks({ dir: storeDir });
    try {
      checkFences(owner.store(), readFences(from));
      return text(owner.store().get('data', bytes('applied'))) ?? 'nothing';
    } finally {
      await owner.close();
    }
  } catch (error) {
    return error as Error;
  }
}

/** The log of writes that is in use. */
function walOf(from: string): string {
  const logs = fs.readdirSync(path.join(from, 'rocksdb')).filter((name) => name.endsWith('.log'));
  return path.join(from, 'rocksdb', logs.toSorted().at(-1)!);
}

rocks('nothing is said when the log is whole, or lacks what was not synced', async () => {
  const killed = await useAndKill();
  const wal = fs.readFileSync(walOf(killed));
  // Behind the last synced batch lies a small one that nobody was told of.
  fs.truncateSync(walOf(killed), wal.length - 5);
  assert.is(await start(killed), String(BATCHES - 2));
  assert.is(await start(dir), String(BATCHES - 1));
});

rocks('a log whose tail is cut off, or damaged in the middle, is amnesia and not a smaller database', async () => {
  const killed = await useAndKill();
  const name = walOf(killed);
  const wal = fs.readFileSync(name);
  const random = pseudoRandom(11);
  for (let round = 0; round < 12; round++) {
    const at = Math.floor(wal.length * (0.02 + 0.9 * random()));
    const damaged = Buffer.from(wal);
    if (round % 2 === 0) damaged[at] = damaged[at]! ^ 0xff;
    fs.rmSync(dir, { recursive: true, force: true });
    fs.cpSync(killed, dir, { recursive: true });
    fs.writeFileSync(walOf(dir), round % 2 === 0 ? damaged : wal.subarray(0, at));
    const said = await start(dir);
    assert.instance(said, Amnesia, `cut or damaged at ${at} of ${wal.length}: ${String(said)}`);
    assert.match((said as Error).message, /remove the data directory .* new id/);
    assert.instance(await start(dir), Amnesia, 'and again at the next attempt');
  }
});

rocks('a database that was removed, or replaced by an empty one, is amnesia', async () => {
  const killed = await useAndKill();
  removeDir(path.join(killed, 'rocksdb'));
  assert.instance(await start(killed), Amnesia);
  await (await openRocks({ dir: path.join(killed, 'rocksdb') })).close();
  assert.instance(await start(killed), Amnesia);
});

rocks('an older copy of the database is amnesia', async () => {
  const killed = await useAndKill();
  const { storeDir } = openDataDir(dir, NODE);
  const owner = await openRocks({ dir: storeDir });
  const store = owner.store();
  const file = new FenceFile(dir, 0);
  writeTurns(store, new Fence(store, 0, file), BATCHES, 1);
  file.close();
  await owner.close();
  assert.is(await start(dir), String(BATCHES));
  removeDir(storeDir);
  fs.cpSync(path.join(killed, 'rocksdb'), storeDir, { recursive: true });
  assert.instance(await start(dir), Amnesia);
});
