/**
 * Random histories: nodes die, come back, are cut off, join, drain and leave; regions grow, heat up, split and merge; messages
 * are late and lost; placement loses its leader. The simulated cluster throws at once when it is ordered to remove a last
 * voter, to put two replicas on a node, or to take the vote of a leader. In the end peace returns, and everything must be whole.
 */

import { assert, suite } from '../harness.ts';
import { Random } from '../../bench/random.ts';
import type { PlacementDriver } from '../../bench/placement/driver.ts';
import { MIB, assertTiled, assertWhole, spanOf, startCluster, upNodes } from './cluster-fixture.ts';

const test = suite('whatever happens to a cluster, placement does no harm and heals it', { timeoutMs: 240_000 });

const HISTORIES = 24;
const EVENTS = 40;

class History {
  readonly driver: PlacementDriver;
  private readonly random: Random;
  private readonly gone = new Set<number>();

  constructor(seed: number) {
    this.random = new Random(seed * 7_919);
    this.driver = startCluster({
      seed,
      nodes: 7,
      regions: 24,
      zones: 3,
      sizeBytes: 20 * MIB,
      loss: 0.1,
      delayMs: [1, 300],
      reportEveryMs: 4_000,
      settings: { replaceAfterMs: 20_000, mergeAfterMs: 10_000, minimumRegions: 4, mergeSizeBytes: 10 * MIB },
    });
  }

  live(): void {
    for (let event = 0; event < EVENTS; event += 1) {
      this.driver.runFor(500 + this.random.below(15_000));
      this.happen();
    }
  }

  /** Everybody is well, and nothing is lost any more. */
  end(): void {
    const { cluster } = this.driver;
    for (const node of cluster.nodes.values()) node.cutOff = false;
    cluster.revive([...cluster.nodes.values()].filter(({ alive }) => !alive).map(({ nodeId }) => nodeId));
    if (!this.driver.hasLeader) this.driver.replaceLeader();
    Object.assign(this.driver.options, { loss: 0 });
    assert.ok(this.driver.runUntilQuiet(3_600_000, 60), 'it comes to rest');
  }

  private happen(): void {
    const { driver, random } = this;
    const { cluster } = driver;
    const nodes = [...cluster.nodes.values()].filter(({ nodeId }) => !this.gone.has(nodeId));
    const node = nodes[random.below(nodes.length)];
    const regions = [...cluster.regions.values()];
    const region = regions[random.below(regions.length)];
    if (!node || !region) return;
    const down = nodes.filter(({ alive, cutOff }) => !alive || cutOff).length;
    const events: readonly (() => void)[] = [
      () => down < 2 && cluster.kill([node.nodeId]),
      () => !node.alive && cluster.revive([node.nodeId]),
      () => (node.cutOff = !node.cutOff && down < 2),
      () => this.join(),
      () => this.drain(node.nodeId),
      () =>
        cluster.resize(region, {
          sizeBytes: random.below(80) * MIB,
          reads: random.below(3_000),
          writes: random.below(500),
        }),
      () => cluster.resize(region, { sizeBytes: MIB, reads: 0, writes: 0 }),
      () => (region.wish = { reason: 'size' }),
      () => (driver.hasLeader ? (driver.hasLeader = false) : driver.replaceLeader()),
      () => driver.hasLeader && driver.replaceLeader(),
    ];
    events[random.below(events.length)]?.();
  }

  private join(): void {
    const { driver } = this;
    if (!driver.hasLeader || driver.cluster.nodes.size >= 12) return;
    const nodeId = driver.cluster.nodes.size + 1;
    driver.cluster.addNode(nodeId, { zone: `z${nodeId % 3}` });
    driver.join(nodeId);
  }

  private drain(nodeId: number): void {
    const { driver, random } = this;
    if (!driver.hasLeader) return;
    try {
      if (driver.placement.node(nodeId).state === 'draining') driver.placement.undrainNode(nodeId, driver.nowMs);
      else {
        const leave = random.below(2) === 0;
        driver.placement.drainNode(nodeId, { leave }, driver.nowMs);
        if (leave) this.gone.add(nodeId);
      }
    } catch (error) {
      assert.ok(['ChangeRefused', 'NodeNotFound'].includes((error as { code: string }).code), String(error));
    }
  }
}

const ascending = (a: number, b: number): number => a - b;

function assertHealed({ driver }: History): void {
  assertTiled(driver);
  assertWhole(driver, 3);
  assert.is(driver.placement.operators().length, 0, 'every operator ended');
  const begun = [...driver.durable.keys()].filter((key) => key.startsWith('operator/'));
  assert.equal(begun, [], 'and none is kept');
  const remembered = [...driver.descriptors.keys()].map((key) => Number(key.slice('region/'.length)));
  const there = [...driver.cluster.regions.keys()];
  assert.equal(remembered.sort(ascending), there.sort(ascending), 'what lasts of regions is what there is');
  const peerIds = [...driver.cluster.regions.values()].flatMap(({ peers }) => peers.map(({ peerId }) => peerId));
  assert.is(new Set(peerIds).size, peerIds.length, 'no peer id was given twice');
  for (const view of driver.placement.nodes()) {
    if (view.state === 'draining' || view.state === 'removed') {
      assert.is(driver.cluster.node(view.nodeId).replicas, 0, `node ${view.nodeId} is ${view.state} and empty`);
    }
  }
  const leaders = upNodes(driver).map((node) => node.leaders);
  assert.ok(spanOf(leaders) <= 2, `leaders are even: ${leaders.join(', ')}`);
}

for (let seed = 1; seed <= HISTORIES; seed += 1) {
  test(`history ${seed}`, () => {
    const history = new History(seed);
    history.live();
    history.end();
    assertHealed(history);
    const { orders } = history.driver;
    history.driver.runFor(120_000);
    assert.is(history.driver.orders, orders, 'and rest is rest');
  });
}
