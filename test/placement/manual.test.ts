import { assert, suite } from '../harness.ts';
import { toKey } from '../../bench/placement/cluster.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { PlacementDriver } from '../../bench/placement/driver.ts';
import type { OperatorRequest } from '../../engine/placement/index.ts';
import { startCluster } from './cluster-fixture.ts';

const test = suite('what is asked of placement by hand is checked, and a refusal changes nothing', {
  timeoutMs: 120_000,
});

function cluster(options: { nodes?: number; replicas?: number } = {}): PlacementDriver {
  const driver = startCluster({ nodes: 4, regions: 6, still: true, ...options });
  driver.runFor(3_000);
  return driver;
}

function refuses(driver: PlacementDriver, code: string, ask: () => unknown): void {
  const before = JSON.stringify([driver.placement.operators(), driver.placement.settings(), driver.placement.nodes()]);
  driver.placement.takeWrites();
  let thrown: { code?: string } | undefined;
  try {
    ask();
  } catch (error) {
    thrown = error as { code?: string };
  }
  assert.is(thrown?.code, code);
  const after = JSON.stringify([driver.placement.operators(), driver.placement.settings(), driver.placement.nodes()]);
  assert.is(after, before);
  assert.equal(driver.placement.takeWrites(), []);
}

function refusesOperator(driver: PlacementDriver, code: string, request: OperatorRequest): void {
  refuses(driver, code, () => driver.placement.addOperator(request, driver.nowMs));
}

test('a region or a node that nobody knows', () => {
  const driver = cluster();
  refusesOperator(driver, 'RegionNotFound', { kind: 'split', regionId: 99 });
  refusesOperator(driver, 'NodeNotFound', { kind: 'addReplica', regionId: 2, nodeId: 99 });
  refusesOperator(driver, 'RegionNotFound', { kind: 'merge', regionId: 2, targetRegionId: 99 });
});

test('the last voter is not removed', () => {
  const driver = cluster({ replicas: 1 });
  refusesOperator(driver, 'ChangeRefused', { kind: 'removeReplica', regionId: 2, nodeId: 1 });
});

test('no voter is removed whose loss would leave too few that answer', () => {
  const driver = cluster();
  driver.cluster.kill([3]);
  driver.runFor(10_000);
  const region = driver.cluster.regions.get(2);
  assert.equal(
    region?.peers.map(({ node }) => node.nodeId),
    [1, 2, 3],
  );
  refusesOperator(driver, 'ChangeRefused', { kind: 'removeReplica', regionId: 2, nodeId: 2 });
  driver.placement.addOperator({ kind: 'removeReplica', regionId: 2, nodeId: 3 }, driver.nowMs);
  driver.dispatch();
  driver.runFor(10_000);
  assert.equal(
    driver.cluster.regions.get(2)?.peers.map(({ node }) => node.nodeId),
    [1, 2],
  );
  refusesOperator(driver, 'ChangeRefused', { kind: 'addReplica', regionId: 2, nodeId: 3 });
});

test('a node that is draining, silent or gone gets no replica', () => {
  const driver = cluster({ nodes: 6 });
  driver.placement.drainNode(5, { leave: false }, driver.nowMs);
  driver.cluster.kill([6]);
  driver.runFor(10_000);
  assert.is(driver.placement.node(6).state, 'suspect');
  for (const nodeId of [5, 6]) refusesOperator(driver, 'ChangeRefused', { kind: 'addReplica', regionId: 2, nodeId });
});

test('a node gets no second replica of a region, and none is removed where none is', () => {
  const driver = cluster();
  refusesOperator(driver, 'ChangeRefused', { kind: 'addReplica', regionId: 2, nodeId: 3 });
  refusesOperator(driver, 'ChangeRefused', { kind: 'removeReplica', regionId: 2, nodeId: 4 });
  refusesOperator(driver, 'ChangeRefused', { kind: 'moveReplica', regionId: 2, fromNodeId: 1, toNodeId: 2 });
  refusesOperator(driver, 'ChangeRefused', { kind: 'moveReplica', regionId: 2, fromNodeId: 4, toNodeId: 4 });
});

