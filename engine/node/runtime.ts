/** Clocks, timers and chance of what a node runs beside its workers: the process's own, or a simulator's. */

import { randomUUID } from 'node:crypto';
import { DeadlineExceeded } from '../../rpc/wire/errors.ts';

export interface NodeRuntime {
  /** Milliseconds that never run backwards, from any origin. */
  nowMs(): number;
  /** Wall-clock milliseconds: for what is kept and shown. It may be set back. */
  wallMs(): number;
  /** In [0, 1). */
  random(): number;
  /** Runs once, after about `ms`; returns what prevents it. */
  after(ms: number, run: () => void): () => void;
  /** A name that no other cluster ever has. */
  newClusterId(): string;
}

export const processRuntime: NodeRuntime = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  random: () => Math.random(),
  after: (ms, run) => {
    const timer = setTimeout(run, ms);
    return () => clearTimeout(timer);
  },
  newClusterId: () => randomUUID(),
};

export function pause(runtime: NodeRuntime, ms: number): Promise<void> {
  return new Promise((resolve) => void runtime.after(ms, resolve));
}

/** What the promise comes to. @throws DeadlineExceeded with `message`, when that takes longer */
export function withDeadline<T>(
  runtime: NodeRuntime,
  promise: Promise<T>,
  timeoutMs: number,
  message: string,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = runtime.after(timeoutMs, () => reject(new DeadlineExceeded(message)));
    promise.then(resolve, reject).finally(cancel);
  });
}
