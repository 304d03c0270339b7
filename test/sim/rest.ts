/** Liveness: behind the last fault everything that was begun comes to an end, and all replicas are alike. */

import type { ReplicaStatus } from '../../engine/region/replica.ts';
import { PLACEMENT_REGION_ID, type Region } from '../../rpc/wire/region.ts';
import { isJointRegion } from './configurations.ts';
import type { Meddler } from './meddler.ts';
import type { VirtualNode } from './process.ts';
import type { Workload } from './workload.ts';
import type { World } from './world.ts';

/** After the last fault the cluster must come to rest within so many election time-outs, and the longest call. */
const REST_ELECTIONS = 30;
/** Where regions change: removed voters stay for a while, snapshots wait for each other, merges are tried again each second. */
const CHANGING_REST_ELECTIONS = 120;
/** Where placement runs: dead nodes are noticed, replicas replaced, regions merged, one after the other. */
const PLACEMENT_REST_MS = 60_000;
const POLL_MS = 25;

export interface Resting {
  readonly world: World;
  readonly workload: Workload;
  readonly meddler: Meddler;
  /** Moves of slots that have not ended. */
  readonly openMoves: () => number;
  /** Nodes that were healed. */
  readonly well: readonly VirtualNode[];
}

/** Every region gets a leader, all its replicas the same data, all calls an end. */
export async function rest(resting: Resting): Promise<void> {
  const { world, workload } = resting;
  const { faults, electionTimeoutMs } = world.config;
  const isChanging = world.config.placement || faults.membershipEvery + faults.splitEvery + faults.mergeEvery > 0;
  const elections = isChanging ? CHANGING_REST_ELECTIONS : REST_ELECTIONS;
  const placementMs = world.config.placement ? PLACEMENT_REST_MS : 0;
  const limitMs = world.nowMs + elections * electionTimeoutMs + workload.callTimeoutMs + placementMs;
  let unrest: string | undefined = 'the faults have just ended';
  while (unrest !== undefined && !world.violation) {
    if (world.nowMs > limitMs) {
      world.report('the cluster comes to rest', unrest);
      return;
    }
    await world.run(world.nowMs + POLL_MS);
    unrest = findUnrest(resting);
  }
}

/** What is still to happen; undefined: nothing. */
function findUnrest({ world, workload, meddler, openMoves, well }: Resting): string | undefined {
  const regions = world.currentRegions;
  if (world.config.placement) {
    const unrest = unrestOfPlacement(world, well);
    if (unrest) return unrest;
  }
  for (const region of regions) {
    if (hasLostQuorum(world, region)) continue;
    const unrest = unrestOf(world, region, well);
    if (unrest) return unrest;
  }
  for (const node of well) {
    const leftover = findLeftover(world, node);
    if (leftover) return leftover;
  }
  if (meddler.openCalls > 0) return `${meddler.openCalls} changes have not ended`;
  if (openMoves() > 0) return `${openMoves()} moves of slots have not ended`;
  return workload.isIdle ? undefined : workload.describeOpen();
}

/**
 * One of its voters is lost for good, and of the others too few have anything of it: a half of a split that a node missed, whose
 * parent came to that node by a snapshot. It waits for the lost one, as its voters do that have nothing and may not vote.
 */
export function hasLostQuorum(world: World, { regionId, peers }: Region): boolean {
  const voters = peers.filter(({ role }) => role !== 'learner');
  const living = voters.filter(({ nodeId }) => !world.node(nodeId).isLost);
  const holders = living.filter(({ nodeId }) => world.safety.stateOf(regionId, nodeId) !== undefined);
  return living.length < voters.length && holders.length * 2 <= voters.length;
}

