/** What a leader says of its size and load, and when it would rather be two. */

import { Traffic } from '../../engine/region/traffic.ts';
import { encodeCommand } from '../../rpc/wire/command.ts';
import { seededRandom } from '../linearizability/random-history.ts';
import { assert, suite } from '../harness.ts';
import { region, text } from './descriptors.ts';

const test = suite('traffic of a region');

const whole = region(7, '', '');
const NONE = { sizeBytes: 0, loadPerSecond: 0 };

const put = (key: string): Uint8Array =>
  encodeCommand(new Uint8Array(0), 0, [{ seq: 0, operation: { kind: 'put', key: text(key), value: text('v') } }]);

function read(traffic: Traffic, ...keys: string[]): void {
  traffic.noteRead({
    origin: '',
    requestId: 1,
    epoch: whole.epoch,
    mode: 'lease',
    keys: keys.map(text),
    scan: undefined,
    sizeBytes: 0,
    deadlineMs: 0,
  });
}

test('rates are of the time since they were last asked for', () => {
  const traffic = new Traffic(seededRandom(1), 0);
  for (let i = 0; i < 500; i++) traffic.noteWrite(put('a'), 1);
  for (let i = 0; i < 100; i++) read(traffic, 'a', 'b');
  assert.equal(traffic.rates(1_000), { readsPerSecond: 200, writesPerSecond: 500 });
  assert.equal(traffic.rates(1_100), { readsPerSecond: 200, writesPerSecond: 500 }, 'too soon for a new one');
  assert.equal(traffic.rates(2_000), { readsPerSecond: 0, writesPerSecond: 0 });
});

test('a size is measured once, again when much was written, and again when the range is another', () => {
  const traffic = new Traffic(seededRandom(1), 0);
  assert.ok(traffic.wantsMeasure(whole));
  traffic.noteMeasured(40_000_000, whole.epoch.version);
  assert.not(traffic.wantsMeasure(whole));
  traffic.noteApplied(5_000_000);
  assert.not(traffic.wantsMeasure(whole));
  assert.is(traffic.sizeBytes, 45_000_000);
  traffic.noteApplied(6_000_000);
  assert.ok(traffic.wantsMeasure(whole));
  traffic.noteMeasured(41_000_000, whole.epoch.version);
  const half = region(7, '', 'm', { epoch: { version: whole.epoch.version + 1, confVersion: 2 } });
  assert.ok(traffic.wantsMeasure(half));
  traffic.noteMeasured(20_000_000, half.epoch.version);
  assert.not(traffic.wantsMeasure(half));
  traffic.noteRangeDelete();
  assert.ok(traffic.wantsMeasure(half), 'who knows what is left');
  assert.is(
    traffic.splitWish(half, { sizeBytes: 1_000_000, loadPerSecond: 0 }, 10),
    undefined,
    'it is not that large any more',
  );
});

test('a region that is too large asks to be split, one that is not does not', () => {
  const traffic = new Traffic(seededRandom(1), 0);
  traffic.noteMeasured(10_000_000, whole.epoch.version);
  assert.equal(traffic.splitWish(whole, { sizeBytes: 9_000_000, loadPerSecond: 0 }, 1), { reason: 'size' });
  assert.is(traffic.splitWish(whole, { sizeBytes: 11_000_000, loadPerSecond: 0 }, 1), undefined);
  assert.is(traffic.splitWish(whole, NONE, 1), undefined);
});

function wishUnder(perSecond: number, keyAt: (random: () => number) => string): unknown {
  const random = seededRandom(3);
  const traffic = new Traffic(seededRandom(2), 0);
  traffic.noteMeasured(1_000, whole.epoch.version);
  const bounds = { sizeBytes: 0, loadPerSecond: 1_000 };
  let wish: unknown;
  for (let second = 1; second <= 12; second++) {
    for (let i = 0; i < perSecond; i++) traffic.noteWrite(put(keyAt(random)), 1);
    traffic.rates(second * 1_000);
    wish = traffic.splitWish(whole, bounds, second * 1_000);
  }
  return wish;
}

test('a region that stays hot asks to be split where its traffic halves', () => {
  const wish = wishUnder(2_000, (random) => String(Math.floor(random() * 1_000)).padStart(3, '0')) as {
    reason: string;
    splitKey: Uint8Array;
  };
  assert.is(wish.reason, 'load');
  const key = Number(Buffer.from(wish.splitKey).toString());
  assert.ok(key > 300 && key < 700, `at ${key}`);
});

test('a region with a single hot key, or with little to do, does not', () => {
  assert.is(
    wishUnder(2_000, () => 'hot'),
    undefined,
  );
  assert.is(
    wishUnder(500, (random) => String(random())),
    undefined,
  );
});
