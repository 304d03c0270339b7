/**
 * One round of decisions: what schedulers may see and ask. Every proposal is begun before the next is made, so what is
 * under way already counts (`futureFill`, `futureLeaders`) and limits hold in the middle of a round.
 */

import type { MembershipGoal } from './membership-plan.ts';
import type { Model } from './model.ts';
import type { PlacementNode } from './node-table.ts';
import type { Operators, Proposal } from './operators.ts';
import { NO_NODE } from './region-table.ts';
import type { PlacementSettings } from './settings.ts';
import { spreadOf, widestDistance } from './spread.ts';
import type { OperatorKind, SchedulerName } from './types.ts';

export interface TargetWish {
  /** Slot of the node whose replica goes; NO_NODE: none does. */
  readonly leaving: number;
  /** The farthest from the others first; or, of those that are far enough, the emptiest or the one with the least load. */
  readonly prefer: 'spread' | 'fill' | 'load';
  readonly leastSpread?: number;
  /** No node that is fuller. */
  readonly mostFill?: number;
  accept?(node: PlacementNode): boolean;
}

/** A scheduler proposes; it stops by itself when limits are reached. */
export type Scheduler = (round: Round) => Iterable<Proposal>;

export class Round {
  readonly model: Model;
  readonly settings: PlacementSettings;
  readonly nowMs: number;
  /** Nodes that take replicas and leaders. */
  readonly up: readonly PlacementNode[];
  /** Slots of regions that it is the turn of to be looked over. */
  readonly patrolled: readonly number[];
  private readonly operators: Operators;
  private readonly random: () => number;
  /** Those of `up` that may still be given a replica, the emptiest first as far as they were looked at; shrinks. */
  private readonly receivers: PlacementNode[];
  private readonly widestDistance: number;

  constructor(model: Model, operators: Operators, patrolled: readonly number[], nowMs: number, random: () => number) {
    this.model = model;
    this.settings = model.settings;
    this.operators = operators;
    this.patrolled = patrolled;
    this.nowMs = nowMs;
    this.random = random;
    this.up = model.nodes.all.filter((node) => node.state === 'up');
    this.receivers = this.up.filter((node) => this.mayReceive(node)).sort((a, b) => a.futureFill - b.futureFill);
    this.widestDistance = widestDistance(this.up.map(({ location }) => location));
  }

  // --- limits ----------------------------------------------------------------------------------------------------------

  mayStart(kind: OperatorKind): boolean {
    return this.operators.limits.mayStart(kind, this.settings, this.nowMs);
  }

  /** Whether a new replica may begin anywhere. */
  get hasReceivers(): boolean {
    return this.receivers.length > 0 && this.mayStart('replica');
  }

  mayTransfer(node: PlacementNode): boolean {
    return this.operators.limits.mayTransfer(node, this.settings);
  }

  /** Whether the region's leader may send one more replica. */
  maySend(slot: number): boolean {
    return this.operators.limits.maySend(this.model.nodes.at(this.model.regions.leader[slot] as number), this.settings);
  }

  private mayReceive(node: PlacementNode): boolean {
    if (!this.operators.limits.mayReceive(node, this.settings, this.nowMs)) return false;
    if (node.capacityBytes === 0) return true;
    return node.availableBytes - node.pending.sizeBytes > node.capacityBytes * this.settings.minimumFree;
  }

  isBusy(regionId: number): boolean {
    return this.operators.isBusy(regionId);
  }

  get runningMerges(): number {
    return this.operators.limits.runningOf('merge');
  }

  // --- regions ---------------------------------------------------------------------------------------------------------

  /** It has a leader that can be given orders, and nothing is going on in it. */
  isReady(slot: number): boolean {
    const { regions, nodes } = this.model;
    const leader = regions.leader[slot] as number;
    if (leader === NO_NODE || regions.phase[slot] !== 0) return false;
    const { state } = nodes.at(leader);
    if (state !== 'up' && state !== 'draining') return false;
    return !this.isBusy(regions.regionId[slot] as number) && !regions.isJoint(slot);
  }

  /** Ready, and as it should be: what is moved for balance only must be sound. */
  isSound(slot: number): boolean {
    return this.isReady(slot) && this.model.isComplete(slot) && this.model.regions.isHealthy(slot);
  }

  isHot(slot: number): boolean {
    return this.model.regions.rateOf(slot) >= this.settings.hotPerSecond;
  }

  // --- choices ---------------------------------------------------------------------------------------------------------

  /** Up to `count` of the slots of a list, each once, from a random one on. */
  *sample(list: { readonly length: number; at(position: number): number }, count: number): Generator<number> {
    const { length } = list;
    if (length === 0) return;
    if (length <= count) {
      const start = this.below(length);
      // The list may change under us, so it is copied.
      const slots = Array.from({ length }, (_, step) => list.at((start + step) % length));
      yield* slots;
      return;
    }
    for (let tries = 0; tries < count && list.length > 0; tries += 1) yield list.at(this.below(list.length));
  }

  below(bound: number): number {
    return Math.floor(this.random() * bound);
  }

  /** The best node for a new replica of the region. */
  chooseTarget(slot: number, wish: TargetWish): PlacementNode | undefined {
    return wish.prefer === 'load' ? this.leastLoaded(slot, wish) : this.emptiest(slot, wish);
  }

