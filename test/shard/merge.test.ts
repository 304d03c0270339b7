/** Merges, on production code with a virtual clock and network: through crashes, lags and changes of leaders. */

import type { mraft } from '../../rpc/wire/codec.ts';
import { toWireRegion, type Region } from '../../rpc/wire/region.ts';
import { listRegions, loadTombstone } from '../../engine/store/region-records.ts';
import { logRange } from '../../engine/store/keys.ts';
import { seededRandom } from '../linearizability/random-history.ts';
import { assert, suite } from '../harness.ts';
import {
  LEFT,
  MERGE_WAIT_MS,
  RIGHT,
  assertAlike,
  dataOf,
  finish,
  parted,
  prepare,
  put,
  read,
  regionAt,
  splitAt,
  stored,
} from './merge-fixture.ts';
import { VirtualCluster, text } from './virtual-cluster.ts';

const test = suite('merge of regions', { timeoutMs: 120_000 });

for (const [source, target] of [
  [RIGHT, LEFT],
  [LEFT, RIGHT],
] as const) {
  test(`region ${source} is merged into ${target}: its data and its sessions are there, of itself nothing is left`, () => {
    const cluster = parted();
    put(cluster, 'b', '1', 10);
    put(cluster, 'y', '2', 11);
    assert.is(prepare(cluster, source, target), 'done');
    cluster.pass(100);
    assert.equal(cluster.carryOnMerges(), ['done']);
    cluster.pass(500);
    assertAlike(cluster, [`${target}:- normal`]);
    assert.is(read(cluster, 'a'), 'left');
    assert.is(read(cluster, 'y'), '2');
    put(cluster, 'b', 'again', 10);
    put(cluster, 'y', 'again', 11);
    assert.equal([read(cluster, 'b'), read(cluster, 'y')], ['1', '2'], 'retries take no effect twice');
    for (const { store } of cluster.nodes.values()) {
      assert.ok(loadTombstone(store, source));
      const { start, end } = logRange(source);
      assert.is(store.scan('log', { gte: start, lt: end, limit: 10, maxBytes: 1_000 }).entries.length, 0);
    }
  });
}

test('the parts of a range delete under one sequence are done once each, though their regions are merged in between', () => {
  const cluster = parted();
  const deleteRange = (start: string, end: string): void => {
    const { regionId, epoch } = regionAt(cluster, start);
    const operation = { kind: 'deleteRange', start: text(start), end: text(end) } as const;
    const leader = cluster.elect(regionId).nodeId;
    assert.ok(cluster.write(leader, operation, { session: 'user', seq: 5 }, { regionId, epoch })?.write);
  };
  deleteRange('a', 'm');
  put(cluster, 'a', 'written since', 20);
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  finish(cluster);
  // The user's second attempt finds one region where the first one found two.
  deleteRange('a', 'z');
  assert.equal([read(cluster, 'a'), read(cluster, 'x')], ['written since', null]);
  put(cluster, 'x', 'written since', 21);
  assert.is(cluster.administer(LEFT, splitAt('n', 4)), 'done');
  cluster.pass(500);
  deleteRange('a', 'n');
  deleteRange('n', 'z');
  assert.equal([read(cluster, 'a'), read(cluster, 'x')], ['written since', 'written since']);
  assertAlike(cluster);
});

test('a region that prepared takes nothing, and says why; merged, it says into what', () => {
  const cluster = parted();
  const { epoch } = cluster.region(RIGHT);
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  const leader = cluster.leader(RIGHT)!.nodeId;
  const ask = (request: mraft.IRequest) => cluster.ask(leader, { regionId: RIGHT, epoch, ...request })?.error;
  const write = cluster.command({ kind: 'put', key: text('x'), value: text('v') });
  const codes = (): (string | null | undefined)[] => [
    ask({ write })?.code,
    ask({ read: { mode: 0, keys: [text('x')] } })?.code,
    ask({ read: { mode: 1, keys: [text('x')] } })?.code,
    ask({ scan: { mode: 0 } })?.code,
  ];
  // By the old epoch, and by the new one that only those learn who are told of it.
  const inMerge = codes();
  assert.ok(
    inMerge.every((code) => code === 'RegionMerging' || code === 'EpochNotMatch'),
    inMerge.join(),
  );
  const current = cluster.region(RIGHT).epoch;
  assert.is(cluster.ask(leader, { regionId: RIGHT, epoch: current, write })?.error?.code, 'RegionMerging');
  cluster.pass(100);
  assert.equal(cluster.carryOnMerges(), ['done']);
  cluster.pass(300);
  const gone = ask({ write })!;
  assert.is(gone.code, 'EpochNotMatch');
  assert.equal(
    gone.regions?.map((region) => region.regionId),
    [LEFT],
  );
});

