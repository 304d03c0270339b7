/** Membership of a region while it serves: what a change does, what refuses it, and that who was removed stays away. */

import type { PeerChange } from '../../engine/region/membership.ts';
import { listRegions, loadTombstone, putRegion, putTombstone } from '../../engine/store/region-records.ts';
import { assert, suite } from '../harness.ts';
import { VirtualCluster, wholeRegion } from './virtual-cluster.ts';

const test = suite('membership');

const REGION = 2;

function membership(changes: readonly PeerChange[], joint = false) {
  return { kind: 'membership', joint, changes } as const;
}

function remove(nodeId: number) {
  return membership([{ action: 'remove', peerId: nodeId * 10, nodeId }]);
}

function led(): { cluster: VirtualCluster; leader: number; followers: number[] } {
  const cluster = new VirtualCluster();
  const leader = cluster.elect().nodeId;
  cluster.settle();
  return { cluster, leader, followers: [...cluster.nodes.keys()].filter((id) => id !== leader) };
}

function rolesOf(cluster: VirtualCluster): Record<number, string> {
  return Object.fromEntries(cluster.region().peers.map((peer) => [peer.nodeId, peer.role]));
}

test('a removed voter is gone from the descriptor, and its data after a grace', () => {
  const { cluster, leader, followers } = led();
  const [gone, stays] = followers as [number, number];
  cluster.put(leader, 'a', '1');
  assert.is(cluster.change(remove(gone)), undefined);
  assert.equal(rolesOf(cluster), { [leader]: 'voter', [stays]: 'voter' });
  assert.is(cluster.region().epoch.confVersion, 2);
  assert.ok(cluster.put(leader, 'b', '2')?.write);
  cluster.pass(10_000);
  const { store, shard } = cluster.node(gone);
  assert.is(shard.regionCount, 0);
  assert.equal(listRegions(store), []);
  assert.is(loadTombstone(store, REGION)?.peerId, gone * 10);
  assert.is(store.scan('data', { limit: 10, maxBytes: 1_000 }).entries.length, 0);
  assert.is(store.scan('log', { limit: 10, maxBytes: 1_000 }).entries.length, 0);
});

test('who was removed while it was away hears so when it wants to be elected', () => {
  const { cluster, leader, followers } = led();
  const gone = followers[0]!;
  cluster.crash(gone);
  assert.is(cluster.change(remove(gone)), undefined);
  const { term } = cluster.node(leader).shard.regionStatus(REGION)!.raft;
  cluster.restart(gone);
  assert.is(cluster.node(gone).shard.regionCount, 1);
  cluster.pass(6_000);
  assert.is(cluster.node(gone).shard.regionCount, 0);
  assert.is(cluster.node(leader).shard.regionStatus(REGION)!.raft.term, term);
});

test('a learner that was removed while it was away asks whether it was, and goes', () => {
  const { cluster, followers } = led();
  const gone = followers[0]!;
  cluster.change(membership([{ action: 'addLearner', peerId: gone * 10, nodeId: gone }], true));
  cluster.pass(300);
  cluster.crash(gone);
  assert.is(cluster.change(remove(gone)), undefined);
  cluster.restart(gone);
  assert.is(cluster.node(gone).shard.regionCount, 1);
  cluster.pass(12_000);
  assert.is(cluster.node(gone).shard.regionCount, 0);
});

test('a node that stops between the removal of its peer and the end of its data starts again, without it', () => {
  const { cluster, followers } = led();
  const gone = followers[0]!;
  assert.is(cluster.change(remove(gone)), undefined);
  const { store } = cluster.node(gone);
  const batch = store.createBatch();
  putRegion(batch, cluster.region());
  putTombstone(batch, { peerId: gone * 10, region: cluster.region() });
  store.write(batch, { sync: true });
  cluster.restart(gone);
  assert.is(cluster.node(gone).shard.regionCount, 0);
  assert.equal(listRegions(store), []);
  assert.is(loadTombstone(store, REGION)?.peerId, gone * 10);
});

test('a message to a peer that was removed brings nothing back', () => {
  const { cluster, followers } = led();
  const gone = followers[0]!;
  const late: { to: number; from: number }[] = [];
  cluster.loses = (frame) => {
    if (frame.to === gone) late.push(frame);
    return false;
  };
  cluster.change(remove(gone));
  cluster.pass(10_000);
  cluster.loses = () => false;
  const { shard } = cluster.node(gone);
  for (const frame of late as { to: number; from: number; bytes: Uint8Array }[]) {
    shard.receivePeerFrame(frame.bytes, frame.from);
  }
  cluster.settle();
  assert.is(shard.regionCount, 0);
  assert.ok(shard.stats().dropped.removedPeer > 0);
});

