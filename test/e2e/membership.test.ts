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

test('an observer never votes, follows, and serves stale reads and reads at the index of the leader', async () => {
  const region = FIRST + 2;
  await ok('region', 'add-replica', String(region), '4', '--observer');
  await untilPlaced('it learns', region, (placedNow) => nodesOf(placedNow, 'learner').join() === '4');
  assert.equal(nodesOf(await placed(region), 'voter'), [1, 2, 3]);
  await eventually('it is seen in the list', async () =>
    (await ok('region', 'list')).stdout
      .split('\n')
      .some((line) => new RegExp(`^${region} .* 1 2 3 4\\(learner\\)`).test(line)),
  );

  const key = Buffer.concat([Buffer.from((await placed(region)).startKey, 'base64'), Buffer.from('observed')]);
  const reader = await connect({ servers: cluster.url, cluster: cluster.cluster });
  const readsOf = async (nodeId: number): Promise<number> =>
    Number((await view.admin.nodes()).find((node) => node.nodeId === nodeId)?.['pointReads']);
  try {
    for (const read of ['replica', 'stale'] as const) {
      const before = await readsOf(4);
      for (let round = 1; round <= 12; round++) {
        await client.put(key, `${read} ${round}`);
        const value = Buffer.from((await reader.get(key, { read })) ?? []).toString();
        // A replica's read is linearizable; a stale one sees what was, and never what was not.
        if (read === 'replica') assert.is(value, `${read} ${round}`);
        else assert.ok(/^(replica|stale) \d+$/.test(value), value);
      }
      await eventually(`the observer has answered some reads of mode ${read}`, async () => (await readsOf(4)) > before);
    }
    await eventually(
      'each replica has the last value in the end, the observer too',
      async () => {
        const values = await Promise.all([1, 2, 3, 4, 5].map(() => reader.get(key, { read: 'stale' })));
        return values.every((value) => Buffer.from(value ?? []).toString() === 'stale 12');
      },
      20_000,
    );
  } finally {
    await reader.close();
  }
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
  ['a split at the end of a region', ['region', 'split', '2', '--key64', 'QAAAAA=='], 'ChangeRefused'],
  ['a split outside the region', ['region', 'split', '2', '--key', 'zzz'], 'ChangeRefused'],
  ['a split at no key', ['region', 'split', '2', '--key', ''], 'InvalidArgument'],
  ['a split at what is no base64', ['region', 'split', '2', '--key64', 'QAAAAA='], 'MalformedRequest'],
  ['a split of a region of the system', ['region', 'split', '1', '--key', 'm'], 'ChangeRefused'],
  ['a split in the middle of nothing', ['region', 'split', '5'], 'ChangeRefused'],
  ['a merge of regions that are no neighbours', ['region', 'merge', '2', '5'], 'ChangeRefused'],
  ['a merge of a region with itself', ['region', 'merge', '2', '2'], 'ChangeRefused'],
  ['a merge with a region of the system', ['region', 'merge', '2', '1'], 'ChangeRefused'],
  ['a merge with nobody', ['region', 'merge', '2', '4711'], 'RegionNotFound'],
  ['a change of a region that is not there', ['region', 'add-replica', '4711', '4'], 'RegionNotFound'],
  ['a replica on a node that is not there', ['region', 'add-replica', '2', '99'], 'NodeNotFound'],
  ['a replica on node 0', ['region', 'add-replica', '2', '0'], 'InvalidArgument'],
  ['a second replica on one node', ['region', 'add-replica', '2', '1'], 'ChangeRefused'],
  ['a voter where there is an observer', ['region', 'add-replica', '4', '4'], 'ChangeRefused'],
  ['a replica on a node that does not answer', ['region', 'add-replica', '2', '5'], 'ChangeRefused'],
  ['a replica on a node that is draining', ['region', 'add-replica', '2', '6'], 'ChangeRefused'],
  ['the removal of a replica that is not there', ['region', 'remove-replica', '2', '4'], 'ChangeRefused'],
  ['the removal from a node that is not there', ['region', 'remove-replica', '2', '99'], 'NodeNotFound'],
  ['a move from where there is none', ['region', 'move-replica', '2', '4', '4'], 'ChangeRefused'],
  ['a leader without a replica', ['region', 'transfer-leader', '2', '4'], 'ChangeRefused'],
  ['a leader without a vote', ['region', 'transfer-leader', '4', '4'], 'ChangeRefused'],
  ['a leader that is no node', ['region', 'transfer-leader', '2', '99'], 'NodeNotFound'],
  ['recovery while a quorum lives', ['region', 'unsafe-recover', '2', '1', '--lost', '2,3'], 'ChangeRefused'],
  ['recovery on a node without the region', ['region', 'unsafe-recover', '2', '4', '--lost', '2,3'], 'RegionNotFound'],
  ['recovery of a node that is its own loss', ['region', 'unsafe-recover', '2', '1', '--lost', '1'], 'ChangeRefused'],
  ['recovery on nobody', ['region', 'unsafe-recover', '2', '99', '--lost', '2'], 'Unavailable'],
  ['the draining of a node that is not there', ['node', 'drain', '99'], 'NodeNotFound'],
  ['the draining of one node too many', ['node', 'drain', '1'], 'ChangeRefused'],
  ['the end of a draining that is none', ['node', 'undrain', '1'], 'ChangeRefused'],
  ['the removal of a node in use', ['node', 'remove', '2'], 'ChangeRefused'],
  ['the removal of a node that is not there', ['node', 'remove', '99'], 'NodeNotFound'],
  ['the state of a node that is not there', ['node', 'show', '99'], 'InvalidArgument'],
  ['the group of a region that is not there', ['raft', 'show', '4711'], 'RegionNotFound'],
  ['an operator of no kind', ['operator', 'add', 'dance', '--region', '2'], 'InvalidArgument'],
  ['an operator without its node', ['operator', 'add', 'addReplica', '--region', '2'], 'InvalidArgument'],
  [
    'an operator with what it has no use for',
    ['operator', 'add', 'split', '--region', '2', '--node', '4'],
    'InvalidArgument',
  ],
  ['the end of an operator that does not run', ['operator', 'cancel', '12345'], 'ChangeRefused'],
  ['an unknown scheduler', ['scheduler', 'pause', 'nothing'], 'InvalidArgument'],
  ['an unknown scheduler to go on', ['scheduler', 'resume', 'nothing'], 'InvalidArgument'],
  ['a pause of no length', ['scheduler', 'pause', 'merge', '--for-ms', '0'], 'InvalidArgument'],
  ['an unknown setting', ['settings', 'set', 'replicaz=3'], 'InvalidArgument'],
  ['a setting that is a word of the language', ['settings', 'set', '__proto__=5'], 'InvalidArgument'],
  ['a setting out of its bounds', ['settings', 'set', 'replicas=0'], 'InvalidArgument'],
  ['a setting below 0', ['settings', 'set', 'replicas=-3'], 'InvalidArgument'],
  ['a setting that is no number', ['settings', 'set', 'replicas=NaN'], 'InvalidArgument'],
  ['a setting in hexadecimal', ['settings', 'set', 'replicas=0x3'], 'InvalidArgument'],
  ['a huge setting', ['settings', 'set', `startsPerSecond=${'9'.repeat(400)}`], 'InvalidArgument'],
  ['a setting without a value', ['settings', 'set', 'replicas'], 'InvalidArgument'],
  ['a setting twice', ['settings', 'set', 'replicas=3', 'replicas=5'], 'InvalidArgument'],
  ['a good setting beside a bad one', ['settings', 'set', 'replicas=5', 'replicaz=5'], 'InvalidArgument'],
  ['labels that nobody can have', ['settings', 'set', 'spreadBy=zone,a b'], 'InvalidArgument'],
];
test('what cannot be is refused by its code in one line, and changes nothing', async () => {
  // Node 5 has joined and is gone, node 6 is draining: of six, one is silent and one leaves.
  const silent = stranger('silent', ['--node', '5', '--join']);
  await silent.start();
  await view.untilUp(5, 30_000);
  await silent.kill9();
  const leaving = cluster.addNode(6);
  await leaving.start();
  await ok('node', 'drain', '6', '--no-wait');
  await view.set({ replicas: 5 });
  await eventually('node 5 is not up', async () => (await stateOf(5)) === 'suspect', 30_000);

  const before = await everything();
  await inLanes(refused, async ([what, args, code]) => {
    const run = await ctl(...args);
    assert.match(run.stderr, new RegExp(`^mraft: ${code}: [^\n]+\n$`), `${what}: ${run.stderr}`);
    assert.is(run.code, code === 'InvalidArgument' ? 2 : 1, `${what}: exit code ${run.code}`);
    assert.is(run.stdout, '', what);
  });
  assert.equal(await everything(), before);
  await view.set({ replicas: 3 });
});

async function stateOf(nodeId: number): Promise<string | undefined> {
  return (await view.nodes()).find((node) => node.nodeId === nodeId)?.state;
}

/** What a refusal must leave as it is. */
async function everything(): Promise<unknown> {
  const nodes = (await view.nodes()).map(({ nodeId, state }) => ({ nodeId, state }));
  const regions = (await view.regions()).map(({ epoch, regionId, peers, leaderNodeId }) => ({
    epoch,
    regionId,
    peers,
    leaderNodeId,
  }));
  const [settings, schedulers] = await Promise.all([
    view.admin.placement('settings.get'),
    view.admin.placement('scheduler.list'),
  ]);
  return { nodes, regions, settings, schedulers };
}

/** Each run costs a start of Node. */
async function inLanes<T>(list: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const waiting = [...list];
  const lane = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await run(next);
  };
  await Promise.all([lane(), lane(), lane(), lane()]);
}

test("the lead of placement's own region moves, and whoever asked for it hears that it is done", async () => {
  const leaderNow = async (): Promise<number> => (await placed(1)).leaderNodeId;
  const from = await eventually('somebody leads placement', leaderNow, 30_000);
  const run = await ok('region', 'transfer-leader', '1', String((from % 3) + 1));
  assert.match(run.stdout, /^done: region 1: move the lead to node \d: done in /);
});

test('a node that does not answer is named, not left out', async () => {
  cluster.node(3).sigstop();
  try {
    const run = await ok('node', 'list');
    assert.match(run.stdout, /^3 .*does not answer/m, run.stdout);
    assert.match(run.stdout, /^5 .*does not answer/m, run.stdout);
    const listed = JSON.parse((await ok('node', 'list', '--json')).stdout) as { nodeId: number; answers: boolean }[];
    const silent = listed.filter(({ answers }) => !answers).map(({ nodeId }) => nodeId);
    assert.equal(silent, [3, 5]);
  } finally {
    cluster.node(3).sigcont();
  }
  await eventually('placement is led as before', async () => (await stateOf(3)) === 'up', 30_000);
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
