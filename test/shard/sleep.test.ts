import type { Region } from '../../rpc/wire/region.ts';
import { mraft } from '../../rpc/wire/codec.ts';
import { assert, suite } from '../harness.ts';
import { VirtualCluster, text, wholeRegion } from './virtual-cluster.ts';

const HIBERNATE_AFTER_MS = 1_000;
/** Of VirtualCluster. */
const HEARTBEAT_MS = 150;
/** Long enough for a group to fall asleep, or for a lost node to be noticed and its regions to elect others. */
const A_WHILE_MS = 4_000;

/** `count` regions, one for each first letter, led by whom chance picks. */
function cluster(count: number, nodes = 3): VirtualCluster {
  const letter = (at: number): Uint8Array => text(String.fromCharCode(97 + at));
  const regions = Array.from({ length: count }, (_, at): Region => ({
    regionId: 2 + at,
    startKey: at === 0 ? new Uint8Array(0) : letter(at),
    endKey: at === count - 1 ? new Uint8Array(0) : letter(at + 1),
    epoch: { version: 1, confVersion: 1 },
    peers: Array.from({ length: nodes }, (_node, i) => ({ peerId: at * nodes + i + 1, nodeId: i + 1, role: 'voter' })),
  }));
  const made = new VirtualCluster({ nodes, regions, hibernateAfterMs: HIBERNATE_AFTER_MS });
  for (const { regionId } of regions) made.elect(regionId);
  return made;
}

function asleep(): VirtualCluster {
  const made = cluster(6);
  made.pass(A_WHILE_MS);
  return made;
}

const awakeOn = (made: VirtualCluster): number[] => [...made.nodes.values()].map(({ shard }) => shard.stats().awake);
const wakeUps = (made: VirtualCluster): number[] => [...made.nodes.values()].map(({ shard }) => shard.stats().wakeUps);
const leaderOf = (made: VirtualCluster, regionId: number): number => made.leader(regionId)?.nodeId ?? 0;

const test = suite('regions that sleep', { timeoutMs: 60_000 });

test('an idle region sleeps everywhere, sends nothing, and keeps its leader', () => {
  const made = asleep();
  assert.equal(awakeOn(made), [0, 0, 0]);
  const leaders = made.regions.map(({ regionId }) => leaderOf(made, regionId));
  const messages = (): number[] => [...made.nodes.values()].map(({ shard }) => shard.stats().peerMessagesSent);
  const before = messages();
  made.pass(60_000);
  assert.equal(messages(), before);
  assert.equal(awakeOn(made), [0, 0, 0]);
  assert.equal(
    made.regions.map(({ regionId }) => leaderOf(made, regionId)),
    leaders,
  );
});

test('nodes with sleeping regions hear that the others are there', () => {
  const made = asleep();
  made.pass(60_000);
  for (const { shard } of made.nodes.values()) {
    assert.is(shard.stats().nodesLost, 0);
    assert.ok(shard.stats().peerFramesReceived > 60);
  }
});

test('a write wakes its region, and no other', () => {
  const made = asleep();
  const before = wakeUps(made);
  const answer = made.put(leaderOf(made, 2), 'apple', 'red');
  assert.ok(answer?.write);
  assert.equal(awakeOn(made), [1, 1, 1]);
  made.pass(A_WHILE_MS);
  assert.equal(awakeOn(made), [0, 0, 0]);
  assert.equal(
    wakeUps(made).map((count, at) => count - before[at]!),
    [1, 1, 1],
  );
  assert.is(made.value(leaderOf(made, 2), 'apple'), 'red');
});

test('a stale read wakes nobody', () => {
  const made = asleep();
  made.value(2, 'apple', mraft.ReadMode.STALE);
  assert.equal(awakeOn(made), [0, 0, 0]);
});

test('a request for the leader wakes a follower, which looks after it', () => {
  const made = asleep();
  const leader = leaderOf(made, 2);
  const follower = leader === 1 ? 2 : 1;
  const answer = made.put(follower, 'apple', 'red');
  assert.is(answer?.error?.code, 'NotLeader');
  assert.is(answer?.error?.leaderNodeId, leader);
  made.pass(A_WHILE_MS);
  assert.is(leaderOf(made, 2), leader);
  assert.equal(awakeOn(made), [0, 0, 0]);
});

