/** The keys of the benchmark: unique, and even over regions that were split by prefix. */

import { KEY_BYTES, KeyGroups, KeySpace } from '../../bench/keys.ts';
import { assert, suite } from '../harness.ts';

const RECORDS = 48_000;
const REGIONS = 48;
const test = suite('keys of the benchmark');

/** Of regions that were cut evenly by the first 4 bytes. */
function regionOf(key: Buffer): number {
  return Math.floor((key.readUInt32BE(0) / 2 ** 32) * REGIONS);
}

test('keys have 16 bytes and no two are equal, also in the 12 bytes that name a JetStream subject', () => {
  const keys = new KeySpace(RECORDS);
  const whole = new Set<string>();
  const named = new Set<string>();
  for (let number = 0; number < RECORDS; number++) {
    assert.is(keys.at(number).length, KEY_BYTES);
    whole.add(keys.at(number).toString('hex'));
    named.add(keys.at(number).toString('hex', 0, 12));
  }
  assert.is(whole.size, RECORDS);
  assert.is(named.size, RECORDS);
});

test('consecutive records hit all regions evenly: none has a tenth more or less than its share', () => {
  const keys = new KeySpace(RECORDS);
  const counts = new Array<number>(REGIONS).fill(0);
  for (let number = 0; number < RECORDS; number++) {
    const region = regionOf(keys.at(number));
    counts[region] = (counts[region] ?? 0) + 1;
  }
  const share = RECORDS / REGIONS;
  assert.ok(Math.min(...counts) > share * 0.9, `${Math.min(...counts)} of ${share}`);
  assert.ok(Math.max(...counts) < share * 1.1, `${Math.max(...counts)} of ${share}`);
});

test('a key that was not prepared is the one that a larger key space has prepared', () => {
  const small = new KeySpace(10);
  const large = new KeySpace(1000);
  assert.equal(small.at(999), large.at(999));
  assert.equal(small.at(3), large.at(3));
});

test('the keys of one batch share 8 bytes, so they lie in one region; batches hit all regions', () => {
  const groups = new KeyGroups(RECORDS, 32);
  assert.is(groups.count, RECORDS / 32);
  const regions = new Set<number>();
  const all = new Set<string>();
  for (let group = 0; group < groups.count; group++) {
    const keys = groups.at(group);
    assert.is(keys.length, 32);
    const prefix = keys[0]?.subarray(0, 8);
    for (const key of keys) {
      assert.equal(key.subarray(0, 8), prefix);
      all.add(key.toString('hex'));
    }
    regions.add(regionOf(keys[0] as Buffer));
  }
  assert.is(all.size, groups.count * 32);
  assert.is(regions.size, REGIONS);
});

test('fewer records than a batch still make one batch', () => {
  assert.is(new KeyGroups(5, 32).count, 1);
  assert.is(new KeyGroups(5, 32).at(0).length, 32);
});
