/**
 * The operators that run: one for a region at most, one order at a time, each step held against the region's reports. What
 * a report does not show has not happened, however often it was ordered; so an operator goes on wherever it stands, also
 * under the next leader of placement. It ends by itself: done, out of time, or overtaken when the region changed in another way.
 */

import { ChangeRefused } from '../../rpc/wire/errors.ts';
import { planMembership, type MembershipGoal } from './membership-plan.ts';
import type { Model } from './model.ts';
import { Operator, type OperatorRecord } from './operator.ts';
import { describe, describeStep, showTook } from './operator-words.ts';
import { OperatorLimits } from './operator-limits.ts';
import { NO_NODE } from './region-table.ts';
import { confChanges, stepState, type StepState } from './step.ts';
import type {
  OperatorKind,
  OperatorLogEntry,
  OperatorOutcome,
  Order,
  PeerAddress,
  SchedulerName,
  Step,
} from './types.ts';

/** An order that shows no effect is given again after this. */
const REPEAT_MS = 2_000;
/** How long a step may take. A new replica takes longer the larger it is: so many bytes a second at least. */
const STEP_TIMEOUT_MS: { readonly [K in Step['kind']]: number } = {
  addLearner: 300_000,
  promote: 60_000,
  removePeer: 60_000,
  transferLeader: 10_000,
  split: 60_000,
  merge: 300_000,
};
const SLOWEST_COPY_BYTES_PER_MS = 512;

/** What should become of a region. Nodes by their ids. */
export type Change =
  | { readonly kind: 'membership'; readonly goal: MembershipGoal }
  | { readonly kind: 'transferLeader'; readonly toNodeId: number }
  | { readonly kind: 'split'; readonly splitKey?: Uint8Array }
  | { readonly kind: 'merge'; readonly targetRegionId: number };

export interface Proposal {
  readonly regionId: number;
  readonly origin: SchedulerName | 'hand';
  readonly reason: string;
  readonly change: Change;
}

export interface OperatorsPort {
  newId(): number;
  /** The peer learns for good. */
  observe(peerId: number): void;
  log(entry: Omit<OperatorLogEntry, 'sequence' | 'atMs'>): void;
  /** Keeps the record, or forgets it. */
  keep(operatorId: number, record: OperatorRecord | null): void;
}

export class Operators {
  readonly limits = new OperatorLimits();
  private readonly model: Model;
  private readonly port: OperatorsPort;
  private readonly byId = new Map<number, Operator>();
  /** Both regions of a merge. */
  private readonly byRegion = new Map<number, Operator>();
  /** By operator; a later order for one takes the place of the earlier. */
  private readonly due = new Map<number, Order>();
  /** How many of each kind have ended, and how, under this leader of placement. */
  readonly endings = new Map<`${OperatorKind} ${OperatorOutcome}`, number>();
  /** Since the last call of `takeEnded`. */
  private endedCount = 0;

  constructor(model: Model, port: OperatorsPort) {
    this.model = model;
    this.port = port;
  }

  get size(): number {
    return this.byId.size;
  }

  list(): readonly Operator[] {
    return [...this.byId.values()];
  }

  find(operatorId: number): Operator | undefined {
    return this.byId.get(operatorId);
  }

  ofRegion(regionId: number): Operator | undefined {
    return this.byRegion.get(regionId);
  }

  isBusy(regionId: number): boolean {
    return this.byRegion.has(regionId);
  }

  takeOrders(): readonly Order[] {
    const orders = [...this.due.values()];
    this.due.clear();
    return orders;
  }

  takeEnded(): number {
    const ended = this.endedCount;
    this.endedCount = 0;
    return ended;
  }

  // --- begin -----------------------------------------------------------------------------------------------------------

  /** Begins what is proposed. The caller has checked that the regions are known, idle and not joint. */
  start(proposal: Proposal, nowMs: number): Operator {
    const record = this.plan(proposal, nowMs);
    const operator = new Operator(record, nowMs);
    this.enter(operator);
    for (const step of record.steps) {
      const node = step.kind === 'addLearner' ? this.model.nodes.find(step.peer.nodeId) : undefined;
      if (node) this.limits.received(node);
    }
    this.port.keep(record.operatorId, record);
    this.port.log({ ...logged(record), event: 'started', text: `${describe(record)}, because ${record.reason}` });
    this.advance(operator, nowMs);
    return operator;
  }

  /** Takes over one that an earlier leader of placement began. */
  resume(record: OperatorRecord, nowMs: number): void {
    this.enter(new Operator(record, nowMs, true));
  }

