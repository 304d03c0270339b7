import { assert, suite } from '../harness.ts';
import type { Order, Step } from '../../engine/placement/index.ts';
import { toKey } from '../../bench/placement/cluster.ts';
import type { PlacementDriver } from '../../bench/placement/driver.ts';
import { MIB, assertTiled, assertWhole, startCluster } from './cluster-fixture.ts';

const test = suite('operators take regions where they should be, one safe step at a time', { timeoutMs: 120_000 });

/** A cluster in which nothing moves unless somebody asks for it. */
function stillCluster(options: { nodes: number; regions?: number; replicas?: number }): PlacementDriver {
  const driver = startCluster({ regions: 6, still: true, ...options });
  driver.runFor(3_000);
  return driver;
}

function stepsOf(orders: readonly Order[], regionId: number): readonly Step['kind'][] {
  return orders.filter((order) => order.regionId === regionId).map(({ step }) => step.kind);
}

function watch(driver: PlacementDriver): Order[] {
  const orders: Order[] = [];
  driver.onOrder = (order) => orders.push(order);
  return orders;
}

function nodesOf(driver: PlacementDriver, regionId: number): readonly number[] {
  const peers = driver.cluster.regions.get(regionId)?.peers ?? [];
  return peers.map(({ node }) => node.nodeId).sort((a, b) => a - b);
}

const lastEvents = (driver: PlacementDriver): readonly string[] => driver.placement.log().map(({ event }) => event);

test('a follower is replaced: learn, swap votes in one joint change, remove the old one', () => {
  const driver = stillCluster({ nodes: 5 });
  const orders = watch(driver);
  driver.placement.addOperator({ kind: 'moveReplica', regionId: 2, fromNodeId: 3, toNodeId: 5 }, driver.nowMs);
  driver.dispatch();
  driver.runFor(10_000);
  assert.equal(stepsOf(orders, 2), ['addLearner', 'promote', 'removePeer']);
  assert.ok(orders[1]?.step.kind === 'promote' && orders[1].step.demote);
  assert.equal(nodesOf(driver, 2), [1, 2, 5]);
});

test('a leader is replaced only after it handed over', () => {
  const driver = stillCluster({ nodes: 5 });
  const orders = watch(driver);
  driver.placement.addOperator({ kind: 'moveReplica', regionId: 2, fromNodeId: 1, toNodeId: 5 }, driver.nowMs);
  driver.dispatch();
  driver.runFor(10_000);
  assert.equal(stepsOf(orders, 2), ['addLearner', 'transferLeader', 'promote', 'removePeer']);
  assert.equal(nodesOf(driver, 2), [2, 3, 5]);
});

test('the only replica moves: the newcomer votes, then leads, and only then the old one goes', () => {
  const driver = stillCluster({ nodes: 3, replicas: 1 });
  const orders = watch(driver);
  driver.placement.addOperator({ kind: 'moveReplica', regionId: 2, fromNodeId: 1, toNodeId: 3 }, driver.nowMs);
  driver.dispatch();
  driver.runFor(10_000);
  assert.equal(stepsOf(orders, 2), ['addLearner', 'promote', 'transferLeader', 'removePeer']);
  assert.equal(nodesOf(driver, 2), [3]);
});

test('a lead that comes back in the middle is handed over again before the vote goes', () => {
  const driver = stillCluster({ nodes: 5 });
  const orders = watch(driver);
  driver.placement.addOperator({ kind: 'moveReplica', regionId: 2, fromNodeId: 1, toNodeId: 5 }, driver.nowMs);
  driver.dispatch();
  const region = driver.cluster.regions.get(2);
  let given = false;
  driver.onOrder = (order) => {
    orders.push(order);
    if (order.regionId !== 2 || order.step.kind !== 'promote' || given) return;
    given = true;
    // Before the order is obeyed node 1 is elected again.
    const old = region?.peers.find(({ node }) => node.nodeId === 1);
    if (region && old?.role === 'voter') {
      region.term += 1;
      Object.assign(region, { leader: old });
      driver.cluster.report(region);
    }
  };
  driver.runFor(20_000);
  assert.ok(given);
  assert.equal(nodesOf(driver, 2), [2, 3, 5]);
});

test('a leader that is to be removed and was elected again hands over once more', () => {
  const driver = stillCluster({ nodes: 5 });
  const region = driver.cluster.regions.get(2);
  let elected = false;
  driver.placement.addOperator({ kind: 'removeReplica', regionId: 2, nodeId: 1 }, driver.nowMs);
  driver.onOrder = ({ regionId, step }) => {
    const old = region?.peers.find(({ node }) => node.nodeId === 1);
    if (elected || regionId !== 2 || step.kind !== 'removePeer' || !region || !old) return;
    elected = true;
    region.term += 1;
    Object.assign(region, { leader: old });
    driver.cluster.report(region);
  };
  driver.dispatch();
  driver.runFor(20_000);
  assert.ok(elected);
  assert.equal(nodesOf(driver, 2), [2, 3]);
});

