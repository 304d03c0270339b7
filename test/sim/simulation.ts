/** One run: faults and work, then rest, then the questions that only the end answers. */

import { checkHistory } from '../linearizability/checker.ts';
import type { SimConfig } from './config.ts';
import { Nemesis } from './nemesis.ts';
import type { VirtualNode } from './process.ts';
import type { Violation } from './violation.ts';
import { Workload } from './workload.ts';
import { World, type WorldOptions } from './world.ts';

/** After the last fault the cluster must come to rest within so many election time-outs, and the longest call. */
const REST_ELECTIONS = 30;
const POLL_MS = 25;
/** States of one key that the checker of histories tries. */
const MAX_STATES = 200_000;

export interface SimResult {
  readonly config: SimConfig;
  readonly violation: Violation | undefined;
  readonly traceHash: string;
  readonly events: number;
  readonly turns: number;
  readonly virtualMs: number;
  readonly calls: number;
  readonly failedCalls: number;
  readonly crashes: number;
  readonly committed: number;
  /** Entries of logs that were replaced by another leader's. */
  readonly overwrites: number;
  /** The history was too wide to be decided. */
  readonly undecided: boolean;
  readonly faults: Readonly<Record<string, number>>;
}

export async function simulate(config: SimConfig, options: WorldOptions = {}): Promise<SimResult> {
  const world = new World(config, options);
  const nemesis = new Nemesis(world);
  for (const node of world.nodes) node.start();
  const workload = new Workload(world);
  workload.start();
  nemesis.start();
  await world.run(config.durationMs);
  let undecided = false;
  if (!world.violation) {
    const well = nemesis.heal();
    world.trace(() => `the faults end; well: ${well.map((node) => node.nodeId).join(' ')}`);
    workload.stopped = true;
    await rest(world, workload, well);
    if (!world.violation) await lookBack(world, workload);
    if (!world.violation) checkFrames(world);
    if (!world.violation) {
      const verdict = checkHistory(workload.history, { maxStates: MAX_STATES });
      if (verdict.result === 'violation') world.report('linearizability', `key ${verdict.key}: ${verdict.explanation}`);
      undecided = verdict.result === 'undecided';
    }
  }
  return {
    config,
    violation: world.violation,
    traceHash: world.traceHash,
    events: world.events,
    turns: world.turns,
    virtualMs: world.nowMs,
    calls: workload.calls,
    failedCalls: workload.failedCalls,
    crashes: world.crashes,
    committed: world.safety.committedCount,
    overwrites: world.safety.overwrites,
    undecided,
    faults: Object.fromEntries(nemesis.made),
  };
}

/** Liveness: every region gets a leader, all replicas the same data, all calls an end. */
async function rest(world: World, workload: Workload, well: readonly VirtualNode[]): Promise<void> {
  const limitMs = world.nowMs + REST_ELECTIONS * world.config.electionTimeoutMs + workload.callTimeoutMs;
  let unrest: string | undefined = 'the faults have just ended';
  while (unrest !== undefined && !world.violation) {
    if (world.nowMs > limitMs) {
      world.report('the cluster comes to rest', unrest);
      return;
    }
    await world.run(world.nowMs + POLL_MS);
    unrest = findUnrest(world, workload, well);
  }
}

/** What is still to happen; undefined: nothing. */
function findUnrest(world: World, workload: Workload, well: readonly VirtualNode[]): string | undefined {
  for (const region of world.regions) {
    const replicas = well.flatMap((node) => {
      if (!region.peers.some((peer) => peer.nodeId === node.nodeId)) return [];
      const status = node.process?.workerOf(region.regionId)?.shard.regionStatus(region.regionId);
      return [{ node, status }];
    });
    const down = replicas.find(({ status }) => status === undefined);
    if (down) return `region ${region.regionId} is not open on node ${down.node.nodeId}`;
    const leader = replicas.find(({ status }) => status!.raft.role === 'leader');
    if (!leader) return `region ${region.regionId} has no leader`;
    const { raft } = leader.status!;
    const state = world.safety.stateOf(region.regionId, leader.node.nodeId);
    for (const { node, status } of replicas) {
      const own = status!.raft;
      const where = `region ${region.regionId} on node ${node.nodeId}`;
      if (own.applied !== raft.lastIndex) return `${where} has applied ${own.applied} of ${raft.lastIndex}`;
      if (own.term !== raft.term || own.leader !== raft.peerId) return `${where} does not follow the leader`;
      const { dataHash } = world.safety.stateOf(region.regionId, node.nodeId)!;
      if (dataHash !== state!.dataHash) return `${where} has other data than its leader`;
    }
  }
  return workload.isIdle ? undefined : workload.describeOpen();
}

/** A user who comes when all is well can read every key. */
async function lookBack(world: World, workload: Workload): Promise<void> {
  let answered: boolean | undefined;
  void workload.readAll().then((all) => (answered = all));
  await world.run(world.nowMs + workload.callTimeoutMs * 12, () => answered !== undefined);
  if (!answered)
    world.report('a well cluster answers', `not every key could be read: ${[...workload.errors.keys()].join(' ')}`);
  world.safety.checkTiling(world.regions);
}

/** Nobody here is hostile, so nothing may have been taken for it. */
function checkFrames(world: World): void {
  for (const node of world.nodes) {
    for (const worker of node.process?.workers ?? []) {
      const { malformed, otherCluster, otherSender, otherPeer, tooManyNodes } = worker.shard.stats().dropped;
      const refused = malformed + otherCluster + otherSender + otherPeer + tooManyNodes;
      if (refused > 0) world.report('no honest frame is refused', `node ${node.nodeId} dropped ${refused}`);
    }
  }
}
