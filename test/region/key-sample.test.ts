/** The key that halves a region's traffic, found from a bounded sample of it. */

import { KeySample } from '../../engine/region/key-sample.ts';
import { assert, suite } from '../harness.ts';
import { region, text } from './descriptors.ts';

const test = suite('sample of keys');

function seeded(seed = 7): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function sampleOf(requests: number, keyAt: (at: number) => string): KeySample {
  const sample = new KeySample(seeded());
  for (let at = 0; at < requests; at++) if (sample.wants()) sample.add(text(keyAt(at)));
  return sample;
}

const padded = (number: number): string => String(number).padStart(6, '0');
const whole = region(7, '', '');

test('even traffic is halved near its middle', () => {
  const random = seeded(3);
  const sample = sampleOf(50_000, () => padded(Math.floor(random() * 100_000)));
  const middle = Number(Buffer.from(sample.splitKey(whole)!).toString());
  assert.ok(middle > 30_000 && middle < 70_000, `at ${middle}`);
});

test('traffic that moved is halved where it is now, once a new period has begun', () => {
  const sample = sampleOf(10_000, (at) => padded(at % 1_000));
  sample.clear();
  assert.is(sample.splitKey(whole), undefined);
  for (let at = 0; at < 10_000; at++) if (sample.wants()) sample.add(text(padded(900_000 + (at % 1_000))));
  assert.ok(Buffer.from(sample.splitKey(whole)!).toString() > '900000');
});

test('the sample is of the whole period, not of its beginning', () => {
  const sample = sampleOf(40_000, (at) => padded(at));
  const middle = Number(Buffer.from(sample.splitKey(whole)!).toString());
  assert.ok(middle > 10_000 && middle < 30_000, `at ${middle}`);
  assert.is(sample.requests, 40_000);
});

test('a single hot key cannot be halved', () => {
  assert.is(sampleOf(10_000, () => 'hot').splitKey(whole), undefined);
  assert.is(sampleOf(10_000, (at) => (at % 10 === 0 ? 'cold' : 'hot')).splitKey(whole), undefined);
  assert.is(Buffer.from(sampleOf(10_000, (at) => (at % 2 === 0 ? 'cold' : 'hot')).splitKey(whole)!).toString(), 'hot');
});

test('few requests say nothing, and the first key of the region splits nothing', () => {
  assert.is(sampleOf(10, (at) => padded(at)).splitKey(whole), undefined);
  assert.is(sampleOf(1_000, () => 'a').splitKey(region(7, 'a', '')), undefined);
  const key = sampleOf(1_000, (at) => (at % 2 === 0 ? 'a' : 'c')).splitKey(region(7, 'b', ''));
  assert.is(key, undefined, 'what lies outside, since the region was split, does not count');
});
