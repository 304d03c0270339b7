/** What a split makes of a descriptor, and what it refuses. */

import { splitRegion, type SplitCommand } from '../../engine/region/split.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { assert, suite } from '../harness.ts';
import { region, text } from './descriptors.ts';

const test = suite('split');

const command = (changes: Partial<SplitCommand> = {}): SplitCommand => ({
  splitKey: text('m'),
  childRegionId: 70,
  childPeerIds: [71, 72, 73],
  ...changes,
});

function refusal(parent: Region, changes: Partial<SplitCommand>): string {
  try {
    splitRegion(parent, command(changes));
  } catch (error) {
    return (error as { code: string }).code;
  }
  return 'done';
}

test('both halves tile the range of the whole and have one new version', () => {
  const { parent, child } = splitRegion(region(7, 'c', 'x'), command());
  assert.is(Buffer.from(parent.startKey).toString(), 'c');
  assert.is(Buffer.from(parent.endKey).toString(), 'm');
  assert.is(Buffer.from(child.startKey).toString(), 'm');
  assert.is(Buffer.from(child.endKey).toString(), 'x');
  assert.equal(parent.epoch, { version: 5, confVersion: 2 });
  assert.equal(child.epoch, parent.epoch);
  assert.is(parent.regionId, 7);
  assert.is(child.regionId, 70);
});

test('the new half has a peer on each node of the old one, in the same role', () => {
  const peers = [
    { peerId: 1, nodeId: 4, role: 'voter' },
    { peerId: 2, nodeId: 9, role: 'learner' },
  ] as const;
  const { parent, child } = splitRegion(region(7, '', '', { peers }), command({ childPeerIds: [71, 72] }));
  assert.equal(parent.peers, peers);
  assert.equal(child.peers, [
    { peerId: 71, nodeId: 4, role: 'voter' },
    { peerId: 72, nodeId: 9, role: 'learner' },
  ]);
});

test('a key on a boundary, outside, empty or too long splits nothing', () => {
  const parent = region(7, 'c', 'x');
  for (const key of ['c', 'x', 'b', 'y', '']) assert.is(refusal(parent, { splitKey: text(key) }), 'ChangeRefused', key);
  assert.is(refusal(parent, { splitKey: Buffer.alloc(LIMITS.keyBytes + 1, 'd') }), 'ChangeRefused');
  assert.is(refusal(region(7, '', ''), { splitKey: text('') }), 'ChangeRefused');
  assert.is(refusal(region(7, '', ''), { splitKey: text('any') }), 'done');
});

test('ids that are in use, missing or no ids are refused', () => {
  const parent = region(7, '', '');
  for (const childRegionId of [7, 1, 0, -3, 1.5]) assert.is(refusal(parent, { childRegionId }), 'ChangeRefused');
  for (const childPeerIds of [[71, 72], [71, 72, 73, 74], [71, 71, 72], [71, 72, 701], [71, 72, 0], []]) {
    assert.is(refusal(parent, { childPeerIds }), 'ChangeRefused', childPeerIds.join());
  }
});

test('a system region is not split', () => {
  assert.is(refusal(region(1, '', ''), {}), 'ChangeRefused');
});

test('a region in a joint configuration is split when that is left', () => {
  const peers = [
    { peerId: 701, nodeId: 1, role: 'voter' },
    { peerId: 702, nodeId: 2, role: 'demotingVoter' },
    { peerId: 703, nodeId: 3, role: 'incomingVoter' },
  ] as const;
  assert.is(refusal(region(7, '', '', { peers }), {}), 'RegionChanging');
});
