import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import {
  compareKeys,
  containsKey,
  fromWireRegion,
  isNewerEpoch,
  sameEpoch,
  toWireRegion,
} from '../../rpc/wire/region.ts';
import { assert, suite } from '../harness.ts';

const test = suite('region descriptor');

const region = {
  regionId: 5,
  startKey: Buffer.from('b'),
  endKey: Buffer.from('d'),
  epoch: { version: 2, confVersion: 9 },
  peers: [
    { peerId: 11, nodeId: 1, role: 'voter' as const },
    { peerId: 12, nodeId: 2, role: 'learner' as const },
  ],
};

test('is the same behind the wire, and its keys are copies', () => {
  const bytes = encode(mraft.Region, toWireRegion(region, 1));
  const wire = decode(mraft.Region, bytes);
  assert.is(wire.leaderNodeId, 1);
  const read = fromWireRegion(wire);
  assert.equal(read, region);
  bytes.fill(0);
  assert.equal(read, region);
});

test('its range has an inclusive start and an exclusive end; empty is open', () => {
  const holds = (range: Parameters<typeof containsKey>[0], key: string): boolean =>
    containsKey(range, Buffer.from(key));
  assert.equal(
    ['a', 'b', 'b\0', 'czz', 'd'].map((key) => holds(region, key)),
    [false, true, true, true, false],
  );
  const all = { startKey: Buffer.alloc(0), endKey: Buffer.alloc(0) };
  assert.ok(holds(all, '\0') && holds(all, '\xff\xff'));
});

test('keys are ordered as bytes, a prefix first', () => {
  const sorted = [[], [0], [0, 0], [0, 255], [1], [127], [128], [255], [255, 0]].map((bytes) => Buffer.from(bytes));
  for (let i = 0; i < sorted.length; i++) {
    for (let j = 0; j < sorted.length; j++) {
      assert.is(Math.sign(compareKeys(sorted[i]!, sorted[j]!)), Math.sign(i - j));
    }
  }
});

test('epochs are ordered by version first', () => {
  const epoch = (version: number, confVersion: number) => ({ version, confVersion });
  assert.ok(sameEpoch(epoch(1, 2), epoch(1, 2)));
  assert.not(sameEpoch(epoch(1, 2), epoch(2, 1)));
  assert.ok(isNewerEpoch(epoch(2, 1), epoch(1, 9)));
  assert.ok(isNewerEpoch(epoch(1, 3), epoch(1, 2)));
  assert.not(isNewerEpoch(epoch(1, 2), epoch(1, 2)));
  assert.not(isNewerEpoch(epoch(1, 9), epoch(2, 1)));
});
