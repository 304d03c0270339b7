/**
 * A node's main thread in virtual time. What production runs there runs here: the switchboard between the workers, the
 * carrying on of merges. Whatever happens on it happens as an event, and not while the process stands still.
 */

import type { Logger } from '../../engine/config.ts';
import { MergeDriver } from '../../engine/node/merge-driver.ts';
import { RouteTable } from '../../engine/node/route-table.ts';
import type { NodeRuntime } from '../../engine/node/runtime.ts';
import { Switchboard } from '../../engine/node/switchboard.ts';
import type { FromWorker } from '../../engine/shard/port-messages.ts';
import { RangeLedger } from '../../engine/shard/range-ledger.ts';
import { listRegions, listTombstones, loadRegion, regionRanges } from '../../engine/store/region-records.ts';
import { asMraftError } from '../../rpc/wire/errors.ts';
import { VirtualCalls, type Caller } from './calls.ts';
import { CLUSTER } from './cluster.ts';
import type { Random } from './random.ts';
import type { RunningProcess } from './surroundings.ts';
import { VirtualMember } from './virtual-member.ts';
import { VirtualPool, type PoolHost } from './virtual-pool.ts';

/** Nodes' wall clocks begin about here, and differ by seconds. */
const WALL_MS = 1_700_000_000_000;
const WALL_SPREAD_MS = 2_000;

export class VirtualMainThread implements PoolHost, Caller {
  readonly nodeId: number;
  readonly workerCount: number;
  readonly routes: RouteTable;
  readonly pool: VirtualPool;
  readonly calls: VirtualCalls;
  readonly runtime: NodeRuntime;
  readonly merges: MergeDriver;
  /** Undefined: this run has no placement. */
  readonly member: VirtualMember | undefined;
  readonly #process: RunningProcess;
  readonly #ledger = new RangeLedger();
  readonly #switchboard: Switchboard;

  constructor(process: RunningProcess, random: Random) {
    this.#process = process;
    const { nodeId, workerCount, node } = process;
    this.nodeId = nodeId;
    this.workerCount = workerCount;
    this.runtime = this.#makeRuntime(random);
    this.routes = new RouteTable(nodeId, workerCount);
    this.pool = new VirtualPool(this);
    this.calls = new VirtualCalls(node.world, this);
    const logger = this.#logger();
    const { store } = node.disk;
    this.#switchboard = new Switchboard(
      {
        nodeId,
        store,
        ledger: this.#ledger,
        routes: this.routes,
        // No snapshot is made smaller here.
        jobs: { run: () => Promise.resolve('lost') },
        logger,
        onFatal: () => {},
      },
      this.pool,
    );
    this.merges = new MergeDriver({
      cluster: CLUSTER,
      nodeId,
      calls: this.calls,
      store,
      logger,
      runtime: this.runtime,
      leaderOf: (regionId) => this.routes.route(regionId)?.leaderNodeId ?? 0,
      nodes: () => this.routes.nodes,
      changeRegion: (regionId, epoch, change) =>
        this.pool.ask(this.pool.workerOf(regionId), (control) => control.changeRegion(regionId, epoch, change)),
    });
    this.#switchboard.listeners.merges = this.merges;
    this.member = node.world.config.placement ? this.#makeMember(random, logger) : undefined;
    if (!this.member) return;
    this.#switchboard.listeners.member = this.member.member;
    this.#switchboard.listeners.transports.push(this.member.transport);
  }

  #makeMember(random: Random, logger: Logger): VirtualMember {
    const { node, bootEpoch, isNew } = this.#process;
    const { nodeId, world, incarnation, home, disk } = node;
    const { initialNodes } = world.config;
    return new VirtualMember({
      world,
      nodeId,
      incarnation,
      bootEpoch,
      workers: this.workerCount,
      initialNodes: nodeId <= initialNodes ? Array.from({ length: initialNodes }, (_, i) => i + 1) : [],
      isNew,
      home,
      store: disk.store,
      pool: this.pool,
      calls: this.calls,
      routes: this.routes,
      runtime: this.runtime,
      random: random.stream(`member ${nodeId} ${bootEpoch}`),
      logger,
      isDead: () => this.isDead,
      onRefused: (error) => node.refuse(error),
    });
  }

  /** Starts the workers: at once, or as a member does, who may have to ask first whether there is a place for it. */
  serve(startWorkers: () => void): void {
    if (!this.member) return startWorkers();
    const { node } = this.#process;
    node.world.promisesMoved = true;
    this.member.serve(startWorkers).catch((thrown: unknown) => {
      const error = asMraftError(thrown);
      if (error.code === 'NodeIdInUse' || error.code === 'ClusterMismatch') return node.refuse(error);
      if (!this.isDead) this.report('a node starts', `node ${this.nodeId}: ${error.stack ?? error.message}`);
    });
  }

  /**
   * At a start: what is there is known, and what replicas that were destroyed may have left is removed.
   * @throws DiskFull
   */
  open(): void {
    const { disk } = this.#process.node;
    const regions = listRegions(disk.store);
    for (const region of regions) this.routes.learn(region);
    this.#ledger.note(regions);
    for (const { start, end } of this.#ledger.gaps()) disk.deleteRange('data', start, end);
    for (const { region } of listTombstones(disk.store)) {
      if (loadRegion(disk.store, region.regionId)) continue;
      for (const { column, start, end } of regionRanges(region.regionId)) disk.deleteRange(column, start, end);
    }
  }

  get neighbours(): number[] {
    return this.#switchboard.neighbours;
  }

  onWorkerDied(worker: number): void {
    this.#switchboard.onWorkerDied(worker);
  }

  // --- the thread ----------------------------------------------------------------------------------------------------

  get nowMs(): number {
    return this.#process.node.world.nowMs;
  }

  get isDead(): boolean {
    return this.#process.isDead;
  }

  get diedAtMs(): number {
    return this.#process.diedAtMs;
  }

  at(ms: number, run: () => void): void {
    const { world } = this.#process.node;
    world.at(Math.max(ms, this.#process.pausedUntilMs), () => {
      if (this.isDead) return;
      if (this.#process.pausedUntilMs > world.nowMs) return this.at(world.nowMs, run);
      world.promisesMoved = true;
      run();
    });
  }

  receive(worker: number, message: FromWorker): void {
    this.#switchboard.receive(worker, message);
  }

  onServing(): void {
    this.#switchboard.onServing();
  }

  report(check: string, message: string): void {
    this.#process.node.world.report(check, message);
  }

  #makeRuntime(random: Random): NodeRuntime {
    const { clock } = this.#process;
    const skewMs = random.between(-WALL_SPREAD_MS, WALL_SPREAD_MS);
    return {
      nowMs: () => clock.localAt(this.nowMs),
      wallMs: () => WALL_MS + this.nowMs + skewMs,
      random: () => random.next(),
      after: (ms, run) => {
        let cancelled = false;
        this.at(clock.trueAt(clock.localAt(this.nowMs) + ms), () => {
          if (!cancelled) run();
        });
        return () => void (cancelled = true);
      },
      newClusterId: () => `cluster ${random.below(2 ** 30)}`,
    };
  }

  /** Anomalies are reported where they are met (process.ts). */
  #logger(): Logger {
    const { world } = this.#process.node;
    const log = (fields: object, message: string): void =>
      world.trace(() => `  node ${this.nodeId}: ${message} ${describeFields(fields)}`);
    return { debug: log, info: log, warn: log, error: log };
  }
}

function describeFields(fields: object): string {
  return Object.entries(fields)
    .map(([name, value]) => `${name}=${String(value)}`)
    .join(' ');
}
