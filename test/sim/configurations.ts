/** Who decides in a region, told from its descriptor alone and not by the code under test. */

import type { PeerRole, Region } from '../../rpc/wire/region.ts';

/** The peers that each half of the configuration asks for a majority: one half, or two while it is joint. */
function halvesOf(region: Region): number[][] {
  const idsOf = (...roles: PeerRole[]): number[] =>
    region.peers.filter((peer) => roles.includes(peer.role)).map((peer) => peer.peerId);
  const halves = [idsOf('voter', 'incomingVoter')];
  if (isJointRegion(region)) halves.push(idsOf('voter', 'demotingVoter'));
  return halves;
}

export function isJointRegion({ peers }: Region): boolean {
  return peers.some((peer) => peer.role === 'incomingVoter' || peer.role === 'demotingVoter');
}

/** Whether those peers are a majority of each half. Learners count for nothing. */
export function isQuorum(region: Region, agrees: (peerId: number) => boolean): boolean {
  return halvesOf(region).every((half) => half.filter(agrees).length * 2 > half.length);
}

/** Whether any quorum of the one descriptor meets any quorum of the one that follows it (thesis 4.1 and 4.3). */
export function quorumsMeet(before: Region, after: Region): boolean {
  return halvesOf(before).some((old) => halvesOf(after).some((half) => majoritiesMeet(old, half)));
}

/** Any majority of one set and any of the other have a peer in common: they differ in one peer at most. */
function majoritiesMeet(a: readonly number[], b: readonly number[]): boolean {
  const common = a.filter((peerId) => b.includes(peerId)).length;
  const most = (set: readonly number[]): number => Math.floor(set.length / 2) + 1;
  // Majorities that avoid each other: each takes the peers of its own first.
  const neededOfCommonByA = Math.max(0, most(a) - (a.length - common));
  const neededOfCommonByB = Math.max(0, most(b) - (b.length - common));
  return neededOfCommonByA + neededOfCommonByB > common;
}

/** Of the core's configuration, which must be that of the descriptor. */
export function describeVoters(region: Region): string {
  return halvesOf(region)
    .map((half) => [...half].sort((a, b) => a - b).join(','))
    .join(' & ');
}
