/** One operator: its steps, how far it is, and what it will have changed on which node. */

import { REPLICA_OVERHEAD_BYTES, type PendingChanges, type PlacementNode } from './node-table.ts';
import { FOLLOWER_SHARE, type Model } from './model.ts';
import { NO_NODE } from './region-table.ts';
import { confChanges } from './step.ts';
import type { OperatorKind, OperatorOutcome, OperatorView, SchedulerName, Step } from './types.ts';

export interface OperatorRecord {
  readonly operatorId: number;
  readonly regionId: number;
  /** The other region of a merge. */
  readonly targetRegionId?: number;
  readonly kind: OperatorKind;
  readonly origin: SchedulerName | 'hand';
  readonly reason: string;
  readonly steps: readonly Step[];
  readonly startedMs: number;
  /** Of the region's epoch when it began; anything that moves the epoch otherwise ends the operator. */
  readonly baseVersion: number;
  readonly baseConfVersion: number;
  readonly targetVersion?: number;
  readonly targetConfVersion?: number;
}

export class Operator {
  readonly record: OperatorRecord;
  /** The step that is on. */
  position = 0;
  /** confVersion has moved by so much through steps that are done. */
  confDone = 0;
  stepStartedMs: number;
  lastOrderMs = Number.NEGATIVE_INFINITY;
  lastOrderTo = 0;
  /** Taken over from an earlier leader of placement: how far it is shows in the first report. */
  resumed: boolean;
  outcome: OperatorOutcome = 'running';
  private footprint: { readonly node: PlacementNode; readonly changes: PendingChanges }[] = [];

  constructor(record: OperatorRecord, nowMs: number, resumed = false) {
    this.record = record;
    this.stepStartedMs = nowMs;
    this.resumed = resumed;
  }

  get step(): Step | undefined {
    return this.record.steps[this.position];
  }

  /** Whether its step has been ordered. */
  get isOrdered(): boolean {
    return Number.isFinite(this.lastOrderMs);
  }

  nextStep(nowMs: number): void {
    this.confDone += confChanges(this.record.steps[this.position] as Step);
    this.position += 1;
    this.stepStartedMs = nowMs;
    this.lastOrderMs = Number.NEGATIVE_INFINITY;
  }

  /** Nodes that have to be there for what is left to be done. */
  neededNodes(): readonly number[] {
    const needed: number[] = [];
    for (const step of this.record.steps.slice(this.position)) {
      if (step.kind === 'addLearner' || step.kind === 'promote') needed.push(step.peer.nodeId);
      else if (step.kind === 'transferLeader') needed.push(step.to.nodeId);
    }
    return needed;
  }

  // --- what it weighs --------------------------------------------------------------------------------------------------

  /** Books what is left to be done on the nodes, in place of what was booked before. */
  book(model: Model): void {
    this.unbook();
    const slot = model.regions.slotOf(this.record.regionId);
    if (slot === undefined) return;
    const leader = model.regions.leader[slot] as number;
    const finalLeader = this.finalLeader(model) ?? leader;
    for (const [index, step] of this.record.steps.entries()) {
      if (step.kind === 'addLearner') this.bookAddition(model, slot, step.peer, finalLeader, leader, index);
      else if (step.kind === 'removePeer') this.bookRemoval(model, slot, step.peer, leader);
    }
    if (this.position < this.record.steps.length && finalLeader !== leader) {
      this.bookTransfer(model, slot, leader, finalLeader);
    }
  }

  unbook(): void {
    for (const { node, changes } of this.footprint) addTo(node.pending, changes, -1);
    this.footprint = [];
  }

  private finalLeader(model: Model): number | undefined {
    const last = this.record.steps.findLast((step) => step.kind === 'transferLeader');
    return last && model.nodes.find(last.to.nodeId)?.slot;
  }

