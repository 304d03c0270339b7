/** Membership by hand, who may join, and what is refused: real processes and the command line that people use. */

import { join } from 'node:path';

import { connect, type Client } from '../../rpc/client/index.ts';
import { startBroker } from '../../tools/broker.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import { LocalNode } from '../../tools/local-node.ts';
import { assert, eventually, suite } from '../harness.ts';
import { runMraft, type Run } from '../tools/mraft-process.ts';
import { PlacementView, type PlacedRegion } from './placement-view.ts';

const test = suite('membership', { timeoutMs: 180_000 });

const REGIONS = 4;
const FIRST = 2;

let cluster: LocalCluster;
let client: Client;
let view: PlacementView;

test.before(async () => {
  cluster = await startLocalCluster({ regions: REGIONS, workers: 1 });
  client = await connect({ servers: cluster.url, cluster: cluster.cluster });
  view = await PlacementView.connect(cluster);
  await view.untilUp(3, 60_000);
  // What is done here is done by hand.
  for (const { name } of (await view.admin.placement('scheduler.list')) as { name: string }[]) {
    await view.admin.placement('scheduler.pause', { name });
  }
  await cluster.addNode(4, ['--label', 'zone=b']).start();
  await view.untilUp(4, 60_000);
});
test.after(async () => {
  await view.close();
  await client.close();
  await cluster.stop();
});

function ctl(...args: string[]): Promise<Run> {
  return runMraft(['ctl', ...args, '--cluster', cluster.cluster, '--nats', cluster.url]);
}

async function ok(...args: string[]): Promise<Run> {
  const run = await ctl(...args);
  assert.is(run.code, 0, `${args.join(' ')}: ${run.stderr}`);
  return run;
}

async function placed(regionId: number): Promise<PlacedRegion> {
  return (await view.admin.placement('region.show', { regionId })) as PlacedRegion;
}

async function untilPlaced(what: string, regionId: number, holds: (region: PlacedRegion) => boolean): Promise<void> {
  await eventually(what, async () => holds(await placed(regionId)), 30_000);
}

function nodesOf(region: PlacedRegion, role: string): number[] {
  return region.peers
    .filter((peer) => peer.role === role)
    .map((peer) => peer.nodeId)
    .sort((a, b) => a - b);
}

test('a replica is added, leads, and one is removed, while the region serves', async () => {
  await ok('region', 'add-replica', String(FIRST), '4');
  await untilPlaced('node 4 votes', FIRST, (region) => nodesOf(region, 'voter').includes(4));
  await ok('region', 'transfer-leader', String(FIRST), '4');
  await untilPlaced('node 4 leads', FIRST, (region) => region.leaderNodeId === 4);
  await ok('region', 'remove-replica', String(FIRST), '1');
  await untilPlaced('node 1 is out', FIRST, (region) => nodesOf(region, 'voter').join() === '2,3,4');
  await client.put('\u0001here', 'yes');
  assert.is(Buffer.from((await client.get('\u0001here'))!).toString(), 'yes');
  const shown = JSON.parse((await ok('region', 'show', String(FIRST), '--json')).stdout) as { leader: number };
  assert.is(shown.leader, 4);
});

test('the leader is never removed before it has handed over', async () => {
  await ok('region', 'remove-replica', String(FIRST), '4');
  await untilPlaced('node 4 is out', FIRST, (region) => nodesOf(region, 'voter').join() === '2,3');
  await ok('region', 'add-replica', String(FIRST), '1');
  await untilPlaced('node 1 is back', FIRST, (region) => nodesOf(region, 'voter').join() === '1,2,3');
  await client.put('\u0001here', 'still');
});

test('a replica moves to another node through one joint change', async () => {
  await ok('region', 'move-replica', String(FIRST + 1), '1', '4');
  await untilPlaced('it is there', FIRST + 1, (region) => nodesOf(region, 'voter').join() === '2,3,4');
});

test('an observer never votes and follows', async () => {
  await ok('region', 'add-replica', String(FIRST + 2), '4', '--observer');
  await untilPlaced('it learns', FIRST + 2, (region) => nodesOf(region, 'learner').join() === '4');
  assert.equal(nodesOf(await placed(FIRST + 2), 'voter'), [1, 2, 3]);
});

test('a region is split and merged by hand, and its keys stay', async () => {
  await client.batch([
    { type: 'put', key: '\u0001a', value: '1' },
    { type: 'put', key: '\u0001z', value: '2' },
  ]);
  await ok('region', 'split', String(FIRST), '--key', '\u0001m');
  const regions = await eventually('there is one more', async () => {
    const all = await view.regions();
    return all.filter(({ regionId }) => regionId > 1).length === REGIONS + 1 ? all : undefined;
  });
  const child = regions?.find(({ startKey }) => Buffer.from(startKey, 'base64').toString() === '\u0001m');
  assert.ok(child, 'no region begins at the split key');
  const values = await client.batchGet(['\u0001a', '\u0001z']);
  assert.equal(
    values.map((value) => value && Buffer.from(value).toString()),
    ['1', '2'],
  );
  await ok('region', 'merge', String(child.regionId), String(FIRST));
  await eventually('it is one again', async () => {
    return (await view.regions()).filter(({ regionId }) => regionId > 1).length === REGIONS;
  });
  assert.is(Buffer.from((await client.get('\u0001z'))!).toString(), '2');
});

