/** Placement alone, in virtual time, through a life with a node lost, hot spots, new nodes and a zone lost. */

import { performance } from 'node:perf_hooks';
import { PlacementRing, SCHEDULERS } from '../../engine/placement/index.ts';
import { Random } from '../random.ts';
import type { SimNode } from './cluster.ts';
import { PlacementDriver } from './driver.ts';

const MIB = 1024 * 1024;
export const REPLICAS = 3;
/** A new replica of a node that was not heard of for so long. */
const REPLACE_AFTER_MS = 60_000;
/** A region whose load has changed says so so often, so many times: placement smooths what it hears. */
const REPORT_LOAD_EVERY_MS = 5_000;
const LOAD_REPORTS = 8;
/** Rounds without anything to do that end a phase. */
const QUIET_ROUNDS = 20;
const LONGEST_PHASE_MS = 4 * 3_600_000;

export interface SimulationOptions {
  readonly nodes: number;
  readonly regions: number;
  readonly zones: number;
  readonly seed: number;
  /** What a node receives a second. */
  readonly copyMibPerSecond: number;
}

/** What one phase came to. */
export interface PhaseReport {
  readonly phase: string;
  readonly converged: boolean;
  /** Virtual time from the event to the first of the quiet rounds. */
  readonly convergedAfterMs: number;
  readonly operators: Readonly<Record<string, number>>;
  readonly ordersSent: number;
  readonly copiedMib: number;
  readonly rounds: number;
  readonly medianRoundMs: number;
  readonly slowestRoundMs: number;
  /** Of the real time that the phase took, placement and simulated cluster together. */
  readonly tookMs: number;
  readonly balance: Balance;
}

/** Of nodes that are up: the most and the least loaded in proportion to the mean. */
export interface Balance {
  readonly leaders: Spread;
  readonly sizeBytes: Spread;
  readonly load: Spread;
  /** Load of the hottest region in proportion to the mean of the nodes: more even than that nobody can be. */
  readonly hottestRegion: number;
  /** Regions that have not all their replicas alive, on nodes of different zones as far as there are enough zones. */
  readonly incomplete: number;
  readonly sharingZone: number;
}

export interface Spread {
  readonly mean: number;
  readonly least: number;
  readonly most: number;
}

export interface BuildReport {
  readonly ringMs: number;
  readonly reportsPerSecond: number;
  readonly rssMib: number;
  readonly balance: Balance;
}

export interface SimulationReport {
  readonly build: BuildReport;
  readonly phases: readonly PhaseReport[];
  readonly rssMib: number;
}

export class PlacementSimulation {
  readonly driver: PlacementDriver;
  private readonly options: SimulationOptions;
  private readonly random: Random;
  /** Operators that began, by who wanted them. */
  private begun: Record<string, number> = {};
  private lastSequence = 0;

  constructor(options: SimulationOptions) {
    this.options = options;
    this.random = new Random(options.seed);
    this.driver = new PlacementDriver({
      random: () => this.random.next(),
      copyBytesPerMs: (options.copyMibPerSecond * MIB) / 1000,
      electionMs: 1_000,
      changeMs: 10,
      roundMs: 500,
      heartbeatMs: 2_000,
      delayMs: [1, 5],
      loss: 0,
      reportEveryMs: 0,
    });
    this.driver.onRound = () => this.count();
  }

  /** The whole life. `onPhase` is told of each phase as it ends. */
  run(onPhase: (report: PhaseReport) => void = () => {}): SimulationReport {
    const build = this.build();
    const phases: PhaseReport[] = [];
    for (const [name, event] of this.events()) {
      const report = this.phase(name, event);
      phases.push(report);
      onPhase(report);
    }
    return { build, phases, rssMib: rssMib() };
  }

  private events(): readonly (readonly [string, () => void])[] {
    const { nodes, zones } = this.options;
    return [
      ['settle after the ring', () => {}],
      ['one node lost', () => this.driver.cluster.kill([1])],
      ['hot spots', () => this.heat()],
      ['nodes join', () => this.addNodes(Math.max(1, Math.round(nodes / 100)))],
      ['one zone lost', () => this.driver.cluster.kill(this.nodesOfZone(zones - 1))],
    ];
  }

  // --- building --------------------------------------------------------------------------------------------------------

  build(): BuildReport {
    const { driver, options } = this;
    for (let nodeId = 1; nodeId <= options.nodes; nodeId += 1) {
      driver.cluster.addNode(nodeId, this.labelsOf(nodeId), 4 * 1024 * 1024 * MIB);
    }
    driver.placement.changeSettings({ replaceAfterMs: REPLACE_AFTER_MS }, 0);
    const ringBeganMs = performance.now();
    this.placeByRing();
    const ringMs = performance.now() - ringBeganMs;
    const placed = this.balance();
    driver.begin();
    const reportsBeganMs = performance.now();
    driver.reportEverything();
    const reportsPerSecond = options.regions / ((performance.now() - reportsBeganMs) / 1000);
    return { ringMs, reportsPerSecond, rssMib: rssMib(), balance: placed };
  }

  private labelsOf(nodeId: number): Readonly<Record<string, string>> {
    return { zone: `z${nodeId % this.options.zones}` };
  }

