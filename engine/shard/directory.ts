/**
 * What this worker knows of other nodes from the frames they send: their boot, so that a frame that was delayed across a
 * restart is dropped, their number of workers, so that messages go to the right one, and the incarnation of their data,
 * so that a node that lost it cannot speak for the one it was.
 */

import { DiskFull } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { homeWorker, slotOfRegion } from '../../rpc/wire/slots.ts';
import { loadIncarnation, rememberIncarnation } from '../store/node-records.ts';
import type { Store } from '../store/port.ts';

interface KnownNode {
  bootEpoch: number;
  workers: number;
  /** 0: it has not said. */
  incarnation: number;
}

export type FrameStanding = 'current' | 'changed' | 'notMember' | 'olderBoot' | 'otherIncarnation' | 'tooManyNodes';

/** The head of a frame. */
export interface FrameSender {
  readonly bootEpoch: number;
  readonly workers: number;
  /** 0: it does not say. */
  readonly incarnation: number;
}

/** What else this worker knows of nodes. */
export interface NodeView {
  /** Nothing was heard of it for long. */
  isSilent(nodeId: number): boolean;
  /** A region here has a peer there. */
  isNeighbour(nodeId: number): boolean;
}

const NOTHING_KNOWN: NodeView = { isSilent: () => false, isNeighbour: () => false };

export class Directory {
  readonly #store: Store;
  readonly #view: NodeView;
  readonly #nodes = new Map<number, KnownNode>();
  /** Undefined: placement has not said yet, and whoever speaks is believed to belong to the cluster. */
  #members: ReadonlySet<number> | undefined;

  constructor(store: Store, view: Partial<NodeView> = {}) {
    this.#store = store;
    this.#view = { ...NOTHING_KNOWN, ...view };
  }

  /** The nodes of the cluster: what others send is not read, unless a region here says that it has a peer there. */
  noteMembers(nodeIds: readonly number[]): void {
    this.#members = new Set(nodeIds);
  }

  /** Takes the head of a frame; only a `current` or `changed` one may be read on. @throws StorageFailure */
  note(nodeId: number, sender: FrameSender): FrameStanding {
    if (!this.#isMember(nodeId)) return 'notMember';
    const known = this.#nodes.get(nodeId);
    if (!known) return this.#meet(nodeId, sender);
    if (sender.bootEpoch < known.bootEpoch) return 'olderBoot';
    if (!this.#isSame(nodeId, known, sender.incarnation)) return 'otherIncarnation';
    if (sender.bootEpoch === known.bootEpoch && sender.workers === known.workers) return 'current';
    known.bootEpoch = sender.bootEpoch;
    known.workers = sender.workers;
    return 'changed';
  }

  /** Placement hears of the first nodes one by one, and needs them to be heard by each other before. */
  #isMember(nodeId: number): boolean {
    return this.#members === undefined || this.#members.has(nodeId) || this.#view.isNeighbour(nodeId);
  }

  #meet(nodeId: number, { bootEpoch, workers, incarnation }: FrameSender): FrameStanding {
    if (this.#nodes.size >= LIMITS.nodesPerCluster) return 'tooManyNodes';
    const met: KnownNode = { bootEpoch, workers, incarnation: loadIncarnation(this.#store, nodeId) ?? 0 };
    if (!this.#isSame(nodeId, met, incarnation)) return 'otherIncarnation';
    this.#nodes.set(nodeId, met);
    return 'changed';
  }

  /** Whether it speaks for the data that was first heard under its id; what is heard first is remembered for good. */
  #isSame(nodeId: number, known: KnownNode, incarnation: number): boolean {
    if (incarnation === known.incarnation) return true;
    if (known.incarnation !== 0) return false;
    try {
      rememberIncarnation(this.#store, nodeId, incarnation);
    } catch (error) {
      // What cannot be remembered is not listened to, until there is room.
      if (error instanceof DiskFull) return false;
      throw error;
    }
    known.incarnation = incarnation;
    return true;
  }

  /**
   * The workers of a node that hear from worker `own` of `ownWorkers` here that this node is there: each of them from one.
   * A node that was not heard yet is taken to have as many.
   */
  counterparts(nodeId: number, own: number, ownWorkers: number): number[] {
    const workers = this.#nodes.get(nodeId)?.workers ?? ownWorkers;
    const counterparts: number[] = [];
    for (let worker = own; worker < workers; worker += ownWorkers) counterparts.push(worker);
    return counterparts;
  }

  /**
   * The worker of a region on a node. A node that was not heard yet, or not for long, gets everything at worker 0, which
   * forwards it: it may have come back with fewer workers, and not speak before it is spoken to.
   */
  workerOf(nodeId: number, regionId: number): number {
    const workers = this.#view.isSilent(nodeId) ? 1 : (this.#nodes.get(nodeId)?.workers ?? 1);
    return workers <= 1 ? 0 : homeWorker(slotOfRegion(regionId), workers);
  }
}
