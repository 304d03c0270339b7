/**
 * Numbered heartbeat rounds of one term and when each was sent. Only the latest are remembered: an answer to a round
 * before those proves leadership for reads, which compare numbers, and renews no lease.
 */

const REMEMBERED = 128;

export class Rounds {
  private readonly sentAtMs = new Float64Array(REMEMBERED);
  private latestRound = 0;

  /** 0 before the first. */
  get latest(): number {
    return this.latestRound;
  }

  /** Starts the next round, whose messages leave at `nowMs` or later. */
  start(nowMs: number): number {
    this.latestRound++;
    this.sentAtMs[this.latestRound % REMEMBERED] = nowMs;
    return this.latestRound;
  }

  /** -Infinity for a round that is forgotten. */
  sentMs(round: number): number {
    if (round <= 0 || round > this.latestRound || this.latestRound - round >= REMEMBERED) return -Infinity;
    return this.sentAtMs[round % REMEMBERED]!;
  }
}