test('a merge of regions that do not touch, or of a region that changes, is refused and changes nothing', () => {
  const cluster = parted();
  cluster.administer(RIGHT, splitAt('t', 4));
  cluster.pass(300);
  assert.is(prepare(cluster, 4, LEFT), 'ChangeRefused');
  assert.is(prepare(cluster, LEFT, LEFT), 'ChangeRefused');
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  assert.is(prepare(cluster, RIGHT, 4), 'RegionMerging', 'it is in a merge already');
  assert.is(cluster.administer(RIGHT, splitAt('p', 5)), 'RegionMerging');
  const rollback = cluster.administer(LEFT, { rollbackMerge: { commit: 3 } });
  assert.is(rollback, 'ChangeRefused', 'it is in none');
  finish(cluster);
  assertAlike(cluster, ['2:-t normal', '4:t- normal']);
});

test('a merge does not begin while a peer of the source is away or far behind', () => {
  const cluster = parted();
  const leader = cluster.elect(RIGHT).nodeId;
  const away = [...cluster.nodes.keys()].find((id) => id !== leader)!;
  cluster.crash(away);
  cluster.pass(3_000);
  put(cluster, 'y', '1', 20);
  assert.is(prepare(cluster, RIGHT, LEFT), 'RegionChanging');
  cluster.restart(away);
  cluster.pass(3_000);
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  finish(cluster);
  assertAlike(cluster, ['2:- normal']);
});

test('a peer of the source that lacks its last entries gets them with the merge', () => {
  const cluster = parted();
  const leader = cluster.elect(RIGHT).nodeId;
  const [slow] = [...cluster.nodes.keys()].filter((id) => id !== leader && id !== cluster.elect(LEFT).nodeId);
  cluster.pass(300);
  // The slow node hears nothing from here on; its peers are known to have kept up until now.
  cluster.loses = (frame) => frame.to === slow;
  for (let i = 0; i < 20; i++) put(cluster, `x${i}`, String(i), 100 + i);
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  cluster.pass(100);
  const outcome = cluster.carryOnMerges();
  assert.equal(outcome, ['done']);
  assert.ok(stored(cluster.node(slow!)).includes('3:m- normal'), 'it does not know of the merge yet');
  cluster.loses = () => false;
  cluster.pass(3_000);
  assertAlike(cluster, ['2:- normal']);
  assert.is(read(cluster, 'x19'), '19');
});

test('a crash while a source is being finished leaves a log that reaches what is applied, and the merge goes on', () => {
  let died = true;
  for (let writes = 0; died; writes++) {
    const cluster = parted();
    const leader = cluster.elect(RIGHT).nodeId;
    const [slow] = [...cluster.nodes.keys()].filter((id) => id !== leader && id !== cluster.elect(LEFT).nodeId);
    cluster.pass(300);
    cluster.loses = (frame) => frame.to === slow;
    for (let i = 0; i < 5; i++) put(cluster, `x${i}`, String(i), 100 + i);
    assert.is(prepare(cluster, RIGHT, LEFT), 'done');
    cluster.pass(100);
    assert.equal(cluster.carryOnMerges(), ['done']);
    cluster.loses = () => false;
    // The slow node dies after so many of its next writes, those that were not synced included.
    const { store } = cluster.node(slow!);
    const write = store.write.bind(store);
    let left = writes;
    store.write = (batch, options) => {
      if (left-- <= 0) throw new Error('the process is dead');
      write(batch, options);
    };
    died = false;
    try {
      cluster.pass(5_000);
    } catch (error) {
      died = /the process is dead/.test(String(error));
      if (!died) throw error;
    }
    assert.ok(died || writes >= 5, 'it died at every point of the merge');
    store.write = write;
    cluster.node(slow!).up = false;
    store.crash({ keepWrites: Infinity });
    cluster.restart(slow!);
    cluster.pass(5_000);
    finish(cluster);
    assertAlike(cluster, ['2:- normal'], `after ${writes} writes:`);
    assert.is(read(cluster, 'x4'), '4');
  }
});