  private enter(operator: Operator): void {
    const { operatorId, regionId, targetRegionId, kind } = operator.record;
    this.byId.set(operatorId, operator);
    this.byRegion.set(regionId, operator);
    if (targetRegionId !== undefined) this.byRegion.set(targetRegionId, operator);
    this.limits.started(kind);
    operator.book(this.model);
  }

  private plan({ regionId, origin, reason, change }: Proposal, nowMs: number): OperatorRecord {
    const { regions } = this.model;
    const slot = regions.slotOf(regionId) as number;
    const steps = this.stepsOf(slot, change);
    const base = {
      operatorId: this.port.newId(),
      regionId,
      kind: kindOf(change, steps),
      origin,
      reason,
      steps,
      startedMs: nowMs,
      baseVersion: regions.version[slot] as number,
      baseConfVersion: regions.confVersion[slot] as number,
    };
    if (change.kind !== 'merge') return base;
    const target = regions.slotOf(change.targetRegionId) as number;
    return {
      ...base,
      targetRegionId: change.targetRegionId,
      targetVersion: regions.version[target] as number,
      targetConfVersion: regions.confVersion[target] as number,
    };
  }

  private stepsOf(slot: number, change: Change): readonly Step[] {
    const { regions, nodes } = this.model;
    switch (change.kind) {
      case 'membership':
        return this.membershipSteps(slot, change.goal);
      case 'transferLeader': {
        const at = regions.peerOnNode(slot, nodes.get(change.toNodeId).slot) as number;
        return [{ kind: 'transferLeader', to: { nodeId: change.toNodeId, peerId: regions.peerId[at] as number } }];
      }
      case 'split': {
        const childRegionId = this.port.newId();
        const childPeerIds = Array.from({ length: regions.peerCount[slot] as number }, () => this.port.newId());
        for (const [position, peerId] of childPeerIds.entries()) {
          const parent = regions.peerId[regions.firstPeer(slot) + position] as number;
          if (this.model.observers.has(parent)) this.port.observe(peerId);
        }
        return [{ kind: 'split', childRegionId, childPeerIds, ...(change.splitKey && { splitKey: change.splitKey }) }];
      }
      case 'merge': {
        const target = this.model.descriptor(regions.slotOf(change.targetRegionId) as number);
        const onRole = (role: string): number[] =>
          target.peers.filter((peer) => peer.role === role).map(({ nodeId }) => nodeId);
        const alignment = this.membershipSteps(slot, { voters: onRole('voter'), learners: onRole('learner') });
        return [...alignment, { kind: 'merge', targetRegionId: change.targetRegionId }];
      }
    }
  }

  private membershipSteps(slot: number, goal: MembershipGoal): readonly Step[] {
    const leader = this.model.nodes.at(this.model.regions.leader[slot] as number).nodeId;
    const steps = planMembership(this.model.descriptor(slot).peers, leader, goal, {
      newPeerId: () => this.port.newId(),
      chooseLeader: (nodeIds) => this.bestLeader(nodeIds),
    });
    for (const step of steps) {
      if (step.kind === 'addLearner' && goal.learners.includes(step.peer.nodeId)) this.port.observe(step.peer.peerId);
    }
    return steps;
  }

  private bestLeader(nodeIds: readonly number[]): number {
    const rank = (nodeId: number): number => {
      const node = this.model.nodes.find(nodeId);
      return node?.state === 'up' ? node.futureLeaders : Number.POSITIVE_INFINITY;
    };
    return nodeIds.reduce((best, nodeId) => (rank(nodeId) < rank(best) ? nodeId : best));
  }

  // --- go on -----------------------------------------------------------------------------------------------------------

  /** A region was reported. */
  onReport(regionId: number, nowMs: number): void {
    const operator = this.byRegion.get(regionId);
    if (operator) this.advance(operator, nowMs);
  }

  /** A region is no more: another has its range. */
  onGone(regionId: number, nowMs: number): void {
    const operator = this.byRegion.get(regionId);
    if (!operator) return;
    const { steps } = operator.record;
    // How far one got that an earlier leader of placement began is not known: its region cannot report any more.
    const step = operator.resumed ? steps.at(-1) : operator.step;
    const isSource = operator.record.regionId === regionId;
    const merged = step?.kind === 'merge' && isSource;
    // The new half was reported before the old one, which is smaller now, and took its place for the moment.
    const isSplit = step?.kind === 'split' && isSource && this.model.regions.slotOf(step.childRegionId) !== undefined;
    if (merged || isSplit) this.end(operator, 'done', '', nowMs);
    else this.end(operator, 'overtaken', `region ${regionId} is gone`, nowMs);
  }

