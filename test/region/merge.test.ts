/** What may be merged, what a merge makes of the descriptors, and what proves that it can be given up. */

import {
  absorbRegion,
  absorbedAfter,
  canDestroyAbsorbed,
  checkCarriedEntries,
  checkMerge,
  judgeTarget,
  minIndexOf,
  raiseVersion,
} from '../../engine/region/merge.ts';
import { splitRegion } from '../../engine/region/split.ts';
import type { Absorbed } from '../../engine/store/region-records.ts';
import { encode, mraft } from '../../rpc/wire/codec.ts';
import { encodeAdminPayload, encodePayload } from '../../rpc/wire/command.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { assert, suite } from '../harness.ts';
import { region, text } from './descriptors.ts';

const test = suite('merge');

function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'done';
}

const keys = ({ startKey, endKey }: Region): string =>
  `${Buffer.from(startKey).toString()}-${Buffer.from(endKey).toString()}`;

test('neighbours on both sides can be merged, others not', () => {
  const source = region(7, 'c', 'm');
  assert.is(
    refusal(() => checkMerge(source, region(8, 'm', 'x'))),
    'done',
  );
  assert.is(
    refusal(() => checkMerge(source, region(8, 'a', 'c'))),
    'done',
  );
  for (const target of [region(8, 'n', 'x'), region(8, 'a', 'b'), region(8, 'a', 'z'), region(7, 'm', 'x')]) {
    assert.is(
      refusal(() => checkMerge(source, target)),
      'ChangeRefused',
      keys(target),
    );
  }
  assert.is(
    refusal(() => checkMerge(region(7, '', 'm'), region(8, 'x', ''))),
    'ChangeRefused',
    'the first region and the last are no neighbours',
  );
  assert.is(
    refusal(() => checkMerge(region(1, '', ''), region(8, 'm', 'x'))),
    'ChangeRefused',
  );
});

test('regions on different nodes, or with different voters, are not merged', () => {
  const source = region(7, 'c', 'm');
  const elsewhere = [1, 2, 4].map((nodeId) => ({ peerId: 80 + nodeId, nodeId, role: 'voter' as const }));
  const learning = [1, 2, 3].map((nodeId) => ({
    peerId: 80 + nodeId,
    nodeId,
    role: nodeId === 3 ? ('learner' as const) : ('voter' as const),
  }));
  for (const peers of [elsewhere, learning, learning.slice(0, 2)]) {
    assert.is(
      refusal(() => checkMerge(source, region(8, 'm', 'x', { peers }))),
      'ChangeRefused',
    );
  }
  assert.is(
    refusal(() => checkMerge(region(7, 'c', 'm', { peers: learning }), region(8, 'm', 'x', { peers: learning }))),
    'done',
  );
  const joint = learning.map((peer) => ({ ...peer, role: peer.nodeId === 3 ? ('incomingVoter' as const) : peer.role }));
  assert.is(
    refusal(() => checkMerge(source, region(8, 'm', 'x', { peers: joint }))),
    'RegionChanging',
  );
});

test('the target takes over the range on its side and is newer than both', () => {
  const source = region(7, 'c', 'm', { epoch: { version: 9, confVersion: 5 } });
  const right = absorbRegion(region(8, 'm', 'x'), source);
  assert.is(keys(right), 'c-x');
  assert.equal(right.epoch, { version: 10, confVersion: 2 });
  const left = absorbRegion(region(8, '', 'c', { epoch: { version: 30, confVersion: 2 } }), source);
  assert.is(keys(left), '-m');
  assert.is(left.epoch.version, 31);
  assert.throws(() => absorbRegion(region(8, 'n', 'x'), source), /touches/);
});

test('a split and the merge of its halves give the range back, whichever takes the other over', () => {
  const whole = region(7, 'c', 'x');
  const { parent, child } = splitRegion(whole, { splitKey: text('m'), childRegionId: 9, childPeerIds: [1, 2, 3] });
  assert.is(keys(absorbRegion(parent, child)), 'c-x');
  assert.is(keys(absorbRegion(child, parent)), 'c-x');
});

test('a merge begins when every peer of the source keeps up', () => {
  const source = region(7, 'c', 'm');
  const matches = [701, 702, 703].map((peerId) => ({ peerId, inStep: true, match: peerId - 700 + 10 }));
  assert.is(minIndexOf(source, matches, 20), 11);
  assert.is(minIndexOf(source, matches, 9), 9, 'what is not committed may still be replaced');
  assert.is(
    refusal(() => minIndexOf(source, matches.slice(1), 20)),
    'RegionChanging',
  );
  const [first, ...others] = matches;
  assert.is(
    refusal(() => minIndexOf(source, [...others, { ...first!, inStep: false }], 20)),
    'RegionChanging',
  );
  assert.is(
    refusal(() => minIndexOf(source, [...others, { ...first!, match: 0 }], 20)),
    'RegionChanging',
  );
});

