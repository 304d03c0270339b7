/** Splits, on production code with a virtual clock and network: nothing is lost, done twice, or served by two. */

import { mraft } from '../../rpc/wire/codec.ts';
import { containsKey, type Region } from '../../rpc/wire/region.ts';
import { listRegions, loadTombstone, putTombstone } from '../../engine/store/region-records.ts';
import { assert, suite } from '../harness.ts';
import { VirtualCluster, text, wholeRegion, type VirtualNode } from './virtual-cluster.ts';

const test = suite('split of a region', { timeoutMs: 120_000 });

const PARENT = 2;
const childOf = (id: number): mraft.ISplit => ({
  childRegionId: id,
  childPeerIds: [id * 10 + 1, id * 10 + 2, id * 10 + 3],
});
const splitAt = (key: string, id: number): mraft.IAdminCommand => ({ split: { splitKey: text(key), ...childOf(id) } });

function elected(seed = 1): { cluster: VirtualCluster; leader: number } {
  const cluster = new VirtualCluster({ seed });
  const leader = cluster.elect().nodeId;
  cluster.settle();
  return { cluster, leader };
}

/** Asks a region by its id and its current epoch. */
function readIn(
  cluster: VirtualCluster,
  regionId: number,
  key: string,
  mode = mraft.ReadMode.LINEARIZABLE,
): mraft.IResponse {
  const { epoch } = cluster.region(regionId);
  return cluster.ask(cluster.elect(regionId).nodeId, { regionId, epoch, read: { mode, keys: [text(key)] } })!;
}

function valueIn(cluster: VirtualCluster, regionId: number, key: string): string | null {
  const value = readIn(cluster, regionId, key).read?.values?.[0]?.value;
  return value ? Buffer.from(value).toString() : null;
}

const storedRegions = (node: VirtualNode): string[] =>
  listRegions(node.store).map(
    (region) =>
      `${region.regionId}:${Buffer.from(region.startKey).toString()}-${Buffer.from(region.endKey).toString()}@${region.epoch.version}`,
  );

test('both halves serve, with the data and the sessions of the whole, led where the whole was', () => {
  const { cluster, leader } = elected();
  cluster.put(leader, 'a', '1', { session: 'caller', seq: 1 });
  cluster.put(leader, 'x', '2', { session: 'caller', seq: 2 });
  assert.is(cluster.administer(PARENT, splitAt('m', 3)), 'done');
  assert.is(cluster.leader(3)?.nodeId, leader, 'the new half is led at once');
  assert.is(valueIn(cluster, PARENT, 'a'), '1');
  assert.is(valueIn(cluster, 3, 'x'), '2');
  const { epoch } = cluster.region(3);
  const put = { kind: 'put', key: text('x'), value: text('again') } as const;
  const retried = cluster.write(leader, put, { session: 'caller', seq: 2 }, { regionId: 3, epoch });
  assert.ok(retried?.write, JSON.stringify(retried));
  assert.is(valueIn(cluster, 3, 'x'), '2', 'a retried write took effect before the split');
  cluster.pass(500);
  for (const node of cluster.nodes.values()) assert.equal(storedRegions(node), ['2:-m@2', '3:m-@2']);
});

test('a request of before the split is answered with both halves', () => {
  const { cluster, leader } = elected();
  cluster.administer(PARENT, splitAt('m', 3));
  const put = { kind: 'put', key: text('x'), value: text('1') } as const;
  const response = cluster.write(leader, put, {}, { regionId: PARENT, epoch: { version: 1, confVersion: 1 } });
  assert.is(response?.error?.code, 'EpochNotMatch');
  assert.equal(
    response?.error?.regions?.map((region) => region.regionId),
    [2, 3],
  );
});

test('a write behind the split in the log does not take effect, and says so', () => {
  const { cluster, leader } = elected();
  const { shard } = cluster.node(leader);
  const { epoch } = cluster.region(PARENT);
  let split = '';
  shard.changeRegion(
    PARENT,
    epoch,
    { kind: 'admin', command: splitAt('m', 3) },
    (error) => (split = error?.code ?? 'done'),
  );
  const id = cluster.send(leader, { write: cluster.command({ kind: 'put', key: text('x'), value: text('late') }) });
  cluster.settle();
  assert.is(split, 'done');
  assert.is(cluster.node(leader).responses.get(id)?.error?.code, 'EpochNotMatch');
  assert.is(valueIn(cluster, 3, 'x'), null);
});

