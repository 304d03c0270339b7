/** A cluster begins with one region, or with as many as it was told, and is not merged below those. */

import { assert, suite } from '../harness.ts';
import { Placement } from '../../engine/placement/index.ts';

const test = suite('a cluster that begins');

const placement = (durable: Iterable<[string, string]>, initialRegions: number): Placement =>
  new Placement({ durable, random: () => 0.5, nowMs: 0, initialRegions });

test('one that was begun with more regions keeps them, whoever leads placement later', () => {
  const first = placement([], 48);
  assert.is(first.settings().minimumRegions, 48);
  const kept = first.takeWrites().map(({ key, value }): [string, string] => [key, value as string]);
  assert.is(placement(kept, 1).settings().minimumRegions, 48);
  assert.match(placement(kept, 1).log()[0]?.text ?? '', 'minimumRegions: 48 (was 1)');
});

test('one that began long ago is not changed by the options of a node', () => {
  assert.is(placement([['ids', '7']], 48).settings().minimumRegions, 1);
});