  private placeByRing(): void {
    const { cluster } = this.driver;
    const { regions } = this.options;
    const ring = new PlacementRing([...cluster.nodes.values()], { spreadBy: ['zone'] });
    let peerId = regions + 10;
    for (let index = 0; index < regions; index += 1) {
      const regionId = index + 2;
      const peers = ring.place(regionId, REPLICAS).map((nodeId) => ({ nodeId, peerId: peerId++ }));
      const end = index === regions - 1 ? Number.POSITIVE_INFINITY : index + 1;
      const region = cluster.addRegion(regionId, { start: index, end }, peers, (24 + this.random.below(64)) * MIB);
      cluster.resize(region, { sizeBytes: region.sizeBytes, reads: 20 + this.random.below(20), writes: 20 });
    }
  }

  // --- events ----------------------------------------------------------------------------------------------------------

  private nodesOfZone(zone: number): readonly number[] {
    const { nodes } = this.driver.cluster;
    return [...nodes.values()].filter(({ labels }) => labels['zone'] === `z${zone}`).map(({ nodeId }) => nodeId);
  }

  private addNodes(count: number): void {
    const { cluster } = this.driver;
    const first = cluster.nodes.size + 1;
    for (let nodeId = first; nodeId < first + count; nodeId += 1) {
      cluster.addNode(nodeId, this.labelsOf(nodeId), 4 * 1024 * 1024 * MIB);
      this.driver.join(nodeId);
    }
  }

  /** On one node in a hundred, a tenth of what it leads becomes fifty times as hot. */
  private heat(): void {
    const { cluster } = this.driver;
    const hotNodes = Math.max(1, Math.round(this.options.nodes / 100));
    for (const region of cluster.regions.values()) {
      const nodeId = region.leader?.node.nodeId ?? 0;
      if (nodeId < 2 || nodeId > 1 + hotNodes || this.random.next() >= 0.1) continue;
      cluster.resize(region, { sizeBytes: region.sizeBytes, reads: region.reads * 50, writes: region.writes * 10 });
      for (let report = 0; report < LOAD_REPORTS; report += 1) {
        cluster.events.after(report * REPORT_LOAD_EVERY_MS, () => cluster.report(region));
      }
    }
  }

  // --- measuring -------------------------------------------------------------------------------------------------------

  phase(name: string, event: () => void): PhaseReport {
    const { driver } = this;
    const beganMs = performance.now();
    const before = { copied: driver.cluster.copiedBytes, orders: driver.orders, nowMs: driver.nowMs };
    this.begun = {};
    driver.roundTimesMs.length = 0;
    event();
    // Long enough for the loss to be noticed, and for what is hot to count as hot.
    driver.runFor(REPLACE_AFTER_MS + 10_000);
    const converged = driver.runUntilQuiet(LONGEST_PHASE_MS, QUIET_ROUNDS);
    const times = [...driver.roundTimesMs].sort((a, b) => a - b);
    return {
      phase: name,
      converged,
      convergedAfterMs: Math.max(0, driver.lastBusyMs - before.nowMs),
      operators: this.begun,
      ordersSent: driver.orders - before.orders,
      copiedMib: (driver.cluster.copiedBytes - before.copied) / MIB,
      rounds: times.length,
      medianRoundMs: times[times.length >>> 1] ?? 0,
      slowestRoundMs: times.at(-1) ?? 0,
      tookMs: performance.now() - beganMs,
      balance: this.balance(),
    };
  }

  private count(): void {
    for (const { event, origin, sequence } of this.driver.placement.log(this.lastSequence)) {
      this.lastSequence = sequence;
      const key = event === 'started' ? (origin as string) : undefined;
      if (key !== undefined) this.begun[key] = (this.begun[key] ?? 0) + 1;
    }
  }

  balance(): Balance {
    const nodes = [...this.driver.cluster.nodes.values()].filter(({ alive }) => alive);
    const loads = new Map<SimNode, number>(nodes.map((node) => [node, 0]));
    let incomplete = 0;
    let sharingZone = 0;
    let hottest = 0;
    for (const { peers, leader, reads, writes } of this.driver.cluster.regions.values()) {
      if (peers.filter(({ node, role }) => node.alive && role === 'voter').length !== REPLICAS || !leader)
        incomplete += 1;
      if (new Set(peers.map(({ node }) => node.labels['zone'])).size < peers.length) sharingZone += 1;
      hottest = Math.max(hottest, reads + writes);
      for (const peer of peers) {
        const load = peer === leader ? reads + writes : writes / 2;
        if (peer.node.alive) loads.set(peer.node, (loads.get(peer.node) ?? 0) + load);
      }
    }
    const load = spread([...loads.values()]);
    return {
      leaders: spread(nodes.map(({ leaders }) => leaders)),
      sizeBytes: spread(nodes.map(({ sizeBytes }) => sizeBytes)),
      load,
      hottestRegion: hottest / load.mean,
      incomplete,
      sharingZone,
    };
  }
}

/** The schedulers that began operators, in their order. */
export function describeOperators(operators: Readonly<Record<string, number>>): string {
  const begun = SCHEDULERS.filter((name) => operators[name] !== undefined);
  return begun.map((name) => `${name} ${(operators[name] as number).toLocaleString('en')}`).join(', ') || 'none';
}

function spread(values: readonly number[]): Spread {
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  let least = Number.POSITIVE_INFINITY;
  let most = 0;
  for (const value of values) {
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return mean === 0 ? { mean, least: 1, most: 1 } : { mean, least: least / mean, most: most / mean };
}

function rssMib(): number {
  return Math.round(process.memoryUsage().rss / MIB);
}