test('a read under a lease that was taken before the split is not served from what the region no longer owns', () => {
  const { cluster, leader } = elected();
  cluster.put(leader, 'x', 'old');
  cluster.pass(300);
  const { shard } = cluster.node(leader);
  const { epoch } = cluster.region(PARENT);
  shard.changeRegion(PARENT, epoch, { kind: 'admin', command: splitAt('m', 3) }, () => {});
  shard.turn();
  const id = cluster.send(leader, { epoch, read: { mode: mraft.ReadMode.LEASE, keys: [text('x')] } });
  cluster.settle();
  const response = cluster.node(leader).responses.get(id);
  // Served before the split was applied it is right; behind it, only its refusal is.
  if (response?.error) assert.is(response.error.code, 'EpochNotMatch');
  const late = cluster.ask(leader, { epoch, read: { mode: mraft.ReadMode.LEASE, keys: [text('x')] } });
  assert.is(late?.error?.code, 'EpochNotMatch');
});

test('bad splits are refused and change nothing', () => {
  const { cluster } = elected();
  assert.is(cluster.administer(PARENT, splitAt('m', 3)), 'done');
  cluster.pass(500);
  const before = [...cluster.nodes.values()].map(storedRegions);
  const cases: [string, mraft.IAdminCommand, number?][] = [
    ['on the start', splitAt('m', 4), 3],
    ['on the end', splitAt('m', 4)],
    ['outside', splitAt('z', 4)],
    ['empty', splitAt('', 4)],
    ['an id in use', splitAt('c', 3)],
    ['its own id', splitAt('c', 2)],
    ['too few peers', { split: { splitKey: text('c'), childRegionId: 4, childPeerIds: [41, 42] } }],
    ['peers in use', { split: { splitKey: text('c'), childRegionId: 4, childPeerIds: [10, 20, 30] } }],
  ];
  for (const [what, command, regionId] of cases) {
    assert.is(cluster.administer(regionId ?? PARENT, command), 'ChangeRefused', what);
  }
  const stale = { version: 1, confVersion: 1 };
  assert.is(cluster.administer(PARENT, splitAt('c', 4), stale), 'EpochNotMatch');
  cluster.pass(500);
  assert.equal([...cluster.nodes.values()].map(storedRegions), before);
});

test('a split that no majority has is not done, and the next leader settles it', () => {
  const { cluster, leader } = elected();
  const others = [...cluster.nodes.keys()].filter((id) => id !== leader);
  cluster.loses = (frame) => frame.from === leader || frame.to === leader;
  const { shard } = cluster.node(leader);
  let outcome = '';
  shard.changeRegion(PARENT, cluster.regions[0]!.epoch, { kind: 'admin', command: splitAt('m', 3) }, (error) => {
    outcome = error?.code ?? 'done';
  });
  cluster.pass(3_000);
  assert.is(outcome, 'NotLeader');
  assert.is(shard.regionStatus(3), undefined);
  const next = [...cluster.nodes.values()].find(
    (node) => others.includes(node.nodeId) && node.shard.regionStatus(PARENT)?.raft.role === 'leader',
  )!;
  cluster.loses = () => false;
  assert.ok(cluster.put(next.nodeId, 'x', 'new')?.write);
  cluster.pass(2_000);
  for (const node of cluster.nodes.values()) assert.equal(storedRegions(node), ['2:-@1']);
});

test('a node that was away creates its replica of the new half when it applies the split, whatever came before', () => {
  const { cluster, leader } = elected();
  const away = [...cluster.nodes.keys()].find((id) => id !== leader)!;
  cluster.loses = (frame) => frame.to === away || frame.from === away;
  cluster.put(leader, 'x', '1');
  cluster.administer(PARENT, splitAt('m', 3));
  assert.ok(cluster.leader(3), 'two of three elect, at once');
  cluster.write(
    leader,
    { kind: 'put', key: text('y'), value: text('2') },
    {},
    { regionId: 3, epoch: cluster.region(3).epoch },
  );
  // Messages for the new half come first.
  const { loses } = cluster;
  cluster.loses = () => false;
  cluster.pass(3_000);
  assert.is(loses({ to: away, from: leader }), true);
  assert.equal(storedRegions(cluster.node(away)), ['2:-m@2', '3:m-@2']);
  assert.is(cluster.node(away).store.get('data', text('y'))?.toString(), Buffer.from('2').toString());
  assert.equal(cluster.node(away).anomalies, []);
});