test('the lead goes to voters only, and not to who has it', () => {
  const driver = cluster();
  refusesOperator(driver, 'ChangeRefused', { kind: 'transferLeader', regionId: 2, nodeId: 1 });
  refusesOperator(driver, 'ChangeRefused', { kind: 'transferLeader', regionId: 2, nodeId: 4 });
});

test('a split key lies inside, not on a boundary or outside', () => {
  const driver = cluster();
  for (const key of [1, 2, 0.5, 2.5]) {
    refusesOperator(driver, 'ChangeRefused', { kind: 'split', regionId: 3, splitKey: toKey(key) });
  }
  refusesOperator(driver, 'InvalidArgument', { kind: 'split', regionId: 3, splitKey: Buffer.alloc(0) });
});

test('only neighbours are merged, and no region with itself', () => {
  const driver = cluster();
  refusesOperator(driver, 'ChangeRefused', { kind: 'merge', regionId: 2, targetRegionId: 4 });
  refusesOperator(driver, 'ChangeRefused', { kind: 'merge', regionId: 2, targetRegionId: 2 });
});

test('a region has one operator at a time', () => {
  const driver = cluster();
  driver.cluster.execute = () => {};
  driver.placement.addOperator({ kind: 'merge', regionId: 2, targetRegionId: 3 }, driver.nowMs);
  refusesOperator(driver, 'RegionChanging', { kind: 'split', regionId: 2 });
  refusesOperator(driver, 'RegionChanging', { kind: 'split', regionId: 3 });
  refuses(driver, 'ChangeRefused', () => driver.placement.cancelOperator(12_345, driver.nowMs));
});

test('requests of the wrong form', () => {
  const driver = cluster();
  for (const request of [
    null,
    { kind: 'dance', regionId: 2 },
    { kind: 'split' },
    { kind: 'split', regionId: '2' },
    { kind: 'split', regionId: 1.5 },
    { kind: 'addReplica', regionId: 2 },
    { kind: 'split', regionId: 2, splitKey: 'text' },
  ]) {
    refusesOperator(driver, 'InvalidArgument', request as unknown as OperatorRequest);
  }
});

test('settings out of bounds, unknown or against each other', () => {
  const driver = cluster();
  const bad: readonly Record<string, unknown>[] = [
    { replicas: 0 },
    { replicas: 8 },
    { replicas: 2.5 },
    { replicas: '3' },
    { colour: 'red' },
    { spreadBy: 'zone' },
    { spreadBy: ['a', 'a'] },
    { replaceAfterMs: 1_000, suspectAfterMs: 2_000 },
    { mergeSizeBytes: 64 * 1024 * 1024 },
    { loadTolerance: Number.NaN },
    { replicas: 5, colour: 'red' },
    {},
    { replicas: -3 },
    { replicas: Number.POSITIVE_INFINITY },
    { startsPerSecond: 1e300 },
    { replicas: null },
    { spreadBy: ['zone', 'a b'] },
    { spreadBy: ['x'.repeat(65)] },
    JSON.parse('{"__proto__": 5}') as Record<string, unknown>,
  ];
  for (const patch of bad)
    refuses(driver, 'InvalidArgument', () => driver.placement.changeSettings(patch, driver.nowMs));
  assert.is(driver.placement.changeSettings({ replicas: 5 }, driver.nowMs).replicas, 5);
});

test('a pause that is over is none', () => {
  const driver = cluster();
  const untilMs = (): number | undefined =>
    driver.placement.schedulers().find(({ name }) => name === 'merge')?.pausedUntilMs;
  driver.placement.pauseScheduler('merge', 5_000, driver.nowMs);
  assert.is(untilMs(), driver.nowMs + 5_000);
  driver.runFor(6_000);
  assert.is(untilMs(), 0);
});