test('a node that was down through the whole merge comes to the same', () => {
  for (const down of [1, 2, 3]) {
    const cluster = parted();
    cluster.pass(300);
    for (let i = 0; i < 5; i++) put(cluster, `x${i}`, String(i), 100 + i);
    assert.is(prepare(cluster, RIGHT, LEFT), 'done');
    cluster.crash(down);
    cluster.pass(4_000);
    for (let i = 0; i < 20 && cluster.leader(RIGHT); i++) {
      cluster.pass(300);
      cluster.carryOnMerges();
    }
    put(cluster, 'x0', 'later', 200);
    cluster.restart(down);
    finish(cluster);
    assertAlike(cluster, ['2:- normal'], `node ${down} was down:`);
    assert.equal([read(cluster, 'x0'), read(cluster, 'x4')], ['later', '4']);
  }
});

test('a source goes on when its target has changed meanwhile, and nothing that it had is lost', () => {
  const cluster = parted();
  put(cluster, 'y', '1', 20);
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  assert.is(cluster.administer(LEFT, splitAt('c', 4)), 'done');
  cluster.pass(100);
  assert.equal(cluster.carryOnMerges(), ['rolled back']);
  cluster.pass(500);
  assertAlike(cluster, ['2:-c normal', '3:m- normal', '4:c-m normal']);
  assert.is(read(cluster, 'y'), '1');
  put(cluster, 'y', 'again', 20);
  put(cluster, 'z', '2', 21);
  assert.equal([read(cluster, 'y'), read(cluster, 'z')], ['1', '2']);
  assert.is(prepare(cluster, RIGHT, 4), 'done', 'it can be merged again');
  finish(cluster);
  assertAlike(cluster, ['2:-c normal', '4:c- normal']);
});

test('two regions that prepare to be merged into each other both go on', () => {
  const cluster = parted();
  const [left, right] = [cluster.region(LEFT), cluster.region(RIGHT)];
  const outcomes: string[] = [];
  const ask = (source: Region, target: Region): void => {
    const change = { kind: 'admin', command: { prepareMerge: { target: toWireRegion(target) } } } as const;
    cluster.elect(source.regionId).shard.changeRegion(source.regionId, source.epoch, change, (error) => {
      outcomes.push(error?.code ?? 'done');
    });
  };
  // Before either knows of the other.
  ask(right, left);
  ask(left, right);
  cluster.settle();
  assert.equal(outcomes, ['done', 'done']);
  finish(cluster);
  assertAlike(cluster);
  assert.equal([read(cluster, 'a'), read(cluster, 'x')], ['left', 'right']);
  put(cluster, 'x', 'new', 30);
  assert.is(read(cluster, 'x'), 'new');
});

test('a merge into a region that is known to have changed, or to be merged itself, does not begin', () => {
  const cluster = parted();
  const left = cluster.region(LEFT);
  cluster.administer(LEFT, splitAt('c', 4));
  cluster.pass(300);
  const stale = { prepareMerge: { target: toWireRegion({ ...left, startKey: text('c') }) } };
  assert.is(cluster.administer(RIGHT, stale), 'EpochNotMatch');
  assert.is(prepare(cluster, 4, LEFT), 'done');
  const target = { ...cluster.region(4) };
  assert.is(cluster.administer(RIGHT, { prepareMerge: { target: toWireRegion(target) } }), 'RegionMerging');
  finish(cluster);
  assertAlike(cluster, ['2:-m normal', '3:m- normal']);
});

test('a commit of a merge that comes late, after the source went on, takes no effect', () => {
  const cluster = parted();
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  cluster.pass(100);
  const [late] = cluster.mergeSteps;
  assert.is(cluster.administer(LEFT, splitAt('c', 4)), 'done');
  assert.equal(cluster.carryOnMerges(), ['rolled back']);
  put(cluster, 'y', '1', 40);
  cluster.mergeSteps.push(late!);
  cluster.carryOnMerges();
  cluster.pass(500);
  assertAlike(cluster, ['2:-c normal', '3:m- normal', '4:c-m normal']);
  assert.is(read(cluster, 'y'), '1');
});

test('another leader of the source carries its merge on', () => {
  const cluster = parted();
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  const first = cluster.leader(RIGHT)!;
  cluster.mergeSteps = [];
  const next = [...cluster.nodes.keys()].find((id) => id !== first.nodeId)!;
  assert.ok(first.shard.transferLeader(RIGHT, next));
  cluster.pass(MERGE_WAIT_MS);
  assert.is.not(cluster.leader(RIGHT)?.nodeId, first.nodeId);
  assert.ok(cluster.mergeSteps.some((step) => step.nodeId !== first.nodeId));
  finish(cluster);
  assertAlike(cluster, ['2:- normal']);
});

