import { Router } from '../../rpc/client/router.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { assert, suite } from '../harness.ts';
import { seeded } from '../wire/seeded.ts';

const test = suite('router');

function region(regionId: number, start: string, end: string, version = 1, confVersion = 1): Region {
  return {
    regionId,
    startKey: Buffer.from(start, 'latin1'),
    endKey: Buffer.from(end, 'latin1'),
    epoch: { version, confVersion },
    peers: [1, 2, 3].map((nodeId) => ({ peerId: regionId * 10 + nodeId, nodeId, role: 'voter' })),
  };
}

function router(...regions: Region[]): Router {
  const made = new Router();
  for (const one of regions) made.learn(one, 0);
  return made;
}

const find = (from: Router, key: string): number | undefined => from.find(Buffer.from(key, 'latin1'))?.regionId;
const findBelow = (from: Router, key: string | undefined): number | undefined =>
  from.findBelow(key === undefined ? undefined : Buffer.from(key, 'latin1'))?.regionId;

test('finds the region of a key, and of the keys below a bound', () => {
  const routes = router(region(2, '', 'd'), region(3, 'd', 'h'), region(4, 'h', ''));
  assert.equal(
    ['\0', 'czz', 'd', 'g', 'h', 'z'].map((key) => find(routes, key)),
    [2, 2, 3, 3, 4, 4],
  );
  assert.equal(
    ['a', 'd', 'd\0', 'h', 'zz', undefined].map((key) => findBelow(routes, key)),
    [2, 2, 3, 3, 4, 4],
  );
  assert.is(findBelow(routes, ''), undefined);
});

test('a hole is no region', () => {
  const routes = router(region(2, 'b', 'd'), region(4, 'h', 'k'));
  assert.equal(
    ['a', 'b', 'd', 'g', 'h', 'k'].map((key) => find(routes, key)),
    [undefined, 2, undefined, undefined, 4, undefined],
  );
  assert.equal(
    ['b', 'd', 'e', 'h', 'k', 'l', undefined].map((key) => findBelow(routes, key)),
    [undefined, 2, undefined, undefined, 4, undefined, undefined],
  );
});

test('finds what a walk over all regions finds, also where keys share long beginnings', () => {
  const random = seeded(3);
  const word = (): string => {
    const length = random.below(9);
    return Array.from({ length }, () => random.pick(['\0', 'a', 'b', '\xff'])).join('');
  };
  for (let round = 0; round < 60; round++) {
    const bounds = [...new Set(['', ...Array.from({ length: 20 }, word)])].sort((a, b) =>
      Buffer.compare(Buffer.from(a, 'latin1'), Buffer.from(b, 'latin1')),
    );
    const regions = bounds.map((start, i) => region(i + 2, start, bounds[i + 1] ?? ''));
    const routes = router(...regions);
    for (let i = 0; i < 100; i++) {
      const key = Buffer.from(word(), 'latin1');
      const wanted = regions.findLast((one) => Buffer.compare(one.startKey, key) <= 0)!.regionId;
      assert.is(routes.find(key)?.regionId, wanted, `key ${key.toString('hex')}`);
    }
  }
});

test('a split replaces its parent, in either order, and old news changes nothing', () => {
  const parent = region(2, '', '', 1);
  const left = region(2, '', 'm', 2);
  const right = region(9, 'm', '', 2);
  for (const order of [
    [parent, left, right],
    [parent, right, left],
  ]) {
    const routes = router(...order);
    const old = routes.find(Buffer.from('a'));
    assert.equal([find(routes, 'a'), find(routes, 'm')], [2, 9]);
    assert.not(routes.learn(parent, 0));
    assert.not(routes.learn(left, 0));
    assert.equal([find(routes, 'a'), find(routes, 'm')], [2, 9]);
    assert.is(routes.find(Buffer.from('a')), old);
    assert.is(routes.size, 2);
  }
});

test('a merge replaces both its regions', () => {
  const routes = router(region(2, '', 'm', 2), region(9, 'm', '', 2));
  const gone = routes.find(Buffer.from('z'))!;
  assert.ok(routes.learn(region(2, '', '', 3), 0));
  assert.is(find(routes, 'z'), 2);
  assert.is(routes.size, 1);
  assert.ok(gone.replaced);
});

test('whatever is learnt, routes are sorted and do not overlap', () => {
  const random = seeded(4);
  const routes = new Router();
  const letter = (): string => String.fromCharCode(97 + random.below(20));
  for (let i = 0; i < 3_000; i++) {
    const [start, end] = [letter(), letter()].sort() as [string, string];
    if (start === end) continue;
    routes.learn(region(2 + random.below(12), start, random.below(8) === 0 ? '' : end, 1 + random.below(50)), 0);
    const all = routes.routes;
    for (let at = 1; at < all.length; at++) {
      const before = all[at - 1]!;
      assert.ok(before.endKey.length > 0 && Buffer.compare(before.endKey, all[at]!.startKey) <= 0, `step ${i}`);
    }
    assert.is(new Set(all.map((route) => route.regionId)).size, all.length, `step ${i}`);
    assert.not(all.some((route) => route.replaced));
  }
});

test('without a leader the peers take turns; a peer that was left already is not left twice', () => {
  const routes = router(region(2, '', ''));
  const route = routes.find(Buffer.from('a'))!;
  const nodeOf = (): number => Math.floor(routes.laneOf(route) / 64);
  const first = nodeOf();
  routes.leave(route, first, 0);
  const second = nodeOf();
  assert.is.not(second, first);
  routes.leave(route, first, 0);
  assert.is(nodeOf(), second);
  routes.setLeader(route, 3);
  assert.is(nodeOf(), 3);
  routes.leave(route, 3, 0);
  assert.is.not(nodeOf(), 3);
});

test('a worker without listener is passed over for a while, and then asked again', () => {
  const routes = router(region(2, '', ''));
  const route = routes.find(Buffer.from('a'))!;
  const nodeOf = (): number => Math.floor(routes.laneOf(route) / 64);
  routes.setLeader(route, 2);
  routes.leaveLane(routes.laneOf(route), 1_000);
  const asked = new Set<number>();
  for (let i = 0; i < 6; i++) {
    asked.add(nodeOf());
    routes.leave(route, nodeOf(), 1_100);
  }
  assert.equal(
    [...asked].sort((a, b) => a - b),
    [1, 3],
  );
  assert.ok(routes.isGone(route, 2, 1_100));
  assert.not(routes.isGone(route, 2, 60_000));
  for (let i = 0; i < 3; i++) {
    asked.add(nodeOf());
    routes.leave(route, nodeOf(), 60_000);
  }
  assert.ok(asked.has(2));
});

test('a child is expected to be led where its parent was', () => {
  const routes = new Router();
  routes.learn(region(2, '', '', 1), 3);
  routes.learn(region(9, 'm', '', 2), 0);
  assert.is(routes.find(Buffer.from('z'))!.leaderNodeId, 3);
});

test('regions of the system and regions without voters are passed over', () => {
  const routes = router(region(1, '', ''), { ...region(2, '', ''), peers: [] });
  assert.is(routes.size, 0);
});

test('nodes with an absurd number of workers are passed over', () => {
  const routes = router(region(2, '', ''));
  routes.learnRoutes({
    nodes: [
      { nodeId: 1, workers: 1_000_000 },
      { nodeId: 0, workers: 2 },
    ],
  });
  const route = routes.find(Buffer.from('a'))!;
  assert.is(routes.workerOf(route, 1), 0);
});
