/** What a cluster begins with: every node computes it alone, so it must be the same for all, whole and well spread. */

import { initialRegions } from '../../engine/node/bootstrap.ts';
import { assert, suite } from '../harness.ts';

const test = suite('the regions that a cluster begins with');

const plan = (initialNodes: readonly number[], regions: number) =>
  initialRegions({ initialNodes, regions, splitKeys: undefined });

test('one region of keys, on three nodes, beside that of placement', () => {
  const regions = plan([1, 2, 3], 1);
  assert.equal(
    regions.map(({ regionId, peers }) => [regionId, peers.map(({ nodeId }) => nodeId)]),
    [
      [1, [1, 2, 3]],
      [2, [1, 2, 3]],
    ],
  );
});

test('regions tile the key space, and no id of a peer is given twice', () => {
  const [, ...user] = plan([1, 2, 3], 48);
  assert.is(user.length, 48);
  assert.is(user[0]?.startKey.length, 0);
  user.forEach((region, at) => assert.equal(region.endKey, user[at + 1]?.startKey ?? Buffer.alloc(0)));
  for (const nodes of [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4, 5, 6]]) {
    const peerIds = plan(nodes, 20).flatMap(({ peers }) => peers.map(({ peerId }) => peerId));
    assert.is(new Set(peerIds).size, peerIds.length);
  }
});

test('on three nodes each leads in its turn; on more the ring spreads replicas and leaders', () => {
  const leaders = plan([1, 2, 3], 48)
    .slice(1)
    .map(({ peers }) => peers[0]?.nodeId);
  assert.equal(leaders.slice(0, 4), [1, 2, 3, 1]);
  const nodes = [1, 2, 3, 4, 5, 6, 7, 8];
  const user = plan(nodes, 800).slice(1);
  for (const nodeId of nodes) {
    const replicas = user.filter(({ peers }) => peers.some((peer) => peer.nodeId === nodeId)).length;
    assert.ok(Math.abs(replicas - 300) < 75, `node ${nodeId} has ${replicas} replicas, even were 300`);
    const led = user.filter(({ peers }) => peers[0]?.nodeId === nodeId).length;
    assert.ok(Math.abs(led - 100) < 40, `node ${nodeId} leads ${led}, even were 100`);
  }
  for (const { peers } of user) assert.is(new Set(peers.map(({ nodeId }) => nodeId)).size, 3);
});

test('a node more moves little of it', () => {
  const homes = (nodes: readonly number[]): string[] =>
    plan(nodes, 800)
      .slice(1)
      .flatMap(({ regionId, peers }) => peers.map(({ nodeId }) => `${regionId} on ${nodeId}`));
  const before = new Set(homes([1, 2, 3, 4, 5, 6, 7, 8]));
  const moved = homes([1, 2, 3, 4, 5, 6, 7, 8, 9]).filter((home) => !before.has(home)).length;
  assert.ok(moved < (2_400 / 9) * 1.3, `${moved} of 2,400 replicas moved, its share is ${Math.round(2_400 / 9)}`);
});
