import { InvalidConfig } from '../../rpc/wire/errors.ts';
import { homeWorker, SLOT_COUNT, slotOfRegion } from '../../rpc/wire/slots.ts';
import { checkClusterName, subjects } from '../../rpc/wire/subjects.ts';
import { assert, suite } from '../harness.ts';

const slots = suite('slots');

slots('are the CRC-16 of Redis Cluster: its published check value', () => {
  assert.is(slotOfRegion(123456789), 0x31c3 % SLOT_COUNT);
});

slots('every region has one worker, and regions spread over workers', () => {
  for (const workers of [1, 2, 3, 8, 64]) {
    const counts = new Array<number>(workers).fill(0);
    for (let regionId = 1; regionId <= 6_400; regionId++) {
      const worker = homeWorker(slotOfRegion(regionId), workers);
      assert.ok(Number.isInteger(worker) && worker >= 0 && worker < workers);
      counts[worker]!++;
    }
    const fair = 6_400 / workers;
    for (const count of counts) assert.ok(count > fair / 2 && count < fair * 2, `${count} of ${fair}`);
  }
});

const names = suite('subjects');

names('say receiver and sender as tokens of their own', () => {
  assert.is(subjects.peer('c', 2, 1, 'raft', 3), 'mraft.c.p.2.1.raft.3');
  assert.is(subjects.peers('c', 2, 1), 'mraft.c.p.2.1.*.*');
  assert.is(subjects.client('c', 2, 1), 'mraft.c.c.2.1');
  assert.is(subjects.admin('c', 'routes'), 'mraft.c.admin.routes');
  assert.is(subjects.kv('c', 'get'), 'mraft.c.kv.get');
});

names('a cluster name that is no token is refused', () => {
  for (const name of ['a', 'A-b_9', 'x'.repeat(64)]) assert.is(checkClusterName(name), name);
  for (const name of ['', 'a.b', 'a b', '*', '>', 'x'.repeat(65), 'ä', 'a\n', undefined, 7]) {
    assert.throws(
      () => checkClusterName(name),
      (error: Error) => error instanceof InvalidConfig && error.details.field === 'cluster',
    );
  }
});
