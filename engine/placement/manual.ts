/** What people ask for, held against what is there: a proposal, or a coded refusal and no change. */

import { ChangeRefused, InvalidArgument, RegionChanging, RegionNotFound } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Model } from './model.ts';
import type { PlacementNode } from './node-table.ts';
import type { Change, Operators, Proposal } from './operators.ts';
import { membersOf } from './round.ts';
import { isInside } from './split-key.ts';
import type { OperatorRequest } from './types.ts';

/**
 * @throws RegionNotFound, NodeNotFound, InvalidArgument; RegionChanging while an operator or a change runs there;
 *   ChangeRefused when the change cannot follow what is there
 */
export function proposalOf(model: Model, operators: Operators, request: OperatorRequest): Proposal {
  checkForm(request);
  const slot = idleRegion(model, operators, request.regionId);
  const change = changeOf(model, operators, slot, request);
  return { regionId: request.regionId, origin: 'hand', reason: 'somebody asked for it', change };
}

function changeOf(model: Model, operators: Operators, slot: number, request: OperatorRequest): Change {
  switch (request.kind) {
    case 'addReplica':
      return addReplica(model, slot, request.nodeId, request.observer ?? false);
    case 'removeReplica':
      return removeReplica(model, slot, request.nodeId);
    case 'moveReplica':
      return moveReplica(model, slot, request.fromNodeId, request.toNodeId);
    case 'transferLeader':
      return transferLeader(model, slot, request.nodeId);
    case 'split':
      return split(model, slot, request.splitKey);
    case 'merge':
      return merge(model, operators, slot, request.targetRegionId);
  }
}

function addReplica(model: Model, slot: number, nodeId: number, observer: boolean): Change {
  const node = freeNode(model, slot, nodeId);
  if ((model.regions.peerCount[slot] as number) >= LIMITS.peersPerRegion) {
    throw new ChangeRefused(
      `region ${idOf(model, slot)} has ${LIMITS.peersPerRegion} peers, which is the most it may have`,
    );
  }
  const { voters, learners } = membersOf(model, slot);
  const goal = observer
    ? { voters, learners: [...learners, node.nodeId] }
    : { voters: [...voters, node.nodeId], learners };
  return { kind: 'membership', goal };
}

function removeReplica(model: Model, slot: number, nodeId: number): Change {
  const at = peerOn(model, slot, nodeId);
  const { voters, learners } = membersOf(model, slot);
  if (model.regions.isVoter(at)) {
    if (voters.length === 1)
      throw new ChangeRefused(`node ${nodeId} holds the last voter of region ${idOf(model, slot)}`);
    if (isLeading(model, slot, nodeId) && !hasSuccessor(model, slot)) {
      throw new ChangeRefused(`node ${nodeId} leads region ${idOf(model, slot)}, and nobody is fit to take over`);
    }
    checkQuorumWithout(model, slot, at);
  }
  const without = (nodeIds: readonly number[]): number[] => nodeIds.filter((other) => other !== nodeId);
  return { kind: 'membership', goal: { voters: without(voters), learners: without(learners) } };
}

function moveReplica(model: Model, slot: number, fromNodeId: number, toNodeId: number): Change {
  peerOn(model, slot, fromNodeId);
  freeNode(model, slot, toNodeId);
  const { voters, learners } = membersOf(model, slot);
  const moved = (nodeIds: readonly number[]): number[] =>
    nodeIds.map((nodeId) => (nodeId === fromNodeId ? toNodeId : nodeId));
  if (![...voters, ...learners].includes(fromNodeId)) {
    throw new ChangeRefused(`the replica on node ${fromNodeId} is a learner that is about to go`);
  }
  return { kind: 'membership', goal: { voters: moved(voters), learners: moved(learners) } };
}

function transferLeader(model: Model, slot: number, nodeId: number): Change {
  const at = peerOn(model, slot, nodeId);
  const node = model.nodes.get(nodeId);
  if (!model.regions.isVoter(at)) throw new ChangeRefused(`the replica on node ${nodeId} has no vote`);
  if (isLeading(model, slot, nodeId)) {
    throw new ChangeRefused(`node ${nodeId} leads region ${idOf(model, slot)} already`);
  }
  if (node.state !== 'up' && node.state !== 'draining') throw new ChangeRefused(`node ${nodeId} is ${node.state}`);
  return { kind: 'transferLeader', toNodeId: nodeId };
}

function split(model: Model, slot: number, splitKey: Uint8Array | undefined): Change {
  if (model.regions.isSystem(slot)) throw new ChangeRefused('regions of the system are not split');
  if (splitKey && !isInside(model, slot, splitKey)) {
    throw new ChangeRefused(
      `the key is not inside region ${idOf(model, slot)}: both halves need something, also at its start`,
    );
  }
  return { kind: 'split', ...(splitKey && { splitKey: Buffer.from(splitKey) }) };
}