  /** Repeats what had no effect, and ends what has no hope. */
  sweep(nowMs: number): void {
    this.endOrphans(nowMs);
    for (const operator of this.byId.values()) {
      if (nowMs - operator.stepStartedMs > this.timeoutOf(operator)) {
        this.end(operator, 'timedOut', `to ${describeStep(operator.step)} took too long`, nowMs);
        continue;
      }
      const missing = this.missingNode(operator);
      if (missing) this.end(operator, 'cancelled', missing, nowMs);
      else this.advance(operator, nowMs);
    }
  }

  /**
   * Operators that an earlier leader of placement began, and whose regions have become part of others since: nobody will
   * report them. Where a region is known for every key, those that are not known are gone.
   */
  private endOrphans(nowMs: number): void {
    const isUnknown = ({ resumed, record }: Operator): boolean =>
      resumed && this.model.regions.slotOf(record.regionId) === undefined;
    const unknown = [...this.byId.values()].filter(isUnknown);
    if (unknown.length === 0 || !this.model.isReported()) return;
    for (const { record } of unknown) this.onGone(record.regionId, nowMs);
  }

  private advance(operator: Operator, nowMs: number): void {
    const slot = this.model.regions.slotOf(operator.record.regionId);
    // What is known from records only may have gone on since.
    if (slot === undefined || !this.model.regions.isReported(slot)) return;
    if (operator.resumed) this.findPosition(operator, slot, nowMs);
    let state = this.stateOf(operator, slot);
    while (state?.is === 'done') {
      operator.nextStep(nowMs);
      state = this.stateOf(operator, slot);
    }
    if (state === undefined) return this.end(operator, 'done', '', nowMs);
    const conflict = state.is === 'impossible' ? state.why : this.conflictOf(operator, slot, state);
    if (conflict !== undefined) return this.end(operator, 'overtaken', conflict, nowMs);
    operator.book(this.model);
    this.order(operator, slot, state, nowMs);
  }

  private stateOf({ step, record }: Operator, slot: number): StepState | undefined {
    return step && stepState(this.model, slot, step, record.baseVersion);
  }

  /** Membership only ever moves forward through the steps, so the last of them that is done tells how far it went. */
  private findPosition(operator: Operator, slot: number, nowMs: number): void {
    operator.resumed = false;
    const { steps, baseVersion } = operator.record;
    const last = steps.findLastIndex(
      (step) => confChanges(step) > 0 && stepState(this.model, slot, step, baseVersion).is === 'done',
    );
    while (operator.position <= last) operator.nextStep(nowMs);
  }

  /** Why the region is not where the operator's own steps have brought it. */
  private conflictOf(operator: Operator, slot: number, state: StepState): string | undefined {
    const { record, confDone } = operator;
    const step = operator.step as Step;
    if (step.kind === 'merge') return operator.isOrdered ? undefined : this.targetConflict(record);
    const { regions } = this.model;
    if (step.kind !== 'split' && regions.version[slot] !== record.baseVersion) return 'the region was split or merged';
    const moved = (regions.confVersion[slot] as number) - record.baseConfVersion - confDone;
    const most = state.is === 'waiting' ? confChanges(step) : 0;
    if (moved < 0 || moved > most) return 'the peers of the region were changed by somebody else';
    return record.targetRegionId === undefined ? undefined : this.targetConflict(record);
  }

  private targetConflict(record: OperatorRecord): string | undefined {
    const { regions } = this.model;
    const target = regions.slotOf(record.targetRegionId as number);
    if (target === undefined || !regions.isReported(target)) return undefined;
    const same =
      regions.version[target] === record.targetVersion && regions.confVersion[target] === record.targetConfVersion;
    return same ? undefined : `region ${record.targetRegionId} has changed`;
  }

  private order(operator: Operator, slot: number, state: StepState, nowMs: number): void {
    const leader = this.model.regions.leader[slot] as number;
    if (state.is === 'waiting' || leader === NO_NODE) return;
    const toNodeId = this.model.nodes.at(leader).nodeId;
    if (operator.lastOrderTo === toNodeId && nowMs - operator.lastOrderMs < REPEAT_MS) return;
    const step = state.is === 'handOver' ? this.handOver(slot, leader) : operator.step;
    if (step === undefined) return;
    const { operatorId, regionId, targetRegionId } = operator.record;
    const target = step.kind === 'merge' ? this.model.regions.slotOf(targetRegionId as number) : undefined;
    if (step.kind === 'merge' && (target === undefined || !this.model.regions.isReported(target))) return;
    operator.lastOrderMs = nowMs;
    operator.lastOrderTo = toNodeId;
    const { version, confVersion } = this.model.regions;
    this.due.set(operatorId, {
      operatorId,
      regionId,
      toNodeId,
      epoch: { version: version[slot] as number, confVersion: confVersion[slot] as number },
      step,
      ...(target !== undefined && { target: this.model.descriptor(target) }),
    });
  }

