/** A follower's part in the hibernation of its group: when it agrees to sleep, without an election timer. */

import type { RaftLog } from './raft-log.ts';
import type { RaftMessage } from './types.ts';

export class Slumber {
  private asleepValue = false;
  /** Latest round of this term's leader that was heard. */
  private heardRound = 0;
  private lost = false;

  get asleep(): boolean {
    return this.asleepValue;
  }

  /** The driver says so, and the leader was not heard awake since. */
  get leaderLost(): boolean {
    return this.lost;
  }

  leaderIsLost(): void {
    this.lost = true;
  }

  end(): void {
    this.asleepValue = false;
  }

  newTerm(): void {
    this.heardRound = 0;
    this.lost = false;
  }

  /**
   * The leader's heartbeat, which may ask to sleep. The follower agrees if it has all that its leader has, and the wish is
   * not an old one: a message that comes late must not put it to sleep when its leader is gone.
   */
  heard(heartbeat: RaftMessage, log: RaftLog): boolean {
    const fresh = heartbeat.context > this.heardRound;
    if (fresh) this.heardRound = heartbeat.context;
    if (!heartbeat.hibernate) this.lost = false;
    // A wish that comes again is answered as it was.
    const timely = fresh || this.asleepValue;
    const { lastIndex } = log;
    const upToDate = heartbeat.commit === lastIndex && log.applied === lastIndex && log.stable === lastIndex;
    this.asleepValue = heartbeat.hibernate && timely && upToDate && !this.lost;
    return this.asleepValue;
  }
}
