/**
 * The worker threads of this process, to be hurt. Import it before the engine: it stands between Piscina and Node.
 * A thread's death must look to the engine like any other, so the engine has no door for it.
 */

import workerThreads, { BroadcastChannel, Worker, type WorkerOptions } from 'node:worker_threads';

const ORDERS = 'mraft-test-orders';
const threads = new Set<Worker>();

let hangs = false;

class WatchedWorker extends Worker {
  constructor(file: string | URL, options: WorkerOptions = {}) {
    const preload = new URL(hangs ? './hang.js' : './throw-on-order.js', import.meta.url).href;
    hangs = false;
    super(file, { ...options, execArgv: [...(options.execArgv ?? process.execArgv), '--import', preload] });
    threads.add(this);
    this.once('exit', () => threads.delete(this));
  }
}
workerThreads.Worker = WatchedWorker;

/** The threads that run now, oldest first. */
export function liveThreads(): Worker[] {
  return [...threads];
}

/** The next thread that is started comes nowhere, and lives. */
export function hangNextThread(): void {
  hangs = true;
}

/** Throws an exception that nobody catches on a thread's own stack. */
export function throwIn(thread: Worker): void {
  const orders = new BroadcastChannel(ORDERS);
  orders.postMessage(thread.threadId);
  orders.close();
}
