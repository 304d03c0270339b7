/** A fresh cluster has one region, and makes of it what its load needs: more regions, led by all nodes and all workers. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { open } from '../../engine/index.ts';
import { connect, type Client, type Kv } from '../../rpc/client/index.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import { assert, eventually, note, suite } from '../harness.ts';
import { PlacementView } from './placement-view.ts';

const test = suite('growth', { timeoutMs: 240_000 });

/** As if a worker were saturated by so little: a small machine must do for this test. */
const SPLIT_LOAD_PER_SECOND = 60;
const GROWN = 9;
const GROW_MS = 150_000;

/** Keys of one narrow range, as programs have them. */
async function load(kv: Kv, until: () => boolean): Promise<string[]> {
  const errors: string[] = [];
  const caller = async (): Promise<void> => {
    while (!until()) {
      const key = `user/${String(Math.floor(Math.random() * 10_000)).padStart(5, '0')}`;
      await kv.put(key, 'x'.repeat(100), { timeoutMs: 10_000 }).catch((error: Error) => errors.push(String(error)));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  await Promise.all(Array.from({ length: 16 }, caller));
  return errors;
}

test('a cluster of one region under load splits, and its leaders spread over the nodes, while nobody sees an error', async () => {
  const cluster: LocalCluster = await startLocalCluster({ workers: 1 });
  const client: Client = await connect({ servers: cluster.url, cluster: cluster.cluster });
  const view = await PlacementView.connect(cluster);
  try {
    await view.untilUp(3, 60_000);
    const users = async (): Promise<number> => (await view.admin.regions()).length;
    assert.is(await users(), 1, 'it begins with one');
    await view.set({ splitLoadPerSecond: SPLIT_LOAD_PER_SECOND });
    let isGrown = false;
    const errors = load(client, () => isGrown);
    const startedMs = performance.now();
    await eventually(`${GROWN} regions`, async () => (await users()) >= GROWN, GROW_MS);
    note(`one region became ${await users()} after ${Math.round(performance.now() - startedMs)} ms`);
    await view.set({ splitLoadPerSecond: 0 });
    await view.untilEven([1, 2, 3], GROW_MS);
    isGrown = true;
    assert.equal(await errors, []);
    const counts = await cluster.leaders();
    assert.equal(
      [1, 2, 3].map((id) => counts.has(id)),
      [true, true, true],
      'each node leads some',
    );
  } finally {
    await view.close();
    await client.close();
    await cluster.stop();
  }
});

test('so does the one region of a node that is alone, over its workers', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'mraft-growth-'));
  const db = await open({ dataDir, workers: 3, logLevel: 'error' });
  try {
    await eventually('placement is led', () => db.admin.placement.settings(), 30_000);
    await db.admin.placement.changeSettings({ splitLoadPerSecond: SPLIT_LOAD_PER_SECOND });
    const users = async (): Promise<number[]> =>
      (await db.admin.regions()).map(({ region }) => region.regionId).filter((regionId) => regionId > 1);
    assert.is((await users()).length, 1);
    let isGrown = false;
    const errors = load(db, () => isGrown);
    await eventually(`${GROWN} regions`, async () => (await users()).length >= GROWN, GROW_MS);
    isGrown = true;
    assert.equal(await errors, []);
  } finally {
    await db.close();
    rmSync(dataDir, { recursive: true });
  }
});
