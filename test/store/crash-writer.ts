/**
 * A process that writes numbered batches until it is killed: number n under the same key in two columns, every fifth batch
 * synced and then told on standard output. Arguments: directory, number to begin with.
 */

import fs from 'node:fs';

import { logKey } from '../../engine/store/keys.ts';
import { openRocks } from '../../engine/store/rocks-store.ts';

const [dir = '', first = '0'] = process.argv.slice(2);
const owner = await openRocks({ dir });
const store = owner.store();
const batch = store.createBatch();
const padding = Buffer.alloc(300, 'x');
for (let number = Number(first); ; number++) {
  const key = logKey(1, number);
  batch.put('log', key, padding);
  batch.put('data', key, Buffer.from(String(number)));
  const sync = number % 5 === 4;
  store.write(batch, { sync });
  if (sync) fs.writeSync(1, `${number}\n`);
}