  /** The lead came back to a peer that is about to lose its vote. */
  private handOver(slot: number, leader: number): Step | undefined {
    const { regions, nodes } = this.model;
    const fit: PeerAddress[] = [];
    for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
      const node = nodes.at(regions.nodeOf(at));
      if (node.slot === leader || !regions.isFit(at) || node.state !== 'up') continue;
      fit.push({ nodeId: node.nodeId, peerId: regions.peerId[at] as number });
    }
    if (fit.length === 0) return undefined;
    const best = this.bestLeader(fit.map(({ nodeId }) => nodeId));
    return { kind: 'transferLeader', to: fit.find(({ nodeId }) => nodeId === best) as PeerAddress };
  }

  // --- end -------------------------------------------------------------------------------------------------------------

  /**
   * Nothing more of it is ordered; what is done stays.
   * @throws ChangeRefused when no such operator runs, or its merge is under way
   */
  cancel(operatorId: number, nowMs: number): void {
    const operator = this.byId.get(operatorId);
    if (!operator) throw new ChangeRefused(`no operator ${operatorId} runs`);
    if (operator.step?.kind === 'merge' && operator.isOrdered) {
      throw new ChangeRefused(
        `operator ${operatorId} has begun its merge: the region ends it or rolls it back by itself`,
      );
    }
    this.end(operator, 'cancelled', 'cancelled by hand', nowMs);
  }

  /** A region's leader could not do a step. */
  refused(operatorId: number, why: string, retryable: boolean, nowMs: number): void {
    const operator = this.byId.get(operatorId);
    if (!operator) return;
    if (retryable) operator.lastOrderMs = nowMs;
    else this.end(operator, 'refused', `refused: ${why}`, nowMs);
  }

  private end(operator: Operator, outcome: OperatorOutcome, why: string, nowMs: number): void {
    const { record } = operator;
    const { operatorId, regionId, targetRegionId, kind } = record;
    operator.outcome = outcome;
    operator.unbook();
    this.limits.ended(kind);
    this.endedCount += 1;
    const ending = `${kind} ${outcome}` as const;
    this.endings.set(ending, (this.endings.get(ending) ?? 0) + 1);
    this.due.delete(operatorId);
    this.byId.delete(operatorId);
    this.byRegion.delete(regionId);
    if (targetRegionId !== undefined) this.byRegion.delete(targetRegionId);
    this.port.keep(operatorId, null);
    const took = showTook(nowMs - record.startedMs);
    const text = outcome === 'done' ? `done in ${took}` : `${why} (after ${took})`;
    this.port.log({ ...logged(record), event: outcome, text: `${describe(record)}: ${text}` });
  }

  private timeoutOf({ step, record }: Operator): number {
    if (!step) return 0;
    const slot = step.kind === 'addLearner' ? this.model.regions.slotOf(record.regionId) : undefined;
    const size = slot === undefined ? 0 : (this.model.regions.sizeBytes[slot] as number);
    return STEP_TIMEOUT_MS[step.kind] + size / SLOWEST_COPY_BYTES_PER_MS;
  }

  private missingNode(operator: Operator): string | undefined {
    if (operator.resumed) return undefined;
    const byHand = operator.record.origin === 'hand';
    for (const nodeId of operator.neededNodes()) {
      const state = this.model.nodes.find(nodeId)?.state ?? 'removed';
      if (state === 'up' || (state === 'draining' && byHand)) continue;
      return `node ${nodeId} is ${state}`;
    }
    return this.missingForMerge(operator);
  }

  /** A merge is not begun without all replicas of both regions, and would keep those that are lost from being replaced. */
  private missingForMerge({ step, record }: Operator): string | undefined {
    if (step?.kind !== 'merge') return undefined;
    const { regions, nodes } = this.model;
    const source = regions.slotOf(record.regionId);
    if (source === undefined || regions.phase[source] !== 0) return undefined;
    for (const slot of [source, regions.slotOf(step.targetRegionId)]) {
      if (slot === undefined) continue;
      for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
        const { nodeId, state } = nodes.at(regions.nodeOf(at));
        if (state !== 'up' && state !== 'draining') return `node ${nodeId} is ${state}`;
      }
    }
    return undefined;
  }
}

function kindOf(change: Change, steps: readonly Step[]): OperatorKind {
  if (change.kind === 'split' || change.kind === 'merge') return change.kind;
  return steps.every((step) => step.kind === 'transferLeader') ? 'leader' : 'replica';
}

function logged({ operatorId, regionId, origin }: OperatorRecord): {
  operatorId: number;
  regionId: number;
  origin: SchedulerName | 'hand';
} {
  return { operatorId, regionId, origin };
}
