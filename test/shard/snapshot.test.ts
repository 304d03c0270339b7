/** Compaction and snapshots on production code with a virtual clock and network. */

import { loadApplied, loadRegionRecord } from '../../engine/store/region-records.ts';
import { decode, mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, suite } from '../harness.ts';
import { VirtualCluster, wholeRegion, type VirtualNode } from './virtual-cluster.ts';

const test = suite('compaction and snapshots', { timeoutMs: 120_000 });

const REGION = 2;
const BIG = 'x'.repeat(400 * 1024);

function elected(): { cluster: VirtualCluster; leader: number; followers: [number, number] } {
  const cluster = new VirtualCluster();
  const leader = cluster.elect().nodeId;
  cluster.settle();
  const followers = [...cluster.nodes.keys()].filter((id) => id !== leader) as [number, number];
  return { cluster, leader, followers };
}

/** Writes until the log is cut past a peer that is down. */
function writeFarAhead(cluster: VirtualCluster, leader: number, round = 0): void {
  const writes = Math.ceil((LIMITS.logForceBytes + 3 * LIMITS.logKeepBytes) / BIG.length);
  for (let n = 0; n < writes; n++) assert.ok(cluster.put(leader, `big${n % 7}`, `${round}.${n}${BIG}`)?.write);
  for (let n = 0; n < 100; n++) assert.ok(cluster.put(leader, `k${n}`, `${round}.${n}`)?.write);
}

function dataOf(node: VirtualNode): string[] {
  const { entries } = node.store.scan('data', { limit: 100_000, maxBytes: 2 ** 30 });
  return entries.map(({ key, value }) => `${key.toString()}=${Buffer.from(value).toString('latin1').slice(0, 12)}`);
}

function logLength(node: VirtualNode): number {
  return node.store.scan('log', { limit: 1_000_000, maxBytes: 2 ** 31 }).entries.length;
}

function staged(node: VirtualNode): number {
  return node.store.scan('staging', { limit: 10_000, maxBytes: 2 ** 31 }).entries.length;
}

/** Lets time pass until all nodes hold the same, and says how long that took. */
function converge(cluster: VirtualCluster, mostMs = 60_000): number {
  const fromMs = cluster.nowMs;
  for (;;) {
    const leader = cluster.elect();
    const lastIndex = leader.shard.regionStatus(REGION)!.raft.applied;
    const nodes = [...cluster.nodes.values()].filter((node) => node.up);
    if (nodes.every((node) => node.shard.regionStatus(REGION)?.raft.applied === lastIndex)) break;
    assert.ok(cluster.nowMs - fromMs < mostMs, 'the nodes converge');
    cluster.pass(100);
  }
  cluster.pass(1_000);
  const expected = dataOf(cluster.elect());
  for (const node of cluster.nodes.values()) {
    if (!node.up) continue;
    assert.equal(dataOf(node), expected, `node ${node.nodeId}`);
    assert.is(staged(node), 0);
    assert.equal(node.anomalies, []);
  }
  return cluster.nowMs - fromMs;
}

test('a log is cut behind what all have, on every replica, and a restart finds its place', () => {
  const { cluster, leader, followers } = elected();
  for (let n = 0; n < 30; n++) cluster.put(leader, `k${n}`, `${n}${BIG.slice(0, 200_000)}`);
  cluster.pass(500);
  for (const node of cluster.nodes.values()) assert.ok(logLength(node) < 20, `${logLength(node)} entries are left`);
  for (const id of followers) {
    cluster.crash(id);
    cluster.restart(id);
  }
  cluster.put(leader, 'last', '1');
  converge(cluster);
  assert.is(cluster.node(leader).shard.stats().snapshotsSent, 0);
});

test('a peer that is away holds the log until it is too long, and then comes back by a snapshot', () => {
  const { cluster, leader, followers } = elected();
  cluster.put(leader, 'before', '1', { session: 'session', seq: 1 });
  cluster.crash(followers[0]);
  for (let n = 0; n < 12; n++) cluster.put(leader, `k${n}`, BIG);
  assert.ok(logLength(cluster.node(leader)) > 12, 'it would be cut if that peer were there');
  writeFarAhead(cluster, leader);
  assert.ok(logLength(cluster.node(leader)) < 200);
  cluster.restart(followers[0]);
  converge(cluster);
  const { snapshotsSent, snapshotsFailed } = cluster.node(leader).shard.stats();
  assert.equal([snapshotsSent, snapshotsFailed], [1, 0]);
  assert.is(cluster.node(followers[0]).shard.stats().snapshotsInstalled, 1);
  assert.is(cluster.value(cluster.elect().nodeId, 'before'), '1');
});

test('what a session has done travels with the data: a retry after the snapshot takes no effect twice', () => {
  const { cluster, leader, followers } = elected();
  cluster.crash(followers[0]);
  cluster.put(leader, 'once', 'first', { session: 'session-of-one', seq: 1 });
  cluster.put(leader, 'once', 'second', { session: 'session-of-one', seq: 2 });
  writeFarAhead(cluster, leader);
  cluster.restart(followers[0]);
  converge(cluster);
  assert.ok(cluster.node(leader).shard.transferLeader(REGION, followers[0]));
  for (let i = 0; i < 50 && cluster.leader()?.nodeId !== followers[0]; i++) cluster.pass(100);
  cluster.put(followers[0], 'once', 'first', { session: 'session-of-one', seq: 1 });
  assert.is(cluster.value(followers[0], 'once'), 'second');
});

