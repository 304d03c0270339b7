/**
 * From the peers that a region has to those that it should have, in steps that each keep it safe: a new replica learns
 * first; it takes the vote of the one it replaces in one joint change, so that the number of voters never drops and is
 * never even for longer than it must; a leader hands over before it loses its vote; there is one replica too many at most.
 */

import { invariant } from '../../rpc/wire/errors.ts';
import type { Peer } from '../../rpc/wire/region.ts';
import type { PeerAddress, Step } from './types.ts';

export interface MembershipGoal {
  /** Nodes, at least one. */
  readonly voters: readonly number[];
  readonly learners: readonly number[];
  /** The node that leads at the end; left out: whoever. */
  readonly leader?: number;
}

export interface PlanHelp {
  newPeerId(): number;
  /** The best of these nodes to take over the lead. */
  chooseLeader(nodeIds: readonly number[]): number;
}

/** The region must not be joint. */
export function planMembership(
  peers: readonly Peer[],
  leaderNodeId: number,
  goal: MembershipGoal,
  help: PlanHelp,
): readonly Step[] {
  invariant(goal.voters.length > 0, 'a region keeps a voter');
  return new Plan(peers, leaderNodeId, goal, help).steps();
}

class Plan {
  private readonly result: Step[] = [];
  private readonly peerIds: Map<number, number>;
  private readonly voters: Set<number>;
  private readonly learners: Set<number>;
  private leader: number;
  private readonly goal: MembershipGoal;
  private readonly help: PlanHelp;

  constructor(peers: readonly Peer[], leaderNodeId: number, goal: MembershipGoal, help: PlanHelp) {
    this.peerIds = new Map(peers.map(({ nodeId, peerId }) => [nodeId, peerId]));
    this.voters = new Set(peers.filter(({ role }) => role === 'voter').map(({ nodeId }) => nodeId));
    this.learners = new Set(peers.filter(({ role }) => role === 'learner').map(({ nodeId }) => nodeId));
    invariant(this.voters.size + this.learners.size === peers.length, 'a joint configuration is left first');
    this.leader = leaderNodeId;
    this.goal = goal;
    this.help = help;
  }

  steps(): readonly Step[] {
    const { goal } = this;
    const incoming = goal.voters.filter((nodeId) => !this.voters.has(nodeId));
    // The leader last: then the others that stay, or have come, can take over.
    const outgoing = [...this.voters].filter((nodeId) => !goal.voters.includes(nodeId));
    outgoing.sort((a, b) => Number(a === this.leader) - Number(b === this.leader));
    for (const nodeId of goal.learners) if (!this.peerIds.has(nodeId)) this.addLearner(nodeId);
    while (incoming.length > 0 || outgoing.length > 0) this.exchange(incoming.shift(), outgoing.shift());
    for (const nodeId of [...this.learners]) if (!goal.learners.includes(nodeId)) this.remove(nodeId);
    if (goal.leader !== undefined && goal.leader !== this.leader) this.transferTo(goal.leader);
    return this.result;
  }

  private exchange(comes: number | undefined, goes: number | undefined): void {
    if (comes !== undefined && !this.peerIds.has(comes)) this.addLearner(comes);
    if (comes === undefined) {
      if (goes !== undefined) this.retire(goes);
    } else if (goes === undefined) this.promote(comes);
    else if (goes === this.leader && !this.handOver()) {
      // Nobody else stays: the newcomer votes first, and then leads.
      this.promote(comes);
      this.transferTo(comes);
      this.retire(goes);
    } else {
      this.promote(comes, goes);
      if (!this.goal.learners.includes(goes)) this.remove(goes);
    }
  }

  private retire(nodeId: number): void {
    if (nodeId === this.leader) {
      const handed = this.handOver();
      invariant(handed, 'a voter stays to lead');
    }
    this.remove(nodeId);
    // An observer from now on: as a new peer, because a voter is demoted only together with a promotion.
    if (this.goal.learners.includes(nodeId)) this.addLearner(nodeId);
  }

  /** To a voter that stays. False: there is none yet. */
  private handOver(): boolean {
    const staying = this.goal.voters.filter((nodeId) => this.voters.has(nodeId));
    if (staying.length === 0) return false;
    const wanted = this.goal.leader;
    this.transferTo(wanted !== undefined && staying.includes(wanted) ? wanted : this.help.chooseLeader(staying));
    return true;
  }

  private addLearner(nodeId: number): void {
    this.peerIds.set(nodeId, this.help.newPeerId());
    this.learners.add(nodeId);
    this.result.push({ kind: 'addLearner', peer: this.address(nodeId) });
  }

  private promote(nodeId: number, demoted?: number): void {
    const peer = this.address(nodeId);
    this.learners.delete(nodeId);
    this.voters.add(nodeId);
    if (demoted === undefined) {
      this.result.push({ kind: 'promote', peer });
      return;
    }
    this.voters.delete(demoted);
    this.learners.add(demoted);
    this.result.push({ kind: 'promote', peer, demote: this.address(demoted) });
  }

  private remove(nodeId: number): void {
    this.result.push({ kind: 'removePeer', peer: this.address(nodeId) });
    this.peerIds.delete(nodeId);
    this.voters.delete(nodeId);
    this.learners.delete(nodeId);
  }

  private transferTo(nodeId: number): void {
    this.leader = nodeId;
    this.result.push({ kind: 'transferLeader', to: this.address(nodeId) });
  }

  private address(nodeId: number): PeerAddress {
    const peerId = this.peerIds.get(nodeId);
    invariant(peerId !== undefined, `node ${nodeId} has a peer`);
    return { nodeId, peerId };
  }
}