test('two voters change at once through a joint configuration that ends by itself', () => {
  const { cluster, leader, followers } = led();
  const [first, second] = followers as [number, number];
  const demote: PeerChange[] = followers.map((nodeId) => ({ action: 'addLearner', peerId: nodeId * 10, nodeId }));
  assert.is(cluster.change(membership(demote, true)), undefined);
  cluster.pass(300);
  assert.equal(rolesOf(cluster), { [leader]: 'voter', [first]: 'learner', [second]: 'learner' });
  assert.is(cluster.region().epoch.confVersion, 3);
  const promote: PeerChange[] = followers.map((nodeId) => ({ action: 'addVoter', peerId: nodeId * 10, nodeId }));
  assert.is(cluster.change(membership(promote, true)), undefined);
  cluster.pass(300);
  assert.equal(rolesOf(cluster), { [leader]: 'voter', [first]: 'voter', [second]: 'voter' });
});

test('a descriptor survives the crash of all nodes in the middle of a joint change', () => {
  const { cluster, followers } = led();
  const nodeId = followers[0]!;
  const demote = membership([{ action: 'addLearner', peerId: nodeId * 10, nodeId }], true);
  cluster.change(demote);
  for (const id of cluster.nodes.keys()) cluster.crash(id);
  for (const id of [...cluster.nodes.keys()]) cluster.restart(id);
  cluster.elect();
  cluster.pass(1_000);
  assert.is(rolesOf(cluster)[nodeId], 'learner');
  assert.equal(
    [...cluster.nodes.values()].map((node) => node.shard.regionStatus(REGION)!.region.epoch),
    [1, 2, 3].map(() => ({ version: 1, confVersion: 3 })),
  );
});

for (const [what, changes, joint] of [
  ['no change', [], false],
  ['a peer that is not there', [{ action: 'remove', peerId: 99, nodeId: 9 }], false],
  ['a second peer on a node', [{ action: 'addLearner', peerId: 99, nodeId: 1 }], false],
  ['a voter that was no learner', [{ action: 'addVoter', peerId: 99, nodeId: 9 }], false],
  ['a peer that moves', [{ action: 'addVoter', peerId: 10, nodeId: 9 }], false],
  ['a peer without an id', [{ action: 'addLearner', peerId: 0, nodeId: 9 }], false],
  ['a joint change that changes no voter', [{ action: 'addLearner', peerId: 99, nodeId: 9 }], true],
] as [string, PeerChange[], boolean][]) {
  test(`refused without a trace: ${what}`, () => {
    const { cluster } = led();
    const before = cluster.region();
    const error = cluster.change(membership(changes, joint));
    assert.is(error?.code, 'ChangeRefused', error?.message);
    assert.equal(cluster.region(), before);
  });
}

test('a learner votes when it has caught up, not before: who has no log could never help to elect who would give it one', () => {
  const cluster = new VirtualCluster({ nodes: 4, regions: [wholeRegion([1, 2, 3])] });
  cluster.elect();
  cluster.loses = ({ to }) => to === 4;
  assert.is(cluster.change(membership([{ action: 'addLearner', peerId: 99, nodeId: 4 }])), undefined);
  const promotion = membership([{ action: 'addVoter', peerId: 99, nodeId: 4 }]);
  assert.is(cluster.change(promotion)?.code, 'RegionChanging');
  assert.is(rolesOf(cluster)[4], 'learner');
  cluster.loses = () => false;
  cluster.pass(5_000);
  assert.is(cluster.change(promotion), undefined);
  assert.is(rolesOf(cluster)[4], 'voter');
});

test('a newer peer of a node takes the place of one that did not hear of its removal', () => {
  const { cluster, followers } = led();
  const nodeId = followers[0]!;
  cluster.loses = ({ to }) => to === nodeId;
  cluster.change(remove(nodeId));
  cluster.change(membership([{ action: 'addLearner', peerId: 99, nodeId }]));
  cluster.loses = () => false;
  cluster.pass(5_000);
  assert.is(cluster.node(nodeId).shard.regionStatus(REGION)?.raft.peerId, 99);
});

test('refused without a trace: the leader itself, and the last voter', () => {
  const { cluster, leader, followers } = led();
  assert.is(cluster.change(remove(leader))?.code, 'ChangeRefused');
  for (const nodeId of followers) assert.is(cluster.change(remove(nodeId)), undefined);
  assert.is(cluster.change(remove(leader))?.code, 'ChangeRefused');
  assert.equal(rolesOf(cluster), { [leader]: 'voter' });
  assert.ok(cluster.put(leader, 'a', '1')?.write);
});

test('a change that was asked for at an older epoch does nothing', () => {
  const { cluster, leader, followers } = led();
  const { epoch } = cluster.region();
  cluster.change(remove(followers[0]!));
  let code: string | undefined;
  cluster.node(leader).shard.changeRegion(REGION, epoch, remove(followers[1]!), (error) => (code = error?.code));
  assert.is(code, 'EpochNotMatch');
});

test('a write and a read that were routed by an older epoch are sent back with the new one', () => {
  const { cluster, leader, followers } = led();
  const { epoch } = cluster.region();
  cluster.change(remove(followers[0]!));
  const response = cluster.ask(leader, { epoch, read: { mode: 0, keys: [Buffer.from('a')] } });
  assert.is(response?.error?.code, 'EpochNotMatch');
  assert.is(response?.error?.regions?.[0]?.epoch?.confVersion, 2);
});
