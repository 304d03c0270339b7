/**
 * A region's descriptor and the configuration of its Raft group say the same in two forms: here is how one becomes the
 * other, and how a change of the membership changes both.
 */

import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { ChangeRefused, InvalidArgument, RegionChanging } from '../../rpc/wire/errors.ts';
import type { Epoch, Peer, PeerRole, Region } from '../../rpc/wire/region.ts';
import { changeMembership, isJoint } from '../raft/index.ts';
import type { ConfChange, Membership, PeerChange as CoreChange } from '../raft/index.ts';

/** One step of a change: whom, and where that peer lives. */
export interface PeerChange {
  readonly action: 'addVoter' | 'addLearner' | 'remove';
  readonly peerId: number;
  readonly nodeId: number;
}

export interface MembershipChange {
  /** Several changes at once, through a joint configuration that is left by itself. */
  readonly joint: boolean;
  readonly changes: readonly PeerChange[];
}

const { PeerChangeAction: Wire } = mraft;
const ACTION_TO_WIRE: Record<PeerChange['action'], mraft.PeerChangeAction> = {
  addVoter: Wire.ADD_VOTER,
  addLearner: Wire.ADD_LEARNER,
  remove: Wire.REMOVE,
};
/** By their numbers on the wire. */
const ACTIONS: readonly PeerChange['action'][] = ['addVoter', 'addLearner', 'remove'];

/** The configuration that a descriptor stands for. */
export function membershipOf({ peers }: Pick<Region, 'peers'>): Membership {
  const idsOf = (...roles: PeerRole[]): number[] =>
    peers
      .filter((peer) => roles.includes(peer.role))
      .map((peer) => peer.peerId)
      .sort((a, b) => a - b);
  const joint = peers.some((peer) => peer.role === 'incomingVoter' || peer.role === 'demotingVoter');
  return {
    voters: idsOf('voter', 'incomingVoter'),
    votersOutgoing: joint ? idsOf('voter', 'demotingVoter') : [],
    learners: idsOf('learner'),
    learnersNext: idsOf('demotingVoter'),
    autoLeave: joint,
  };
}

export function encodeMembershipChange(epoch: Epoch, change: MembershipChange): Uint8Array {
  return encode(mraft.MembershipChange, {
    epoch,
    joint: change.joint,
    changes: change.changes.map(({ action, peerId, nodeId }) => ({ action: ACTION_TO_WIRE[action], peerId, nodeId })),
  });
}

/** @throws MalformedRequest */
export function decodeMembershipChange(data: Uint8Array): MembershipChange & { readonly epoch: Epoch } {
  const wire = decode(mraft.MembershipChange, data);
  return {
    epoch: { version: wire.epoch?.version ?? 0, confVersion: wire.epoch?.confVersion ?? 0 },
    joint: wire.joint,
    changes: wire.changes.map((change) => ({
      action: ACTIONS[change.action ?? 0] ?? 'remove',
      peerId: change.peerId ?? 0,
      nodeId: change.nodeId ?? 0,
    })),
  };
}

/** What the core is told of an entry's change; an entry without data leaves a joint configuration. */
export function toConfChange(change: MembershipChange | undefined): ConfChange {
  if (change === undefined) return { mode: 'leave', changes: [] };
  const changes: CoreChange[] = change.changes.map(({ action, peerId }) => ({ action, peerId }));
  return { mode: change.joint ? 'joint' : 'simple', changes };
}

/**
 * Checks that a change can follow the present membership, as a proposer sees it. `hasLog`: whether that peer is known to
 * have a part of the leader's log.
 * @throws ChangeRefused when it never can, RegionChanging when something else has to end first
 */
export function checkMembershipChange(
  region: Region,
  leaderPeerId: number,
  change: MembershipChange,
  hasLog: (peerId: number) => boolean,
): void {
  const membership = membershipOf(region);
  if (isJoint(membership)) {
    throw new RegionChanging(`region ${region.regionId} is in the middle of a membership change`, {
      regionId: region.regionId,
    });
  }
  if (change.changes.length === 0) throw refused(region, 'a change changes at least one peer');
  if (new Set(change.changes.map((one) => one.peerId)).size < change.changes.length) {
    throw refused(region, 'a change names each peer once');
  }
  for (const one of change.changes) checkOne(region, leaderPeerId, change.joint, one);
  for (const one of change.changes) if (one.action === 'addVoter') checkPromotion(region, one, hasLog);
  checkQuorum(region, nextOf(region, change), hasLog);
}

function nextOf(region: Region, change: MembershipChange): Region {
  try {
    return changedRegion(region, change);
  } catch (cause) {
    if (!(cause instanceof InvalidArgument)) throw cause;
    throw refused(region, cause.message, cause);
  }
}

