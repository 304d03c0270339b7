/** Which ranges of a node are taken: nobody puts a snapshot where another region's data is. */

import { RangeLedger } from '../../engine/shard/range-ledger.ts';
import { assert, suite } from '../harness.ts';
import { region } from '../region/descriptors.ts';

const test = suite('ledger of ranges');

test('a range is claimed when nobody else has a part of it, taken or claimed', () => {
  const ledger = new RangeLedger();
  ledger.note([region(2, '', 'm'), region(3, 'm', '')]);
  assert.equal(ledger.claim(region(4, 'l', 'n')).conflicts, [2, 3]);
  assert.equal(ledger.claim(region(2, '', 'k')).conflicts, [], 'its own old range is not in its way');
  ledger.remove(3);
  assert.equal(ledger.claim(region(4, 'm', 'q')).conflicts, []);
  assert.equal(ledger.claim(region(5, 'p', '')).conflicts, [4]);
  ledger.release(4);
  assert.equal(ledger.claim(region(5, 'p', '')).conflicts, []);
});

test('a range that passes from one region to another is never free in between', () => {
  const ledger = new RangeLedger();
  ledger.note([region(2, '', '')]);
  ledger.note([region(2, '', 'm'), region(3, 'm', '')]);
  assert.equal(ledger.claim(region(9, 'x', 'z')).conflicts, [3]);
  ledger.note([region(2, '', '')]);
  ledger.remove(3);
  assert.equal(ledger.claim(region(9, 'x', 'z')).conflicts, [2]);
});

test('the system has keys of its own', () => {
  const ledger = new RangeLedger();
  ledger.note([region(1, '', '')]);
  assert.equal(ledger.claim(region(2, '', '')).conflicts, []);
});

test('the gaps are what no region holds', () => {
  const ledger = new RangeLedger();
  const gaps = (): string[] =>
    ledger
      .gaps()
      .map(({ start, end }) => `${Buffer.from(start).toString()}-${end ? Buffer.from(end).toString() : 'end'}`);
  assert.equal(gaps(), ['-end']);
  ledger.note([region(2, 'b', 'd'), region(3, 'f', '')]);
  assert.equal(gaps(), ['-b', 'd-f']);
  ledger.note([region(2, '', 'd')]);
  assert.equal(gaps(), ['d-f']);
});

test('behind the death of a worker the ledger is what the store says', () => {
  const ledger = new RangeLedger();
  ledger.note([region(2, '', 'm'), region(3, 'm', '')]);
  ledger.claim(region(6, 'q', 'r'));
  assert.equal(ledger.reconcile([region(2, '', ''), region(7, 'c', 'd')]), [7], 'nobody has told of it');
  ledger.note([region(2, '', '')]);
  assert.equal(ledger.claim(region(8, 'x', 'z')).conflicts, [2], 'what was merged away is not in the way any more');
});
