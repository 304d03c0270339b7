/** What a crash leaves: with a real process and a real kill, with a torn log file, and in the in-memory twin. */

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { assert, suite } from '../harness.ts';
import { logIndexOf, logRange } from '../../engine/store/keys.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import type { Store } from '../../engine/store/port.ts';
import { openRocks } from '../../engine/store/rocks-store.ts';
import { DiskFull, StorageFailure } from '../../rpc/wire/errors.ts';
import { bytes, pseudoRandom, removeDir, scratchDir, text, thrownBy, writeAll } from './fixtures.ts';

const WRITER = fileURLToPath(new URL('./crash-writer.js', import.meta.url));

/** Starts the writer, kills it when it has synced `batches` numbers, and returns the last one it told. */
async function writeAndKill(dir: string, first: number, batches: number): Promise<number> {
  const child = spawn(process.execPath, [WRITER, dir, String(first)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let told = '';
  child.stdout.on('data', (chunk: Buffer) => {
    told += chunk.toString();
    if (told.split('\n').length > batches) child.kill('SIGKILL');
  });
  await new Promise((resolve) => child.on('close', resolve));
  // A line may be cut short by the kill: only whole ones are acknowledgements.
  return Number(told.split('\n').at(-2) ?? -1);
}

/** The numbers that are there; each must be in both columns. */
async function survivors(dir: string): Promise<number[]> {
  const owner = await openRocks({ dir });
  try {
    const store = owner.store();
    const { start, end } = logRange(1);
    const all = { gte: start, lt: end, limit: 1_000_000, maxBytes: 1 << 30 };
    const numbers = store.scan('log', all).entries.map(({ key }) => logIndexOf(key));
    const values = store.scan('data', all).entries.map(({ value }) => Number(text(value)));
    assert.equal(values, numbers, 'a batch is there whole or not at all');
    return numbers;
  } finally {
    await owner.close();
  }
}

function assertPrefix(numbers: readonly number[]): void {
  numbers.forEach((number, at) => assert.is(number, at, 'what is lost is a suffix'));
}

const rocks = suite('a killed process', { timeoutMs: 60_000 });

rocks('leaves everything that it had synced, and of the rest a prefix, kill after kill', async () => {
  const dir = scratchDir();
  try {
    let first = 0;
    for (const batches of [20, 200, 60]) {
      const lastTold = await writeAndKill(dir, first, batches);
      assert.ok(lastTold >= first, 'the writer told of synced batches before it was killed');
      const numbers = await survivors(dir);
      assertPrefix(numbers);
      assert.ok(numbers.length > lastTold, `${lastTold} was told, ${numbers.length} are there`);
      first = numbers.length;
    }
  } finally {
    removeDir(dir);
  }
});

rocks('whose log is torn anywhere leaves a prefix of whole batches', async () => {
  const dir = scratchDir();
  const torn = `${dir}-torn`;
  const random = pseudoRandom(3);
  try {
    await writeAndKill(dir, 0, 40);
    const whole = (await copyAnd(dir, torn, () => 0)).length;
    for (let round = 0; round < 12; round++) {
      const numbers = await copyAnd(dir, torn, (size) => Math.floor(random() * size));
      assertPrefix(numbers);
      assert.ok(numbers.length <= whole);
    }
  } finally {
    removeDir(dir);
    removeDir(torn);
  }

  /** Opens a copy whose log of writes lacks so many bytes at its end. */
  async function copyAnd(from: string, to: string, cutBytes: (size: number) => number): Promise<number[]> {
    removeDir(to);
    fs.cpSync(from, to, { recursive: true });
    for (const name of fs.readdirSync(to).filter((file) => file.endsWith('.log'))) {
      const { size } = fs.statSync(path.join(to, name));
      fs.truncateSync(path.join(to, name), size - cutBytes(size));
    }
    return survivors(to);
  }
});

const memory = suite('a crash of the in-memory twin');

/** Puts key `name` alone. */
function put(store: Store, name: string, sync = false): void {
  writeAll(store, [['data', name, name]], sync);
}

function keys(store: Store): string {
  return store
    .scan('data', { limit: 1_000, maxBytes: 1 << 20 })
    .entries.map(({ key }) => text(key))
    .join('');
}

memory('loses what was not synced, all of it or a chosen suffix', () => {
  for (const [keepWrites, left] of [
    [undefined, 'ab'],
    [0, 'ab'],
    [1, 'abc'],
    [2, 'abcd'],
    [3, 'abcde'],
    [9, 'abcde'],
  ] as const) {
    const store = new MemoryStore();
    put(store, 'a');
    put(store, 'b', true);
    for (const name of ['c', 'd', 'e']) put(store, name);
    assert.is(store.unsyncedWrites, 3);
    store.crash(keepWrites === undefined ? {} : { keepWrites });
    assert.is(keys(store), left);
    assert.is(store.unsyncedWrites, 0);
  }
});

memory('takes back overwrites, deletes and range deletes, and a batch as a whole', () => {
  const store = new MemoryStore();
  writeAll(store, [
    ['data', 'a', '1'],
    ['data', 'b', '1'],
    ['data', 'c', '1'],
  ]);
  store.write(store.createBatch(), { sync: true });
  const batch = store.createBatch();
  batch.put('data', bytes('a'), bytes('2'));
  batch.put('data', bytes('a'), bytes('3'));
  batch.delete('data', bytes('b'));
  batch.put('meta', bytes('m'), bytes('1'));
  store.write(batch, { sync: false });
  store.deleteRange('data', bytes('a'), undefined);
  put(store, 'z');
  assert.is(keys(store), 'z');
  store.crash();
  assert.is(keys(store), 'abc');
  assert.is(text(store.get('data', bytes('a'))), '1');
  assert.is(store.get('meta', bytes('m')), undefined);
});

memory('a synced write makes all before it durable, in every column', () => {
  const store = new MemoryStore();
  put(store, 'a');
  store.deleteRange('data', bytes('a'), undefined);
  writeAll(store, [['log', 'l', 'l']], true);
  store.crash();
  assert.is(keys(store), '');
  assert.is(text(store.get('log', bytes('l'))), 'l');
});

memory('a failed sync fails everything after it, and its write may or may not be there after the crash', () => {
  for (const [keepWrites, left] of [
    [1, 'a'],
    [2, 'ab'],
  ] as const) {
    const store = new MemoryStore();
    put(store, 'a');
    store.failNextSync();
    assert.instance(
      thrownBy(() => put(store, 'b', true)),
      StorageFailure,
    );
    assert.is(keys(store), 'a', 'what failed is not seen');
    assert.instance(
      thrownBy(() => put(store, 'c')),
      StorageFailure,
    );
    assert.is(store.unsyncedWrites, 2);
    store.crash({ keepWrites });
    assert.is(keys(store), left);
    put(store, 'z', true);
    assert.is(keys(store), `${left}z`);
  }
});

memory('a full disk refuses writes without doing them, keeps the batch, and goes on when there is room', () => {
  const store = new MemoryStore();
  const batch = store.createBatch();
  batch.put('data', bytes('a'), bytes('a'));
  store.diskFull = true;
  assert.instance(
    thrownBy(() => store.write(batch, { sync: true })),
    DiskFull,
  );
  assert.instance(
    thrownBy(() => store.deleteRange('data', bytes('a'), undefined)),
    DiskFull,
  );
  assert.is(keys(store), '');
  store.diskFull = false;
  store.write(batch, { sync: true });
  assert.is(keys(store), 'a');
});