/** The new half of a split has peers whose node has not applied the split: they must not be needed to elect a leader. */
function checkQuorum(region: Region, next: Region, hasLog: (peerId: number) => boolean): void {
  const { voters, votersOutgoing } = membershipOf(next);
  const isSafe = [voters, votersOutgoing].every(
    (half) => half.length === 0 || half.filter(hasLog).length * 2 > half.length,
  );
  if (isSafe) return;
  throw new RegionChanging(
    `of the voters that region ${region.regionId} would have, too many have nothing yet: try again when they caught up`,
    { regionId: region.regionId },
  );
}

function checkOne(region: Region, leaderPeerId: number, joint: boolean, change: PeerChange): void {
  const { peerId, nodeId, action } = change;
  if (!Number.isSafeInteger(peerId) || peerId < 1 || !Number.isSafeInteger(nodeId) || nodeId < 1) {
    throw refused(region, `peer ${peerId} on node ${nodeId}: ids are positive whole numbers`);
  }
  const known = region.peers.find((peer) => peer.peerId === peerId);
  if (action === 'remove') {
    if (!known) throw refused(region, `it has no peer ${peerId}`);
    if (peerId === leaderPeerId) throw refused(region, `peer ${peerId} leads it: transfer the leadership first`);
    if (joint && known.role === 'voter') {
      throw refused(
        region,
        `peer ${peerId} votes: a joint change demotes it to a learner, which is removed afterwards`,
      );
    }
    return;
  }
  if (known && known.nodeId !== nodeId) throw refused(region, `peer ${peerId} lives on node ${known.nodeId}`);
  const there = region.peers.find((peer) => peer.nodeId === nodeId && peer.peerId !== peerId);
  if (there) throw refused(region, `node ${nodeId} has its peer ${there.peerId} already`);
  if (action === 'addLearner' && peerId === leaderPeerId) {
    throw refused(region, `peer ${peerId} leads it: transfer the leadership before it stops to vote`);
  }
}

/**
 * A peer without a log cannot vote. Were it to vote nevertheless, the others could come to need its vote to elect the leader
 * that would give it one, and nobody would ever lead again.
 */
function checkPromotion(region: Region, { peerId }: PeerChange, hasLog: (peerId: number) => boolean): void {
  const known = region.peers.find((peer) => peer.peerId === peerId);
  if (!known)
    throw refused(region, `peer ${peerId} is new: add it as a learner, and let it vote when it has caught up`);
  if (known.role !== 'learner' || hasLog(peerId)) return;
  throw new RegionChanging(
    `peer ${peerId} of region ${region.regionId} has nothing yet: it can vote when it caught up`,
    {
      regionId: region.regionId,
    },
  );
}

function refused(region: Region, why: string, cause?: unknown): ChangeRefused {
  return new ChangeRefused(`region ${region.regionId} cannot change so: ${why}`, {
    regionId: region.regionId,
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * The descriptor once `change` is applied (undefined: the joint configuration is left), and what the core is told.
 * Every replica applies it to the same descriptor, so all refuse alike.
 * @throws InvalidArgument when it cannot follow
 */
export function changedRegion(region: Region, change: MembershipChange | undefined): Region {
  const next = changeMembership(membershipOf(region), toConfChange(change));
  const nodes = new Map(region.peers.map((peer) => [peer.peerId, peer.nodeId]));
  for (const { peerId, nodeId, action } of change?.changes ?? []) {
    if (action === 'remove') continue;
    if (region.peers.some((peer) => peer.nodeId === nodeId && peer.peerId !== peerId)) {
      throw new InvalidArgument(`node ${nodeId} has a peer of region ${region.regionId} already`);
    }
    if (!nodes.has(peerId)) nodes.set(peerId, nodeId);
  }
  const peers: Peer[] = [];
  for (const [peerId, nodeId] of nodes) {
    const role = roleIn(next, peerId);
    if (role) peers.push({ peerId, nodeId, role });
  }
  if (isJoint(next) !== isJoint(membershipOf({ peers }))) {
    throw new InvalidArgument('a joint change makes or demotes a voter: make this one a simple change');
  }
  const { version, confVersion } = region.epoch;
  return { ...region, peers, epoch: { version, confVersion: confVersion + 1 } };
}

function roleIn(membership: Membership, peerId: number): PeerRole | undefined {
  const incoming = membership.voters.includes(peerId);
  if (incoming) {
    const both = !isJoint(membership) || membership.votersOutgoing.includes(peerId);
    return both ? 'voter' : 'incomingVoter';
  }
  if (membership.learners.includes(peerId)) return 'learner';
  if (membership.learnersNext.includes(peerId)) return 'demotingVoter';
  if (membership.votersOutgoing.includes(peerId)) {
    throw new InvalidArgument('a joint change demotes a voter, it does not remove it');
  }
  return undefined;
}
