/**
 * Exactly once, the client's side (Raft thesis 6.3): each write carries its session and a sequence, the same over all
 * its attempts, and a region applies a sequence once. `floor` tells regions what they may forget.
 */

import { invariant } from '../wire/errors.ts';
import { LIMITS } from '../wire/limits.ts';

const WINDOW = LIMITS.sessionWindow;

export interface Session {
  readonly id: Uint8Array;
  /** A user's own (JSON service): its calls have their sequences already, and it is never replaced by a new one. */
  readonly foreign: boolean;
  /** Every sequence below it has been answered or given up. */
  readonly floor: number;
  /** The next sequence; 0 where the window is full and the call has to wait for older ones. */
  take(): number;
  /** The call of this sequence was answered, or will never be sent again. */
  settle(seq: number): void;
}

export class OwnSession implements Session {
  readonly id: Uint8Array;
  readonly foreign = false;
  floor = 1;
  #next = 1;
  /** By sequence modulo the window: 1 while the sequence is unanswered. */
  readonly #open = new Uint8Array(WINDOW);

  constructor(id: Uint8Array) {
    this.id = id;
  }

  take(): number {
    if (this.#next - this.floor >= WINDOW) return 0;
    const seq = this.#next++;
    this.#open[seq % WINDOW] = 1;
    return seq;
  }

  settle(seq: number): void {
    invariant(seq >= this.floor && this.#open[seq % WINDOW] === 1, 'a sequence is settled once');
    this.#open[seq % WINDOW] = 0;
    while (this.floor < this.#next && this.#open[this.floor % WINDOW] === 0) this.floor++;
  }
}

/** How far the calls of a user's own session may overtake each other. */
const FOREIGN_WINDOW = 1024;

/** One call of a user's own session; the floor follows its sequence at a distance. */
export class ForeignSession implements Session {
  readonly id: Uint8Array;
  readonly foreign = true;
  readonly floor: number;

  constructor(id: Uint8Array, seq: number) {
    this.id = id;
    this.floor = Math.max(0, seq - FOREIGN_WINDOW);
  }

  take(): number {
    invariant(false, 'a call of a foreign session has its sequence');
  }

  settle(): void {}
}