test('the others serve on while a snapshot travels, and what they write meanwhile follows it', () => {
  const { cluster, leader, followers } = elected();
  cluster.crash(followers[0]);
  writeFarAhead(cluster, leader);
  let frames = 0;
  cluster.loses = ({ to }) => to === followers[0] && ++frames % 3 === 0;
  cluster.restart(followers[0]);
  for (let n = 0; n < 40; n++) {
    cluster.pass(50);
    assert.ok(cluster.put(leader, `during${n}`, `${n}`)?.write);
  }
  cluster.loses = () => false;
  converge(cluster);
});

test('a new peer of the region gets everything by a snapshot', () => {
  const cluster = new VirtualCluster({ nodes: 4, regions: [wholeRegion([1, 2, 3])] });
  const leader = cluster.elect().nodeId;
  for (let n = 0; n < 50; n++) cluster.put(leader, `k${n}`, `${n}`);
  const changes = [{ action: 'addLearner', peerId: 77, nodeId: 4 }] as const;
  assert.is(cluster.change({ kind: 'membership', joint: false, changes }), undefined);
  converge(cluster);
  assert.is(loadRegionRecord(cluster.node(4).store, REGION)?.region.peers.length, 4);
  cluster.put(leader, 'later', '1');
  converge(cluster);
});

test('a crash of the receiver at any moment of a snapshot costs another, and loses nothing', () => {
  const { cluster, leader, followers } = elected();
  const target = followers[0];
  let installs = 0;
  for (let nth = 2; nth < 60; nth = Math.ceil(nth * 1.6)) {
    cluster.crash(target);
    writeFarAhead(cluster, cluster.elect().nodeId, nth);
    cluster.restart(target);
    dieInWrite(cluster, target, nth);
    for (let i = 0; i < 100 && cluster.node(target).up; i++) passOver(cluster, target);
    if (!cluster.node(target).up) cluster.restart(target);
    converge(cluster);
    assert.ok(loadApplied(cluster.node(target).store, REGION).index > 0);
    installs += cluster.node(target).shard.stats().snapshotsInstalled;
  }
  assert.ok(installs > 0);
  assert.ok(cluster.leader(REGION) !== undefined && leader > 0);
});

class Died extends Error {}

/** The process of the node dies in its nth write from now. */
function dieInWrite(cluster: VirtualCluster, nodeId: number, nth: number): void {
  const { store } = cluster.node(nodeId);
  const write = store.write.bind(store);
  let left = nth;
  store.write = (batch, options) => {
    if (--left === 0) throw new Died();
    write(batch, options);
  };
  const crash = store.crash.bind(store);
  store.crash = (options) => {
    store.write = write;
    store.crash = crash;
    crash(options);
  };
}

function passOver(cluster: VirtualCluster, nodeId: number): void {
  try {
    cluster.pass(50);
  } catch (error) {
    if (!(error instanceof Died)) throw error;
    cluster.crash(nodeId);
  }
}

test('a leader that is deposed while it sends gives up, and the next one sends its own', () => {
  const { cluster, leader, followers } = elected();
  cluster.crash(followers[0]);
  writeFarAhead(cluster, leader);
  // Chunks vanish, so the snapshot stands still.
  cluster.loses = (frame) => isSnapshot(frame) && frame.from === leader;
  cluster.restart(followers[0]);
  cluster.pass(2_000);
  cluster.node(leader).shard.transferLeader(REGION, followers[1]);
  cluster.pass(3_000);
  cluster.loses = () => false;
  converge(cluster);
  assert.is(cluster.node(leader).shard.stats().snapshotsFailed, 1);
});

test('a receiver that is gone is given up after a while, and tried again when it is back', () => {
  const { cluster, leader, followers } = elected();
  cluster.crash(followers[0]);
  writeFarAhead(cluster, leader);
  let lost = 0;
  cluster.loses = (frame) => isSnapshot(frame) && ++lost > 0;
  cluster.restart(followers[0]);
  cluster.pass(LIMITS.snapshotIdleMs + 3_000);
  assert.ok(lost > 0);
  cluster.loses = () => false;
  converge(cluster);
  assert.ok(cluster.node(leader).shard.stats().snapshotsFailed >= 1);
});

test('chunks that come late, again, damaged, or from an older boot change nothing', () => {
  const { cluster, leader, followers } = elected();
  const target = followers[0];
  cluster.crash(target);
  writeFarAhead(cluster, leader);
  const seen: Uint8Array[] = [];
  cluster.loses = (frame) => {
    if (frame.to === target && isSnapshot(frame)) seen.push((frame as unknown as { bytes: Uint8Array }).bytes);
    return false;
  };
  cluster.restart(target);
  converge(cluster);
  const { shard } = cluster.node(target);
  const before = { data: dataOf(cluster.node(target)), applied: shard.regionStatus(REGION)!.raft.applied };
  for (const bytes of seen) {
    shard.receivePeerFrame(bytes, leader);
    const broken = Buffer.from(bytes);
    broken[broken.length >>> 1]! ^= 4;
    shard.receivePeerFrame(broken, leader);
  }
  cluster.settle();
  assert.equal(dataOf(cluster.node(target)), before.data);
  assert.is(shard.regionStatus(REGION)!.raft.applied, before.applied);
  assert.is(staged(cluster.node(target)), 0);
  assert.ok(shard.stats().snapshotChunksRefused + shard.stats().dropped.malformed > 0);
  assert.is(shard.stats().snapshotsInstalled, 1);
});

function isSnapshot(frame: { to: number; from: number }): boolean {
  const { bytes } = frame as unknown as { bytes: Uint8Array };
  return Boolean(decode(mraft.PeerFrame, bytes).snapshot?.chunk);
}
