/** Consistency checks among replicas, on production code with a virtual clock: a difference is found, and nothing else is. */

import { mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, suite } from '../harness.ts';
import { VirtualCluster, text, type VirtualNode } from './virtual-cluster.ts';

const test = suite('consistency checks', { timeoutMs: 60_000 });

const REGION = 2;
const BIG = 'v'.repeat(60 * 1024);

function filled(): { cluster: VirtualCluster; leader: VirtualNode; follower: VirtualNode } {
  const cluster = new VirtualCluster();
  const leader = cluster.elect();
  cluster.settle();
  for (let at = 0; at < 30; at++)
    cluster.put(leader.nodeId, `k${String(at).padStart(2, '0')}`, `${at}${BIG}`, { session: 's', seq: at + 1 });
  cluster.pass(500);
  const follower = [...cluster.nodes.values()].find((node) => node !== leader)!;
  return { cluster, leader, follower };
}

function check(cluster: VirtualCluster, leader: VirtualNode): void {
  assert.ok(leader.shard.checkConsistency(REGION));
  cluster.settle();
}

function damage(node: VirtualNode, key: string, value: string): void {
  const batch = node.store.createBatch();
  batch.put('data', text(key), text(value));
  node.store.write(batch, { sync: true });
}

const differences = (cluster: VirtualCluster): number[] =>
  [...cluster.nodes.values()].map((node) => node.shard.stats().differences);

test('replicas that agree say nothing, also while the region is written to', () => {
  const { cluster, leader } = filled();
  check(cluster, leader);
  for (let at = 0; at < 40; at++) {
    cluster.put(leader.nodeId, `k${at % 30}`, `new ${at}`, { session: 's', seq: 100 + at });
    cluster.pass(50);
  }
  cluster.pass(2_000);
  assert.equal(differences(cluster), [0, 0, 0]);
  for (const node of cluster.nodes.values()) assert.equal(node.anomalies, []);
});

test('a replica whose data differs says so loudly, and where the first difference is', () => {
  const { cluster, leader, follower } = filled();
  damage(follower, 'k17', 'flipped');
  check(cluster, leader);
  cluster.pass(3_000);
  const found = differences(cluster);
  assert.is(found[follower.nodeId - 1], 1);
  assert.is(
    found.reduce((sum, count) => sum + count, 0),
    1,
    'nobody else differs',
  );
  const [report] = follower.anomalies;
  assert.match(report!, /region 2 differs from its leader at entry \d+: keys behind [0-9a-f]+ up to [0-9a-f]+/);
  const [, after, upTo] = /behind ([0-9a-f]+) up to ([0-9a-f]+)/.exec(report!)!;
  const isWithin = Buffer.from(after!, 'hex').toString() < 'k17' && Buffer.from(upTo!, 'hex').toString() >= 'k17';
  assert.ok(isWithin, report);
});

test('a leader whose own data differs is found out by all others', () => {
  const { cluster, leader } = filled();
  damage(leader, 'k03', 'flipped');
  check(cluster, leader);
  cluster.pass(3_000);
  assert.equal(
    differences(cluster),
    [1, 2, 3].map((id) => (id === leader.nodeId ? 0 : 1)),
  );
});

test('what was damaged behind the check is found by the next one, not by this', () => {
  const { cluster, leader, follower } = filled();
  check(cluster, leader);
  // The other replicas hear of the check with the next heartbeat.
  cluster.pass(200);
  damage(follower, 'k20', 'flipped');
  cluster.pass(3_000);
  assert.equal(differences(cluster), [0, 0, 0]);
  check(cluster, leader);
  cluster.pass(3_000);
  assert.is(differences(cluster)[follower.nodeId - 1], 1);
});

test('a check that is overtaken by a split, a change of leader or a crash ends without a word', () => {
  const { cluster, leader } = filled();
  check(cluster, leader);
  cluster.pass(100);
  const split = { splitKey: text('k15'), childRegionId: 3, childPeerIds: [31, 32, 33] };
  assert.is(cluster.administer(REGION, { split }), 'done');
  cluster.pass(3_000);
  check(cluster, cluster.elect(REGION));
  cluster.pass(100);
  const [next] = [...cluster.nodes.keys()].filter((id) => id !== cluster.leader(REGION)!.nodeId);
  cluster.leader(REGION)!.shard.transferLeader(REGION, next!);
  cluster.pass(3_000);
  check(cluster, cluster.elect(REGION));
  cluster.crash(next!);
  cluster.restart(next!);
  cluster.pass(3_000);
  assert.equal(differences(cluster), [0, 0, 0]);
  check(cluster, cluster.elect(REGION));
  cluster.pass(3_000);
  assert.equal(differences(cluster), [0, 0, 0]);
});

test('sessions are compared too', () => {
  const { cluster, leader, follower } = filled();
  const { regionId } = { regionId: REGION };
  const page = follower.store.scan('meta', { gte: Buffer.of(5), lt: Buffer.of(6), limit: 10, maxBytes: 1 << 20 });
  assert.ok(page.entries.length > 0, `region ${regionId} remembers sessions`);
  const batch = follower.store.createBatch();
  batch.delete('meta', page.entries[0]!.key);
  follower.store.write(batch, { sync: true });
  check(cluster, leader);
  cluster.pass(3_000);
  assert.match(follower.anomalies[0]!, /its descriptor or sessions/);
});

test('hashing is spread over ticks: no turn reads more than a few pages', () => {
  const { cluster, leader } = filled();
  const cursors = { pages: 0 };
  const { store } = leader;
  const openCursor = store.openCursor.bind(store);
  store.openCursor = (column, options) => {
    const cursor = openCursor(column, options);
    return { next: () => (cursors.pages++, cursor.next()), close: () => cursor.close() };
  };
  check(cluster, leader);
  assert.is(cursors.pages, 0);
  cluster.pass(50);
  assert.ok(cursors.pages > 0 && cursors.pages <= 2, `${cursors.pages} pages of ${LIMITS.hashPageBytes} bytes`);
  cluster.pass(1_000);
  assert.ok(cursors.pages >= 7);
  assert.is(cluster.value(leader.nodeId, 'k01', mraft.ReadMode.LINEARIZABLE)?.slice(0, 1), '1');
});
