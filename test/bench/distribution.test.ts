/** Which records a workload touches. */

import { createDistribution, Zipfian, ZIPFIAN_CONSTANT } from '../../bench/distribution.ts';
import { Random } from '../../bench/random.ts';
import { assert, suite } from '../harness.ts';

const DRAWS = 200_000;
const test = suite('distributions of the benchmark');

function draw(next: () => number, records: number): number[] {
  const counts = new Array<number>(records).fill(0);
  for (let i = 0; i < DRAWS; i++) {
    const record = next();
    assert.ok(Number.isInteger(record) && record >= 0 && record < records, `record ${record} of ${records}`);
    counts[record] = (counts[record] as number) + 1;
  }
  return counts;
}

test('zipfian: the share of the popular ranks is 1 / rank^0.99 over the sum, within a tenth', () => {
  const records = 1000;
  const zipfian = new Zipfian(records, new Random(7));
  const counts = draw(() => zipfian.next(records), records);
  let zeta = 0;
  for (let rank = 1; rank <= records; rank++) zeta += 1 / rank ** ZIPFIAN_CONSTANT;
  // The first two ranks are exact in Gray's method, the others an approximation by a continuous curve.
  for (const rank of [1, 2]) {
    const expected = DRAWS / rank ** ZIPFIAN_CONSTANT / zeta;
    const ratio = (counts[rank - 1] as number) / expected;
    assert.ok(ratio > 0.9 && ratio < 1.1, `rank ${rank}: ${ratio} of its share`);
  }
  const sumOf = (from: number, to: number): number => counts.slice(from, to).reduce((a, b) => a + b, 0);
  const shareOf = (from: number, to: number): number => {
    let sum = 0;
    for (let rank = from + 1; rank <= to; rank++) sum += 1 / rank ** ZIPFIAN_CONSTANT / zeta;
    return sum;
  };
  for (const [from, to] of [
    [0, 10],
    [10, 100],
    [100, 1000],
  ] as const) {
    const ratio = sumOf(from, to) / DRAWS / shareOf(from, to);
    assert.ok(ratio > 0.85 && ratio < 1.15, `ranks ${from} to ${to}: ${ratio} of their share`);
  }
});

test('zipfian over growing records is the same as over that many from the start', () => {
  const grown = new Zipfian(10, new Random(3));
  grown.next(500);
  const fresh = new Zipfian(500, new Random(3));
  fresh.next(500);
  for (let i = 0; i < 1000; i++) assert.is(grown.next(500), fresh.next(500));
});

test('zipfian of one or two records stays inside', () => {
  for (const records of [1, 2]) {
    const zipfian = new Zipfian(records, new Random(1));
    draw(() => zipfian.next(records), records);
  }
});

test('uniform: every record has its share within a tenth', () => {
  const records = 20;
  const uniform = createDistribution('uniform', records, new Random(5));
  const counts = draw(() => uniform.next(records), records);
  for (const count of counts) assert.ok(Math.abs(count / (DRAWS / records) - 1) < 0.1, `${count}`);
});

test('latest: the newest record is the most popular, also after inserts', () => {
  const latest = createDistribution('latest', 100, new Random(5));
  const counts = draw(() => latest.next(150), 150);
  assert.is(counts.indexOf(Math.max(...counts)), 149);
  assert.ok((counts[149] as number) > 10 * (counts[75] as number));
});

test('the same seed draws the same numbers, another seed others', () => {
  const sequence = (seed: number): number[] => {
    const random = new Random(seed);
    return Array.from({ length: 20 }, () => random.below(1_000_000));
  };
  assert.equal(sequence(1), sequence(1));
  assert.not.equal(sequence(1), sequence(2));
});