test('schedulers are paused by their names, for a time or for good, and a new leader knows it', () => {
  const driver = startCluster({ nodes: 4, regions: 6 });
  refuses(driver, 'InvalidArgument', () => driver.placement.pauseScheduler('dance', 1_000, driver.nowMs));
  refuses(driver, 'InvalidArgument', () => driver.placement.pauseScheduler('merge', 0, driver.nowMs));
  driver.placement.pauseScheduler('repair', Infinity, driver.nowMs);
  driver.placement.changeSettings({ replaceAfterMs: 5_000 }, driver.nowMs);
  driver.dispatch();
  driver.runFor(2_000);
  driver.replaceLeader();
  driver.cluster.kill([4]);
  driver.runFor(60_000);
  assert.is(driver.placement.operators().length, 0);
  const hurt = [...driver.cluster.regions.values()].filter(({ peers }) => peers.some(({ node }) => !node.alive));
  assert.ok(hurt.length > 0);
  driver.placement.resumeScheduler('repair', driver.nowMs);
  driver.runFor(60_000);
  const left = [...driver.cluster.regions.values()].filter(({ peers }) => peers.some(({ node }) => !node.alive));
  assert.is(left.length, 0);
});

test('a node with the id of another is not let in, nor one whose id was removed', () => {
  const driver = cluster();
  const asks = (nodeId: number, incarnation: string): unknown =>
    driver.placement.join({ nodeId, incarnation, workers: 2, labels: {} }, driver.nowMs);
  refuses(driver, 'NodeIdInUse', () => asks(1, 'wiped'));
  assert.is((asks(1, 'data-1') as { nodeId: number }).nodeId, 1);
  for (const labels of [{ 'zo ne': 'a' }, { zone: '' }, { zone: 'a\u0000' }, { é: 'a' }, { zone: 'x'.repeat(65) }]) {
    refuses(driver, 'InvalidArgument', () =>
      driver.placement.join({ nodeId: 8, incarnation: 'x', workers: 1, labels: labels as Record<string, string> }, 0),
    );
  }
  for (const nodeId of [0, -1, 1.5, Number.NaN]) refuses(driver, 'InvalidArgument', () => asks(nodeId, 'x'));
  refuses(driver, 'ChangeRefused', () => driver.placement.removeNode(1, driver.nowMs));
  driver.cluster.addNode(9);
  driver.join(9);
  driver.placement.drainNode(9, { leave: true }, driver.nowMs);
  driver.runFor(10_000);
  assert.is(driver.placement.node(9).state, 'removed');
  refuses(driver, 'NodeIdInUse', () => asks(9, 'data-9'));
  refuses(driver, 'NodeNotFound', () => driver.placement.drainNode(9, { leave: false }, driver.nowMs));
});

test('nodes that would be missed are not drained', () => {
  const driver = cluster({ nodes: 3 });
  refuses(driver, 'ChangeRefused', () => driver.placement.drainNode(1, { leave: false }, driver.nowMs));
  refuses(driver, 'ChangeRefused', () => driver.placement.undrainNode(1, driver.nowMs));
});

test('a cluster has no more nodes than it may', () => {
  const driver = cluster();
  const asks = (nodeId: number): unknown =>
    driver.placement.join({ nodeId, incarnation: `data-${nodeId}`, workers: 2, labels: {} }, driver.nowMs);
  for (let nodeId = 5; nodeId <= LIMITS.nodesPerCluster; nodeId += 1) asks(nodeId);
  refuses(driver, 'ChangeRefused', () => asks(LIMITS.nodesPerCluster + 1));
  assert.is((asks(4) as { nodeId: number }).nodeId, 4);
});

test('the log says in words what a setting was and is', () => {
  const driver = cluster();
  driver.placement.changeSettings({ replicas: 5, spreadBy: ['rack'] }, driver.nowMs);
  assert.is(driver.placement.log().at(-1)?.text, 'replicas: 5 (was 3), spreadBy: [rack] (was [zone, rack, host])');
});

test('the end of an operator is found by its id, the log in pages', () => {
  const driver = cluster();
  const { operatorId } = driver.placement.addOperator({ kind: 'transferLeader', regionId: 2, nodeId: 2 }, driver.nowMs);
  assert.is(driver.placement.operator(operatorId).view?.outcome, 'running');
  driver.dispatch();
  driver.runFor(5_000);
  const { view, end } = driver.placement.operator(operatorId);
  assert.is(view, undefined);
  assert.is(end?.event, 'done');
  refuses(driver, 'ChangeRefused', () => driver.placement.operator(4_711));
  const all = driver.placement.log();
  assert.equal(driver.placement.log(0, 2), all.slice(0, 2));
  assert.equal(driver.placement.lastLog(2), all.slice(-2));
});
