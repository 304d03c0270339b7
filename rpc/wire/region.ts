/** A region's descriptor: its range, its epoch and its peers; and the arithmetic of ranges. */

import { mraft } from './codec.ts';

export interface Epoch {
  /** Grows with split and merge. */
  readonly version: number;
  /** Grows with membership. */
  readonly confVersion: number;
}

/**
 * `incomingVoter` and `demotingVoter` are the halves of a joint configuration: the one votes in the new half only, the
 * other in the old half only, and becomes a learner when the joint configuration is left.
 */
export type PeerRole = 'voter' | 'learner' | 'incomingVoter' | 'demotingVoter';

export interface Peer {
  /** Never reused. */
  readonly peerId: number;
  readonly nodeId: number;
  readonly role: PeerRole;
}

export interface Region {
  readonly regionId: number;
  /** Inclusive; empty: from the first key. */
  readonly startKey: Uint8Array;
  /** Exclusive; empty: to the last key. */
  readonly endKey: Uint8Array;
  readonly epoch: Epoch;
  readonly peers: readonly Peer[];
}

const { PeerRole: Wire } = mraft;
const ROLE_TO_WIRE: Record<PeerRole, mraft.PeerRole> = {
  voter: Wire.VOTER,
  learner: Wire.LEARNER,
  incomingVoter: Wire.INCOMING_VOTER,
  demotingVoter: Wire.DEMOTING_VOTER,
};
/** By their numbers on the wire. */
const ROLES: readonly PeerRole[] = ['voter', 'learner', 'incomingVoter', 'demotingVoter'];

/** Ids up to this one are kept for the system (placement is region 1); regions of user keys come after it. */
export const LAST_SYSTEM_REGION_ID = 1;
/** Where placement keeps its state. */
export const PLACEMENT_REGION_ID = 1;

/** Order of keys: bytes, shorter first where one is the start of the other. */
export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b);
}

/** Printable ASCII as it is, other bytes as \xNN; unambiguous, because a backslash is one of the others. */
export function showKey(key: Uint8Array): string {
  return Array.from(key, (byte) =>
    byte >= 0x20 && byte < 0x7f && byte !== 0x5c
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, '0')}`,
  ).join('');
}

export function containsKey(region: Pick<Region, 'startKey' | 'endKey'>, key: Uint8Array): boolean {
  return compareKeys(key, region.startKey) >= 0 && (region.endKey.length === 0 || compareKeys(key, region.endKey) < 0);
}

/** Whether the peer can be elected, in either half of a joint configuration. */
export function canVote(peer: Pick<Peer, 'role'>): boolean {
  return peer.role !== 'learner';
}

export function sameEpoch(a: Epoch, b: Epoch): boolean {
  return a.version === b.version && a.confVersion === b.confVersion;
}

/** Whether `a` was made after `b`; epochs of one region are ordered. */
export function isNewerEpoch(a: Epoch, b: Epoch): boolean {
  return a.version > b.version || (a.version === b.version && a.confVersion > b.confVersion);
}

/** The wire form; `leaderNodeId` is told in answers to clients. Keys are not copied. */
export function toWireRegion(region: Region, leaderNodeId = 0): mraft.IRegion {
  return {
    regionId: region.regionId,
    startKey: region.startKey,
    endKey: region.endKey,
    epoch: region.epoch,
    peers: region.peers.map((peer) => ({
      peerId: peer.peerId,
      nodeId: peer.nodeId,
      role: ROLE_TO_WIRE[peer.role],
    })),
    leaderNodeId,
  };
}

/** The descriptor of a wire form; keys are copied. */
export function fromWireRegion(wire: mraft.IRegion): Region {
  return {
    regionId: wire.regionId ?? 0,
    startKey: Buffer.from(wire.startKey ?? []),
    endKey: Buffer.from(wire.endKey ?? []),
    epoch: { version: wire.epoch?.version ?? 0, confVersion: wire.epoch?.confVersion ?? 0 },
    peers: (wire.peers ?? []).map((peer) => ({
      peerId: peer.peerId ?? 0,
      nodeId: peer.nodeId ?? 0,
      role: ROLES[peer.role ?? 0] ?? 'learner',
    })),
  };
}
