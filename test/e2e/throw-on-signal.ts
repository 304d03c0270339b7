/**
 * Loaded into a process before its program: at SIGUSR2 an exception that nobody catches is thrown on the stack of one of
 * its worker threads, whichever comes next.
 */

import { isMainThread } from 'node:worker_threads';

import { liveThreads, throwIn } from './threads.ts';

let thrown = 0;

if (isMainThread) {
  process.on('SIGUSR2', () => {
    const threads = liveThreads();
    const victim = threads[thrown++ % threads.length];
    if (victim) throwIn(victim);
  });
}
