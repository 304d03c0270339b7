/**
 * PrepareMerge does not suspend the core's lease: the phase refuses reads instead, wherever it is applied. These are the ways in
 * which a read could pass it.
 */

import { mraft } from '../../rpc/wire/codec.ts';
import { toWireRegion } from '../../rpc/wire/region.ts';
import { assert, suite } from '../harness.ts';
import { LEFT, RIGHT, assertAlike, finish, parted, prepare, put, read } from './merge-fixture.ts';
import { text, type VirtualCluster } from './virtual-cluster.ts';

const test = suite('reads around a merge', { timeoutMs: 120_000 });

const { LINEARIZABLE, LEASE, REPLICA } = mraft.ReadMode;
const MODES = [LINEARIZABLE, LEASE, REPLICA];

function readOf(cluster: VirtualCluster, mode: mraft.ReadMode): mraft.IRequest {
  return { regionId: RIGHT, epoch: cluster.region(RIGHT).epoch, read: { mode, keys: [text('x')] } };
}

function answer(response: mraft.IResponse | undefined): string | undefined {
  const value = response?.read?.values?.[0]?.value;
  return value ? Buffer.from(value).toString() : (response?.error?.code ?? undefined);
}

/** Asks the leader of the source to prepare, and leaves it there. */
function propose(cluster: VirtualCluster, nodeId: number): void {
  const command = { prepareMerge: { target: toWireRegion(cluster.region(LEFT)) } };
  const { epoch } = cluster.region(RIGHT);
  cluster.node(nodeId).shard.changeRegion(RIGHT, epoch, { kind: 'admin', command }, () => {});
}

test('a leader that has appended its PrepareMerge and not applied it serves reads: nobody else can have the range yet', () => {
  const cluster = parted();
  const { nodeId } = cluster.elect(RIGHT);
  cluster.pass(300);
  // What the others acknowledge is lost, so the entry is not committed.
  cluster.loses = (frame) => frame.to === nodeId;
  const lease = readOf(cluster, LEASE);
  propose(cluster, nodeId);
  assert.is(answer(cluster.ask(nodeId, lease)), 'right');
  const waiting = MODES.map((mode) => cluster.send(nodeId, readOf(cluster, mode)));
  cluster.loses = () => false;
  cluster.pass(500);
  for (const id of waiting) {
    const got = answer(cluster.node(nodeId).responses.get(id));
    assert.ok(['right', 'RegionMerging', 'EpochNotMatch'].includes(got!), got);
  }
  const { epoch } = cluster.region(RIGHT);
  for (const mode of MODES) {
    const late = cluster.ask(nodeId, { regionId: RIGHT, epoch, read: { mode, keys: [text('x')] } });
    assert.is(answer(late), 'RegionMerging');
  }
  finish(cluster);
  assertAlike(cluster, ['2:- normal']);
});

test('a read that is gathered in the turn in which the PrepareMerge is applied is not served behind it', () => {
  for (const mode of MODES) {
    const cluster = parted();
    const { nodeId } = cluster.elect(RIGHT);
    cluster.pass(300);
    const request = readOf(cluster, mode);
    propose(cluster, nodeId);
    // Every step of the way to the commit has its own read.
    const ids: number[] = [];
    for (let step = 0; step < 40; step++) {
      ids.push(cluster.send(nodeId, request));
      cluster.steps(4);
    }
    cluster.settle();
    const answers = ids.map((id) => answer(cluster.node(nodeId).responses.get(id)));
    const refusedFrom = answers.findIndex((one) => one !== 'right');
    // Who waits for a quorum has its proof only when the entry is committed as well.
    assert.ok(mode === LEASE ? refusedFrom > 0 : refusedFrom >= 0, answers.join());
    assert.ok(
      answers.slice(refusedFrom).every((one) => one !== 'right'),
      answers.join(),
    );
    finish(cluster);
  }
});

test('an old leader of the source, cut off with a PrepareMerge that it has not applied, serves no read once its lease is over', () => {
  for (const mode of MODES) {
    const cluster = parted();
    const old = cluster.elect(RIGHT).nodeId;
    cluster.pass(300);
    const stale = readOf(cluster, mode);
    cluster.loses = (frame) => frame.to === old;
    propose(cluster, old);
    cluster.settle();
    cluster.loses = (frame) => frame.to === old || frame.from === old;
    for (let ms = 0; ms < 20_000 && cluster.region(LEFT).endKey.length > 0; ms += 200) {
      cluster.pass(200);
      cluster.carryOnMerges();
    }
    assert.is(cluster.region(LEFT).endKey.length, 0, 'it is merged');
    put(cluster, 'x', 'new', 30);
    const id = cluster.send(old, stale);
    cluster.pass(3_000);
    assert.is.not(answer(cluster.node(old).responses.get(id)), 'right', `mode ${mode}`);
  }
});

test('a replica of the source that has not heard of the merge serves no read behind a write of the whole', () => {
  const cluster = parted();
  const leader = cluster.elect(RIGHT).nodeId;
  const late = [...cluster.nodes.keys()].find((id) => id !== leader && id !== cluster.elect(LEFT).nodeId)!;
  cluster.pass(300);
  const stale = readOf(cluster, REPLICA);
  cluster.loses = (frame) => frame.to === late;
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  cluster.pass(100);
  cluster.carryOnMerges();
  put(cluster, 'x', 'new', 30);
  const id = cluster.send(late, stale);
  cluster.pass(200);
  assert.is(cluster.node(late).responses.get(id)?.read, undefined, 'it cannot have asked anybody');
  cluster.loses = () => false;
  const again = cluster.send(late, stale);
  cluster.pass(5_000);
  for (const one of [id, again]) assert.is.not(answer(cluster.node(late).responses.get(one)), 'right');
  finish(cluster);
  assert.is(read(cluster, 'x'), 'new');
});
