import { assert, suite } from '../harness.ts';
import { PlacementRing, type RingNode } from '../../engine/placement/index.ts';

const test = suite('the ring places replicas when nothing is known yet', { timeoutMs: 180_000 });

const REGIONS = 20_000;
const nodes = (count: number, labels: (nodeId: number) => RingNode['labels'] = () => ({})): RingNode[] =>
  Array.from({ length: count }, (_, index) => ({ nodeId: index + 1, labels: labels(index + 1) ?? {} }));

function counts(ring: PlacementRing, replicas: number): Map<number, number> {
  const perNode = new Map<number, number>();
  for (let regionId = 2; regionId < REGIONS + 2; regionId += 1) {
    for (const nodeId of ring.place(regionId, replicas)) perNode.set(nodeId, (perNode.get(nodeId) ?? 0) + 1);
  }
  return perNode;
}

/** Share of all replicas that the one ring has where the other has none. */
function moved(before: PlacementRing, after: PlacementRing): number {
  let count = 0;
  for (let regionId = 2; regionId < REGIONS + 2; regionId += 1) {
    const old = before.place(regionId, 3);
    count += after.place(regionId, 3).filter((nodeId) => !old.includes(nodeId)).length;
  }
  return count / (3 * REGIONS);
}

test('every region gets different nodes, and every node about as many replicas as the others', () => {
  const ring = new PlacementRing(nodes(20));
  for (let regionId = 2; regionId < 500; regionId += 1) assert.is(new Set(ring.place(regionId, 3)).size, 3);
  const perNode = [...counts(ring, 3).values()];
  const mean = (3 * REGIONS) / 20;
  assert.is(perNode.length, 20);
  for (const count of perNode) assert.ok(Math.abs(count - mean) < 0.2 * mean, `${count} of ${mean}`);
});

test('a node that joins takes little more than its share, and nothing else moves', () => {
  const share = moved(new PlacementRing(nodes(20)), new PlacementRing(nodes(21)));
  assert.ok(share > 0.5 / 21 && share < 1.3 / 21, `${share} of all replicas, its share is ${1 / 21}`);
});

test('a node that leaves gives up its share, and nothing else moves', () => {
  const all = nodes(20);
  const share = moved(new PlacementRing(all), new PlacementRing(all.filter(({ nodeId }) => nodeId !== 7)));
  assert.ok(share > 0.5 / 20 && share < 1.3 / 20, `${share} of all replicas, its share is ${1 / 20}`);
});

test('replicas are in different zones as long as there are enough', () => {
  const zoned = nodes(15, (nodeId) => ({ zone: `z${nodeId % 3}` }));
  const ring = new PlacementRing(zoned, { spreadBy: ['zone'] });
  const zoneOf = (nodeId: number): unknown => zoned[nodeId - 1]?.labels?.['zone'];
  for (let regionId = 2; regionId < 2_000; regionId += 1) {
    assert.is(new Set(ring.place(regionId, 3).map(zoneOf)).size, 3);
    assert.is(new Set(ring.place(regionId, 5)).size, 5, 'more replicas than zones share them');
  }
});

test('in zones a node that joins still moves little more than its share', () => {
  const labels = (nodeId: number): RingNode['labels'] => ({ zone: `z${nodeId % 5}` });
  const before = new PlacementRing(nodes(20, labels), { spreadBy: ['zone'] });
  const after = new PlacementRing(nodes(21, labels), { spreadBy: ['zone'] });
  const share = moved(before, after);
  assert.ok(share < 2.5 / 21, `${share} of all replicas, its share is ${1 / 21}`);
});

test('a node of twice the weight gets about twice as much', () => {
  const ring = new PlacementRing(nodes(10).map((node) => ({ ...node, weight: node.nodeId === 1 ? 2 : 1 })));
  const perNode = counts(ring, 1);
  const others = REGIONS / 11;
  assert.ok(Math.abs((perNode.get(1) ?? 0) - 2 * others) < 0.4 * others, `${perNode.get(1)} of ${others} each`);
});

test('fewer nodes than replicas are all used, and the same ring gives the same answer', () => {
  const ring = new PlacementRing(nodes(2));
  assert.is(ring.place(5, 3).length, 2);
  assert.equal(new PlacementRing(nodes(9)).place(77, 3), new PlacementRing(nodes(9)).place(77, 3));
  assert.throws(() => new PlacementRing([{ nodeId: 1 }, { nodeId: 1 }]), /given twice/);
});
