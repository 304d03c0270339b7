/**
 * The leader's lease (thesis 6.4.1). A follower that hears the leader gives no vote for one election time-out, so after
 * a quorum answered a round that was sent at t, nobody else can lead before t + electionTimeoutMs on any of their clocks.
 * The lease is shorter than that by what those clocks may run ahead of this one.
 */

export class Lease {
  private readonly lengthMs: number;
  private fromMs = -Infinity;
  private suspended = false;

  constructor(electionTimeoutMs: number, maxClockDrift: number) {
    this.lengthMs = electionTimeoutMs * (1 - maxClockDrift);
  }

  /** A quorum answered a round that was sent at `sentMs`: the send counts, not the answer. */
  renew(sentMs: number): void {
    if (sentMs > this.fromMs) this.fromMs = sentMs;
  }

  /** The quorum changed: only what a quorum of the new one has answered counts. -Infinity: nothing. */
  restart(sentMs: number): void {
    this.fromMs = sentMs;
  }

  /**
   * Ends the lease for the rest of the term. Once TimeoutNow is sent, its receiver may be elected at any later time
   * whatever the followers have promised, and the message cannot be called back.
   */
  suspend(): void {
    this.suspended = true;
  }

  /** -Infinity while there is none. */
  get untilMs(): number {
    return this.suspended ? -Infinity : this.fromMs + this.lengthMs;
  }
}