  private bookAddition(
    model: Model,
    slot: number,
    peer: { nodeId: number; peerId: number },
    finalLeader: number,
    leader: number,
    index: number,
  ): void {
    const node = model.nodes.find(peer.nodeId);
    if (!node) return;
    const absent = model.regions.peerWithId(slot, peer.peerId) === undefined;
    const underWay = index >= this.position;
    if (absent && underWay) {
      const size = model.regions.sizeBytes[slot] as number;
      // Its leading is booked by the transfer.
      const load = node.slot === finalLeader && leader === finalLeader ? 0 : model.loadOf(slot, false);
      this.put(node, { replicas: 1, sizeBytes: size, load });
    }
    if (!underWay) return;
    this.put(node, { incoming: 1 });
    if (leader !== NO_NODE) this.put(model.nodes.at(leader), { outgoing: 1 });
  }

  private bookRemoval(model: Model, slot: number, peer: { nodeId: number; peerId: number }, leader: number): void {
    const node = model.nodes.find(peer.nodeId);
    if (!node || model.regions.peerWithId(slot, peer.peerId) === undefined) return;
    const load = node.slot === leader ? 0 : model.loadOf(slot, false);
    this.put(node, { replicas: -1, sizeBytes: -(model.regions.sizeBytes[slot] as number), load: -load });
  }

  private bookTransfer(model: Model, slot: number, from: number, to: number): void {
    const reads = model.regions.reads[slot] as number;
    const writes = model.regions.writes[slot] as number;
    const difference = reads + writes * (1 - FOLLOWER_SHARE);
    if (from !== NO_NODE) {
      const staying = this.record.steps.every(
        (step) => step.kind !== 'removePeer' || model.nodes.find(step.peer.nodeId)?.slot !== from,
      );
      const load = staying ? difference : reads + writes;
      this.put(model.nodes.at(from), { leaders: -1, transfers: 1, load: -load });
    }
    this.put(model.nodes.at(to), { leaders: 1, transfers: 1, load: difference });
  }

  private put(node: PlacementNode, changes: Partial<PendingChanges>): void {
    const whole = { ...NOTHING, ...changes };
    addTo(node.pending, whole, 1);
    this.footprint.push({ node, changes: whole });
  }

  // --- forms -----------------------------------------------------------------------------------------------------------

  view(): OperatorView {
    const { operatorId, regionId, kind, origin, reason, steps, startedMs } = this.record;
    return {
      operatorId,
      regionId,
      kind,
      origin,
      reason,
      steps,
      position: this.position,
      startedMs,
      outcome: this.outcome,
    };
  }
}

const NOTHING: PendingChanges = {
  leaders: 0,
  replicas: 0,
  sizeBytes: 0,
  load: 0,
  incoming: 0,
  outgoing: 0,
  transfers: 0,
};

function addTo(pending: PendingChanges, changes: PendingChanges, sign: 1 | -1): void {
  pending.leaders += sign * changes.leaders;
  pending.replicas += sign * changes.replicas;
  pending.sizeBytes += sign * changes.sizeBytes;
  pending.load += sign * changes.load;
  pending.incoming += sign * changes.incoming;
  pending.outgoing += sign * changes.outgoing;
  pending.transfers += sign * changes.transfers;
}

/** What moving the region weighs on a node. */
export function replicaWeight(model: Model, slot: number): number {
  return (model.regions.sizeBytes[slot] as number) + REPLICA_OVERHEAD_BYTES;
}

/** The record as text; keys are bytes and travel in base64. */
export function encodeOperator(record: OperatorRecord): string {
  const steps = record.steps.map((step) =>
    step.kind === 'split' && step.splitKey
      ? { ...step, splitKey: Buffer.from(step.splitKey).toString('base64') }
      : step,
  );
  return JSON.stringify({ ...record, steps });
}

export function decodeOperator(text: string): OperatorRecord {
  return JSON.parse(text, (name, value: unknown) =>
    name === 'splitKey' ? Buffer.from(value as string, 'base64') : value,
  ) as OperatorRecord;
}
