/** Who belongs to the cluster: joining, heartbeats, draining, leaving. */

import { ChangeRefused, InvalidArgument, NodeIdInUse, NodeNotFound } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { LABEL_PROMISE, areLabels } from './labels.ts';
import { isAlive, type PlacementNode } from './node-table.ts';
import type { Model } from './model.ts';
import type { HeartbeatAnswer, JoinRequest, Labels, NodeHeartbeat } from './types.ts';

/** Of its leaders a node may lead so many more than placement knows, as a share, before it is asked for all reports. */
const UNREPORTED = 0.02;
/** It is asked at most so often. */
const ASK_EVERY_MS = 5_000;

/** What lasts of a node. */
export interface NodeRecord {
  readonly nodeId: number;
  readonly incarnation: string;
  readonly membership: 'in' | 'draining' | 'removed';
  readonly leaving: boolean;
  readonly workers: number;
  readonly labels: Labels;
}

export class Roster {
  private readonly model: Model;
  private readonly keep: (record: NodeRecord) => void;

  constructor(model: Model, keep: (record: NodeRecord) => void) {
    this.model = model;
    this.keep = keep;
  }

  restore(record: NodeRecord, nowMs: number): void {
    const node = this.model.nodes.ensure(record.nodeId, nowMs);
    node.incarnation = record.incarnation;
    node.membership = record.membership;
    node.leaving = record.leaving;
    node.workers = record.workers;
    this.model.nodes.setLabels(node, record.labels);
    this.model.nodes.refreshState(node, this.model.settings, nowMs);
  }

  /** Whether the node is new. @throws NodeIdInUse, InvalidArgument; ChangeRefused when there are as many as there may be */
  join(request: JoinRequest, nowMs: number): boolean {
    checkJoin(request);
    const known = this.model.nodes.find(request.nodeId);
    if (known?.joined) this.checkIdentity(known, request.incarnation);
    const isNew = !known?.joined;
    if (isNew && this.memberCount() >= LIMITS.nodesPerCluster) {
      throw new ChangeRefused(`the cluster has ${LIMITS.nodesPerCluster} nodes, which is the most it may have`);
    }
    const node = this.model.nodes.ensure(request.nodeId, nowMs);
    this.describe(node, request);
    this.heardOf(node, nowMs);
    return isNew;
  }

  /** @throws NodeNotFound, NodeIdInUse, InvalidArgument */
  heartbeat(heartbeat: NodeHeartbeat, nowMs: number): HeartbeatAnswer {
    checkJoin(heartbeat);
    for (const field of ['capacityBytes', 'availableBytes', 'busy', 'leaders', 'replicas'] as const) {
      if (!(Number.isFinite(heartbeat[field]) && heartbeat[field] >= 0)) {
        throw new InvalidArgument(`${field} must be a number from 0`, { field });
      }
    }
    const node = this.check(heartbeat.nodeId, heartbeat.incarnation);
    this.describe(node, heartbeat);
    this.model.nodes.setCapacity(node, heartbeat.capacityBytes, heartbeat.availableBytes);
    node.busy = heartbeat.busy;
    node.reportedLeaders = heartbeat.leaders;
    node.reportedReplicas = heartbeat.replicas;
    if (!isEmpty(node)) node.emptySinceMs = undefined;
    else node.emptySinceMs ??= nowMs;
    this.heardOf(node, nowMs);
    return { reportAll: this.askForAll(node, nowMs) };
  }

  /** A node that may speak. @throws NodeNotFound, NodeIdInUse */
  check(nodeId: number, incarnation: string): PlacementNode {
    const node = this.model.nodes.get(nodeId);
    this.checkIdentity(node, incarnation);
    return node;
  }

  /** @throws NodeNotFound, ChangeRefused */
  drain(nodeId: number, leave: boolean, nowMs: number): void {
    const node = this.member(nodeId);
    const left = this.model.nodes.all.filter(
      (other) => other !== node && other.membership === 'in' && other.joined && other.state !== 'dead',
    );
    if (left.length < this.model.settings.replicas) {
      throw new ChangeRefused(
        `${left.length} nodes would be left for ${this.model.settings.replicas} replicas: add a node, or set fewer replicas`,
      );
    }
    node.membership = 'draining';
    node.leaving = leave;
    this.changed(node, nowMs);
  }

  /** @throws NodeNotFound, ChangeRefused */
  undrain(nodeId: number, nowMs: number): void {
    const node = this.member(nodeId);
    if (node.membership !== 'draining') throw new ChangeRefused(`node ${nodeId} is not draining`);
    node.membership = 'in';
    node.leaving = false;
    this.changed(node, nowMs);
  }

