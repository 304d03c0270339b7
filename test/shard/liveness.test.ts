import { Liveness } from '../../engine/shard/liveness.ts';
import { Neighbours } from '../../engine/shard/neighbours.ts';
import { OrphanSearch, type Sleeper } from '../../engine/shard/orphans.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { assert, suite } from '../harness.ts';

const CONFIG = { beaconMs: 100, lostAfterMs: 1_000 };

/** Looks every `stepMs` up to and with `toMs`; the nodes that were lost on the way. */
function lookUntil(liveness: Liveness, fromMs: number, toMs: number, stepMs = 50): number[] {
  const lost: number[] = [];
  for (let nowMs = fromMs + stepMs; nowMs <= toMs; nowMs += stepMs) lost.push(...liveness.look(nowMs));
  return lost;
}

const test = suite('the liveness of other nodes');

test('a node is lost after so much silence, once', () => {
  const liveness = new Liveness(CONFIG, 0);
  liveness.watch(2);
  liveness.watch(3);
  assert.equal(lookUntil(liveness, 0, 500), []);
  liveness.heard(3);
  assert.equal(lookUntil(liveness, 500, 1_000), [2]);
  assert.equal(lookUntil(liveness, 1_000, 1_450), []);
  assert.equal([...liveness.lostNodes], [2]);
});

test('a node that is heard again is lost no more, and that is news', () => {
  const liveness = new Liveness(CONFIG, 0);
  liveness.watch(2);
  lookUntil(liveness, 0, 1_000);
  assert.is(liveness.isLost(2), true);
  assert.is(liveness.heard(2), true);
  assert.is(liveness.heard(2), false);
  assert.is(liveness.isLost(2), false);
  assert.equal(lookUntil(liveness, 1_000, 1_950), []);
  assert.equal(lookUntil(liveness, 1_950, 2_000), [2]);
});

test('a worker that was stalled does not believe that all others died', () => {
  const liveness = new Liveness(CONFIG, 0);
  liveness.watch(2);
  lookUntil(liveness, 0, 500);
  assert.equal(liveness.look(60_000), [], 'a minute in which nothing could be heard');
  assert.equal(lookUntil(liveness, 60_000, 60_350), []);
  assert.equal(lookUntil(liveness, 60_350, 60_400), [2], 'and then the rest of the time, listened to');
});

test('who has no peers here any more is not missed', () => {
  const liveness = new Liveness(CONFIG, 0);
  liveness.watch(2);
  liveness.unwatch(2);
  assert.equal(lookUntil(liveness, 0, 5_000), []);
  assert.is(liveness.heard(2), false);
});

test('beacons are due once a beacon time', () => {
  const liveness = new Liveness(CONFIG, 0);
  const due = [0, 50, 99, 100, 150, 200, 420].filter((nowMs) => liveness.isBeaconDue(nowMs));
  assert.equal(due, [0, 100, 200, 420]);
});

test('neighbours are the nodes of the peers of the regions here, and no others', () => {
  const changes: string[] = [];
  const neighbours = new Neighbours(1, (nodeId, is) => changes.push(`${is ? '+' : '-'}${nodeId}`));
  neighbours.note(regionOf(10, [1, 2, 3]));
  neighbours.note(regionOf(11, [1, 3, 4]));
  assert.equal(changes.splice(0), ['+2', '+3', '+4']);
  neighbours.note(regionOf(10, [1, 5, 3]));
  assert.equal(changes.splice(0), ['+5', '-2']);
  neighbours.note(regionOf(10, [1, 5, 3]));
  neighbours.forget(11);
  neighbours.forget(11);
  assert.equal(changes.splice(0), ['-4']);
  neighbours.forget(10);
  assert.equal(changes.splice(0), ['-5', '-3']);
});

test('only sleepers that lost nodes keep from sleeping are woken, when the search is begun', () => {
  const sleepers = [sleeper({ wokenBy: 2 }), sleeper({ wokenBy: 3 }), sleeper({ wokenBy: 2, isAsleep: false })];
  const search = new OrphanSearch(() => sleepers.values());
  assert.equal(search.step(0, new Set([2, 4])), [], 'nothing has changed');
  search.begin(100);
  assert.equal(search.step(99, new Set([2, 4])), []);
  assert.equal(search.step(100, new Set([2, 4])), [sleepers[0]]);
  assert.equal(search.step(101, new Set([2, 4])), []);
});

test('the death of a node that led thousands wakes a bounded number a tick, and each of them', () => {
  const sleepers = Array.from({ length: 10_000 }, (_, i) => sleeper({ wokenBy: 2 + (i % 3) }));
  const search = new OrphanSearch(() => sleepers.values());
  search.begin(0);
  const lost = new Set([2]);
  const woken = new Set<Sleeper>();
  for (let tick = 0; tick < 60; tick++) {
    const found = search.step(tick, lost);
    assert.ok(found.length <= LIMITS.wakeUpsPerTick);
    for (const one of found) woken.add(one);
  }
  assert.is(woken.size, sleepers.filter((one) => one.isWokenBy(lost)).length);
});

test('a second loss during a search begins another behind it', () => {
  const sleepers = Array.from({ length: 300 }, (_, i) => sleeper({ wokenBy: i < 150 ? 3 : 2 }));
  const search = new OrphanSearch(() => sleepers.values());
  search.begin(0);
  const lost = new Set([2]);
  const woken = new Set(search.step(0, lost));
  lost.add(3);
  search.begin(1);
  for (let tick = 1; tick < 20; tick++) for (const one of search.step(tick, lost)) woken.add(one);
  assert.is(woken.size, 300);
});

function sleeper({ wokenBy, isAsleep = true }: { wokenBy: number; isAsleep?: boolean }): Sleeper {
  return { isAsleep, isWokenBy: (lost) => lost.has(wokenBy) };
}

function regionOf(regionId: number, nodes: readonly number[]): Region {
  return {
    regionId,
    startKey: new Uint8Array(0),
    endKey: new Uint8Array(0),
    epoch: { version: 1, confVersion: 1 },
    peers: nodes.map((nodeId) => ({ peerId: regionId * 10 + nodeId, nodeId, role: 'voter' })),
  };
}