test('when a node dies, the regions it led elect others, and the rest sleep on', () => {
  const made = asleep();
  const victim = leaderOf(made, 2);
  const leaders = new Map(made.regions.map(({ regionId }) => [regionId, leaderOf(made, regionId)]));
  const survivors = [...made.nodes.values()].filter(({ nodeId }) => nodeId !== victim);
  const before = survivors.map(({ shard }) => shard.stats().wakeUps);
  const led = [...leaders.values()].filter((nodeId) => nodeId === victim).length;
  assert.ok(led > 0 && led < leaders.size, 'it leads some, and not all');
  made.crash(victim);
  made.pass(A_WHILE_MS);
  for (const [regionId, leader] of leaders) {
    if (leader === victim) assert.ok(made.leader(regionId), `region ${regionId} has a leader again`);
    else assert.is(leaderOf(made, regionId), leader);
  }
  survivors.forEach(({ shard }, at) => assert.is(shard.stats().wakeUps - before[at]!, led));
});

test('while a node is dead, the regions of the others sleep without it, and wake when it is back', () => {
  const made = asleep();
  const victim = leaderOf(made, 2);
  made.crash(victim);
  made.pass(3 * A_WHILE_MS);
  const survivors = [1, 2, 3].filter((nodeId) => nodeId !== victim);
  const awake = (): number[] => survivors.map((nodeId) => made.node(nodeId).shard.stats().awake);
  assert.equal(awake(), [0, 0], 'those that elected another leader too');
  assert.ok(made.put(leaderOf(made, 2), 'apple', 'red')?.write);
  made.pass(2 * A_WHILE_MS);
  assert.equal(awake(), [0, 0], 'a write wakes its region for a while only');
  made.restart(victim);
  made.pass(3 * A_WHILE_MS);
  assert.equal(awakeOn(made), [0, 0, 0]);
  for (const nodeId of [1, 2, 3]) assert.is(made.value(nodeId, 'apple', mraft.ReadMode.STALE), 'red');
});

test('a peer that slept through a write while its node could not be heard gets it when the node is back', () => {
  const made = asleep();
  const leader = leaderOf(made, 2);
  const away = leader === 1 ? 2 : 1;
  made.loses = ({ to, from }) => to === away || from === away;
  made.pass(A_WHILE_MS);
  assert.ok(made.put(leader, 'apple', 'red')?.write);
  made.pass(2 * A_WHILE_MS);
  assert.is(made.node(leader).shard.stats().awake, 0, 'the leader sleeps without it');
  made.loses = () => false;
  made.pass(2 * A_WHILE_MS);
  assert.is(made.value(away, 'apple', mraft.ReadMode.STALE), 'red');
  assert.equal(awakeOn(made), [0, 0, 0]);
});

test('a peer that was added while its node was dead gets its replica when the node is back with nothing', () => {
  const made = new VirtualCluster({
    nodes: 4,
    regions: [wholeRegion([1, 2, 3])],
    hibernateAfterMs: HIBERNATE_AFTER_MS,
  });
  made.elect();
  made.crash(4);
  const added = made.change({
    kind: 'membership',
    joint: false,
    changes: [{ action: 'addLearner', peerId: 40, nodeId: 4 }],
  });
  assert.is(added, undefined);
  made.pass(3 * A_WHILE_MS);
  const others = [1, 2, 3].map((nodeId) => made.node(nodeId).shard);
  assert.equal(
    others.map((shard) => shard.stats().awake),
    [0, 0, 0],
    'the region sleeps without it',
  );
  made.restart(4);
  made.pass(3 * A_WHILE_MS);
  assert.ok(made.node(4).shard.regionStatus(2), 'it was asked whether it is there, and answered');
});

test('a leader that a write wakes while nobody answers is ticked again, and gives it to the peer that comes back', () => {
  const { regionId, startKey, endKey, epoch } = wholeRegion([]);
  const peers: Region['peers'] = [
    { peerId: 10, nodeId: 1, role: 'voter' },
    { peerId: 20, nodeId: 2, role: 'learner' },
  ];
  const region = { regionId, startKey, endKey, epoch, peers };
  const made = new VirtualCluster({ nodes: 2, regions: [region], hibernateAfterMs: HIBERNATE_AFTER_MS });
  made.elect();
  made.loses = () => true;
  made.pass(2 * A_WHILE_MS);
  assert.equal(awakeOn(made)[0], 0, 'the only voter sleeps without the learner');
  assert.ok(made.put(1, 'apple', 'red')?.write);
  assert.equal(awakeOn(made)[0], 1, 'the write has woken it');
  made.loses = () => false;
  made.pass(2 * A_WHILE_MS);
  assert.is(made.value(2, 'apple', mraft.ReadMode.STALE), 'red');
  assert.equal(awakeOn(made), [0, 0]);
});

