/** A rate in bytes a second: what was spent beyond it is waited for. */

/** How long an idle budget saves up: a tick of a worker comes several times in it. */
const BURST_MS = 200;

export class ByteBudget {
  readonly #bytesPerMs: number;
  readonly #burstBytes: number;
  #left: number;
  #atMs: number;

  constructor(bytesPerSecond: number, nowMs: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#burstBytes = this.#bytesPerMs * BURST_MS;
    this.#left = this.#burstBytes;
    this.#atMs = nowMs;
  }

  /** Whether something may be spent now, however much. */
  isOpen(nowMs: number): boolean {
    this.#left = Math.min(this.#burstBytes, this.#left + (nowMs - this.#atMs) * this.#bytesPerMs);
    this.#atMs = nowMs;
    return this.#left > 0;
  }

  spend(sizeBytes: number): void {
    this.#left -= sizeBytes;
  }
}
