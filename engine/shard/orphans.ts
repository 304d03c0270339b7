/**
 * The search for regions that sleep and must not, now that a node is lost or back: their leader was there, or they fell asleep
 * without a peer that was. Nobody in them would notice. They are woken a few a tick, so that a node that led hundreds of
 * regions does not make them all campaign in one turn; the others sleep on.
 */

import { LIMITS } from '../../rpc/wire/limits.ts';

/** A replica, as far as the search looks at it. */
export interface Sleeper {
  readonly isAsleep: boolean;
  /** Whether it must not sleep on while these nodes are lost, and no others. */
  isWokenBy(lostNodes: ReadonlySet<number>): boolean;
}

export class OrphanSearch<T extends Sleeper> {
  readonly #all: () => Iterator<T>;
  #search: Iterator<T> | undefined;
  #nextAtMs = Infinity;

  /** `all`: everything that may sleep; what comes and goes during a search need not be seen by it. */
  constructor(all: () => Iterator<T>) {
    this.#all = all;
  }

  /** Which nodes are lost has changed: looks everything over from then on, once more if it is doing so already. */
  begin(atMs: number): void {
    this.#nextAtMs = Math.min(this.#nextAtMs, atMs);
  }

  /** One step of the search, if there is one: those that are to be woken now. */
  step(nowMs: number, lostNodes: ReadonlySet<number>): T[] {
    const found: T[] = [];
    if (this.#search === undefined) {
      if (nowMs < this.#nextAtMs) return found;
      this.#nextAtMs = Infinity;
      this.#search = this.#all();
    }
    for (let looked = 0; looked < LIMITS.sleepersPerTick && found.length < LIMITS.wakeUpsPerTick; looked++) {
      const next = this.#search.next();
      if (next.done) {
        this.#search = undefined;
        break;
      }
      const { value } = next;
      if (value.isAsleep && value.isWokenBy(lostNodes)) found.push(value);
    }
    return found;
  }
}