test('a write that wakes its region is sent again by the same leader when nobody answered', () => {
  const made = asleep();
  const leader = leaderOf(made, 2);
  made.loses = ({ to }) => to === leader;
  const id = made.send(leader, { write: made.command({ kind: 'put', key: text('apple'), value: text('red') }) });
  made.settle();
  assert.is(made.node(leader).responses.get(id), undefined);
  made.loses = () => false;
  made.pass(2 * HEARTBEAT_MS);
  assert.ok(made.node(leader).responses.get(id)?.write);
});

test('a node that was cut off and comes back wakes none but those that elected another leader', () => {
  const made = asleep();
  const away = leaderOf(made, 2);
  const leaders = new Map(made.regions.map(({ regionId }) => [regionId, leaderOf(made, regionId)]));
  const before = made.node(away).shard.stats().wakeUps;
  made.loses = ({ to, from }) => to === away || from === away;
  made.pass(A_WHILE_MS);
  assert.is(made.node(away).shard.stats().wakeUps, before, 'alone it can elect nobody, and does not try');
  made.loses = () => false;
  made.pass(2 * A_WHILE_MS);
  assert.equal(awakeOn(made), [0, 0, 0]);
  const led = [...leaders.values()].filter((nodeId) => nodeId === away).length;
  assert.is(made.node(away).shard.stats().wakeUps - before, led);
});

test('a leader that slept while it was cut off serves no stale read', () => {
  const made = asleep();
  const old = leaderOf(made, 2);
  made.put(old, 'apple', 'red');
  made.pass(A_WHILE_MS);
  made.loses = ({ to, from }) => to === old || from === old;
  made.pass(A_WHILE_MS);
  const successor = [...made.nodes.values()].find(
    ({ nodeId, shard }) => nodeId !== old && shard.regionStatus(2)?.raft.role === 'leader',
  )!;
  assert.ok(successor, 'the others have elected one');
  assert.ok(made.put(successor.nodeId, 'apple', 'green')?.write);
  assert.is(made.node(old).shard.regionStatus(2)?.raft.role, 'leader', 'it has slept through that');
  for (const mode of [mraft.ReadMode.LEASE, mraft.ReadMode.LINEARIZABLE]) {
    assert.is(made.read(old, 'apple', mode)?.read, undefined);
  }
  made.loses = () => false;
  made.pass(A_WHILE_MS);
  assert.is(made.value(leaderOf(made, 2), 'apple'), 'green');
});

test('leadership of a sleeping region can be handed over', () => {
  const made = asleep();
  const from = leaderOf(made, 2);
  const to = from === 1 ? 2 : 1;
  assert.is(made.node(from).shard.transferLeader(2, to), true);
  made.pass(HIBERNATE_AFTER_MS / 2);
  assert.is(leaderOf(made, 2), to);
});

test('a node that leaves wakes what it leads, and hands it over', () => {
  const made = asleep();
  const { shard } = made.node(leaderOf(made, 2));
  for (let i = 0; i < 4 && shard.leaderCount > 0; i++) {
    shard.handOver();
    made.settle();
    made.pass(50);
  }
  assert.is(shard.leaderCount, 0);
  for (const { regionId } of made.regions) assert.ok(made.leader(regionId));
});

test('a node that restarts finds its leaders again, and all fall asleep', () => {
  const made = asleep();
  const node = leaderOf(made, 2);
  made.crash(node);
  made.pass(100);
  made.restart(node);
  made.pass(3 * A_WHILE_MS);
  for (const { regionId } of made.regions) assert.ok(made.leader(regionId));
  assert.equal(awakeOn(made), [0, 0, 0]);
});

test('a worker tells also those nodes that it is there which have peers of other workers of its node', () => {
  const made = cluster(1);
  const { shard } = made.node(1);
  const frames: number[] = [];
  made.loses = ({ to, from }) => {
    if (from === 1) frames.push(to);
    return to === 1;
  };
  shard.closeRegion(2);
  made.pass(A_WHILE_MS);
  frames.length = 0;
  made.pass(A_WHILE_MS);
  assert.equal(frames.splice(0), [], 'it has nothing to do with them');
  shard.noteNeighbour(2, true);
  made.pass(A_WHILE_MS);
  assert.ok(frames.length > 5 && frames.every((to) => to === 2));
  shard.noteNeighbour(2, false);
  frames.length = 0;
  made.pass(A_WHILE_MS);
  assert.equal(frames, []);
});
