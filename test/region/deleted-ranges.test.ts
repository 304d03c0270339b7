/** What the parts of a range delete come to together, compared with a walk over all keys. */

import { missingFrom, uniteRanges, type DeletedRange } from '../../engine/region/deleted-ranges.ts';
import { seededRandom } from '../linearizability/random-history.ts';
import { assert, suite } from '../harness.ts';

const test = suite('deleted ranges');

const KEYS = Array.from({ length: 12 }, (_, i) => Buffer.from([i]));
const NO_END = Buffer.alloc(0);

const holds = ({ start, end }: DeletedRange, key: Buffer): boolean =>
  Buffer.compare(start, key) <= 0 && (end.length === 0 || Buffer.compare(key, end) < 0);

const keysIn = (ranges: readonly DeletedRange[]): number[] =>
  KEYS.filter((key) => ranges.some((range) => holds(range, key))).map((key) => key[0]!);

function randomRange(random: () => number): DeletedRange {
  const from = Math.floor(random() * (KEYS.length - 1));
  const to = from + 1 + Math.floor(random() * (KEYS.length - from));
  return { start: KEYS[from]!, end: to < KEYS.length ? KEYS[to]! : NO_END };
}

test('together they hold what any of them holds, ascending and with gaps between', () => {
  const random = seededRandom(1);
  for (let round = 0; round < 3_000; round++) {
    const ranges = Array.from({ length: Math.floor(random() * 5) }, () => randomRange(random));
    const united = uniteRanges(ranges);
    assert.equal(keysIn(united), keysIn(ranges));
    for (const [at, { end }] of united.slice(0, -1).entries()) {
      assert.ok(end.length > 0 && Buffer.compare(end, united[at + 1]!.start) < 0, 'what touches is one');
    }
  }
});

test('what is missing of a range is what no part has deleted', () => {
  const random = seededRandom(2);
  for (let round = 0; round < 3_000; round++) {
    const done = uniteRanges(Array.from({ length: Math.floor(random() * 4) }, () => randomRange(random)));
    const wanted = randomRange(random);
    const missing = missingFrom(done, wanted);
    const deleted = new Set(keysIn(done));
    assert.equal(
      keysIn(missing),
      keysIn([wanted]).filter((key) => !deleted.has(key)),
    );
    assert.equal(missingFrom(uniteRanges([...done, ...missing]), wanted), []);
  }
});
