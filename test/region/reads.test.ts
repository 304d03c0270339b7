/** When reads may be served. */

import { ReadQueue, readRequest } from '../../engine/region/reads.ts';
import { mraft } from '../../rpc/wire/codec.ts';
import { assert, suite } from '../harness.ts';
import { region, text } from './descriptors.ts';

const test = suite('reads on their way');

test('a lease read waits for all that is committed: what it does not see yet may have given its range away', () => {
  const reads = new ReadQueue();
  const read = { mode: mraft.ReadMode.LEASE, keys: [text('d')] };
  assert.ok(reads.gather(readRequest(region(7, 'c', 'm'), 'client', { id: 1, read }, 0)));
  // A split is committed as entry 12 and not applied.
  reads.admitLease(12, 11);
  reads.release(11);
  assert.not(reads.hasReady);
  reads.release(12);
  assert.is(reads.takeReady().length, 1);
});
