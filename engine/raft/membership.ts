/**
 * How a configuration follows from the one before it (thesis 4.3, with the learners and the automatic leave of
 * etcd-io/raft). Pure: a proposer uses it to refuse what cannot be, and every replica to apply what was committed.
 */

import { InvalidArgument } from '../../rpc/wire/errors.ts';
import type { ConfChange, Membership, PeerChange } from './types.ts';

export const NO_MEMBERS: Membership = votersOnly([]);

/** The configuration of these voters and nobody else. */
export function votersOnly(voters: readonly number[]): Membership {
  return { voters, votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false };
}

export function isJoint(membership: Membership): boolean {
  return membership.votersOutgoing.length > 0;
}

/** Whether the peer votes or learns, in either half. */
export function isMember(membership: Membership, peerId: number): boolean {
  // Those of learnersNext are in the outgoing half.
  const { voters, votersOutgoing, learners } = membership;
  return voters.includes(peerId) || votersOutgoing.includes(peerId) || learners.includes(peerId);
}

/**
 * The configuration that `change` makes of `from`. All replicas apply it to the same one, so all accept or refuse alike.
 * @throws InvalidArgument when it cannot follow: a change within a joint configuration, a leave outside of one, a simple
 *   change of more than one voter, or no voter left
 */
export function changeMembership(from: Membership, change: ConfChange): Membership {
  if (change.mode === 'leave') return leave(from, change);
  if (isJoint(from)) throw refusal('the configuration is joint: leave it first');
  const joint = change.mode !== 'simple';
  const draft = new Draft(from, joint);
  for (const peer of change.changes) draft.apply(peer);
  const next = draft.membership(change.mode === 'joint');
  if (next.voters.length === 0) throw refusal('no voter would be left');
  if (!joint && difference(from.voters, next.voters) > 1) {
    throw refusal('more than one voter would change: use a joint change');
  }
  return next;
}

function leave(from: Membership, change: ConfChange): Membership {
  if (!isJoint(from)) throw refusal('the configuration is not joint: there is nothing to leave');
  if (change.changes.length > 0) throw refusal('leaving a joint configuration changes nothing else');
  const learners = ascending([...from.learners, ...from.learnersNext]);
  return { ...votersOnly(from.voters), learners };
}

/** A configuration that is being changed. */
class Draft {
  private readonly outgoing: ReadonlySet<number>;
  private readonly voters: Set<number>;
  private readonly learners: Set<number>;
  private readonly learnersNext = new Set<number>();

  constructor(from: Membership, joint: boolean) {
    this.outgoing = new Set(joint ? from.voters : []);
    this.voters = new Set(from.voters);
    this.learners = new Set(from.learners);
  }

  apply({ action, peerId }: PeerChange): void {
    if (!Number.isSafeInteger(peerId) || peerId <= 0) throw refusal(`${peerId} is no peer id`);
    this.voters.delete(peerId);
    this.learners.delete(peerId);
    this.learnersNext.delete(peerId);
    if (action === 'addVoter') this.voters.add(peerId);
    // A voter of the outgoing half still counts there, and nobody is voter and learner at once.
    else if (action === 'addLearner') (this.outgoing.has(peerId) ? this.learnersNext : this.learners).add(peerId);
  }

  membership(autoLeave: boolean): Membership {
    return {
      voters: ascending(this.voters),
      votersOutgoing: ascending(this.outgoing),
      learners: ascending(this.learners),
      learnersNext: ascending(this.learnersNext),
      autoLeave,
    };
  }
}

function ascending(peers: Iterable<number>): number[] {
  return [...peers].sort((a, b) => a - b);
}

/** How many voters come and go: with one in all, the majorities of both overlap. */
function difference(before: readonly number[], after: readonly number[]): number {
  const come = after.filter((peerId) => !before.includes(peerId)).length;
  const go = before.filter((peerId) => !after.includes(peerId)).length;
  return come + go;
}

function refusal(reason: string): InvalidArgument {
  return new InvalidArgument(`the membership cannot change so: ${reason}`, { field: 'change' });
}
