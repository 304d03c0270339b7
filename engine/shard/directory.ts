/**
 * What this worker knows of other nodes from the frames they send: their boot, so that a frame that was delayed across a
 * restart is dropped, and their number of workers, so that messages go to the right one.
 */

import { LIMITS } from '../../rpc/wire/limits.ts';
import { homeWorker, slotOfRegion } from '../../rpc/wire/slots.ts';

interface KnownNode {
  bootEpoch: number;
  workers: number;
}

export type FrameStanding = 'current' | 'changed' | 'olderBoot' | 'tooManyNodes';

export class Directory {
  readonly #nodes = new Map<number, KnownNode>();

  /** Takes the head of a frame; only a `current` or `changed` one may be read on. */
  note(nodeId: number, bootEpoch: number, workers: number): FrameStanding {
    const known = this.#nodes.get(nodeId);
    if (!known) {
      if (this.#nodes.size >= LIMITS.nodesPerCluster) return 'tooManyNodes';
      this.#nodes.set(nodeId, { bootEpoch, workers });
      return 'changed';
    }
    if (bootEpoch < known.bootEpoch) return 'olderBoot';
    if (bootEpoch === known.bootEpoch && workers === known.workers) return 'current';
    known.bootEpoch = bootEpoch;
    known.workers = workers;
    return 'changed';
  }

  /** The worker of a region on a node; a node that was not heard yet gets everything at worker 0, which forwards it. */
  workerOf(nodeId: number, regionId: number): number {
    const workers = this.#nodes.get(nodeId)?.workers ?? 1;
    return workers <= 1 ? 0 : homeWorker(slotOfRegion(regionId), workers);
  }
}