test('regions that sleep are merged as well, and sleep again', () => {
  const cluster = new VirtualCluster({ hibernateAfterMs: 1_000 });
  cluster.elect();
  put(cluster, 'a', 'left', 1);
  assert.is(cluster.administer(LEFT, splitAt('m', RIGHT)), 'done');
  cluster.pass(10_000);
  assert.ok(cluster.leader(RIGHT)!.shard.regionStatus(RIGHT)!.raft.hibernating);
  assert.is(prepare(cluster, RIGHT, LEFT), 'done');
  finish(cluster);
  assertAlike(cluster, ['2:- normal']);
  cluster.pass(10_000);
  assert.ok(cluster.leader(LEFT)!.shard.regionStatus(LEFT)!.raft.hibernating);
});

test('a crash of all nodes at any point of a merge leaves two regions or one, and loses nothing', () => {
  for (let seed = 1; seed <= 40; seed++) {
    const cluster = parted(seed);
    put(cluster, 'y', '1', 20);
    const source = cluster.leader(RIGHT)!;
    const command = { prepareMerge: { target: toWireRegion(cluster.region(LEFT)) } };
    source.shard.changeRegion(RIGHT, cluster.region(RIGHT).epoch, { kind: 'admin', command }, () => {});
    cluster.steps(seed % 2 === 0 ? seed : 1_000);
    cluster.nowMs += 50;
    for (const node of cluster.nodes.values()) node.shard.requestTick();
    cluster.steps(20);
    cluster.askTargets((leader, target, command) => {
      leader.shard.changeRegion(target.regionId, target.epoch, { kind: 'admin', command }, () => {});
      cluster.steps(seed);
    });
    for (const id of cluster.nodes.keys()) cluster.crash(id);
    for (const id of [...cluster.nodes.keys()]) cluster.restart(id);
    cluster.pass(3_000);
    finish(cluster);
    assertAlike(cluster, undefined, `seed ${seed}:`);
    assert.equal([read(cluster, 'a'), read(cluster, 'x'), read(cluster, 'y')], ['left', 'right', '1'], `seed ${seed}`);
    put(cluster, 'y', 'again', 20);
    assert.is(read(cluster, 'y'), '1', `seed ${seed}`);
  }
});

test('splits and merges in a long row, with crashes, losses and writes between, keep everything', () => {
  for (let seed = 1; seed <= 6; seed++) {
    const random = seededRandom(seed);
    const below = (n: number): number => Math.floor(random() * n);
    const cluster = parted(seed);
    const expected = new Map<string, string>([
      ['a', 'left'],
      ['x', 'right'],
    ]);
    let nextId = 10;
    let seq = 100;
    let merges = 0;
    for (let round = 0; round < 60; round++) {
      const regions = listRegions(cluster.node(1).store).sort((a, b) => Buffer.compare(a.startKey, b.startKey));
      const at = below(regions.length);
      const choice = random();
      const { regionId } = regions[at]!;
      if (choice < 0.35 && regions.length < 12) {
        const key = String.fromCharCode(97 + below(26)) + below(10);
        const parent = regionAt(cluster, key).regionId;
        if (cluster.leader(parent)) cluster.administer(parent, splitAt(key, nextId++));
      } else if (choice < 0.7 && regions.length > 1) {
        const neighbour = regions[at + 1] ?? regions[at - 1]!;
        const [source, target] = random() < 0.5 ? [regionId, neighbour.regionId] : [neighbour.regionId, regionId];
        if (cluster.leader(source) && cluster.leader(target) && prepare(cluster, source, target) === 'done') merges++;
      } else if (choice < 0.8) {
        const node = 1 + below(3);
        cluster.crash(node);
        cluster.pass(below(3_000));
        cluster.restart(node);
      } else if (choice < 0.9) {
        const node = 1 + below(3);
        cluster.loses = (frame) => (frame.to === node || frame.from === node) && random() < 0.5;
        cluster.pass(below(1_500));
      } else {
        cluster.loses = () => false;
        cluster.pass(2_000);
      }
      cluster.carryOnMerges();
      const key = String.fromCharCode(97 + below(26)) + below(30);
      put(cluster, key, `${seed}.${round}`, ++seq);
      expected.set(key, `${seed}.${round}`);
    }
    cluster.loses = () => false;
    cluster.pass(3_000);
    finish(cluster);
    assertAlike(cluster, undefined, `seed ${seed}:`);
    assert.ok(merges > 0);
    assert.equal(
      dataOf(cluster.node(1)),
      [...expected].sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`),
      `seed ${seed}`,
    );
    const tiled = listRegions(cluster.node(1).store).sort((a, b) => Buffer.compare(a.startKey, b.startKey));
    for (let i = 1; i < tiled.length; i++) assert.equal(tiled[i]!.startKey, tiled[i - 1]!.endKey, `seed ${seed}`);
  }
});
