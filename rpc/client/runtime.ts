/** Clock, randomness and deferral of the client: the process's own, or a simulator's. */

import { randomBytes } from 'node:crypto';

export interface ClientRuntime {
  /** Milliseconds that only grow. */
  now(): number;
  /** In [0, 1). */
  random(): number;
  /** Runs once the current turn of the event loop has taken its input, so that calls of one turn gather. */
  defer(run: () => void): void;
  /** Runs once after about `ms`; returns what cancels it. */
  after(ms: number, run: () => void): () => void;
  /** A session's name that no other client ever has: 6 bytes of wall-clock milliseconds, then 10 random ones. */
  newSession(): Uint8Array;
}

export const systemRuntime: ClientRuntime = {
  // Whole milliseconds are small integers, which are no objects on the heap.
  now: () => Math.floor(performance.now()),
  random: () => Math.random(),
  defer: (run) => void setImmediate(run),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  newSession: () => {
    const session = Buffer.alloc(16);
    session.writeUIntBE(Date.now(), 0, 6);
    randomBytes(10).copy(session, 6);
    return session;
  },
};
