/** Threads that die or hang at any moment are replaced: real threads over a real database. */

// First, so that it sees the threads that the engine starts.
import { hangNextThread, liveThreads, throwIn } from '../e2e/threads.ts';

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Worker } from 'node:worker_threads';

import { WorkerPool } from '../../engine/shard/pool.ts';
import { prepareFences } from '../../engine/store/fence-file.ts';
import { openRocks, type RocksOwner } from '../../engine/store/rocks-store.ts';
import { putRegion } from '../../engine/store/region-records.ts';
import { assert, eventually, suite } from '../harness.ts';
import { wholeRegion } from './virtual-cluster.ts';

const test = suite('pool of worker threads', { timeoutMs: 120_000 });

const WORKERS = 2;

let dir: string;
let owner: RocksOwner;
let pool: WorkerPool;
let crashes: string[];

async function start(startTimeoutMs?: number): Promise<void> {
  pool = new WorkerPool({
    config: {
      cluster: 'pool',
      nodeId: 1,
      workers: WORKERS,
      bootEpoch: 1,
      tickMs: 50,
      timings: { electionTimeoutMs: 800, heartbeatMs: 150, maxClockDrift: 0.1, hibernateAfterMs: 0 },
    },
    storeHandle: owner.handle,
    dataDir: dir,
    servers: [],
    neighbours: () => [],
    onMessage: () => {},
    onServing: () => {},
    onCrash: (worker, error) => crashes.push(`${worker}: ${error.message}`),
    ...(startTimeoutMs === undefined ? {} : { startTimeoutMs }),
  });
  await pool.start();
}

test.before.each(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mraft-pool-'));
  owner = await openRocks({ dir: join(dir, 'store') });
  prepareFences(dir, WORKERS);
  const store = owner.store();
  const batch = store.createBatch();
  putRegion(batch, wholeRegion([1]));
  store.write(batch, { sync: true });
  crashes = [];
});
test.after.each(async () => {
  await pool.stop();
  await owner.close();
  rmSync(dir, { recursive: true });
});

/** Both workers serve, the region is open once, and was opened by whoever runs now. */
async function assertServes(): Promise<void> {
  await eventually('all workers serve', () => pool.isServing(0) && pool.isServing(1), 60_000);
  const open = await pool.askAll((control) => control.listRegions());
  assert.equal(
    open.flat().map(({ region }) => region.regionId),
    [2],
  );
  assert.is(open.length, WORKERS);
  await eventually('no thread is left over', () => liveThreads().length === WORKERS, 20_000);
}

/** The thread that takes the place of one that dies now, as soon as it is made. */
async function successorOf(victim: Worker, kill: (thread: Worker) => unknown): Promise<Worker> {
  const known = new Set(liveThreads());
  kill(victim);
  let successor: Worker | undefined;
  await eventually(
    'another thread is made',
    () => {
      successor = liveThreads().find((thread) => !known.has(thread));
      return successor !== undefined;
    },
    30_000,
  );
  return successor!;
}

const deaths = [
  ['throws', throwIn],
  ['is terminated', (thread: Worker) => thread.terminate()],
] as const;

for (const [what, kill] of deaths) {
  test(`a thread ${what}, and so do those that take its place while they start: the worker serves in the end`, async () => {
    await start();
    let victim: Worker = liveThreads()[0]!;
    for (let i = 0; i < 3; i++) victim = await successorOf(victim, i === 0 ? kill : (thread) => thread.terminate());
    await assertServes();
    assert.ok(pool.restarts >= 3, `${pool.restarts} restarts`);
  });
}

test('all threads die at once, while they start: all workers serve in the end', async () => {
  await start();
  for (let i = 0; i < 2; i++) {
    const victims = liveThreads();
    await Promise.all(victims.map((thread) => thread.terminate()));
    await eventually('other threads are made', () => liveThreads().some((thread) => !victims.includes(thread)), 20_000);
  }
  await assertServes();
});

test('a thread that comes nowhere when it is started is ended, and another one serves', async () => {
  hangNextThread();
  await start(10_000);
  await assertServes();
  assert.is(crashes.length, 1, crashes.join());
});

test('a thread that dies has ended before another one has its regions', async () => {
  await start();
  const victim = liveThreads()[0]!;
  let ended = false;
  victim.once('exit', () => (ended = true));
  await successorOf(victim, throwIn);
  assert.ok(ended);
  await assertServes();
});