function merge(model: Model, operators: Operators, slot: number, targetRegionId: number): Change {
  const target = idleRegion(model, operators, targetRegionId);
  if (model.regions.isSystem(slot) || model.regions.isSystem(target)) {
    throw new ChangeRefused('regions of the system are not merged');
  }
  if (model.before(slot) !== target && model.after(slot) !== target) {
    throw new ChangeRefused(`region ${targetRegionId} is no neighbour of region ${idOf(model, slot)}`);
  }
  for (const nodeId of membersOf(model, target).voters) {
    const { state } = model.nodes.get(nodeId);
    if (state !== 'up' && state !== 'draining') {
      throw new ChangeRefused(
        `node ${nodeId} of region ${targetRegionId} is ${state}: both regions must have all their peers`,
      );
    }
  }
  return { kind: 'merge', targetRegionId };
}

// --- conditions --------------------------------------------------------------------------------------------------------

function idleRegion(model: Model, operators: Operators, regionId: number): number {
  const slot = model.regions.slotOf(regionId);
  if (slot === undefined) {
    throw new RegionNotFound(`placement knows no region ${regionId}`, { regionId });
  }
  const operator = operators.ofRegion(regionId);
  if (operator) {
    throw new RegionChanging(`operator ${operator.record.operatorId} runs in region ${regionId}: wait, or cancel it`, {
      regionId,
    });
  }
  const { regions } = model;
  if (!regions.isReported(slot)) {
    throw new RegionChanging(`region ${regionId} has no leader that placement has heard of: try again`, { regionId });
  }
  if (regions.phase[slot] !== 0 || regions.isJoint(slot)) {
    throw new RegionChanging(`region ${regionId} is changing: try again when that is done`, { regionId });
  }
  return slot;
}

function freeNode(model: Model, slot: number, nodeId: number): PlacementNode {
  const node = model.nodes.get(nodeId);
  if (node.state !== 'up') throw new ChangeRefused(`node ${nodeId} is ${node.state} and takes no replicas`);
  if (model.regions.peerOnNode(slot, node.slot) !== undefined) {
    throw new ChangeRefused(`node ${nodeId} has a replica of region ${idOf(model, slot)} already`);
  }
  return node;
}

function peerOn(model: Model, slot: number, nodeId: number): number {
  const at = model.regions.peerOnNode(slot, model.nodes.get(nodeId).slot);
  if (at === undefined) throw new ChangeRefused(`node ${nodeId} has no replica of region ${idOf(model, slot)}`);
  return at;
}

/** What is left must be able to decide anything at all, or nothing brings the removed one back. */
function checkQuorumWithout(model: Model, slot: number, removed: number): void {
  const { regions, nodes } = model;
  let voters = 0;
  let answering = 0;
  for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
    if (at === removed || !regions.isVoter(at)) continue;
    voters += 1;
    const { state } = nodes.at(regions.nodeOf(at));
    if (!regions.isDown(at) && (state === 'up' || state === 'draining')) answering += 1;
  }
  if (answering * 2 > voters) return;
  throw new ChangeRefused(
    `without it only ${answering} of ${voters} voters of region ${idOf(model, slot)} would answer: replace those that do not first`,
  );
}

function isLeading(model: Model, slot: number, nodeId: number): boolean {
  return model.regions.leader[slot] === model.nodes.get(nodeId).slot;
}

function hasSuccessor(model: Model, slot: number): boolean {
  const { regions, nodes } = model;
  for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
    const node = nodes.at(regions.nodeOf(at));
    if (node.slot !== regions.leader[slot] && regions.isFit(at) && node.state === 'up') return true;
  }
  return false;
}

function idOf(model: Model, slot: number): number {
  return model.regions.regionId[slot] as number;
}

// --- form --------------------------------------------------------------------------------------------------------------

const IDS: { readonly [K in OperatorRequest['kind']]: readonly string[] } = {
  addReplica: ['regionId', 'nodeId'],
  removeReplica: ['regionId', 'nodeId'],
  moveReplica: ['regionId', 'fromNodeId', 'toNodeId'],
  transferLeader: ['regionId', 'nodeId'],
  split: ['regionId'],
  merge: ['regionId', 'targetRegionId'],
};

/** The request may come from outside, typed or not. */
function checkForm(request: OperatorRequest): void {
  const kind = (request as { kind?: unknown } | null)?.kind;
  if (typeof kind !== 'string' || !Object.hasOwn(IDS, kind)) {
    throw new InvalidArgument(`kind must be one of ${Object.keys(IDS).join(', ')}`, { field: 'kind' });
  }
  for (const field of IDS[kind as OperatorRequest['kind']]) {
    const value = (request as unknown as Record<string, unknown>)[field];
    if (!Number.isSafeInteger(value) || (value as number) < 1) {
      throw new InvalidArgument(`${field} must be a whole number from 1`, { field });
    }
  }
  const { splitKey } = request as { splitKey?: unknown };
  const isKey = splitKey instanceof Uint8Array && splitKey.length > 0 && splitKey.length <= LIMITS.keyBytes;
  if (splitKey !== undefined && !isKey) {
    throw new InvalidArgument(`splitKey must be 1 to ${LIMITS.keyBytes} bytes`, { field: 'splitKey' });
  }
}