test('a crash at any point leaves the whole or both halves, and the log brings the rest', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const { cluster, leader } = elected(seed);
    cluster.put(leader, 'a', '1', { session: 'caller', seq: 1 });
    cluster.put(leader, 'x', '2', { session: 'caller', seq: 2 });
    const { shard } = cluster.node(leader);
    shard.changeRegion(PARENT, cluster.region(PARENT).epoch, { kind: 'admin', command: splitAt('m', 3) }, () => {});
    // Turns and deliveries up to a point that differs with the seed; then all nodes lose what is not synced.
    cluster.steps(seed);
    for (const id of cluster.nodes.keys()) cluster.crash(id);
    for (const id of [...cluster.nodes.keys()]) cluster.restart(id);
    cluster.pass(6_000);
    const isSplit = cluster.region(PARENT).epoch.version === 2;
    assert.is(valueIn(cluster, PARENT, 'a'), '1');
    assert.is(valueIn(cluster, isSplit ? 3 : PARENT, 'x'), '2', `seed ${seed}`);
    for (const node of cluster.nodes.values()) {
      assert.equal(storedRegions(node), isSplit ? ['2:-m@2', '3:m-@2'] : ['2:-@1'], `seed ${seed}`);
      assert.equal(node.anomalies, [], `seed ${seed}`);
    }
  }
});

test('a new half that was removed from a node before it was born there is not born, and leaves no data', () => {
  const { cluster, leader } = elected();
  const late = [...cluster.nodes.keys()].find((id) => id !== leader)!;
  cluster.put(leader, 'x', '1');
  cluster.pass(300);
  const { store } = cluster.node(late);
  const position = cluster.regions[0]!.peers.findIndex((peer) => peer.nodeId === late);
  const region: Region = { ...wholeRegion([1, 2, 3]), regionId: 3 };
  const batch = store.createBatch();
  putTombstone(batch, { peerId: childOf(3).childPeerIds![position]!, region });
  store.write(batch, { sync: true });
  cluster.administer(PARENT, splitAt('m', 3));
  cluster.pass(1_000);
  assert.equal(storedRegions(cluster.node(late)), ['2:-m@2']);
  assert.is(store.get('data', text('x')), undefined);
  assert.ok(loadTombstone(store, 3));
});

test('a thousand splits in a row end with a tiled key space that serves everywhere', () => {
  const { cluster, leader } = elected();
  const SPLITS = 1_000;
  for (let at = 0; at < SPLITS; at++) {
    const key = String((at * 7_919) % 100_003).padStart(6, '0');
    const regions = listRegions(cluster.node(leader).store);
    const parent = regions.find((region) => containsKey(region, text(key)))!;
    if (Buffer.from(parent.startKey).toString() === key) continue;
    const id = 1_000 + at;
    const outcome = cluster.administer(parent.regionId, {
      split: { splitKey: text(key), childRegionId: id, childPeerIds: [id * 10 + 1, id * 10 + 2, id * 10 + 3] },
    });
    assert.is(outcome, 'done', `split ${at} at ${key}`);
  }
  cluster.pass(1_000);
  for (const node of cluster.nodes.values()) {
    const regions = listRegions(node.store).sort((a, b) => Buffer.compare(a.startKey, b.startKey));
    assert.is(regions.length, SPLITS + 1);
    assert.is(regions[0]!.startKey.length, 0);
    assert.is(regions.at(-1)!.endKey.length, 0);
    for (let i = 1; i < regions.length; i++) assert.equal(regions[i]!.startKey, regions[i - 1]!.endKey);
    assert.equal(node.anomalies, []);
  }
  for (let at = 0; at < 50; at++) {
    const key = String((at * 1_987) % 100_003).padStart(6, '0');
    const { regionId, epoch } = listRegions(cluster.node(1).store).find((region) => containsKey(region, text(key)))!;
    const put = { kind: 'put', key: text(key), value: text('v') } as const;
    assert.ok(cluster.write(cluster.elect(regionId).nodeId, put, {}, { regionId, epoch })?.write);
  }
});
