/** One database, one owner, many threads. */

import v8 from 'node:v8';
import vm from 'node:vm';
import { Worker } from 'node:worker_threads';

import { assert, suite } from '../harness.ts';
import type { Store } from '../../engine/store/port.ts';
import { openRocks, type RocksOwner } from '../../engine/store/rocks-store.ts';
import { Closed, DataDirInUse } from '../../rpc/wire/errors.ts';
import { removeDir, scratchDir, text, thrownBy, writeAll } from './fixtures.ts';
import type { SharingWorkerData } from './sharing-worker.ts';

const test = suite('a database shared by threads', { timeoutMs: 60_000 });

let dir: string;
test.before.each(() => {
  dir = scratchDir();
});
test.after.each(() => removeDir(dir));

interface Running {
  readonly worker: Worker;
  readonly attached: Promise<void>;
  readonly ended: Promise<number>;
}

function start(owner: RocksOwner, name: string, options: { count?: number; sync?: boolean } = {}): Running {
  const { count = Infinity, sync = true } = options;
  const workerData: SharingWorkerData = { handle: owner.handle, name, count, sync };
  const worker = new Worker(new URL('./sharing-worker.js', import.meta.url), { workerData });
  const attached = new Promise<void>((resolve, reject) => {
    worker.once('message', () => resolve());
    worker.once('error', reject);
  });
  const ended = new Promise<number>((resolve) => worker.once('exit', resolve));
  return { worker, attached, ended };
}

/** Batches of 20 that a worker wrote; each must be whole and in both columns. */
function batchesOf(store: Store, name: string): number {
  const range = { gte: Buffer.from(`${name}.`), lt: Buffer.from(`${name}/`), limit: 1_000_000, maxBytes: 1 << 30 };
  const data = store.scan('data', range).entries.map(({ key }) => text(key));
  const log = store.scan('log', range).entries.map(({ key }) => text(key));
  assert.equal(data, log);
  data.forEach((key, at) => assert.is(key, `${name}.${String(at).padStart(8, '0')}`));
  assert.is(data.length % 20, 0);
  return data.length / 20;
}

test('what every thread wrote is there, and a thread that closes its store closes nothing else', async () => {
  const owner = await openRocks({ dir });
  const store = owner.store();
  const workers = ['a', 'b', 'c'].map((name, at) => start(owner, name, { count: 50 * (at + 1), sync: at !== 1 }));
  for (const { ended } of workers) assert.is(await ended, 0);
  writeAll(store, [['data', 'main', 'still open']], true);
  assert.equal([batchesOf(store, 'a'), batchesOf(store, 'b'), batchesOf(store, 'c')], [50, 100, 150]);
  await owner.close();

  const again = await openRocks({ dir });
  assert.is(batchesOf(again.store(), 'c'), 150);
  assert.is(text(again.store().get('data', Buffer.from('main'))), 'still open');
  await again.close();
});

test('a thread that is terminated in the middle of its writes leaves whole batches and the others running', async () => {
  const owner = await openRocks({ dir });
  const steady = start(owner, 'steady');
  await steady.attached;
  for (let round = 0; round < 6; round++) {
    const victim = start(owner, `victim${round}`, { sync: round % 2 === 0 });
    await victim.attached;
    await new Promise((resolve) => setTimeout(resolve, 20 + 15 * round));
    await victim.worker.terminate();
    assert.ok(batchesOf(owner.store(), `victim${round}`) > 0);
  }
  const before = owner.sequence;
  const replacement = start(owner, 'replacement', { count: 30 });
  assert.is(await replacement.ended, 0);
  await steady.worker.terminate();
  const replacements = 30 * 20 * 2;
  assert.ok(owner.sequence - before > replacements, 'the steady one went on');
  assert.ok(batchesOf(owner.store(), 'steady') > 0);
  await owner.close();

  const again = await openRocks({ dir });
  assert.is(batchesOf(again.store(), 'replacement'), 30);
  await again.close();
});

test('a database that nothing in its thread refers to is not collected under its workers', async () => {
  v8.setFlagsFromString('--expose-gc');
  const collectGarbage = vm.runInNewContext('gc') as () => void;
  const running = await openAndForget();
  for (let round = 0; round < 10; round++) {
    collectGarbage();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.is(await running.ended, 0);
  // It is still open, and only this process can say so: the lock refuses a second opener.
  assert.instance(await openRocks({ dir }).catch((error: unknown) => error), DataDirInUse);

  async function openAndForget(): Promise<Running> {
    const owner = await openRocks({ dir });
    const worker = start(owner, 'w', { count: 300 });
    await worker.attached;
    return worker;
  }
});

test('a batch that nobody holds any more is given back, also those that deleteRange makes', async () => {
  v8.setFlagsFromString('--expose-gc');
  const collectGarbage = vm.runInNewContext('gc') as () => void;
  const owner = await openRocks({ dir });
  const store = owner.store();
  const heapAfter = (work: () => void): number => {
    for (let n = 0; n < 3_000; n++) work();
    collectGarbage();
    return process.memoryUsage().heapUsed;
  };
  const makeBatches = (): void => {
    store.createBatch();
    writeAll(store, [['data', 'k', 'v']]);
    store.deleteRange('data', Buffer.from('k'), undefined);
  };
  const before = heapAfter(makeBatches);
  const grown = heapAfter(makeBatches) - before;
  assert.ok(grown < 1_000_000, `the heap grew by ${grown} bytes`);
  await owner.close();
});

test('a closed owner refuses every call, and a second close is harmless', async () => {
  const owner = await openRocks({ dir });
  await Promise.all([owner.close(), owner.close()]);
  assert.instance(
    thrownBy(() => owner.handle),
    Closed,
  );
  assert.instance(
    thrownBy(() => owner.store()),
    Closed,
  );
  assert.instance(
    thrownBy(() => owner.property('rocksdb.stats')),
    Closed,
  );
});

test('properties and the sequence tell what the database holds', async () => {
  const owner = await openRocks({ dir });
  const before = owner.sequence;
  writeAll(owner.store(), [
    ['data', 'a', '1'],
    ['data', 'b', '1'],
    ['meta', 'm', '1'],
  ]);
  assert.is(owner.sequence - before, 3);
  assert.is(owner.property('rocksdb.estimate-num-keys'), '2');
  assert.is(owner.property('rocksdb.is-write-stopped'), '0');
  assert.is(owner.property('rocksdb.no-such-property'), '');
  await owner.close();
});
