/**
 * Moves slots between the workers of a node while it serves. The main thread decides, in steps that travel over the raw
 * ports, whose messages stay in order:
 *
 *     main → old worker: release      it closes the slot's replicas between two turns, and forwards what comes for them
 *     old worker → main: released     from here on the slot is the new worker's
 *     main → new worker: take         it opens the replicas from the store; what was forwarded comes behind this
 *
 * So no two workers ever have a replica open. A worker that dies in between starts again with the slots that the table
 * gives it, and the table changes in one place, when `released` is heard: before it the old worker opens them again, behind
 * it the new one.
 */

import { RegionChanging, Unavailable, type MraftError } from '../../rpc/wire/errors.ts';
import type { ReleasedRegion, ToWorker } from './port-messages.ts';
import type { SlotTable } from './slot-table.ts';

export interface MovePorts {
  /** False while the worker is being started again: it learns everything from the table then. */
  post(worker: number, message: ToWorker): boolean;
  readonly workers: number;
}

interface Move {
  readonly from: number;
  readonly to: number;
  readonly done: (error?: MraftError) => void;
}

export class SlotMoves {
  readonly #table: SlotTable;
  readonly #ports: MovePorts;
  readonly #moves = new Map<number, Move>();
  /** Slots that were moved. */
  count = 0;

  constructor(table: SlotTable, ports: MovePorts) {
    this.#table = table;
    this.#ports = ports;
  }

  /**
   * Moves a slot; `done` is called when the new worker was told, at once if it has it already.
   * RegionChanging: it is being moved already, or its worker cannot let go of it now. Unavailable: its worker is down.
   */
  begin(slot: number, to: number, done: (error?: MraftError) => void): void {
    const from = this.#table.workerOfSlot(slot);
    if (this.#moves.has(slot)) return done(new RegionChanging(`slot ${slot} is being moved`));
    if (from === to) return done();
    if (!this.#ports.post(from, { kind: 'releaseSlot', slot, to })) {
      return done(new Unavailable(`worker ${from}, which has slot ${slot}, is being started again`));
    }
    this.#moves.set(slot, { from, to, done });
  }

  /** The old worker has closed what it had of the slot, or cannot now. */
  onReleased(slot: number, regions: readonly ReleasedRegion[] | undefined): void {
    const move = this.#moves.get(slot);
    if (!move) return;
    this.#moves.delete(slot);
    if (!regions) return move.done(new RegionChanging(`regions of slot ${slot} are being changed`));
    this.#table.move(slot, move.to);
    this.count++;
    for (let worker = 0; worker < this.#ports.workers; worker++) {
      if (worker === move.to) this.#ports.post(worker, { kind: 'takeSlot', slot, regions });
      else if (worker !== move.from) this.#ports.post(worker, { kind: 'slotMoved', slot, worker: move.to });
    }
    move.done();
  }

  /** What the worker was asked to release it opens again when it is back. */
  onWorkerDied(worker: number): void {
    for (const [slot, move] of this.#moves) {
      if (move.from !== worker) continue;
      this.#moves.delete(slot);
      move.done(new Unavailable(`worker ${worker} died while slot ${slot} was being moved`));
    }
  }
}
