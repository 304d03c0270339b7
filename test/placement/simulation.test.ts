import { assert, note, suite } from '../harness.ts';
import { PlacementSimulation, describeOperators } from '../../bench/placement/simulation.ts';

const test = suite('a life of a cluster under placement, in small', { timeoutMs: 300_000 });

test('nodes lost and won, hot spots and the loss of a zone: each ends whole, even and at rest', () => {
  const simulation = new PlacementSimulation({ nodes: 20, regions: 1_000, zones: 4, seed: 3, copyMibPerSecond: 100 });
  const { phases } = simulation.run();
  for (const { phase, converged, convergedAfterMs, operators, balance } of phases) {
    assert.ok(converged, phase);
    assert.is(balance.incomplete, 0, `${phase}: every region has its replicas`);
    assert.is(balance.sharingZone, 0, `${phase}: in different zones`);
    assert.ok(balance.leaders.most < 1.1 && balance.leaders.least > 0.9, `${phase}: leaders within a tenth of even`);
    assert.ok(balance.sizeBytes.most < 1.15, `${phase}: no node is much fuller than the others`);
    const { load, hottestRegion } = balance;
    assert.ok(load.most < 1.25 + hottestRegion, `${phase}: no node is busier than the others by more than one region`);
    note(`${phase}: ${Math.round(convergedAfterMs / 1000)} s, ${describeOperators(operators)}`);
  }
  const { orders } = simulation.driver;
  simulation.driver.runFor(600_000);
  assert.is(simulation.driver.orders, orders, 'nothing moves any more');
});
