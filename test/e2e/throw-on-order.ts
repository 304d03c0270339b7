/** Loaded into each worker thread by threads.ts. */

import { BroadcastChannel, threadId } from 'node:worker_threads';

const orders = new BroadcastChannel('mraft-test-orders');
orders.unref();
orders.onmessage = (event) => {
  if ((event as { data: unknown }).data !== threadId) return;
  setImmediate(() => {
    throw new Error('thrown by a test');
  });
};
