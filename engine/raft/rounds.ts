/**
 * Numbered heartbeat rounds of one term and when each was sent. Only the latest are remembered: an answer to a round
 * before those proves leadership for reads, which compare numbers, and renews no lease.
 */

const REMEMBERED = 128;
const NONE = new Float64Array(0);

export class Rounds {
  /** Empty until the next round, of a group that sleeps. */
  private sentAtMs = NONE;
  private latestRound = 0;

  /** 0 before the first. */
  get latest(): number {
    return this.latestRound;
  }

  /** Starts the next round, whose messages leave at `nowMs` or later. */
  start(nowMs: number): number {
    if (this.sentAtMs === NONE) this.sentAtMs = new Float64Array(REMEMBERED).fill(-Infinity);
    this.latestRound++;
    this.sentAtMs[this.latestRound % REMEMBERED] = nowMs;
    return this.latestRound;
  }

  /** When they were sent; their numbers go on. */
  forget(): void {
    this.sentAtMs = NONE;
  }

  /** -Infinity for a round that is forgotten. */
  sentMs(round: number): number {
    if (this.sentAtMs === NONE || round <= 0 || round > this.latestRound || this.latestRound - round >= REMEMBERED)
      return -Infinity;
    return this.sentAtMs[round % REMEMBERED]!;
  }
}
