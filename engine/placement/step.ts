/** What a region's last report says of a step: whether it is done, under way, still to be ordered, or out of reach. */

import type { Model } from './model.ts';
import { keyString } from './model.ts';
import { NO_NODE } from './region-table.ts';
import type { PeerAddress, Step } from './types.ts';

/**
 * - `todo`: order it
 * - `waiting`: the region is at it
 * - `handOver`: its leader must give the lead away first
 * - `impossible`: it cannot follow what is there; `why` says so
 */
export type StepState =
  { readonly is: 'done' | 'todo' | 'waiting' | 'handOver' } | { readonly is: 'impossible'; readonly why: string };

const DONE: StepState = { is: 'done' };
const TODO: StepState = { is: 'todo' };
const WAITING: StepState = { is: 'waiting' };
const HAND_OVER: StepState = { is: 'handOver' };

/** By how much a step moves the region's confVersion: a joint change is entered and left. */
export function confChanges(step: Step): number {
  if (step.kind === 'promote') return step.demote ? 2 : 1;
  return step.kind === 'addLearner' || step.kind === 'removePeer' ? 1 : 0;
}

/** @param baseVersion the version of the region's epoch when the operator began */
export function stepState(model: Model, slot: number, step: Step, baseVersion: number): StepState {
  switch (step.kind) {
    case 'addLearner':
      return addLearnerState(model, slot, step.peer);
    case 'promote':
      return promoteState(model, slot, step.peer, step.demote);
    case 'removePeer':
      return removeState(model, slot, step.peer);
    case 'transferLeader':
      return transferState(model, slot, step.to);
    case 'split': {
      if (model.regions.version[slot] === baseVersion) return model.regions.phase[slot] === 0 ? TODO : WAITING;
      const cut = step.splitKey === undefined || model.regions.endKey[slot] === keyString(step.splitKey);
      return cut ? DONE : impossible('the region was split elsewhere');
    }
    // Done when the region is gone, which is not for its reports to say.
    case 'merge':
      return model.regions.phase[slot] === 0 ? TODO : WAITING;
  }
}

function addLearnerState(model: Model, slot: number, { peerId, nodeId }: PeerAddress): StepState {
  const { regions } = model;
  const at = regions.peerWithId(slot, peerId);
  if (at !== undefined) return regions.isPending(at) || regions.isDown(at) ? WAITING : DONE;
  const node = model.nodes.find(nodeId);
  if (node && regions.peerOnNode(slot, node.slot) !== undefined) {
    return impossible(`node ${nodeId} has another peer of the region`);
  }
  return regions.isJoint(slot) ? WAITING : TODO;
}

function promoteState(model: Model, slot: number, peer: PeerAddress, demote: PeerAddress | undefined): StepState {
  const { regions } = model;
  const at = regions.peerWithId(slot, peer.peerId);
  if (at === undefined) return impossible(`peer ${peer.peerId} is not in the region`);
  if (regions.isJoint(slot)) return WAITING;
  const old = demote && regions.peerWithId(slot, demote.peerId);
  const oldVotes = old !== undefined && regions.isVoter(old);
  if (regions.isVoter(at)) return oldVotes ? impossible(`peer ${peer.peerId} has a vote already`) : DONE;
  if (!oldVotes && demote) return impossible(`peer ${demote.peerId} has no vote to give`);
  return oldVotes && isLeader(model, slot, old) ? HAND_OVER : TODO;
}

function removeState(model: Model, slot: number, { peerId }: PeerAddress): StepState {
  const { regions } = model;
  const at = regions.peerWithId(slot, peerId);
  if (at === undefined) return DONE;
  if (regions.isJoint(slot)) return WAITING;
  if (regions.isVoter(at) && regions.voters(slot) === 1) return impossible(`peer ${peerId} is the last voter`);
  return isLeader(model, slot, at) ? HAND_OVER : TODO;
}

function transferState(model: Model, slot: number, { peerId }: PeerAddress): StepState {
  const { regions } = model;
  const at = regions.peerWithId(slot, peerId);
  if (at === undefined || !regions.isVoter(at)) return impossible(`peer ${peerId} has no vote in the region`);
  return isLeader(model, slot, at) ? DONE : TODO;
}

function isLeader(model: Model, slot: number, at: number): boolean {
  const leader = model.regions.leader[slot] as number;
  return leader !== NO_NODE && model.regions.nodeOf(at) === leader;
}

function impossible(why: string): StepState {
  return { is: 'impossible', why };
}
