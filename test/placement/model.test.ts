import { assert, suite } from '../harness.ts';
import { Placement, type RegionReport } from '../../engine/placement/index.ts';
import type { Peer, PeerRole } from '../../rpc/wire/region.ts';

const test = suite('placement knows the cluster from its reports, however late they come', { timeoutMs: 120_000 });

const random = (): number => 0.5;

function newPlacement(nodes = 4, durable: Iterable<readonly [string, string]> = []): Placement {
  const placement = new Placement({ durable, random, nowMs: 0 });
  for (let nodeId = 1; nodeId <= nodes; nodeId += 1) {
    placement.join({ nodeId, incarnation: `data-${nodeId}`, workers: 2, labels: {} }, 0);
  }
  return placement;
}

interface Told {
  readonly id: number;
  readonly from?: string;
  readonly to?: string;
  readonly version?: number;
  readonly confVersion?: number;
  readonly term?: number;
  readonly nodes?: readonly number[];
  readonly size?: number;
}

function reportOf({
  id,
  from = '',
  to = '',
  version = 1,
  confVersion = 1,
  term = 5,
  nodes = [1, 2, 3],
  size = 100,
}: Told): RegionReport {
  return {
    region: {
      regionId: id,
      startKey: Buffer.from(from),
      endKey: Buffer.from(to),
      epoch: { version, confVersion },
      peers: nodes.map((nodeId): Peer => ({ peerId: id * 10 + nodeId, nodeId, role: 'voter' })),
    },
    term,
    sizeBytes: size,
    readsPerSecond: 0,
    writesPerSecond: 0,
    pendingPeers: [],
    downPeers: [],
    phase: 'normal',
  };
}

function tell(placement: Placement, leader: number, ...told: readonly Told[]): void {
  placement.regionReports({ nodeId: leader, incarnation: `data-${leader}`, regions: told.map(reportOf) }, 1_000);
}

const rangesOf = (placement: Placement): readonly string[] =>
  placement
    .regions(Buffer.alloc(0), 100)
    .map(({ region }) => `${region.regionId}:${String(region.startKey)}-${String(region.endKey)}`);

test('an older term or epoch changes nothing', () => {
  const placement = newPlacement();
  tell(placement, 2, { id: 2, version: 3, confVersion: 4, term: 7, size: 500 });
  tell(placement, 1, { id: 2, version: 3, confVersion: 4, term: 6, size: 1 });
  tell(placement, 1, { id: 2, version: 2, confVersion: 4, term: 7, size: 1 });
  tell(placement, 1, { id: 2, version: 3, confVersion: 3, term: 9, size: 1 });
  assert.is(placement.region(2).leaderNodeId, 2);
  assert.is(placement.region(2).sizeBytes, 500);
  tell(placement, 1, { id: 2, version: 3, confVersion: 4, term: 8, size: 1 });
  assert.is(placement.region(2).leaderNodeId, 1);
});

test('halves of a split take the place of the whole, whichever is reported first', () => {
  const halves: readonly Told[] = [
    { id: 2, to: 'm', version: 2 },
    { id: 3, from: 'm', version: 2 },
  ];
  for (const order of [halves, [...halves].reverse()]) {
    const placement = newPlacement();
    tell(placement, 1, { id: 2 });
    tell(placement, 1, ...order);
    assert.equal(rangesOf(placement), ['2:-m', '3:m-']);
    tell(placement, 1, { id: 2 });
    assert.equal(rangesOf(placement), ['2:-m', '3:m-'], 'the late report of the whole is not believed');
  }
});

test('a region that was merged away is forgotten, and its late report brings it not back', () => {
  const placement = newPlacement();
  tell(placement, 1, { id: 2, to: 'm' }, { id: 3, from: 'm' });
  tell(placement, 1, { id: 2, version: 3 });
  assert.equal(rangesOf(placement), ['2:-']);
  assert.throws(() => placement.region(3), /placement knows no region 3/);
  tell(placement, 1, { id: 3, from: 'm', version: 2, term: 99 });
  assert.equal(rangesOf(placement), ['2:-']);
});

test('what nodes hold is counted from the reports, through every change', () => {
  const placement = newPlacement(5);
  tell(placement, 1, { id: 2, to: 'm', size: 100 }, { id: 3, from: 'm', size: 50, nodes: [1, 4, 5] });
  const held = (nodeId: number): readonly number[] => {
    const { leaders, replicas, sizeBytes } = placement.node(nodeId);
    return [leaders, replicas, sizeBytes];
  };
  assert.equal([1, 2, 4].map(held), [
    [2, 2, 150],
    [0, 1, 100],
    [0, 1, 50],
  ]);
  tell(placement, 4, { id: 3, from: 'm', size: 70, nodes: [2, 4, 5], confVersion: 4, term: 6 });
  assert.equal([1, 2, 4].map(held), [
    [1, 1, 100],
    [0, 2, 170],
    [1, 1, 70],
  ]);
  tell(placement, 2, { id: 2, size: 170, version: 2, term: 9 });
  assert.equal([1, 2, 4].map(held), [
    [0, 1, 170],
    [1, 1, 170],
    [0, 0, 0],
  ]);
});

test('region 1 lies beside the keys of users, not among them', () => {
  const placement = newPlacement();
  tell(placement, 1, { id: 1 }, { id: 2, to: 'm' }, { id: 3, from: 'm' });
  assert.equal(rangesOf(placement), ['2:-m', '3:m-']);
  assert.is(placement.region(1).leaderNodeId, 1);
});

