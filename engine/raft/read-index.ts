/**
 * Reads that wait for a proof that this peer still leads (thesis 6.4). A read joins the next heartbeat round, which
 * starts after the read was asked; when a quorum has echoed that round or a later one, no other leader can have
 * committed anything before the round was sent, so the commit index of that moment is recent enough for the read.
 */

import type { ReadState } from './types.ts';

interface ReadRound {
  readonly round: number;
  /** The commit index when the round was sent. */
  readonly index: number;
  readonly ids: readonly number[];
}

export class ReadQueue {
  private waiting: number[] = [];
  private sent: ReadRound[] = [];

  /** Whether reads wait for a round to be sent. */
  get hasWaiting(): boolean {
    return this.waiting.length > 0;
  }

  /** Whether reads wait for anything. */
  get hasAny(): boolean {
    return this.waiting.length > 0 || this.sent.length > 0;
  }

  add(id: number): void {
    this.waiting.push(id);
  }

  /** `round` is about to be sent: it is the proof of all reads that wait. */
  roundStarted(round: number, commit: number): void {
    if (this.waiting.length === 0) return;
    this.sent.push({ round, index: commit, ids: this.waiting });
    this.waiting = [];
  }

  /** A quorum echoed `round`; the reads that it proves are added to `states`. */
  confirmed(round: number, states: ReadState[]): void {
    let done = 0;
    while (done < this.sent.length && this.sent[done]!.round <= round) {
      const { index, ids } = this.sent[done]!;
      for (const id of ids) states.push({ id, index });
      done++;
    }
    if (done > 0) this.sent.splice(0, done);
  }
}