  /** Looks from the emptiest on, so that the first that is far enough from the others is the best. */
  private emptiest(slot: number, wish: TargetWish): PlacementNode | undefined {
    const { receivers, model } = this;
    const enough = wish.prefer === 'fill' ? (wish.leastSpread ?? 0) : this.widestSpread(slot, wish.leaving);
    let best: PlacementNode | undefined;
    let bestSpread = (wish.leastSpread ?? 0) - 1;
    for (let index = 0; this.settle(index); index += 1) {
      const node = receivers[index] as PlacementNode;
      if (wish.mostFill !== undefined && node.futureFill > wish.mostFill) break;
      if (model.regions.peerOnNode(slot, node.slot) !== undefined) continue;
      const spread = spreadOf(model, slot, node, wish.leaving);
      if (spread <= bestSpread || (wish.accept && !wish.accept(node))) continue;
      best = node;
      bestSpread = spread;
      if (spread >= enough) break;
    }
    return best;
  }

  private leastLoaded(slot: number, wish: TargetWish): PlacementNode | undefined {
    const { receivers, model } = this;
    let best: PlacementNode | undefined;
    for (let index = 0; this.settle(index); index += 1) {
      const node = receivers[index] as PlacementNode;
      if (best && node.futureLoad >= best.futureLoad) continue;
      if (model.regions.peerOnNode(slot, node.slot) !== undefined) continue;
      if (spreadOf(model, slot, node, wish.leaving) < (wish.leastSpread ?? 0)) continue;
      if (!wish.accept || wish.accept(node)) best = node;
    }
    return best;
  }

  /** Puts a node at `index` that can receive, and none behind it is emptier as far as it had been filled since. False: no more. */
  private settle(index: number): boolean {
    const { receivers } = this;
    for (let node = receivers[index]; node; node = receivers[index]) {
      if (!this.mayReceive(node)) {
        receivers.splice(index, 1);
        continue;
      }
      const next = receivers[index + 1];
      if (!next || next.futureFill >= node.futureFill) return true;
      this.sink(index);
    }
    return false;
  }

  private sink(index: number): void {
    const { receivers } = this;
    const node = receivers[index] as PlacementNode;
    let at = index;
    for (let next = receivers[at + 1]; next && next.futureFill < node.futureFill; next = receivers[at + 1]) {
      receivers[at++] = next;
    }
    receivers[at] = node;
  }

  /** No node can be farther from the region's other peers than this. */
  private widestSpread(slot: number, leaving: number): number {
    const { regions } = this.model;
    const stays = leaving === NO_NODE || regions.peerOnNode(slot, leaving) === undefined ? 0 : 1;
    return ((regions.peerCount[slot] as number) - stays) * this.widestDistance;
  }

  /** The lowest fill of the nodes that may be given a replica. */
  lowestFill(): number {
    return this.settle(0) ? (this.receivers[0] as PlacementNode).futureFill : Number.POSITIVE_INFINITY;
  }

  /** The voter that is best to lead instead of the leader: up, close behind, with the fewest leaders. */
  chooseLeader(slot: number, accept: (node: PlacementNode) => boolean = () => true): PlacementNode | undefined {
    const { regions, nodes } = this.model;
    let best: PlacementNode | undefined;
    for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
      const node = nodes.at(regions.nodeOf(at));
      if (!regions.isFit(at) || node.state !== 'up' || node.slot === regions.leader[slot]) continue;
      if (!this.mayTransfer(node) || !accept(node)) continue;
      if (!best || node.futureLeaders < best.futureLeaders) best = node;
    }
    return best;
  }

  // --- proposals -------------------------------------------------------------------------------------------------------

  transfer(slot: number, to: PlacementNode, origin: SchedulerName, reason: string): Proposal {
    const regionId = this.model.regions.regionId[slot] as number;
    return { regionId, origin, reason, change: { kind: 'transferLeader', toNodeId: to.nodeId } };
  }

  /** One replica more, less, or elsewhere. */
  exchange(
    slot: number,
    nodes: { readonly goes?: number; readonly comes?: PlacementNode; readonly leader?: number },
    origin: SchedulerName,
    reason: string,
  ): Proposal {
    const goes = nodes.goes === undefined ? undefined : this.model.nodes.at(nodes.goes).nodeId;
    const present = membersOf(this.model, slot);
    const isObserver = goes !== undefined && present.learners.includes(goes);
    const changed = (members: readonly number[], mine: boolean): number[] => [
      ...members.filter((nodeId) => nodeId !== goes),
      ...(nodes.comes && mine ? [nodes.comes.nodeId] : []),
    ];
    const goal: MembershipGoal = {
      voters: changed(present.voters, !isObserver),
      learners: changed(present.learners, isObserver),
      ...(nodes.leader !== undefined && { leader: nodes.leader }),
    };
    const regionId = this.model.regions.regionId[slot] as number;
    return { regionId, origin, reason, change: { kind: 'membership', goal } };
  }
}

/** Nodes that vote, and those that observe; learners that nobody asked for are left out. */
export function membersOf(model: Model, slot: number): { voters: number[]; learners: number[] } {
  const { regions, nodes } = model;
  const voters: number[] = [];
  const learners: number[] = [];
  for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
    const { nodeId } = nodes.at(regions.nodeOf(at));
    if (regions.isVoter(at)) voters.push(nodeId);
    else if (model.observers.has(regions.peerId[at] as number)) learners.push(nodeId);
  }
  return { voters, learners };
}
