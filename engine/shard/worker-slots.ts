/** The slots of one worker: which regions are at home here, and what a slot that moves takes along (slot-moves.ts). */

import { slotOfRegion } from '../../rpc/wire/slots.ts';
import type { Replica } from '../region/replica.ts';
import type { ReleasedRegion } from './port-messages.ts';
import type { Replicas } from './replicas.ts';
import type { SlotWork } from './slot-balance.ts';
import type { SlotTable } from './slot-table.ts';

export interface WorkerSlotsParts {
  readonly worker: number;
  readonly table: SlotTable;
  readonly replicas: Replicas;
  /** A replica that is on its way out, or between two turns. */
  readonly isHeld: (replica: Replica) => boolean;
  /** A snapshot is coming in, or a merge going on, for a region without a replica here. */
  readonly isUnderWay: (isOfSlot: (regionId: number) => boolean) => boolean;
  readonly open: (regionId: number) => void;
  readonly close: (regionId: number) => void;
}

export class WorkerSlots {
  readonly #parts: WorkerSlotsParts;

  constructor(parts: WorkerSlotsParts) {
    this.#parts = parts;
  }

  isHome(regionId: number): boolean {
    return this.#parts.table.workerOf(regionId) === this.#parts.worker;
  }

  /** The other worker that has the region's slot; undefined: this one. */
  otherWorkerOf(regionId: number): number | undefined {
    const worker = this.#parts.table.workerOf(regionId);
    return worker === this.#parts.worker ? undefined : worker;
  }

  /** Another worker has the slot now: what comes for it is forwarded there. */
  note(slot: number, worker: number): void {
    this.#parts.table.move(slot, worker);
  }

  /** Closes all replicas of a slot, which is another worker's from now on. Undefined, and nothing is closed: not now. */
  release(slot: number, to: number): ReleasedRegion[] | undefined {
    const { replicas, table, isHeld, isUnderWay, close } = this.#parts;
    const isOfSlot = (regionId: number): boolean => slotOfRegion(regionId) === slot;
    const going = [...replicas.values()].filter(({ regionId }) => isOfSlot(regionId));
    if (going.some(isHeld) || isUnderWay(isOfSlot)) return undefined;
    const released = going.map(({ regionId, isLeader }) => ({ regionId, wasLed: isLeader }));
    table.move(slot, to);
    for (const { regionId } of released) close(regionId);
    return released;
  }

  /** Opens the replicas of a slot that another worker has closed; what that one led leads on. */
  take(slot: number, regions: readonly ReleasedRegion[], nowMs: number): void {
    const { replicas, table, worker, open } = this.#parts;
    table.move(slot, worker);
    for (const { regionId, wasLed } of regions) {
      if (replicas.get(regionId)) continue;
      open(regionId);
      const replica = replicas.get(regionId);
      if (!wasLed || !replica) continue;
      replica.resumeLeading(nowMs);
      replicas.noteWork(replica);
    }
  }

  /** What the slots did since this was last asked: the hottest, and all together. */
  takeWork(most: number): { readonly slots: SlotWork[]; readonly work: number } {
    const bySlot = new Map<number, number>();
    let work = 0;
    // Who slept all the time did nothing.
    for (const replica of this.#parts.replicas.awake) {
      const slot = slotOfRegion(replica.regionId);
      bySlot.set(slot, (bySlot.get(slot) ?? 0) + replica.work);
      work += replica.work;
      replica.work = 0;
    }
    const slots = [...bySlot].map(([slot, slotWork]) => ({ slot, work: slotWork }));
    return { slots: slots.sort((a, b) => b.work - a.work).slice(0, most), work };
  }
}
