import { assert, suite } from '../harness.ts';
import { MIB, assertWhole, spanOf, startCluster, upNodes } from './cluster-fixture.ts';

const test = suite('placement evens out the cluster', { timeoutMs: 180_000 });

test('a cluster that is even gets no orders, for as long as one looks', () => {
  const driver = startCluster({ nodes: 6, regions: 60 });
  driver.runUntilQuiet(600_000);
  const { orders } = driver;
  driver.runFor(3_600_000);
  assert.is(driver.orders, orders);
});

test('leaders that sit on one node spread until no two nodes differ by more than one', () => {
  const driver = startCluster({ nodes: 5, regions: 48, replicas: 5, settings: { replicas: 5 } });
  for (const region of driver.cluster.regions.values()) assert.ok(region.leader);
  driver.cluster.kill([2, 3]);
  driver.runFor(5_000);
  driver.cluster.revive([2, 3]);
  assert.ok(driver.runUntilQuiet(60_000, 5), 'quiet within a minute');
  assert.ok(spanOf(upNodes(driver).map(({ leaders }) => leaders)) <= 1);
});

test('leaders spread around the lead of placement, which stays where it is', () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const driver = startCluster({ seed, nodes: 3, regions: 0 });
    const { cluster } = driver;
    for (let regionId = 1; regionId <= 7; regionId += 1) {
      const peers = [1, 2, 3].map((nodeId) => ({ nodeId, peerId: 100_000 + regionId * 8 + nodeId }));
      const end = regionId === 7 ? Number.POSITIVE_INFINITY : regionId;
      cluster.addRegion(regionId, { start: regionId - 1, end }, peers, MIB);
    }
    for (const region of cluster.regions.values()) assert.is(region.leader?.node.nodeId, 1);
    driver.reportEverything();
    assert.ok(driver.runUntilQuiet(60_000, 5), 'quiet within a minute');
    assert.is(cluster.regions.get(1)?.leader?.node.nodeId, 1);
    assert.ok(spanOf(upNodes(driver).map(({ leaders }) => leaders)) <= 1);
  }
});

test('a cluster of one node that becomes three and then five is whole and even within a minute of each change', () => {
  const driver = startCluster({ nodes: 1, regions: 48, sizeBytes: MIB });
  driver.runFor(5_000);
  for (const [first, last] of [
    [2, 3],
    [4, 5],
  ] as const) {
    for (let nodeId = first; nodeId <= last; nodeId += 1) {
      driver.cluster.addNode(nodeId);
      driver.join(nodeId);
    }
    assert.ok(driver.runUntilQuiet(60_000, 5), `${last} nodes are quiet within a minute`);
    assertWhole(driver, 3);
    const leaders = upNodes(driver).map((node) => node.leaders);
    const even = 48 / last;
    for (const count of leaders)
      assert.ok(Math.abs(count - even) <= Math.max(1, even * 0.1), `${leaders.join(', ')} of 48`);
  }
});

test('a node that joins is filled without others being emptied below it, and every copy serves a purpose', () => {
  const driver = startCluster({ nodes: 9, regions: 300 });
  driver.runUntilQuiet(600_000);
  const copied = driver.cluster.copiedBytes;
  driver.cluster.addNode(10);
  driver.join(10);
  assert.ok(driver.runUntilQuiet(1_200_000));
  assertWhole(driver, 3);
  const sizes = upNodes(driver).map(({ sizeBytes }) => sizeBytes);
  const mean = (300 * 3 * 64 * MIB) / 10;
  for (const size of sizes) assert.ok(Math.abs(size - mean) <= mean * 0.12, `${size / MIB} of ${mean / MIB} MiB`);
  const needed = mean;
  assert.ok(driver.cluster.copiedBytes - copied <= needed * 1.1, 'little more was copied than the new node holds');
});

test('nodes fill in proportion to their disks', () => {
  const driver = startCluster({ nodes: 0, regions: 0 });
  const { cluster } = driver;
  for (let nodeId = 1; nodeId <= 6; nodeId += 1) {
    cluster.addNode(nodeId, {}, (nodeId <= 3 ? 100 : 200) * 1024 * MIB);
    driver.join(nodeId);
  }
  for (let index = 0; index < 240; index += 1) {
    const peers = [1, 2, 3].map((nodeId) => ({ nodeId, peerId: 10_000 + index * 4 + nodeId }));
    const end = index === 239 ? Number.POSITIVE_INFINITY : index + 1;
    cluster.addRegion(2 + index, { start: index, end }, peers, 64 * MIB);
  }
  driver.reportEverything();
  driver.runFor(2_000);
  assert.ok(driver.runUntilQuiet(3_600_000));
  const mean = (nodeIds: readonly number[]): number =>
    nodeIds.reduce((sum, nodeId) => sum + cluster.node(nodeId).sizeBytes, 0) / nodeIds.length;
  const ratio = mean([4, 5, 6]) / mean([1, 2, 3]);
  assert.ok(ratio > 1.7 && ratio < 2.3, `the larger hold ${ratio} times as much`);
});

