/** The fence of one worker on a virtual disk: in the page cache at once, on the disk a while later, as fence-file.ts has it. */

const SYNC_EVERY_MS = 100;

export class VirtualFence {
  /** What a start reads here. */
  passed = 0;
  /** So many of the writes that a crash may still lose were claimed as durable before this fence was passed. */
  covered = 0;
  #synced = 0;
  #syncedCovered = 0;
  #syncedAtMs = -Infinity;

  /** @param atRisk writes of the disk that a crash may lose, although the last of them was claimed as durable */
  keep(mark: number, atRisk: number, nowMs: number): void {
    if (nowMs - this.#syncedAtMs >= SYNC_EVERY_MS) {
      this.#synced = this.passed;
      this.#syncedCovered = this.covered;
      this.#syncedAtMs = nowMs;
    }
    this.passed = mark;
    this.covered = atRisk;
  }

  /** As `covered`, of what a power cut leaves of this fence. */
  get syncedCovered(): number {
    return this.#syncedCovered;
  }

  /** The power was cut: what was not synced is gone. */
  fallBack(): void {
    this.passed = this.#synced;
    this.covered = this.#syncedCovered;
  }

  /** All writes before are durable, or lost for good. */
  settle(): void {
    this.covered = 0;
    this.#syncedCovered = 0;
  }
}
