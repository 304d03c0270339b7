/** Splits and merges through the embedded interface: one node, no broker, regions on several workers. */

// First, so that it sees the threads that the engine starts.
import { liveThreads, throwIn } from './threads.ts';

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ChangeRefused, NotLeader, RegionNotFound, open, type Db } from '../../engine/index.ts';
import { seededRandom } from '../linearizability/random-history.ts';
import { assert, eventually, note, rejects, suite } from '../harness.ts';

const test = suite('split and merge of an embedded database', { timeoutMs: 60_000 });

let dir: string;
let db: Db;

const start = (): Promise<Db> => open({ dataDir: dir, regions: 4, workers: 3, logLevel: 'silent' });

test.before.each(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mraft-split-'));
  db = await start();
  await Promise.all(Array.from({ length: 512 }, (_, at) => db.put(keyOf(at), `v${at}`)));
});
test.after.each(async () => {
  await db.close();
  rmSync(dir, { recursive: true, force: true });
});

const keyOf = (at: number): Uint8Array => Buffer.from([at >> 1, (at & 1) << 7, 7]);

interface Found {
  readonly regionId: number;
  readonly start: string;
  readonly end: string;
}

async function regions(): Promise<Found[]> {
  const found = (await db.admin.regions()).map(({ region }) => region).filter(({ regionId }) => regionId > 1);
  return found
    .map(({ regionId, startKey, endKey }) => ({
      regionId,
      start: Buffer.from(startKey).toString('hex'),
      end: Buffer.from(endKey).toString('hex'),
    }))
    .sort((a, b) => (a.start < b.start ? -1 : 1));
}

async function assertWhole(count: number): Promise<void> {
  let found: Found[] = [];
  await eventually('all replicas are open', async () => (found = await regions()).length === count);
  found.forEach(({ start: first }, at) => assert.is(first, at === 0 ? '' : found[at - 1]!.end));
  assert.is(found.at(-1)!.end, '');
  const values = await db.batchGet(Array.from({ length: 512 }, (_, at) => keyOf(at)));
  values.forEach((value, at) => assert.is(Buffer.from(value!).toString(), `v${at}`));
}

test('a region is split at a key and in its middle, and merged again, across workers and a restart', async () => {
  const [first] = await regions();
  await db.admin.splitRegion(first!.regionId, Buffer.from([20]), 900, [901]);
  await db.admin.splitRegion(900, undefined, 910, [911]);
  await assertWhole(6);
  const parts = await regions();
  assert.equal(
    parts.slice(0, 3).map(({ regionId }) => regionId),
    [first!.regionId, 900, 910],
  );
  const middle = parseInt(parts[2]!.start.slice(0, 2), 16);
  assert.ok(middle > 36 && middle < 48, `the middle of [20, 64) is at ${middle}`);
  await db.close();
  db = await start();
  await assertWhole(6);
  await eventually('regions are led', async () => (await db.admin.status()).leaderlessRegions === 0);
  await db.admin.mergeRegions(900, first!.regionId);
  await db.admin.mergeRegions(first!.regionId, 910);
  await assertWhole(4);
  for (const { regionId } of await regions()) await db.admin.checkConsistency(regionId);
  await db.put(keyOf(1), 'new');
  assert.is(Buffer.from((await db.get(keyOf(1)))!).toString(), 'new');
  assert.is((await db.admin.status()).anomalies, 0);
});

test('a long row of merges ends in one region that has everything', async () => {
  for (let left = 4; left > 1; left--) {
    const [a, b] = await regions();
    await db.admin.mergeRegions(left % 2 === 0 ? a!.regionId : b!.regionId, left % 2 === 0 ? b!.regionId : a!.regionId);
  }
  await assertWhole(1);
});

test('what cannot be split or merged is refused with a code, and nothing changes', async () => {
  const before = await regions();
  const [a, b, c] = before.map(({ regionId }) => regionId) as [number, number, number];
  const { admin } = db;
  await rejects(admin.splitRegion(b, Buffer.from(before[1]!.start, 'hex'), 900, [901]), ChangeRefused);
  await rejects(admin.splitRegion(b, Buffer.from([255]), 900, [901]), ChangeRefused);
  await rejects(admin.splitRegion(b, Buffer.from([70]), c, [901]), ChangeRefused);
  await rejects(admin.splitRegion(b, Buffer.from([70]), 900, [901, 902]), ChangeRefused);
  await rejects(admin.splitRegion(12_345, Buffer.from([70]), 900, [901]), RegionNotFound);
  await rejects(admin.mergeRegions(a, c), ChangeRefused);
  await rejects(admin.mergeRegions(a, a), ChangeRefused);
  await rejects(admin.mergeRegions(a, 12_345), RegionNotFound);
  await rejects(admin.checkConsistency(12_345), NotLeader);
  assert.equal(await regions(), before);
});

test('worker threads die in the middle of splits and merges: nothing is lost, and every region is served again', async () => {
  const random = seededRandom(5);
  let stopped = false;
  let nextId = 1_000;
  const done = { splits: 0, merges: 0, writes: 0, deaths: 0 };
  const written = new Map<number, string>();
  const changing = (async () => {
    while (!stopped) {
      const now = await regions().catch(() => []);
      const at = Math.floor(random() * now.length);
      const id = nextId++;
      try {
        if (now.length < 8) {
          await db.admin.splitRegion(now[at]!.regionId, undefined, id, [id]);
          done.splits++;
        } else {
          const other = now[at + 1] ?? now[at - 1]!;
          await db.admin.mergeRegions(now[at]!.regionId, other.regionId);
          done.merges++;
        }
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  })();
  const writing = (async () => {
    for (; !stopped; done.writes++) {
      const at = Math.floor(random() * 512);
      const value = `w${done.writes}`;
      await db.put(keyOf(at), value, { timeoutMs: 20_000 });
      written.set(at, value);
    }
  })();
  for (; done.deaths < 8; done.deaths++) {
    await new Promise((resolve) => setTimeout(resolve, 300 + random() * 700));
    const threads = await eventually('threads run', () => (liveThreads().length > 0 ? liveThreads() : undefined));
    throwIn(threads![Math.floor(random() * threads!.length)]!);
  }
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  stopped = true;
  await Promise.all([changing, writing]);
  note(JSON.stringify(done));
  const found = await eventually(
    'every region is there and none is in a merge',
    async () => {
      const now = await db.admin.regions();
      const ended = now.every(({ phase, raft }) => phase === 'normal' && raft.role === 'leader');
      return ended ? regions() : undefined;
    },
    20_000,
  );
  found!.forEach(({ start: first }, at) => assert.is(first, at === 0 ? '' : found![at - 1]!.end));
  assert.is(found!.at(-1)!.end, '');
  for (let at = 0; at < 512; at++) {
    assert.is(Buffer.from((await db.get(keyOf(at)))!).toString(), written.get(at) ?? `v${at}`);
  }
  assert.ok(done.splits > 0 && done.merges > 0, 'enough was split and merged');
});
