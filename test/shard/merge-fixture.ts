/** Two regions that are to be merged, and what must be true when they are. */

import type { mraft } from '../../rpc/wire/codec.ts';
import { containsKey, toWireRegion, type Region } from '../../rpc/wire/region.ts';
import { listRegionRecords, listRegions } from '../../engine/store/region-records.ts';
import { sessionRange } from '../../engine/store/keys.ts';
import { assert } from '../harness.ts';
import { VirtualCluster, text, type VirtualNode } from './virtual-cluster.ts';

export const LEFT = 2;
export const RIGHT = 3;
export const MERGE_WAIT_MS = 1_200;

export const splitAt = (key: string, id: number): mraft.IAdminCommand => ({
  split: { splitKey: text(key), childRegionId: id, childPeerIds: [id * 10 + 1, id * 10 + 2, id * 10 + 3] },
});

/** Two regions, parted at 'm', that all nodes know of. */
export function parted(seed = 1): VirtualCluster {
  const cluster = new VirtualCluster({ seed });
  cluster.elect();
  cluster.settle();
  put(cluster, 'a', 'left', 1);
  put(cluster, 'x', 'right', 2);
  assert.is(cluster.administer(LEFT, splitAt('m', RIGHT)), 'done');
  cluster.pass(500);
  return cluster;
}

export const prepare = (cluster: VirtualCluster, sourceId: number, targetId: number): string =>
  cluster.administer(sourceId, { prepareMerge: { target: toWireRegion(cluster.region(targetId)) } });

/** The region that holds a key, as the node with the newest descriptor has it. */
export function regionAt(cluster: VirtualCluster, key: string): Region {
  const found = [...cluster.nodes.values()]
    .filter((node) => node.up)
    .flatMap((node) => listRegions(node.store))
    .filter((region) => containsKey(region, text(key)))
    .sort((a, b) => b.epoch.version - a.epoch.version || b.epoch.confVersion - a.epoch.confVersion)[0];
  return found!;
}

/** Writes as a client does: again, by what it is told, under the same sequence. */
export function put(cluster: VirtualCluster, key: string, value: string, seq: number, session = 'caller'): void {
  for (let attempt = 0; attempt < 100; attempt++) {
    const { regionId, epoch } = regionAt(cluster, key);
    const leader = cluster.leader(regionId);
    if (leader) {
      const operation = { kind: 'put', key: text(key), value: text(value) } as const;
      const response = cluster.write(leader.nodeId, operation, { session, seq }, { regionId, epoch });
      if (response?.write) return;
    }
    // Half of everything may be lost where only two of three are there: that elects nobody for long.
    if (attempt === 40) cluster.loses = () => false;
    cluster.pass(100);
    cluster.carryOnMerges();
  }
  throw new Error(`the write of ${key} does not get through: ${describe(cluster)}`);
}

export function read(cluster: VirtualCluster, key: string): string | null {
  for (let attempt = 0; attempt < 100; attempt++) {
    const { regionId, epoch } = regionAt(cluster, key);
    const leader = cluster.leader(regionId);
    const response = leader && cluster.ask(leader.nodeId, { regionId, epoch, read: { mode: 0, keys: [text(key)] } });
    if (response?.read) {
      const value = response.read.values![0]!.value;
      return value ? Buffer.from(value).toString() : null;
    }
    cluster.pass(100);
    cluster.carryOnMerges();
  }
  throw new Error(`the read of ${key} does not get through`);
}

export const stored = (node: VirtualNode): string[] =>
  listRegionRecords(node.store).map(
    ({ region, phase }) =>
      `${region.regionId}:${Buffer.from(region.startKey).toString()}-${Buffer.from(region.endKey).toString()} ${phase}`,
  );

export function dataOf(node: VirtualNode): string[] {
  const { entries } = node.store.scan('data', { limit: 100_000, maxBytes: 2 ** 30 });
  return entries.map(({ key, value }) => `${key.toString()}=${value.toString()}`);
}

export function sessionsOf(node: VirtualNode, regionId: number): string[] {
  const { start, end } = sessionRange(regionId);
  const { entries } = node.store.scan('meta', { gte: start, lt: end, limit: 10_000, maxBytes: 2 ** 30 });
  return entries.map(({ key, value }) => `${Buffer.from(key).toString('hex')}=${Buffer.from(value).toString('hex')}`);
}

/** For whoever has to find out why a test failed. */
export function describe(cluster: VirtualCluster): string {
  return [...cluster.nodes.values()]
    .map((node) => {
      const replicas = node.shard.listRegions().map(({ region, phase, raft }) => {
        const { role, term, commit, applied, lastIndex, progress } = raft;
        const peers = progress.map((peer) => `${peer.peerId}/${peer.state}/${peer.match}`).join(' ');
        return `${region.regionId}@${region.epoch.version} ${phase} ${role} t${term} c${commit} a${applied} l${lastIndex} ${peers}`;
      });
      return `\nnode ${node.nodeId}: ${stored(node).join()}\n  ${replicas.join('\n  ')}\n  ${node.anomalies.slice(0, 5).join()}`;
    })
    .join('');
}

/** Merges are carried on until none is left. */
export function finish(cluster: VirtualCluster, mostMs = 60_000, without: readonly number[] = []): void {
  for (let ms = 0; ms < mostMs; ms += 200) {
    cluster.pass(200);
    cluster.carryOnMerges();
    const nodes = [...cluster.nodes.values()].filter(({ nodeId }) => !without.includes(nodeId));
    const busy = nodes.some((node) => stored(node).some((line) => line.includes('merging')));
    if (!busy) return;
  }
  throw new Error(
    `a merge does not end: ${[...cluster.nodes.values()].map((node) => stored(node).join()).join(' | ')}`,
  );
}

/** All nodes hold the same regions, data and sessions, and nothing strange happened. */
export function assertAlike(cluster: VirtualCluster, regions?: string[], what = ''): void {
  cluster.pass(1_500);
  const nodes = [...cluster.nodes.values()];
  const expected = regions ?? stored(nodes[0]!);
  for (const node of nodes) {
    assert.equal(stored(node), expected, `${what} node ${node.nodeId}`);
    assert.equal(dataOf(node), dataOf(nodes[0]!), `${what} node ${node.nodeId}`);
    for (const { regionId } of listRegions(node.store)) {
      assert.equal(sessionsOf(node, regionId), sessionsOf(nodes[0]!, regionId), `${what} node ${node.nodeId}`);
    }
    assert.equal(node.anomalies, [], what);
  }
}