const refused: readonly (readonly [what: string, args: readonly string[], code: string])[] = [
  ['a split at the first key of a region', ['region', 'split', '3', '--key64', 'QAAAAA=='], 'ChangeRefused'],
  ['a split outside the region', ['region', 'split', '2', '--key', 'zzz'], 'ChangeRefused'],
  ['a merge of regions that are no neighbours', ['region', 'merge', '2', '5'], 'ChangeRefused'],
  ['a merge of a region with itself', ['region', 'merge', '2', '2'], 'ChangeRefused'],
  ['a change of a region that is not there', ['region', 'add-replica', '4711', '4'], 'RegionNotFound'],
  ['a replica on a node that is not there', ['region', 'add-replica', '2', '99'], 'NodeNotFound'],
  ['a second replica on one node', ['region', 'add-replica', '2', '1'], 'ChangeRefused'],
  ['the removal of a replica that is not there', ['region', 'remove-replica', '2', '4'], 'ChangeRefused'],
  ['a leader without a replica', ['region', 'transfer-leader', '2', '4'], 'ChangeRefused'],
  ['the removal of a node in use', ['node', 'remove', '2'], 'ChangeRefused'],
  ['the removal of a node that is not there', ['node', 'remove', '99'], 'NodeNotFound'],
  ['an unknown scheduler', ['scheduler', 'pause', 'nothing'], 'InvalidArgument'],
  ['an unknown setting', ['settings', 'set', 'replicaz=3'], 'InvalidArgument'],
  ['a setting out of its bounds', ['settings', 'set', 'replicas=0'], 'InvalidArgument'],
  ['the end of an operator that does not run', ['operator', 'cancel', '12345'], 'ChangeRefused'],
];
test('what cannot be is refused by its code in one line, and changes nothing', async () => {
  const before = JSON.stringify(
    (await view.regions()).map(({ epoch, regionId, peers }) => ({ epoch, regionId, peers })),
  );
  const settings = JSON.stringify(await view.admin.placement('settings.get'));
  for (const [what, args, code] of refused) {
    const run = await ctl(...args);
    assert.ok(run.code !== 0 && run.code !== null, `${what}: exit code ${run.code}`);
    assert.match(run.stderr, new RegExp(`^mraft: ${code}: [^\n]+\n$`), `${what}: ${run.stderr}`);
    assert.is(run.stdout, '', what);
  }
  const after = JSON.stringify(
    (await view.regions()).map(({ epoch, regionId, peers }) => ({ epoch, regionId, peers })),
  );
  assert.is(after, before);
  assert.is(JSON.stringify(await view.admin.placement('settings.get')), settings);
});

test('the last voter of a region is not removed', async () => {
  const region = String(FIRST + 3);
  await ok('region', 'remove-replica', region, '1');
  await ok('region', 'remove-replica', region, '2');
  await untilPlaced('one is left', FIRST + 3, ({ peers }) => peers.length === 1);
  const run = await ctl('region', 'remove-replica', region, '3');
  assert.is(run.code, 1);
  assert.match(run.stderr, /^mraft: ChangeRefused: [^\n]+\n$/);
  assert.is((await placed(FIRST + 3)).peers.length, 1);
});

/** A node with these arguments, in a directory of its own. */
function stranger(name: string, args: readonly string[], url = cluster.url): LocalNode {
  const dataDir = join(cluster.dir, name);
  const all = ['--cluster', cluster.cluster, '--nats', url, '--data', dataDir, '--workers', '1', ...args];
  return new LocalNode({ id: 0, args: all, dataDir, logPath: join(cluster.dir, `${name}.log`), detached: false });
}

async function refusedToStart(node: LocalNode, code: string): Promise<void> {
  const failure = await node.start().then(
    () => 'it serves',
    (error: Error) => error.message,
  );
  assert.match(failure, /ended with 1 before it served/, failure);
  assert.match(node.logTail, new RegExp(`mraft: ${code}: [^\n]+\n`));
}

test('a second node with a used id does not come up, whether it joins or begins', async () => {
  await refusedToStart(stranger('second', ['--node', '2', '--join']), 'NodeIdInUse');
  await refusedToStart(stranger('wiped', ['--node', '2', '--peers', '1,2,3']), 'NodeIdInUse');
  await client.put('alive', 'yes');
  assert.ok(cluster.nodes.every((node) => node.isRunning));
});

test('data of one cluster is not taken into another of the same name', async () => {
  const node = stranger('traveller', ['--node', '7', '--join']);
  await node.start();
  await node.term();
  const broker = await startBroker({ dir: cluster.dir });
  const other = stranger('other', ['--node', '1', '--peers', '1'], broker.url);
  const traveller = stranger('traveller', ['--node', '7', '--join'], broker.url);
  try {
    await other.start();
    const ended = await eventually(
      'the traveller is told so',
      async () => {
        if (!traveller.isRunning) await traveller.start().catch(() => {});
        return /mraft: ClusterMismatch: [^\n]+\n/.test(traveller.logTail);
      },
      60_000,
    );
    assert.ok(ended);
  } finally {
    await traveller.term();
    await other.term();
    await broker.stop();
  }
});
