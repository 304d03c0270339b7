/** The nodes that placement knows, with what is there and what is on its way there. */

import { NodeNotFound, invariant } from '../../rpc/wire/errors.ts';
import { labelOf } from './labels.ts';
import type { PlacementSettings } from './settings.ts';
import { SlotList } from './slot-list.ts';
import type { Labels, NodeState, NodeView } from './types.ts';

/**
 * What a replica weighs beside its data: so that nodes full of small regions are balanced by number.
 */
export const REPLICA_OVERHEAD_BYTES = 1024 * 1024;

/** What running operators will have changed on a node when they are done, and what they need meanwhile. */
export interface PendingChanges {
  leaders: number;
  replicas: number;
  sizeBytes: number;
  load: number;
  /** New replicas that it receives, that its leaders send; leaders that it gives or takes. */
  incoming: number;
  outgoing: number;
  transfers: number;
}

export class PlacementNode {
  readonly slot: number;
  readonly nodeId: number;
  /** Empty: only seen in descriptors, never joined. */
  incarnation = '';
  membership: 'in' | 'draining' | 'removed' = 'in';
  leaving = false;
  workers = 0;
  labels: Labels = {};
  /** Interned values of the labels that keep replicas apart. */
  location: readonly number[] = [];
  capacityBytes = 0;
  availableBytes = 0;
  busy = 0;
  /** By its own count. */
  reportedLeaders = 0;
  /** Of the last heartbeat, or of the first that placement's leader could have heard. */
  lastHeardMs: number;
  heard = false;
  reportedReplicas = 0;
  /** Since when it has had no replica, by its own count and by what placement knows; undefined: it has. */
  emptySinceMs: number | undefined;
  askedForAllMs = Number.NEGATIVE_INFINITY;
  state: NodeState = 'suspect';
  readonly leaders = new SlotList();
  readonly replicas = new SlotList();
  sizeBytes = 0;
  load = 0;
  /** Rounds in a row in which its load was far above the mean. */
  hotRounds = 0;
  /** Capacity in units of the mean one. */
  weight = 1;
  readonly pending: PendingChanges = {
    leaders: 0,
    replicas: 0,
    sizeBytes: 0,
    load: 0,
    incoming: 0,
    outgoing: 0,
    transfers: 0,
  };

  constructor(slot: number, nodeId: number, nowMs: number) {
    this.slot = slot;
    this.nodeId = nodeId;
    this.lastHeardMs = nowMs;
  }

  get joined(): boolean {
    return this.incarnation !== '';
  }

  /** With everything done that is under way. */
  get futureLeaders(): number {
    return this.leaders.length + this.pending.leaders;
  }

  get futureLoad(): number {
    return this.load + this.pending.load;
  }

  /** How full it will be, in bytes of a node of mean capacity. */
  get futureFill(): number {
    const replicas = this.replicas.length + this.pending.replicas;
    return (this.sizeBytes + this.pending.sizeBytes + replicas * REPLICA_OVERHEAD_BYTES) / this.weight;
  }

  view(): NodeView {
    return {
      nodeId: this.nodeId,
      incarnation: this.incarnation,
      state: this.state,
      workers: this.workers,
      labels: this.labels,
      capacityBytes: this.capacityBytes,
      availableBytes: this.availableBytes,
      busy: this.busy,
      lastHeardMs: this.heard ? this.lastHeardMs : -1,
      leaders: this.leaders.length,
      replicas: this.replicas.length,
      sizeBytes: this.sizeBytes,
      load: this.load,
      leaving: this.leaving,
    };
  }
}

export class NodeTable {
  /** By slot; nodes are never forgotten, because their ids are never used again. */
  readonly all: PlacementNode[] = [];
  private readonly byId = new Map<number, PlacementNode>();
  private readonly labelValues = new Map<string, number>([['', 0]]);
  private spreadBy: readonly string[];

  constructor(spreadBy: readonly string[]) {
    this.spreadBy = spreadBy;
  }

  find(nodeId: number): PlacementNode | undefined {
    return this.byId.get(nodeId);
  }

  at(slot: number): PlacementNode {
    const node = this.all[slot];
    invariant(node !== undefined, 'a node slot is taken');
    return node;
  }

  /** A node that joined. @throws NodeNotFound */
  get(nodeId: number): PlacementNode {
    const node = this.byId.get(nodeId);
    if (node === undefined || !node.joined) {
      throw new NodeNotFound(`node ${nodeId} does not belong to the cluster: it must join first`);
    }
    return node;
  }

  ensure(nodeId: number, nowMs: number): PlacementNode {
    const known = this.byId.get(nodeId);
    if (known) return known;
    const node = new PlacementNode(this.all.length, nodeId, nowMs);
    node.location = this.spreadBy.map(() => 0);
    this.all.push(node);
    this.byId.set(nodeId, node);
    return node;
  }

  setLabels(node: PlacementNode, labels: Labels): void {
    node.labels = { ...labels };
    node.location = this.spreadBy.map((name) => this.internLabel(labelOf(labels, name)));
  }

  setSpreadBy(spreadBy: readonly string[]): void {
    this.spreadBy = spreadBy;
    for (const node of this.all) this.setLabels(node, node.labels);
  }

  setCapacity(node: PlacementNode, capacityBytes: number, availableBytes: number): void {
    node.availableBytes = availableBytes;
    if (node.capacityBytes === capacityBytes) return;
    node.capacityBytes = capacityBytes;
    this.reweigh();
  }

  /** States as of now. Returns the nodes whose state is another than before. */
  refreshStates(settings: PlacementSettings, nowMs: number): readonly PlacementNode[] {
    return this.all.filter((node) => this.refreshState(node, settings, nowMs));
  }

  refreshState(node: PlacementNode, settings: PlacementSettings, nowMs: number): boolean {
    const before = node.state;
    node.state = stateOf(node, settings, nowMs);
    return node.state !== before;
  }

  private internLabel(value: string): number {
    const known = this.labelValues.get(value);
    if (known !== undefined) return known;
    this.labelValues.set(value, this.labelValues.size);
    return this.labelValues.size - 1;
  }

  /** Nodes of unknown capacity count as average ones. */
  private reweigh(): void {
    const known = this.all.filter((node) => node.capacityBytes > 0 && node.membership !== 'removed');
    const mean = known.reduce((sum, node) => sum + node.capacityBytes, 0) / Math.max(1, known.length);
    for (const node of this.all) node.weight = node.capacityBytes > 0 ? node.capacityBytes / mean : 1;
  }
}

/** Whether it was heard of lately, whatever else it does. */
export function isAlive(node: PlacementNode, settings: PlacementSettings, nowMs: number): boolean {
  return node.joined && node.membership !== 'removed' && nowMs - node.lastHeardMs <= settings.suspectAfterMs;
}

function stateOf(node: PlacementNode, settings: PlacementSettings, nowMs: number): NodeState {
  if (node.membership === 'removed') return 'removed';
  const silentMs = nowMs - node.lastHeardMs;
  if (silentMs > settings.replaceAfterMs) return 'dead';
  if (node.membership === 'draining') return 'draining';
  // A node that never joined is seen in descriptors only; it gets nothing, and is replaced if it stays away.
  return node.joined && silentMs <= settings.suspectAfterMs ? 'up' : 'suspect';
}