test('a node that serves most of the traffic gives hot regions away, and the numbers of leaders stay even', () => {
  const driver = startCluster({ nodes: 6, regions: 120, reportEveryMs: 10_000 });
  driver.runUntilQuiet(600_000);
  const { cluster } = driver;
  const hot = [...cluster.regions.values()].filter(({ leader }) => leader?.node.nodeId === 1).slice(0, 12);
  for (const region of hot) cluster.resize(region, { sizeBytes: region.sizeBytes, reads: 2_000, writes: 0 });
  driver.runFor(120_000);
  assert.ok(driver.runUntilQuiet(600_000));
  const loads = driver.placement.nodes().map(({ load }) => load);
  assert.ok(Math.max(...loads) <= 6_000, `24,000 reads are served as ${loads.map(Math.round).join(', ')}`);
  assert.ok(spanOf(upNodes(driver).map(({ leaders }) => leaders)) <= 1);
  const { orders } = driver;
  driver.runFor(600_000);
  assert.is(driver.orders, orders, 'and there it stays');
});

test('replicas that share a zone are moved apart', () => {
  const driver = startCluster({ nodes: 9, regions: 60, zones: 0 });
  for (const node of driver.cluster.nodes.values())
    Object.assign(node.labels, { zone: `z${Math.ceil(node.nodeId / 3)}` });
  driver.runFor(5_000);
  assert.ok(driver.runUntilQuiet(1_200_000));
  assertWhole(driver, 3);
  for (const { regionId, peers } of driver.cluster.regions.values()) {
    assert.is(new Set(peers.map(({ node }) => node.labels['zone'])).size, 3, `region ${regionId} is in three zones`);
  }
});

test('a region that is larger than the difference between two nodes stays where it is', () => {
  const driver = startCluster({ nodes: 2, regions: 41, replicas: 1, sizeBytes: 64 * MIB, settings: { replicas: 1 } });
  driver.runUntilQuiet(600_000);
  const [large] = [...driver.cluster.regions.values()];
  if (large) driver.cluster.resize(large, { sizeBytes: 20_000 * MIB, reads: 0, writes: 0 });
  if (large) driver.cluster.report(large);
  assert.ok(driver.runUntilQuiet(3_600_000, 60), 'it comes to rest');
  const home = large?.peers[0]?.node;
  assert.is(home?.replicas, 1, 'and everything else went to the other node');
});

test('balance never brings replicas closer together', () => {
  const driver = startCluster({ nodes: 0, regions: 0 });
  const { cluster } = driver;
  for (const nodeId of [1, 2, 3, 4]) {
    cluster.addNode(nodeId, { zone: nodeId === 4 ? 'b' : 'a' });
    driver.join(nodeId);
  }
  for (let index = 0; index < 60; index += 1) {
    const peers = [(index % 3) + 1, ((index + 1) % 3) + 1, 4].map((nodeId) => ({
      nodeId,
      peerId: 10_000 + index * 8 + nodeId,
    }));
    const end = index === 59 ? Number.POSITIVE_INFINITY : index + 1;
    cluster.addRegion(2 + index, { start: index, end }, peers, 64 * MIB);
  }
  driver.runFor(3_000);
  assert.ok(driver.runUntilQuiet(600_000));
  assert.is(cluster.node(4).replicas, 60, 'the only node of its zone keeps all, although it is the fullest');
});

test('what a dead node held goes to where it is farthest from the rest, so that nothing is moved twice', () => {
  const driver = startCluster({ nodes: 12, regions: 60, zones: 4, settings: { replaceAfterMs: 10_000 } });
  driver.runUntilQuiet(600_000);
  const { sequence = 0 } = driver.placement.log().at(-1) ?? {};
  driver.cluster.kill([5]);
  driver.runFor(30_000);
  assert.ok(driver.runUntilQuiet(600_000));
  assertWhole(driver, 3);
  const origins = driver.placement.log(sequence).map(({ origin }) => origin);
  assert.ok(origins.includes('repair'));
  assert.not(origins.includes('spread'));
});
