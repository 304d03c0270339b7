/** A single node without a broker runs placement for itself: what may be asked of a cluster may be asked of it. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { open, type Db } from '../../engine/index.ts';
import { ChangeRefused, InvalidArgument, NodeNotFound } from '../../rpc/wire/errors.ts';
import { assert, eventually, rejects, suite } from '../harness.ts';

const test = suite('placement of a node that is alone', { timeoutMs: 60_000 });

let dir: string;
let db: Db;

test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mraft-alone-'));
  db = await open({ dataDir: dir, regions: 1, workers: 1, logLevel: 'error' });
  await eventually('placement is led', async () => (await db.admin.placement.nodes()).length === 1, 30_000);
});
test.after(async () => {
  await db.close();
  rmSync(dir, { recursive: true });
});

test('it knows itself', async () => {
  const [node] = await db.admin.placement.nodes();
  assert.is(node?.nodeId, 1);
  assert.is(node?.state, 'up');
});

test('a region is split by hand, ids come from placement, and the keys stay', async () => {
  await db.put('a', '1');
  await db.put('z', '2');
  await eventually('placement knows the region', () =>
    db.admin.placement.addOperator({ kind: 'split', regionId: 2, splitKey: Buffer.from('m') }),
  );
  await eventually('there are two', async () => {
    const user = (await db.admin.regions()).filter(({ region }) => region.regionId > 1);
    return user.length === 2;
  });
  assert.is(Buffer.from((await db.get('a'))!).toString(), '1');
  assert.is(Buffer.from((await db.get('z'))!).toString(), '2');
  await eventually('the log says so', async () => {
    const { log } = await db.admin.placement.operators();
    return log.some(({ event, regionId }) => event === 'done' && regionId === 2);
  });
});

test('settings last, and what is wrong is refused by its code', async () => {
  const { placement } = db.admin;
  assert.is((await placement.changeSettings({ mergeSizeBytes: 0 })).mergeSizeBytes, 0);
  await rejects(placement.changeSettings({ replicas: 0 }), InvalidArgument);
  await rejects(placement.drainNode(1, { leave: true }), ChangeRefused);
  await rejects(placement.removeNode(9), NodeNotFound);
  await db.close();
  db = await open({ dataDir: dir, regions: 1, workers: 1, logLevel: 'error' });
  await eventually(
    'placement is led again',
    async () => (await db.admin.placement.settings()).mergeSizeBytes === 0,
    30_000,
  );
});

test('a scheduler is paused and goes on', async () => {
  const { placement } = db.admin;
  const stateOf = async (): Promise<unknown> =>
    (await placement.schedulers()).find(({ name }) => name === 'merge')?.pausedUntilMs;
  await placement.pauseScheduler('merge');
  assert.is(await stateOf(), null);
  await placement.resumeScheduler('merge');
  assert.is(await stateOf(), 0);
});