test('reports that no region could send are refused', () => {
  const placement = newPlacement();
  const refuses = (change: Partial<RegionReport> | { peers: readonly Peer[] }, code = 'MalformedRequest'): void => {
    const sound = reportOf({ id: 2 });
    const region = 'peers' in change ? { ...sound.region, peers: change.peers } : sound.region;
    const report = { ...sound, ...change, region } as RegionReport;
    let thrown: unknown;
    try {
      placement.regionReports({ nodeId: 1, incarnation: 'data-1', regions: [report] }, 1_000);
    } catch (error) {
      thrown = error;
    }
    assert.is((thrown as { code?: string } | undefined)?.code, code);
  };
  const peer = (peerId: number, nodeId: number, role: PeerRole = 'voter'): Peer => ({ peerId, nodeId, role });
  refuses({ peers: [] });
  refuses({ peers: [peer(1, 1), peer(2, 1)] });
  refuses({ peers: [peer(1, 1), peer(1, 2)] });
  refuses({ peers: [peer(1, 2), peer(2, 3)] });
  refuses({ peers: [peer(1, 1, 'learner'), peer(2, 3)] });
  refuses({ peers: Array.from({ length: 9 }, (_, index) => peer(index + 1, index + 1)) });
  refuses({ sizeBytes: Number.NaN });
  refuses({ term: -1 });
  assert.equal(rangesOf(placement), []);
});

test('nodes that never joined, and impostors, are not listened to', () => {
  const placement = newPlacement();
  const from = (nodeId: number, incarnation: string) => () =>
    placement.regionReports({ nodeId, incarnation, regions: [reportOf({ id: 2 })] }, 1_000);
  assert.throws(from(9, 'data-9'), /does not belong to the cluster/);
  assert.throws(from(1, 'wiped'), /another data directory/);
});

test('ids are never given twice, across leaders of placement and whatever is in use', () => {
  const durable = new Map<string, string>();
  const given = new Set<number>();
  for (let reign = 0; reign < 5; reign += 1) {
    const placement = newPlacement(4, durable);
    for (let nodeId = 1; nodeId <= 4; nodeId += 1) {
      placement.join({ nodeId, incarnation: `data-${nodeId}`, workers: 2, labels: {} }, 0);
    }
    tell(placement, 1, { id: 2, version: reign + 1, term: 5 + reign });
    const { steps, operatorId } = placement.addOperator(
      { kind: 'split', regionId: 2, splitKey: Buffer.from('k') },
      2_000,
    );
    const [step] = steps;
    assert.ok(step?.kind === 'split');
    for (const id of step?.kind === 'split' ? [step.childRegionId, ...step.childPeerIds, operatorId] : []) {
      assert.not(given.has(id), `id ${id}`);
      assert.ok(id > 23, 'ids that reports showed are in use');
      given.add(id);
    }
    for (const { key, value } of placement.takeWrites()) {
      if (value === null || key.startsWith('operator/')) durable.delete(key);
      else durable.set(key, value);
    }
  }
});

test('what lasts is bounded: the operator log keeps its latest entries under a fixed number of keys', () => {
  const placement = newPlacement();
  const keys = new Set<string>();
  for (let change = 0; change < 6_000; change += 1) {
    placement.changeSettings({ replicas: 1 + (change % 3) }, change);
    for (const { key } of placement.takeWrites()) if (key.startsWith('log/')) keys.add(key);
  }
  const log = placement.log();
  assert.is(keys.size, 4_096);
  assert.is(log.length, 4_096);
  assert.is(log.at(-1)?.text, 'replicas: 3 (was 2)');
  assert.is(placement.log(log.at(-3)?.sequence).length, 2);
});

test('a new leader of placement decides nothing before it knows what its nodes lead', () => {
  const durable = new Map<string, string>();
  for (const { key, value } of newPlacement().takeWrites()) if (value !== null) durable.set(key, value);
  const placement = new Placement({ durable, random, nowMs: 0 });
  const beat = (nodeId: number, leaders: number): boolean =>
    placement.nodeHeartbeat(
      {
        nodeId,
        incarnation: `data-${nodeId}`,
        workers: 2,
        labels: {},
        capacityBytes: 0,
        availableBytes: 0,
        busy: 0,
        leaders,
        replicas: leaders,
      },
      100,
    ).reportAll;
  assert.ok(beat(1, 2), 'it asks for what it does not know');
  for (const nodeId of [2, 3, 4]) assert.not(beat(nodeId, 0));
  assert.not(placement.schedule(200).ready);
  tell(placement, 1, { id: 2, to: 'm' }, { id: 3, from: 'm' });
  assert.ok(placement.schedule(300).ready);
});

test('a split is done also when its new half is reported first, and takes the place of the whole', () => {
  const placement = newPlacement();
  tell(placement, 1, { id: 2 });
  const { operatorId, steps } = placement.addOperator(
    { kind: 'split', regionId: 2, splitKey: Buffer.from('m') },
    1_000,
  );
  const [step] = steps;
  const id = step?.kind === 'split' ? step.childRegionId : 0;
  tell(placement, 1, { id, from: 'm', version: 2 });
  assert.is(placement.operator(operatorId).end?.event, 'done', placement.operator(operatorId).end?.text);
  tell(placement, 1, { id: 2, to: 'm', version: 2 });
  assert.equal(rangesOf(placement), ['2:-m', `${id}:m-`]);
});