  /** @throws NodeNotFound, ChangeRefused */
  remove(nodeId: number, nowMs: number): void {
    const node = this.member(nodeId);
    const replicas = Math.max(node.replicas.length, node.reportedReplicas);
    if (isAlive(node, this.model.settings, nowMs)) {
      if (node.membership !== 'draining') throw new ChangeRefused(`node ${nodeId} is alive: drain it first`);
      if (!this.isEmptied(node, nowMs)) {
        throw new ChangeRefused(
          `node ${nodeId} has ${replicas} replicas, or had some just now: wait until they are gone`,
        );
      }
    } else if (node.replicas.length > 0 || !this.model.isReported()) {
      throw new ChangeRefused(
        node.replicas.length > 0
          ? `node ${nodeId} has ${node.replicas.length} replicas: they must be replaced first`
          : 'some regions have no leader that placement heard of, and the node may hold replicas of them',
      );
    }
    this.forget(node, nowMs);
  }

  /** Removes nodes that wanted to leave and are empty. */
  removeEmptied(nowMs: number): readonly PlacementNode[] {
    const emptied = this.model.nodes.all.filter(
      (node) => node.leaving && node.membership === 'draining' && this.isEmptied(node, nowMs),
    );
    for (const node of emptied) this.forget(node, nowMs);
    return emptied;
  }

  /**
   * Whether the node has been empty for a while, by its own count too: placement alone may not know (its leader is new,
   * or a region has no leader), and what an earlier leader of placement ordered may be under way.
   */
  private isEmptied(node: PlacementNode, nowMs: number): boolean {
    const { suspectAfterMs } = this.model.settings;
    const isLong = node.emptySinceMs !== undefined && nowMs - node.emptySinceMs >= suspectAfterMs;
    return isLong && isEmpty(node) && isAlive(node, this.model.settings, nowMs);
  }

  // --- within ----------------------------------------------------------------------------------------------------------

  private memberCount(): number {
    return this.model.nodes.all.filter((node) => node.joined && node.membership !== 'removed').length;
  }

  private member(nodeId: number): PlacementNode {
    const node = this.model.nodes.get(nodeId);
    if (node.membership === 'removed') throw new NodeNotFound(`node ${nodeId} has left the cluster`);
    return node;
  }

  private forget(node: PlacementNode, nowMs: number): void {
    node.membership = 'removed';
    node.leaving = false;
    this.changed(node, nowMs);
  }

  private checkIdentity(node: PlacementNode, incarnation: string): void {
    if (node.membership === 'removed') {
      throw new NodeIdInUse(`node ${node.nodeId} has left the cluster; give the new one an id that was never used`);
    }
    if (node.incarnation !== incarnation) {
      throw new NodeIdInUse(
        `node ${node.nodeId} belongs to the cluster with another data directory; give the new one an id that was never used`,
      );
    }
  }

  private describe(node: PlacementNode, { incarnation, workers, labels }: JoinRequest): void {
    const same =
      node.incarnation === incarnation &&
      node.workers === workers &&
      JSON.stringify(node.labels) === JSON.stringify(labels);
    if (same) return;
    node.incarnation = incarnation;
    node.workers = workers;
    this.model.nodes.setLabels(node, labels);
    this.keep(recordOf(node));
  }

  private changed(node: PlacementNode, nowMs: number): void {
    this.model.nodes.refreshState(node, this.model.settings, nowMs);
    this.keep(recordOf(node));
  }

  private heardOf(node: PlacementNode, nowMs: number): void {
    node.lastHeardMs = nowMs;
    node.heard = true;
    this.model.nodes.refreshState(node, this.model.settings, nowMs);
  }

  private askForAll(node: PlacementNode, nowMs: number): boolean {
    if (isReported(node) || nowMs - node.askedForAllMs < ASK_EVERY_MS) return false;
    node.askedForAllMs = nowMs;
    return true;
  }
}

function isEmpty(node: PlacementNode): boolean {
  return node.reportedReplicas === 0 && node.replicas.length === 0 && node.pending.incoming === 0;
}

/** Whether placement knows of (nearly) all that the node leads. */
export function isReported(node: PlacementNode): boolean {
  return node.leaders.length >= Math.ceil(node.reportedLeaders * (1 - UNREPORTED));
}

function recordOf(node: PlacementNode): NodeRecord {
  const { nodeId, incarnation, membership, leaving, workers, labels } = node;
  return { nodeId, incarnation, membership, leaving, workers, labels };
}

function checkJoin({ nodeId, incarnation, workers, labels }: JoinRequest): void {
  const refuse = (field: string, promise: string): never => {
    throw new InvalidArgument(`${field} must be ${promise}`, { field });
  };
  if (!Number.isSafeInteger(nodeId) || nodeId < 1) refuse('nodeId', 'a whole number from 1');
  if (typeof incarnation !== 'string' || incarnation === '') refuse('incarnation', 'the text of the data directory');
  if (!Number.isInteger(workers) || workers < 1 || workers > LIMITS.workersPerNode) {
    refuse('workers', `a whole number from 1 to ${LIMITS.workersPerNode}`);
  }
  if (!areLabels(labels)) refuse('labels', `at most ${LIMITS.labelsPerNode}, names and values of ${LABEL_PROMISE}`);
}
