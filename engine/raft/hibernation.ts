/**
 * When a leader lets its group hibernate: nobody ticks or heartbeats until there is something to do (TiKV has the idea).
 * After a while without work its heartbeats ask the followers to sleep; when all of them have agreed to a round that
 * asks, it sleeps too. Until then it goes on heartbeating, so an answer that is lost costs nothing. If they do not agree
 * within an election time-out, it asks again after another while.
 */

/** No round has this number. */
const NEVER = Infinity;

export class Hibernation {
  private readonly afterMs: number;
  private readonly patienceMs: number;
  private activeSinceCheck = true;
  /** Nothing was to be done since then. */
  private idleSinceMs: number;
  /** Rounds from this one on ask the followers to hibernate. */
  private firstRound = NEVER;
  private askedMs = 0;
  private asleep = false;

  constructor(afterMs: number, patienceMs: number, nowMs: number) {
    this.afterMs = afterMs;
    this.patienceMs = patienceMs;
    this.idleSinceMs = nowMs;
  }

  get enabled(): boolean {
    return this.afterMs > 0;
  }

  get hibernating(): boolean {
    return this.asleep;
  }

  /** Whether the heartbeats of `round` ask to hibernate. */
  asks(round: number): boolean {
    return round >= this.firstRound;
  }

  /** Something is to be done: the group stays awake. */
  noteActivity(): void {
    this.activeSinceCheck = true;
    this.firstRound = NEVER;
  }

  /** Looked at before each heartbeat round. Returns whether the next round is the first that asks. */
  isDue(nowMs: number, latestRound: number, quiet: boolean): boolean {
    const impatient = this.firstRound !== NEVER && nowMs - this.askedMs >= this.patienceMs;
    if (this.activeSinceCheck || !quiet || impatient) {
      this.activeSinceCheck = false;
      this.idleSinceMs = nowMs;
      this.firstRound = NEVER;
    }
    if (this.firstRound !== NEVER || nowMs - this.idleSinceMs < this.afterMs) return false;
    this.firstRound = latestRound + 1;
    this.askedMs = nowMs;
    return true;
  }

  sleep(): void {
    this.asleep = true;
  }

  wake(nowMs: number): void {
    this.asleep = false;
    this.activeSinceCheck = false;
    this.idleSinceMs = nowMs;
    this.firstRound = NEVER;
  }
}