test('an order that is lost is given again, and one that comes twice does no harm', () => {
  const driver = stillCluster({ nodes: 5 });
  let lost = 0;
  const execute = driver.cluster.execute.bind(driver.cluster);
  driver.cluster.execute = (order) => {
    if (lost++ < 2) return;
    execute(order);
    execute(order);
  };
  driver.placement.addOperator({ kind: 'moveReplica', regionId: 2, fromNodeId: 3, toNodeId: 5 }, driver.nowMs);
  driver.dispatch();
  driver.runFor(30_000);
  assert.equal(nodesOf(driver, 2), [1, 2, 5]);
  assert.is(driver.placement.operators().length, 0);
});

test('a new leader of placement goes on with what the last one began', () => {
  for (const cutAfter of ['addLearner', 'promote', 'removePeer'] as const) {
    const driver = stillCluster({ nodes: 5 });
    const { operatorId } = driver.placement.addOperator(
      { kind: 'moveReplica', regionId: 2, fromNodeId: 1, toNodeId: 5 },
      driver.nowMs,
    );
    driver.onOrder = ({ step }) => {
      if (step.kind === cutAfter) driver.hasLeader = false;
    };
    driver.dispatch();
    driver.runFor(10_000);
    assert.not(driver.hasLeader, `cut at ${cutAfter}`);
    driver.onOrder = () => {};
    driver.replaceLeader();
    driver.runFor(20_000);
    assert.equal(nodesOf(driver, 2), [2, 3, 5], `after a cut at ${cutAfter}`);
    const last = driver.placement.log().filter((entry) => entry.operatorId === operatorId);
    assert.equal(
      last.map(({ event }) => event),
      ['started', 'done'],
      'the log knows it all',
    );
  }
});

test('a merge that came to its end while nobody led placement holds up neither region', () => {
  const driver = stillCluster({ nodes: 3 });
  const { operatorId } = driver.placement.addOperator({ kind: 'merge', regionId: 4, targetRegionId: 3 }, driver.nowMs);
  driver.onOrder = ({ step }) => {
    if (step.kind === 'merge') driver.hasLeader = false;
  };
  driver.dispatch();
  driver.runFor(10_000);
  assert.not(driver.hasLeader);
  assert.not(driver.cluster.regions.has(4), 'it is merged, and nobody heard of it');
  driver.onOrder = () => {};
  driver.replaceLeader();
  driver.runFor(10_000);
  assert.equal(driver.placement.operators(), []);
  const last = driver.placement.log().filter((entry) => entry.operatorId === operatorId);
  assert.is(last.at(-1)?.event, 'done');
  driver.placement.addOperator({ kind: 'transferLeader', regionId: 3, nodeId: 1 }, driver.nowMs);
});

test('an operator ends when somebody else changes the region', () => {
  const driver = stillCluster({ nodes: 5 });
  driver.cluster.execute = () => {};
  driver.placement.addOperator({ kind: 'moveReplica', regionId: 2, fromNodeId: 3, toNodeId: 5 }, driver.nowMs);
  driver.dispatch();
  const region = driver.cluster.regions.get(2);
  if (region) {
    region.confVersion += 2;
    driver.cluster.report(region);
  }
  driver.runFor(1_000);
  assert.is(driver.placement.operators().length, 0);
  assert.is(lastEvents(driver).at(-1), 'overtaken');
});

test('an operator whose orders have no effect runs out of time', () => {
  const driver = stillCluster({ nodes: 5 });
  driver.cluster.execute = () => {};
  driver.placement.addOperator({ kind: 'transferLeader', regionId: 2, nodeId: 2 }, driver.nowMs);
  driver.dispatch();
  driver.runFor(15_000);
  assert.is(driver.placement.operators().length, 0);
  assert.is(lastEvents(driver).at(-1), 'timedOut');
});

test('a refusal that cannot change ends the operator, another does not', () => {
  const driver = stillCluster({ nodes: 5 });
  driver.cluster.execute = () => {};
  const { operatorId } = driver.placement.addOperator({ kind: 'transferLeader', regionId: 2, nodeId: 2 }, driver.nowMs);
  const refusal = { operatorId, regionId: 2, code: 'RegionChanging', message: 'busy', retryable: true };
  driver.placement.orderRefused(refusal, driver.nowMs);
  assert.is(driver.placement.operators().length, 1);
  driver.placement.orderRefused({ ...refusal, code: 'ChangeRefused', retryable: false }, driver.nowMs);
  assert.is(driver.placement.operators().length, 0);
  assert.match(driver.placement.log().at(-1)?.text ?? '', /ChangeRefused: busy/);
});

