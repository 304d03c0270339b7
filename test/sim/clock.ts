/** A node's own clock: it begins anywhere, runs a little too fast or too slow, and may leap ahead. It never goes back. */

export class NodeClock {
  #rate: number;
  #trueMs: number;
  #localMs: number;

  constructor(trueMs: number, localMs: number, rate: number) {
    this.#trueMs = trueMs;
    this.#localMs = localMs;
    this.#rate = rate;
  }

  localAt(trueMs: number): number {
    return this.#localMs + (trueMs - this.#trueMs) * this.#rate;
  }

  /** When this clock will show `localMs`. */
  trueAt(localMs: number): number {
    return this.#trueMs + (localMs - this.#localMs) / this.#rate;
  }

  /** From `trueMs` on it runs at another rate, and `leapMs` ahead. */
  adjust(trueMs: number, rate: number, leapMs = 0): void {
    this.#localMs = this.localAt(trueMs) + leapMs;
    this.#trueMs = trueMs;
    this.#rate = rate;
  }
}
