/** Which worker of this node has which slot: its home, unless it was moved. The main thread decides, every worker has a copy. */

import { SLOT_COUNT, homeWorker, slotOfRegion } from '../../rpc/wire/slots.ts';
import { invariant } from '../../rpc/wire/errors.ts';

/** A slot that is not at home, and where it is. */
export type MovedSlot = readonly [slot: number, worker: number];

export class SlotTable {
  readonly #workers: number;
  readonly #moved: Map<number, number>;

  constructor(workers: number, moved: readonly MovedSlot[] = []) {
    this.#workers = workers;
    this.#moved = new Map(moved);
  }

  workerOfSlot(slot: number): number {
    return this.#moved.get(slot) ?? homeWorker(slot, this.#workers);
  }

  workerOf(regionId: number): number {
    return this.workerOfSlot(slotOfRegion(regionId));
  }

  /** The slot is that worker's from now on. */
  move(slot: number, worker: number): void {
    invariant(slot >= 0 && slot < SLOT_COUNT, `there is no slot ${slot}`);
    invariant(worker >= 0 && worker < this.#workers, `there is no worker ${worker}`);
    if (worker === homeWorker(slot, this.#workers)) this.#moved.delete(slot);
    else this.#moved.set(slot, worker);
  }

  /** Those that are not at home. */
  get moved(): MovedSlot[] {
    return [...this.#moved];
  }
}
