/**
 * The other nodes, as a worker watches them: those with peers of its regions are told that it is there and are missed when they
 * fall silent, and what sleeps is woken when a node that matters to it is lost or back.
 */

import type { Replica } from '../region/replica.ts';
import { Liveness, livenessOf } from './liveness.ts';
import { Neighbours } from './neighbours.ts';
import { OrphanSearch } from './orphans.ts';
import type { Outbox } from './outbox.ts';
import type { Replicas } from './replicas.ts';

export interface NodeWatchParts {
  readonly nodeId: number;
  readonly electionTimeoutMs: number;
  readonly outbox: Outbox;
  readonly replicas: Replicas;
  readonly onLost: (nodeId: number) => void;
}

export class NodeWatch {
  /** Nodes with peers of regions of this worker. */
  readonly neighbours: Neighbours;
  readonly #parts: NodeWatchParts;
  readonly #liveness: Liveness;
  /** Those of the whole node: each of their workers hears from one of ours, whose regions may have no peers there. */
  readonly #neighboursOfNode = new Set<number>();
  readonly #orphans: OrphanSearch<Replica>;

  constructor(parts: NodeWatchParts, nowMs: number) {
    this.#parts = parts;
    this.#liveness = new Liveness(livenessOf(parts.electionTimeoutMs), nowMs);
    this.#orphans = new OrphanSearch(() => parts.replicas.values());
    this.neighbours = new Neighbours(parts.nodeId, (nodeId, isNeighbour) => {
      if (isNeighbour) this.#liveness.watch(nodeId);
      else this.#liveness.unwatch(nodeId);
    });
  }

  /** Those that cannot be heard, as of now. */
  get lostNodes(): ReadonlySet<number> {
    return this.#liveness.lostNodes;
  }

  /** How often to tick at least. */
  get periodMs(): number {
    return this.#liveness.periodMs;
  }

  /** Whether another node has peers of regions that some worker of this node has. */
  noteNeighbour(nodeId: number, isNeighbour: boolean): void {
    this.#neighboursOfNode[isNeighbour ? 'add' : 'delete'](nodeId);
  }

  /** Says that this node is there, and wakes what must not sleep on without those that are not. */
  tick(nowMs: number): void {
    const { outbox, replicas, onLost } = this.#parts;
    if (this.#liveness.isBeaconDue(nowMs)) {
      outbox.beacon(new Set([...this.#liveness.nodes, ...this.#neighboursOfNode]), this.lostNodes);
    }
    for (const nodeId of this.#liveness.look(nowMs)) {
      onLost(nodeId);
      this.#orphans.begin(nowMs);
    }
    for (const replica of this.#orphans.step(nowMs, this.lostNodes)) {
      replica.nodesChanged(nowMs);
      replicas.noteWork(replica);
    }
  }

  /** A frame of a node came. `isUnheard`: it takes this one for lost, and is to be answered. */
  heard(nodeId: number, isUnheard: boolean, nowMs: number): void {
    if (isUnheard) this.#parts.outbox.beacon([nodeId]);
    // When several nodes come back, they do not in one moment: what one of them leads is not orphaned.
    if (this.#liveness.heard(nodeId)) this.#orphans.begin(nowMs + this.#parts.electionTimeoutMs);
  }
}
