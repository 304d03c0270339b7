/** Recovery by force: what it makes of a region, and that it is refused as long as a quorum lives, or might. */

import { recoveredRecord, type RecoveryView } from '../../engine/region/unsafe-recovery.ts';
import { normalRecord } from '../../engine/store/region-records.ts';
import type { MraftError } from '../../rpc/wire/errors.ts';
import type { Peer } from '../../rpc/wire/region.ts';
import { assert, suite } from '../harness.ts';
import { VirtualCluster, wholeRegion } from '../shard/virtual-cluster.ts';

const test = suite('unsafe recovery');

function view(changes: Partial<RecoveryView> = {}, peers?: Peer[]): RecoveryView {
  const region = { ...wholeRegion([1, 2, 3]), ...(peers ? { peers } : {}) };
  const record = normalRecord(region);
  return { record, nodeId: 1, isLeader: false, leaderNodeId: 0, silentNodes: new Set([2, 3]), ...changes };
}

function codeOf(act: () => unknown): string | undefined {
  try {
    act();
    return undefined;
  } catch (error) {
    return (error as MraftError).code;
  }
}

test('the replica that is left is the only voter, under an epoch that nobody else can have come to', () => {
  const { region } = recoveredRecord(view(), [2, 3]);
  assert.equal(region.peers, [{ peerId: 10, nodeId: 1, role: 'voter' }]);
  assert.equal(region.epoch, { version: 1_001, confVersion: 1_001 });
});

const joint: Peer[] = [
  { peerId: 10, nodeId: 1, role: 'voter' },
  { peerId: 20, nodeId: 2, role: 'demotingVoter' },
  { peerId: 30, nodeId: 3, role: 'incomingVoter' },
];

test('in a joint configuration the loss of either half is enough', () => {
  assert.is(
    codeOf(() => recoveredRecord(view({ silentNodes: new Set([3]) }, joint), [3])),
    undefined,
  );
  assert.is(
    codeOf(() => recoveredRecord(view({ silentNodes: new Set([2]) }, joint), [2])),
    undefined,
  );
});

for (const [what, changes, lost] of [
  ['a quorum lives', {}, [2]],
  ['nobody is lost', {}, []],
  ['a lost node was heard a moment ago', { silentNodes: new Set([2]) }, [2, 3]],
  ['it leads itself', { isLeader: true, leaderNodeId: 1 }, [2, 3]],
  ['another node leads it', { leaderNodeId: 4 }, [2, 3]],
  ['it names itself as lost', {}, [1, 2, 3]],
  ['it has no replica', { nodeId: 7 }, [2, 3]],
] as [string, Partial<RecoveryView>, number[]][]) {
  test(`refused: ${what}`, () => {
    assert.is(
      codeOf(() => recoveredRecord(view(changes), lost)),
      'ChangeRefused',
    );
  });
}

test('a region that lost its quorum serves again, and who comes back nevertheless does not stay', () => {
  const cluster = new VirtualCluster();
  const leader = cluster.elect().nodeId;
  assert.ok(cluster.put(leader, 'a', '1')?.write);
  cluster.pass(500);
  const [left, ...lost] = [1, 2, 3].filter((id) => id !== leader).concat(leader) as [number, number, number];
  const { shard } = cluster.node(left);
  const force = (): string | undefined => codeOf(() => shard.unsafeRecover(2, lost));
  assert.is(force(), 'ChangeRefused', 'while they are there');
  for (const nodeId of lost) cluster.crash(nodeId);
  cluster.pass(5_000);
  assert.is(force(), undefined);
  assert.is(cluster.elect().nodeId, left);
  assert.is(cluster.value(left, 'a'), '1');
  assert.ok(cluster.put(left, 'b', '2')?.write);
  const late = lost[0]!;
  cluster.restart(late);
  cluster.pass(8_000);
  assert.is(cluster.node(late).shard.regionCount, 0);
  assert.equal(
    cluster.region().peers.map(({ nodeId }) => nodeId),
    [left],
  );
});