test('an operator that was cancelled orders nothing more, and what it left over is tidied up', () => {
  const driver = stillCluster({ nodes: 5 });
  const { operatorId } = driver.placement.addOperator(
    { kind: 'moveReplica', regionId: 2, fromNodeId: 3, toNodeId: 5 },
    driver.nowMs,
  );
  driver.dispatch();
  driver.runFor(100);
  assert.is(driver.cluster.regions.get(2)?.peers.length, 4, 'it has begun');
  driver.placement.cancelOperator(operatorId, driver.nowMs);
  driver.placement.resumeScheduler('repair', driver.nowMs);
  driver.runFor(20_000);
  assertWhole(driver, 3);
  assert.equal(nodesOf(driver, 2), [1, 2, 3]);
});

test('a split gives the right half new ids, and both halves all replicas', () => {
  const driver = stillCluster({ nodes: 3 });
  driver.placement.addOperator({ kind: 'split', regionId: 3, splitKey: toKey(1.25) }, driver.nowMs);
  driver.dispatch();
  driver.runFor(5_000);
  assert.is(driver.cluster.regions.size, 7);
  assert.is(driver.cluster.regions.get(3)?.end, 1.25);
  assertTiled(driver);
  assertWhole(driver, 3);
  const peerIds = [...driver.cluster.regions.values()].flatMap(({ peers }) => peers.map(({ peerId }) => peerId));
  assert.is(new Set(peerIds).size, peerIds.length, 'no id is given twice');
});

test('a merge first brings the replicas of the source to the nodes of the target', () => {
  const driver = stillCluster({ nodes: 6 });
  const orders = watch(driver);
  driver.placement.addOperator({ kind: 'merge', regionId: 4, targetRegionId: 3 }, driver.nowMs);
  driver.dispatch();
  driver.runFor(20_000);
  assert.is(stepsOf(orders, 4).at(-1), 'merge');
  assert.not(driver.cluster.regions.has(4));
  assert.is(driver.cluster.regions.get(3)?.end, 3);
  assertTiled(driver);
  assertWhole(driver, 3);
  assert.is(driver.placement.operators().length, 0);
});

test('a merge that cannot begin without a lost node does not keep that one from being replaced', () => {
  const driver = startCluster({ nodes: 4, regions: 6, still: true, settings: { replaceAfterMs: 10_000 } });
  driver.placement.resumeScheduler('repair', driver.nowMs);
  driver.runFor(3_000);
  const execute = driver.cluster.execute.bind(driver.cluster);
  driver.cluster.execute = (order) => {
    if (order.step.kind !== 'merge') execute(order);
  };
  driver.placement.addOperator({ kind: 'merge', regionId: 3, targetRegionId: 2 }, driver.nowMs);
  driver.dispatch();
  driver.runFor(3_000);
  driver.cluster.kill([nodesOf(driver, 3)[0] as number]);
  driver.runFor(60_000);
  assert.equal(driver.placement.operators(), []);
  assertWhole(driver, 3);
});

test('an observer learns for good, and goes only when somebody asks', () => {
  const driver = stillCluster({ nodes: 5 });
  driver.placement.addOperator({ kind: 'addReplica', regionId: 2, nodeId: 5, observer: true }, driver.nowMs);
  driver.dispatch();
  driver.placement.resumeScheduler('repair', driver.nowMs);
  driver.runFor(60_000);
  const learners = (): number =>
    driver.cluster.regions.get(2)?.peers.filter(({ role }) => role === 'learner').length ?? 0;
  assert.is(learners(), 1);
  driver.replaceLeader();
  driver.runFor(60_000);
  assert.is(learners(), 1, 'also under a new leader of placement');
  driver.placement.addOperator({ kind: 'removeReplica', regionId: 2, nodeId: 5 }, driver.nowMs);
  driver.dispatch();
  driver.runFor(10_000);
  assert.is(learners(), 0);
});

test('limits hold: at most so many new replicas arrive at a node at once', () => {
  const driver = startCluster({ nodes: 4, regions: 120, settings: { incomingPerNode: 2, replaceAfterMs: 5_000 } });
  driver.runFor(3_000);
  driver.cluster.kill([4]);
  let most = 0;
  for (let second = 0; second < 240; second += 1) {
    driver.runFor(500);
    for (const node of driver.cluster.nodes.values()) most = Math.max(most, node.receiving);
  }
  assert.is(most, 2);
  assertWhole(driver, 3);
});

test('a limit of starts per second holds over time', () => {
  const driver = startCluster({
    nodes: 4,
    regions: 60,
    sizeBytes: MIB,
    settings: { startsPerSecond: 2, replaceAfterMs: 5_000 },
  });
  driver.runFor(3_000);
  driver.cluster.kill([4]);
  const before = driver.placement.log().filter(({ event }) => event === 'started').length;
  driver.runFor(20_000);
  const started = driver.placement.log().filter(({ event }) => event === 'started').length - before;
  assert.ok(started > 10 && started <= 2 * 20 + 2, `${started} in 20 s`);
});
