/** A thread that attaches to the database of its parent and writes under its own name: `count` batches, or for ever. */

import { parentPort, workerData } from 'node:worker_threads';

import { attachRocks } from '../../engine/store/rocks-store.ts';

export interface SharingWorkerData {
  readonly handle: bigint;
  readonly name: string;
  /** Infinity: until it is terminated. */
  readonly count: number;
  readonly sync: boolean;
}

const { handle, name, count, sync } = workerData as SharingWorkerData;
const store = attachRocks(handle);
const batch = store.createBatch();
// It stays open, as that of a snapshot which is being sent.
const cursor = store.openCursor('data', { limit: 10, maxBytes: 1000 });
parentPort?.postMessage('attached');
for (let number = 0; number < count; number++) {
  for (let n = 0; n < 20; n++) {
    const key = Buffer.from(`${name}.${String(number * 20 + n).padStart(8, '0')}`);
    batch.put('data', key, key);
    batch.put('log', key, key);
  }
  store.write(batch, { sync });
  cursor.next();
  const passing = store.openCursor('data', { limit: 10, maxBytes: 1000 });
  passing.next();
  passing.close();
  store.scan('data', { limit: 10, maxBytes: 1000, reverse: true });
  store.get('data', Buffer.from('absent'));
}
await store.close();
