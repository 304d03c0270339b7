/** Merges whose source is not where it must be: nothing waits for ever, and nothing is forgotten. */

import { destroyReplica, loadRegionRecord, loadTombstone } from '../../engine/store/region-records.ts';
import { assert, suite } from '../harness.ts';
import { LEFT, RIGHT, assertAlike, dataOf, finish, parted, prepare, put, read, stored } from './merge-fixture.ts';
import type { VirtualCluster, VirtualNode } from './virtual-cluster.ts';

const test = suite('merge without a source', { timeoutMs: 120_000 });

/** The source's replica is gone from a node that has yet to commit the merge: by a disk, a person, or a bug. */
function loseSource(cluster: VirtualCluster, nodeId: number): void {
  const { store } = cluster.node(nodeId);
  const { region } = loadRegionRecord(store, RIGHT)!;
  const own = region.peers.find((peer) => peer.nodeId === nodeId)!;
  cluster.crash(nodeId);
  destroyReplica(store, { peerId: own.peerId, region });
  cluster.restart(nodeId);
}

/** The one anomaly that there is to be. */
function assertReported(node: VirtualNode): void {
  assert.match(
    node.anomalies.splice(0).join(' | '),
    /^region: RegionMerging .* lacks the source of the merge at its entry [0-9]+; it asks for a snapshot instead$/,
  );
}

test('a target whose source is missing on its node gets a snapshot of both, and holds no more than it may meanwhile', () => {
  const cluster = parted();
  put(cluster, 'y', '1', 20);
  const leader = cluster.elect(LEFT).nodeId;
  const poor = [...cluster.nodes.keys()].find((id) => id !== leader && id !== cluster.elect(RIGHT).nodeId)!;
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  cluster.pass(200);
  loseSource(cluster, poor);
  cluster.pass(1_500);
  finish(cluster, 5_000, [poor]);
  for (let i = 0; i < 20; i++) put(cluster, `y${i}`, String(i), 100 + i);
  cluster.pass(5_000);
  assert.ok(stored(cluster.node(poor)).includes('2:-m normal'), 'it waits');
  assert.is(read(cluster, 'y'), '1', 'the others serve');
  const before = cluster.node(poor).shard.regionStatus(LEFT)!.raft;
  cluster.pass(10_000);
  assertReported(cluster.node(poor));
  const after = cluster.node(poor).shard.regionStatus(LEFT)!.raft;
  assert.ok(after.lastIndex >= before.lastIndex && after.term >= before.term, 'it forgot nothing that it promised');
  put(cluster, 'z', 'later', 200);
  assertAlike(cluster, ['2:- normal']);
});

test('a leader whose source is missing on its node lets another lead, and the region serves again', () => {
  const cluster = parted();
  put(cluster, 'y', '1', 20);
  const poor = cluster.elect(LEFT).nodeId;
  if (cluster.elect(RIGHT).nodeId === poor) {
    const other = [...cluster.nodes.keys()].find((id) => id !== poor)!;
    assert.ok(cluster.node(poor).shard.transferLeader(RIGHT, other));
    cluster.pass(300);
  }
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  cluster.pass(200);
  loseSource(cluster, poor);
  cluster.pass(1_500);
  // It is made to lead again, and commits the merge.
  const leader = cluster.elect(LEFT);
  if (leader.nodeId !== poor) assert.ok(leader.shard.transferLeader(LEFT, poor));
  cluster.pass(500);
  assert.is(cluster.elect(LEFT).nodeId, poor);
  cluster.pass(1_000);
  cluster.carryOnMerges();
  cluster.pass(20_000);
  assertReported(cluster.node(poor));
  assert.equal([read(cluster, 'a'), read(cluster, 'y')], ['left', '1']);
  assertAlike(cluster, ['2:- normal']);
});

test('a peer that was removed from its region while it was away goes, though the region was merged meanwhile', () => {
  const cluster = parted();
  const leader = cluster.elect(RIGHT).nodeId;
  const left = [...cluster.nodes.keys()].find((id) => id !== leader && id !== cluster.elect(LEFT).nodeId)!;
  cluster.loses = (frame) => frame.to === left;
  for (const regionId of [LEFT, RIGHT]) {
    const { peerId } = cluster.region(regionId).peers.find(({ nodeId }) => nodeId === left)!;
    const changes = [{ action: 'remove', peerId, nodeId: left }] as const;
    assert.is(cluster.change({ kind: 'membership', joint: false, changes }, regionId), undefined);
  }
  cluster.pass(300);
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  finish(cluster, 10_000, [left]);
  assert.equal(stored(cluster.node(left)), ['2:-m normal', '3:m- normal']);
  cluster.loses = () => false;
  cluster.pass(30_000);
  assert.equal([stored(cluster.node(left)), dataOf(cluster.node(left))], [[], []]);
});

test('a source whose target was removed from its node before it could take it over goes, with its data', () => {
  const cluster = parted();
  put(cluster, 'y', '1', 20);
  const leader = cluster.elect(LEFT).nodeId;
  const left = [...cluster.nodes.keys()].find((id) => id !== leader && id !== cluster.elect(RIGHT).nodeId)!;
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  cluster.pass(1_500);
  cluster.loses = (frame) => frame.to === left;
  cluster.carryOnMerges();
  const { peerId } = cluster.region(LEFT).peers.find(({ nodeId }) => nodeId === left)!;
  const changes = [{ action: 'remove', peerId, nodeId: left }] as const;
  assert.is(cluster.change({ kind: 'membership', joint: false, changes }, LEFT), undefined);
  assert.equal(stored(cluster.node(left)), ['2:-m normal', '3:m- merging']);
  cluster.loses = () => false;
  cluster.pass(30_000);
  assert.equal(stored(cluster.node(left)), []);
  assert.equal(dataOf(cluster.node(left)), []);
  assert.is(loadTombstone(cluster.node(left).store, RIGHT)?.peerId, RIGHT * 10 + left);
  assert.equal([read(cluster, 'a'), read(cluster, 'y')], ['left', '1']);
  for (const { anomalies } of cluster.nodes.values()) assert.equal(anomalies, []);
});