test('what travels along fits an entry and holds no other change of the region', () => {
  const source = region(7, 'c', 'm');
  const entry = (data: Uint8Array, kind: 'normal' | 'confChange' = 'normal') => ({ term: 1, index: 1, kind, data });
  const nature = { conditional: false, exclusive: false };
  const plain = entry(encodePayload(source.epoch, nature, [Buffer.alloc(1000)]));
  const admin = entry(encodeAdminPayload(source.epoch, encode(mraft.AdminCommand, { compactLog: { index: 1 } })));
  assert.is(
    refusal(() => checkCarriedEntries(source, [plain, entry(Buffer.alloc(0))])),
    'done',
  );
  assert.is(
    refusal(() => checkCarriedEntries(source, [plain, admin])),
    'RegionChanging',
  );
  assert.is(
    refusal(() => checkCarriedEntries(source, [entry(Buffer.alloc(0), 'confChange')])),
    'RegionChanging',
  );
  const big = entry(encodePayload(source.epoch, nature, [Buffer.alloc(LIMITS.mergeEntriesBytes / 2)]));
  assert.is(
    refusal(() => checkCarriedEntries(source, [big, big])),
    'RegionChanging',
  );
});

test('a source goes on only when its target has a newer epoch and did not absorb it', () => {
  const source = region(7, 'c', 'm');
  const prepared = region(8, 'm', 'x');
  const judge = (seen: Region, absorbed: Absorbed[] = []) => judgeTarget(source, prepared, { region: seen, absorbed });
  const older = region(8, 'm', 'x', { epoch: { version: 3, confVersion: 2 } });
  const changed = region(8, 'm', 'x', { epoch: { version: 4, confVersion: 3 } });
  assert.is(judge(prepared), 'waiting');
  assert.is(judge(older), 'waiting', 'a replica that lags proves nothing');
  assert.is(judge(changed), 'movedOn');
  assert.is(judge(raiseVersion(prepared)), 'movedOn', 'the target prepares a merge of its own');
  assert.is(judge(absorbRegion(prepared, source), [{ regionId: 7, version: 5, targetId: 8 }]), 'merged');
});

test('a target that absorbed the source and split it off again has absorbed it all the same', () => {
  const source = region(7, 'c', 'm');
  const prepared = region(8, 'm', 'x');
  const whole = absorbRegion(prepared, source);
  const absorbed = absorbedAfter([], [], { regionId: 7, version: whole.epoch.version, targetId: 8 });
  const { parent, child } = splitRegion(whole, { splitKey: text('m'), childRegionId: 9, childPeerIds: [1, 2, 3] });
  for (const half of [parent, child]) {
    assert.is(judgeTarget(source, prepared, { region: half, absorbed }), 'merged', keys(half));
  }
});

test('a target that was merged away itself proves that it moved on', () => {
  const source = region(7, 'c', 'm');
  const prepared = region(8, 'm', 'x');
  const absorber = absorbRegion(region(9, 'x', ''), raiseVersion(prepared));
  const absorbed = absorbedAfter([], [], { regionId: 8, version: absorber.epoch.version, targetId: 8 });
  assert.is(judgeTarget(source, prepared, { region: absorber, absorbed }), 'movedOn');
  const late = region(9, 'a', 'z', { epoch: { version: 2, confVersion: 1 } });
  assert.is(judgeTarget(source, prepared, { region: late, absorbed: [] }), 'waiting', 'from before the target was');
});

test('a replica that was merged elsewhere goes when whoever took it over here needs it no more', () => {
  const merged = { regionId: 7, version: 5, targetId: 8 };
  assert.ok(canDestroyAbsorbed(8, merged, { absorbed: [] }), 'the snapshot is of the one that took it over');
  assert.ok(canDestroyAbsorbed(9, merged, undefined), 'that one is not here');
  assert.ok(canDestroyAbsorbed(9, merged, { absorbed: [merged] }), 'it has taken it over');
  assert.not(canDestroyAbsorbed(9, merged, { absorbed: [] }), 'it has yet to do so');
});

test('what a region remembers of whom it absorbed is bounded, and what it may have forgotten proves nothing', () => {
  let absorbed: readonly Absorbed[] = [];
  for (let i = 0; i < LIMITS.absorbedRegions + 10; i++) {
    absorbed = absorbedAfter(absorbed, [], { regionId: 1000 + i, version: 10 + i, targetId: 8 });
  }
  assert.is(absorbed.length, LIMITS.absorbedRegions);
  assert.is(absorbed.at(-1)!.version, 20);
  const source = region(7, 'c', 'm');
  const seen = { region: region(8, 'm', 'x', { epoch: { version: 500, confVersion: 2 } }), absorbed };
  const prepared = region(8, 'm', 'x', { epoch: { version: 12, confVersion: 2 } });
  assert.is(judgeTarget(source, prepared, seen), 'unclear');
  const recent = region(8, 'm', 'x', { epoch: { version: 25, confVersion: 2 } });
  assert.is(judgeTarget(source, recent, seen), 'movedOn', 'it was prepared after what is forgotten');
});
