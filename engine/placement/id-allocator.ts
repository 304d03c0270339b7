/**
 * Ids of regions and peers, from one counter, never given twice. The bound that lasts is always ahead of what was given,
 * by a batch, so that one record serves many ids; a new leader of placement goes on behind the bound.
 */

import { invariant } from '../../rpc/wire/errors.ts';

const BATCH = 4_096;

export class IdAllocator {
  private lastUsed: number;
  private bound: number;

  /** @param bound ids up to it may have been given */
  constructor(bound: number) {
    this.lastUsed = bound;
    this.bound = bound;
  }

  allocate(): number {
    this.lastUsed += 1;
    if (this.lastUsed > this.bound) this.bound = this.lastUsed + BATCH;
    invariant(Number.isSafeInteger(this.lastUsed), 'ids are whole numbers below 2^53');
    return this.lastUsed;
  }

  /** An id that is in use, whoever gave it. Returns whether the bound moved. */
  observe(id: number): boolean {
    if (id <= this.lastUsed) return false;
    this.lastUsed = id;
    if (id <= this.bound) return false;
    this.bound = id + BATCH;
    return true;
  }

  /** What must last before any id below it is used. */
  get durableBound(): number {
    return this.bound;
  }
}