function unrestOf(world: World, region: Region, well: readonly VirtualNode[]): string | undefined {
  const { regionId } = region;
  if (isJointRegion(region)) return `region ${regionId} is in a joint configuration`;
  const replicas: { readonly node: VirtualNode; readonly status: ReplicaStatus }[] = [];
  for (const node of well) {
    const member = region.peers.find((peer) => peer.nodeId === node.nodeId);
    if (!member) continue;
    const status = node.process?.workerOf(regionId)?.shard.regionStatus(regionId);
    if (!status) return `region ${regionId} is not open on node ${node.nodeId}`;
    if (status.raft.peerId !== member.peerId) return `region ${regionId} has an old peer on node ${node.nodeId}`;
    replicas.push({ node, status });
  }
  const leader = replicas.find(({ status }) => status.raft.role === 'leader');
  if (!leader) return `region ${regionId} has no leader`;
  for (const { node, status } of replicas) {
    const difference = differenceOf(world, leader.node, leader.status, node, status);
    if (difference) return `region ${regionId} on node ${node.nodeId} ${difference}`;
  }
  return undefined;
}

function differenceOf(
  world: World,
  leader: VirtualNode,
  { raft, region }: ReplicaStatus,
  node: VirtualNode,
  status: ReplicaStatus,
): string | undefined {
  const own = status.raft;
  if (own.applied !== raft.lastIndex) return `has applied ${own.applied} of ${raft.lastIndex}`;
  if (own.term !== raft.term || own.leader !== raft.peerId) return 'does not follow the leader';
  if (status.phase !== 'normal') return `is ${status.phase}`;
  const [state, other] = [node, leader].map(({ nodeId }) => world.safety.stateOf(region.regionId, nodeId)!);
  if (state!.dataHash !== other!.dataHash) return 'has other data than its leader';
  const { version, confVersion } = status.region.epoch;
  return version === region.epoch.version && confVersion === region.epoch.confVersion
    ? undefined
    : 'has another descriptor than its leader';
}

/** A replica of a region that it does not belong to, or that is no more. */
function findLeftover(world: World, node: VirtualNode): string | undefined {
  if (node.isLost) return undefined;
  for (const { regionId, peerId } of world.safety.replicasOn(node.nodeId)) {
    const facts = world.safety.regions.get(regionId)!;
    const isMember = !facts.isOver && facts.newest.peers.some((peer) => peer.peerId === peerId);
    if (!isMember) return `node ${node.nodeId} still has peer ${peerId} of region ${regionId}`;
  }
  return undefined;
}

/** Placement is led by whoever leads its region, and nothing of what it wants is left to be done. */
function unrestOfPlacement(world: World, well: readonly VirtualNode[]): string | undefined {
  for (const node of world.nodes) {
    if (node.isLost && node.mayBeRefused && node.isUp) return `node ${node.nodeId} has no place here and was not told`;
  }
  const living = well.filter((node) => !node.isLost && node.isUp);
  const acting = living.filter((node) => node.process?.member?.isPlacementLeader);
  if (acting.length !== 1) return `${acting.length} nodes run placement`;
  const [leader] = acting;
  if (world.leaderOf(PLACEMENT_REGION_ID) !== leader)
    return `node ${leader!.nodeId} runs placement and does not lead it`;
  const { running = [] } = leader!.process!.member!.placementStatus() ?? {};
  const operators = running.reduce((sum, { count }) => sum + count, 0);
  // With too few nodes nothing is whole, and what waits for a lost node waits until it is out of time.
  if (operators > 0 && living.length >= world.config.replicas) return `${operators} operators run`;
  const wanted = Math.min(world.config.replicas, living.length);
  for (const region of world.currentRegions) {
    const there = region.peers.filter((peer) => living.some((node) => node.nodeId === peer.nodeId));
    const isWhole = there.length >= wanted && there.every((peer) => peer.role === 'voter');
    if (!isWhole) return `region ${region.regionId} is on ${there.length} of ${wanted} living nodes`;
    const isTidy = living.length < world.config.replicas || there.length === region.peers.length;
    if (!isTidy) return `region ${region.regionId} has replicas on nodes that are gone`;
  }
  return undefined;
}
