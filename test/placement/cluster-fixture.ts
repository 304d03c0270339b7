/** Small simulated clusters under placement, for tests. */

import { assert } from '../harness.ts';
import { PlacementDriver, type DriverOptions } from '../../bench/placement/driver.ts';
import { Random } from '../../bench/random.ts';

export const MIB = 1024 * 1024;

export interface FixtureOptions extends Partial<DriverOptions> {
  readonly seed?: number;
  readonly nodes: number;
  readonly regions: number;
  readonly replicas?: number;
  /** Nodes that hold the regions at first; all by default. */
  readonly firstNodes?: number;
  readonly zones?: number;
  readonly sizeBytes?: number;
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Nothing moves unless somebody asks for it. */
  readonly still?: boolean;
}

/** Regions lie on consecutive nodes; every node has joined, and everything is reported. */
export function startCluster(options: FixtureOptions): PlacementDriver {
  const { nodes, regions, replicas = 3, firstNodes = nodes, zones = 0, sizeBytes = 64 * MIB } = options;
  const random = new Random(options.seed ?? 1);
  const driver = new PlacementDriver({
    random: () => random.next(),
    copyBytesPerMs: 100_000,
    electionMs: 1_000,
    changeMs: 5,
    roundMs: 1_000,
    heartbeatMs: 1_000,
    delayMs: [1, 10],
    loss: 0,
    reportEveryMs: 0,
    ...options,
  });
  for (let nodeId = 1; nodeId <= nodes; nodeId += 1) {
    driver.cluster.addNode(nodeId, zones > 0 ? { zone: `z${nodeId % zones}` } : {});
  }
  const used = Math.min(replicas, firstNodes);
  for (let index = 0; index < regions; index += 1) {
    const regionId = 2 + index;
    const peers = Array.from({ length: used }, (_, replica) => ({
      nodeId: ((index + replica) % firstNodes) + 1,
      peerId: 100_000 + index * 8 + replica,
    }));
    const end = index === regions - 1 ? Number.POSITIVE_INFINITY : index + 1;
    driver.cluster.addRegion(regionId, { start: index, end }, peers, sizeBytes);
  }
  if (options.settings) driver.placement.changeSettings(options.settings, 0);
  if (options.still) {
    for (const { name } of driver.placement.schedulers()) driver.placement.pauseScheduler(name, Infinity, 0);
  }
  driver.begin();
  return driver;
}

export function spanOf(values: readonly number[]): number {
  return Math.max(...values) - Math.min(...values);
}

export function upNodes(driver: PlacementDriver): readonly { leaders: number; replicas: number; sizeBytes: number }[] {
  return [...driver.cluster.nodes.values()].filter(
    ({ nodeId, alive }) => alive && driver.placement.node(nodeId).state === 'up',
  );
}

/** Every region has so many voters, all alive, on different nodes, no learner, and a leader. */
export function assertWhole(driver: PlacementDriver, replicas: number): void {
  for (const region of driver.cluster.regions.values()) {
    const { regionId, peers, leader } = region;
    assert.is(peers.length, replicas, `region ${regionId} has ${peers.length} peers`);
    assert.ok(
      peers.every(({ role, node }) => role === 'voter' && node.alive),
      `region ${regionId} has its voters`,
    );
    assert.is(new Set(peers.map(({ node }) => node.nodeId)).size, replicas, `region ${regionId} is on different nodes`);
    assert.ok(leader, `region ${regionId} has a leader`);
  }
}

/** The regions tile the key space. */
export function assertTiled(driver: PlacementDriver): void {
  const regions = [...driver.cluster.regions.values()].sort((a, b) => a.start - b.start);
  assert.is(regions[0]?.start, 0);
  assert.is(regions.at(-1)?.end, Number.POSITIVE_INFINITY);
  regions.slice(1).forEach((region, index) => assert.is(region.start, regions[index]?.end));
}
