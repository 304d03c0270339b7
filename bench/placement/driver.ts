/** Placement over a simulated cluster: carries reports and orders, as the network would, and measures what a round costs. */

import { Placement, type Order, type RegionReport } from '../../engine/placement/index.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { SimCluster, type ClusterOptions, type SimRegion } from './cluster.ts';

export interface DriverOptions extends Omit<ClusterOptions, 'report' | 'random'> {
  readonly random: () => number;
  readonly roundMs: number;
  readonly heartbeatMs: number;
  /** Of every message, at least and at most. */
  readonly delayMs: readonly [number, number];
  /** Share of reports and orders that never arrive. */
  readonly loss: number;
  /** Every leader reports again after this; 0: only what changed. */
  readonly reportEveryMs: number;
}

export class PlacementDriver {
  readonly cluster: SimCluster;
  placement: Placement;
  /** What region 1 would hold. */
  readonly durable = new Map<string, string>();
  /** The same of regions. */
  readonly descriptors = new Map<string, string>();
  /** CPU time of each round, in order: the machine may have other things to do. */
  readonly roundTimesMs: number[] = [];
  writtenBytes = 0;
  orders = 0;
  reports = 0;
  /** Rounds in a row without anything begun or running. */
  quietRounds = 0;
  readonly options: DriverOptions;
  /** While false, placement has no leader: reports and rounds are lost. */
  hasLeader = true;
  /** When something last ran or was begun. */
  lastBusyMs = 0;
  onRound: () => void = () => {};
  /** Told of every order that a node gets. */
  onOrder: (order: Order) => void = () => {};

  constructor(options: DriverOptions) {
    this.options = options;
    this.cluster = new SimCluster({ ...options, report: (nodeId, report) => this.carryReport(nodeId, report) });
    this.placement = this.newPlacement();
  }

  get nowMs(): number {
    return this.cluster.events.nowMs;
  }

  /** Lets every node join and report everything, and starts the clocks of both sides. */
  begin(): void {
    for (const nodeId of this.cluster.nodes.keys()) this.join(nodeId);
    this.heartbeats();
    this.round();
    const { reportEveryMs } = this.options;
    if (reportEveryMs > 0) this.cluster.events.after(reportEveryMs, () => this.reportAgain());
  }

  join(nodeId: number): void {
    const { incarnation, labels } = this.cluster.node(nodeId);
    this.placement.join({ nodeId, incarnation, workers: 2, labels }, this.nowMs);
  }

  runFor(durationMs: number): void {
    this.cluster.events.runUntil(this.nowMs + durationMs);
  }

  /** Runs until nothing has been decided and nothing has run for so many rounds; whether it came to that within the time. */
  runUntilQuiet(mostMs: number, rounds = 30): boolean {
    this.quietRounds = 0;
    const end = this.nowMs + mostMs;
    while (this.nowMs < end) {
      this.runFor(this.options.roundMs);
      if (this.quietRounds >= rounds) return true;
    }
    return false;
  }

  /** The leader of placement is lost with what it knew; another builds its own. */
  replaceLeader(): void {
    this.placement = this.newPlacement();
    this.hasLeader = true;
  }

  private newPlacement(): Placement {
    const { durable, nowMs } = this;
    const descriptors = this.descriptors.values();
    return new Placement({ durable, descriptors, random: this.options.random, nowMs });
  }

  // --- the two clocks --------------------------------------------------------------------------------------------------

  private heartbeats(): void {
    for (const node of this.cluster.nodes.values()) {
      if (node.alive && !node.cutOff) this.heartbeat(node.nodeId);
    }
    this.dispatch();
    this.cluster.events.after(this.options.heartbeatMs, () => this.heartbeats());
  }

  private heartbeat(nodeId: number): void {
    const node = this.cluster.node(nodeId);
    if (!this.hasLeader) return;
    if (this.placement.node(nodeId).state === 'removed') return;
    const { reportAll } = this.placement.nodeHeartbeat(
      {
        nodeId,
        incarnation: node.incarnation,
        workers: 2,
        labels: node.labels,
        capacityBytes: node.capacityBytes,
        availableBytes: Math.max(0, node.capacityBytes - node.sizeBytes),
        busy: 0,
        leaders: node.leaders,
        replicas: node.replicas,
      },
      this.nowMs,
    );
    if (reportAll) this.reportLedBy(new Set([nodeId]));
  }

  private round(): void {
    if (this.hasLeader) {
      const began = process.cpuUsage();
      const { started, running } = this.placement.schedule(this.nowMs);
      const orders = this.placement.takeOrders(this.nowMs);
      const { user, system } = process.cpuUsage(began);
      this.roundTimesMs.push((user + system) / 1000);
      const quiet = started === 0 && running === 0;
      this.quietRounds = quiet ? this.quietRounds + 1 : 0;
      if (!quiet) this.lastBusyMs = this.nowMs;
      this.onRound();
      this.carryOrders(orders);
      this.keep();
      this.keepDescriptors();
    }
    this.cluster.events.after(this.options.roundMs, () => this.round());
  }

  private reportAgain(): void {
    for (const region of this.cluster.regions.values()) this.cluster.report(region);
    this.cluster.events.after(this.options.reportEveryMs, () => this.reportAgain());
  }

  private reportLedBy(nodeIds: ReadonlySet<number>): void {
    const led = (region: SimRegion): boolean => region.leader !== undefined && nodeIds.has(region.leader.node.nodeId);
    for (const region of this.cluster.regions.values()) if (led(region)) this.cluster.report(region);
  }

  /** Everything is reported at once, without the network: how a simulation begins. */
  reportEverything(): void {
    for (const region of this.cluster.regions.values()) {
      const { leader } = region;
      if (leader) this.deliverReport(leader.node.nodeId, this.cluster.reportOf(region));
    }
  }

  // --- the network -----------------------------------------------------------------------------------------------------

  private carryReport(nodeId: number, report: RegionReport): void {
    if (this.options.random() < this.options.loss) return;
    this.cluster.events.after(this.delay(), () => {
      this.deliverReport(nodeId, report);
      this.dispatch();
    });
  }

  private deliverReport(nodeId: number, report: RegionReport): void {
    if (!this.hasLeader) return;
    this.reports += 1;
    const { incarnation } = this.cluster.node(nodeId);
    this.placement.regionReports({ nodeId, incarnation, regions: [report] }, this.nowMs);
  }

  dispatch(): void {
    if (!this.hasLeader) return;
    this.carryOrders(this.placement.takeOrders(this.nowMs));
  }

  private carryOrders(orders: readonly Order[]): void {
    if (orders.length === 0) return;
    this.keep();
    for (const order of orders) {
      this.orders += 1;
      if (this.options.random() < this.options.loss) continue;
      this.cluster.events.after(this.delay(), () => {
        this.onOrder(order);
        this.cluster.execute(order);
      });
    }
  }

  private keep(): void {
    for (const { key, value } of this.placement.takeWrites()) {
      this.writtenBytes += key.length + (value?.length ?? 0);
      if (value === null) this.durable.delete(key);
      else this.durable.set(key, value);
    }
  }

  private keepDescriptors(): void {
    for (const { key, value } of this.placement.takeDescriptors(LIMITS.keptDescriptors)) {
      this.writtenBytes += key.length + (value?.length ?? 0);
      if (value === null) this.descriptors.delete(key);
      else this.descriptors.set(key, value);
    }
  }

  private delay(): number {
    const [least, most] = this.options.delayMs;
    return least + this.options.random() * (most - least);
  }
}
