/** What placement remembers of regions beyond its leader's life. */

import { assert, suite } from '../harness.ts';
import { Placement, type RegionReport } from '../../engine/placement/index.ts';
import { encodeDescriptor } from '../../engine/placement/descriptors.ts';
import type { Peer, Region } from '../../rpc/wire/region.ts';
import { startCluster } from './cluster-fixture.ts';

const test = suite('a new leader of placement knows the regions that the last one knew', { timeoutMs: 120_000 });

function region(regionId: number, startKey: string, endKey: string, version: number, confVersion = 1): Region {
  const peers = [1, 2, 3].map((nodeId): Peer => ({ peerId: regionId * 10 + nodeId, nodeId, role: 'voter' }));
  return {
    regionId,
    startKey: Buffer.from(startKey),
    endKey: Buffer.from(endKey),
    epoch: { version, confVersion },
    peers,
  };
}

function reportOf(of: Region): RegionReport {
  const nothing = { sizeBytes: 7, readsPerSecond: 0, writesPerSecond: 0, pendingPeers: [], downPeers: [] };
  return { region: of, term: 5, phase: 'normal', ...nothing };
}

/** A leader of placement that finds these, and hears of three nodes. */
function leader(...found: readonly Region[]): Placement {
  const descriptors = found.map(encodeDescriptor);
  const placement = new Placement({ durable: [['ids', '100000']], descriptors, random: () => 0.5, nowMs: 0 });
  for (const nodeId of [1, 2, 3]) {
    placement.join({ nodeId, incarnation: `data-${nodeId}`, workers: 1, labels: {} }, 0);
  }
  return placement;
}

const tell = (placement: Placement, ...told: readonly Region[]): void =>
  placement.regionReports({ nodeId: 1, incarnation: 'data-1', regions: told.map(reportOf) }, 1_000);

const known = (placement: Placement): string[] =>
  placement
    .regions(Buffer.alloc(0), 100)
    .map(({ region: { regionId, startKey, endKey } }) => `${regionId}:${String(startKey)}-${String(endKey)}`);

const kept = (placement: Placement): string[] =>
  placement.takeDescriptors(100).map(({ key, value }) => (value === null ? `no ${key}` : key));

test('it shows them without a leader, also keys that are no text, and asks for patience until they are reported', () => {
  const odd = { ...region(3, '', '', 2), startKey: Buffer.from([0x6d, 0xff, 0x00]) };
  const placement = leader({ ...region(2, '', '', 2), endKey: odd.startKey }, odd);
  assert.is(placement.regions(Buffer.alloc(0), 100).length, 2);
  assert.equal(placement.region(3).region, odd);
  assert.is(placement.region(2).leaderNodeId, 0);
  try {
    placement.addOperator({ kind: 'split', regionId: 2 }, 0);
    throw new Error('it was taken');
  } catch (error) {
    assert.is((error as { code?: string }).code, 'RegionChanging');
  }
  tell(placement, { ...region(2, '', '', 2), endKey: odd.startKey });
  assert.is(placement.region(2).leaderNodeId, 1);
  assert.equal(kept(placement), [], 'nothing is new');
});

test('what was split or merged meanwhile supersedes what is remembered', () => {
  const placement = leader(region(2, '', 'm', 4), region(3, 'm', '', 4));
  tell(placement, region(2, '', 'f', 5), region(4, 'f', 'm', 5));
  assert.equal(known(placement), ['2:-f', '4:f-m', '3:m-']);
  tell(placement, region(3, 'f', '', 6));
  assert.equal(known(placement), ['2:-f', '3:f-']);
  assert.equal(kept(placement).sort(), ['no region/4', 'region/2', 'region/3']);
});

test('an older report does not bring back what is remembered to be newer', () => {
  const placement = leader(region(2, '', 'm', 4), region(3, 'm', '', 4));
  tell(placement, region(2, '', '', 3));
  assert.equal(known(placement), ['2:-m', '3:m-']);
});

test('of records that overlap the later version stays, in either order, and the other is forgotten', () => {
  const whole = region(2, '', '', 3);
  const half = region(3, 'm', '', 4);
  for (const found of [
    [whole, half],
    [half, whole],
  ]) {
    const placement = leader(...found);
    assert.equal(known(placement), ['3:m-']);
    assert.equal(kept(placement), ['no region/2']);
  }
});

test('only changed epochs are written, in parts of the size that is asked for', () => {
  const placement = leader();
  tell(placement, region(2, '', 'c', 1), region(3, 'c', 'm', 1), region(4, 'm', '', 1));
  assert.is(placement.takeDescriptors(2).length, 2);
  assert.is(placement.takeDescriptors(2).length, 1);
  tell(placement, region(2, '', 'c', 1), region(3, 'c', 'm', 1, 2));
  assert.equal(kept(placement), ['region/3']);
});

test('ids of what is remembered are not given again', () => {
  const placement = leader(region(2, '', 'm', 1), region(500_000, 'm', '', 1));
  tell(placement, region(2, '', 'm', 1));
  const { operatorId } = placement.addOperator({ kind: 'split', regionId: 2, splitKey: Buffer.from('c') }, 0);
  assert.ok(operatorId > 5_000_000, 'peers have ids too');
});

test('a dead node is not removed while a region is only remembered: nobody knows who has it now', () => {
  const driver = startCluster({ nodes: 4, regions: 6, firstNodes: 3, still: true });
  driver.runFor(5_000);
  driver.cluster.kill([4]);
  driver.cluster.kill([2, 3]);
  driver.runFor(10_000);
  driver.replaceLeader();
  driver.runFor(8_000);
  assert.is(driver.placement.regions(Buffer.alloc(0), 100).length, 6, 'all are known, though none has a leader');
  assert.throws(() => driver.placement.removeNode(4, driver.nowMs), /no leader that placement heard of/);
});
