/** One node: the database, its workers, its connection to the others, and a client of its own. Put together here. */

import { statfs } from 'node:fs/promises';
import { createSystemClient } from '../../rpc/client/connect.ts';
import { createClient, serveKv, NatsTransport, type Client, type KvService } from '../../rpc/client/index.ts';
import { Calls, connectLink, type CallPort, type Link } from '../../rpc/nats/index.ts';
import { ChangeRefused, NotLeader, RegionNotFound, Unavailable, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Epoch, Region } from '../../rpc/wire/region.ts';
import type { Logger, NodeConfig } from '../config.ts';
import type { RegionChange } from '../region/admin.ts';
import type { ReplicaStatus } from '../region/replica.ts';
import { JobPool, WorkerPool } from '../shard/pool.ts';
import { RangeLedger } from '../shard/range-ledger.ts';
import { nextBootEpoch, openDataDir, readClusterId, writeClusterId } from '../store/data-dir.ts';
import { isBootstrapped, putBootstrapped } from '../store/node-records.ts';
import { checkFences } from '../store/fence.ts';
import { prepareFences, readFences } from '../store/fence-file.ts';
import type { Store } from '../store/port.ts';
import { listRegions, listTombstones, loadRegion, putRegion, regionRanges } from '../store/region-records.ts';
import { openRocks, type RocksOwner } from '../store/rocks-store.ts';
import { serveAdmin } from './admin.ts';
import { initialRegions } from './bootstrap.ts';
import { LocalCalls } from './local-calls.ts';
import { LocalTransport } from './local-transport.ts';
import { Member } from './member.ts';
import { MergeDriver } from './merge-driver.ts';
import { MetricsServer } from './metrics.ts';
import { measureRegion } from './region-size.ts';
import { RegionSizer } from './region-sizer.ts';
import { RouteTable } from './route-table.ts';
import { processRuntime } from './runtime.ts';
import { SlotBalancer } from './slot-balancer.ts';
import { sumStats, type NodeStatus } from './status.ts';
import { Switchboard } from './switchboard.ts';
import { VERSION } from './version.ts';

/** How long a leaving node tries to hand its leaderships over, and how often it looks. */
const HANDOVER_MS = 4_000;
const HANDOVER_POLL_MS = 50;

interface Parts {
  readonly owner: RocksOwner;
  readonly routes: RouteTable;
  readonly ledger: RangeLedger;
  readonly bootEpoch: number;
  readonly incarnation: number;
  readonly isNew: boolean;
  readonly metrics: MetricsServer | undefined;
}

export class Node {
  readonly #config: NodeConfig;
  readonly #logger: Logger;
  readonly #owner: RocksOwner;
  readonly #routes: RouteTable;
  readonly #bootEpoch: number;
  readonly #incarnation: number;
  readonly #isNew: boolean;
  readonly #metrics: MetricsServer | undefined;
  readonly #startedMs = performance.now();
  readonly #pool: WorkerPool;
  readonly #slots: SlotBalancer;
  readonly #switchboard: Switchboard;
  readonly #jobs = new JobPool(LIMITS.jobThreads);
  #link: Link | undefined;
  #calls: CallPort | undefined;
  #client: Client | undefined;
  #systemClient: Client | undefined;
  #member: Member | undefined;
  #merges: MergeDriver | undefined;
  #sizer: RegionSizer | undefined;
  #service: KvService | undefined;
  #stopping: Promise<void> | undefined;
  #fail: (error: MraftError) => void = () => {};
  /** Resolves when the node cannot go on (its disk failed); `stop` it then. */
  readonly failed: Promise<MraftError>;

  /**
   * Starts a node; resolves when its workers serve (regions may still be without a leader).
   * @throws DataDirMismatch, DataDirInUse, DataDirUnusable, Amnesia, DiskFull, StorageFailure, InvalidConfig
   */
  static async start(config: NodeConfig, logger: Logger): Promise<Node> {
    let node: Node | undefined;
    // First, because it can fail, and nothing of the data is touched yet.
    const metrics = await startMetrics(config, () => node?.status());
    let owner: RocksOwner | undefined;
    try {
      const dataDir = openDataDir(config.dataDir, { cluster: config.cluster, nodeId: config.nodeId });
      owner = await openRocks({ dir: dataDir.storeDir });
      checkFences(owner.store(), readFences(dataDir.dir));
      prepareFences(dataDir.dir, config.workers);
      const bootEpoch = nextBootEpoch(dataDir.dir, Date.now());
      const store = owner.store();
      const regions = openRegions(store, config);
      const routes = new RouteTable(config.nodeId, config.workers);
      for (const region of regions) routes.learn(region);
      const ledger = new RangeLedger();
      ledger.note(regions);
      sweepRemains(store, ledger);
      const { incarnation, created } = dataDir;
      node = new Node(config, logger, { owner, routes, ledger, bootEpoch, incarnation, isNew: created, metrics });
      await node.#serve();
      return node;
    } catch (error) {
      if (node) await node.stop();
      else await Promise.all([owner?.close(), metrics?.close()]);
      throw error;
    }
  }

  private constructor(config: NodeConfig, logger: Logger, parts: Parts) {
    this.#config = config;
    this.#logger = logger;
    this.#owner = parts.owner;
    this.#routes = parts.routes;
    this.#bootEpoch = parts.bootEpoch;
    this.#incarnation = parts.incarnation;
    this.#isNew = parts.isNew;
    this.#metrics = parts.metrics;
    this.failed = new Promise((resolve) => (this.#fail = resolve));
    const { cluster, nodeId, workers, tickMs, electionTimeoutMs, heartbeatMs, maxClockDrift, hibernateAfterMs } =
      config;
    this.#pool = new WorkerPool({
      config: {
        cluster,
        nodeId,
        workers,
        tickMs,
        consistencyCheckMs: config.consistencyCheckMs,
        bootEpoch: parts.bootEpoch,
        incarnation: parts.incarnation,
        timings: { electionTimeoutMs, heartbeatMs, maxClockDrift, hibernateAfterMs },
        snapshotBytesPerSecond: config.snapshotBytesPerSecond,
        snapshotCompression: config.snapshotCompression,
      },
      storeHandle: parts.owner.handle,
      dataDir: config.dataDir,
      servers: config.nats,
      neighbours: () => this.#switchboard.neighbours,
      onMessage: (worker, message) => this.#switchboard.receive(worker, message),
      onServing: () => this.#switchboard.onServing(),
      onCrash: (worker, error, delayMs) => {
        this.#switchboard.onWorkerDied(worker);
        logger.error({ worker, err: error, delayMs }, `worker ${worker} died and is started again`);
      },
    });
    this.#switchboard = new Switchboard(
      {
        nodeId,
        store: parts.owner.store(),
        ledger: parts.ledger,
        routes: parts.routes,
        jobs: this.#jobs,
        logger,
        onFatal: (error) => this.#fail(error),
      },
      this.#pool,
    );
    this.#slots = new SlotBalancer(this.#pool, workers, logger);
  }

  async #serve(): Promise<void> {
    const { cluster, initialNodes, nats } = this.#config;
    if (nats.length > 0) this.#link = await this.#connect();
    this.#calls = this.#link ? new Calls(this.#link) : new LocalCalls();
    this.#client = createClient(this.#transport('user'), { cluster });
    this.#systemClient = createSystemClient(this.#transport('system'), { cluster });
    const member = this.#makeMember(this.#calls, this.#systemClient);
    this.#member = member;
    this.#switchboard.listeners.member = member;
    this.#merges = new MergeDriver({
      cluster,
      nodeId: this.#config.nodeId,
      calls: this.#calls,
      store: this.#owner.store(),
      logger: this.#logger,
      runtime: processRuntime,
      leaderOf: (regionId) => this.#routes.route(regionId)?.leaderNodeId ?? 0,
      nodes: () => this.#routes.nodes,
      changeRegion: (regionId, epoch, change) => this.changeRegion(regionId, epoch, change),
    });
    this.#switchboard.listeners.merges = this.#merges;
    if (this.#isNew && initialNodes.length > 0) await member.joinIfLed();
    await this.#pool.start();
    this.#slots.start();
    if (initialNodes.length === 0 && this.#routes.regionCount === 0) await member.join();
    member.start();
    this.#sizer = new RegionSizer(this.#owner.store(), this.#pool, this.#logger, processRuntime);
    if (!this.#link) return;
    serveAdmin(this.#link, {
      cluster,
      nodeId: this.#config.nodeId,
      routes: (fromKey) => this.#routes.pageToWire(fromKey, LIMITS.routesPageBytes),
      status: () => this.status(),
      region: (regionId) => this.regionStatus(regionId),
    });
    this.#service = await serveKv(this.#link, cluster, this.#client, { version: VERSION });
  }

  #transport(client: 'user' | 'system'): LocalTransport {
    const { cluster, nodeId } = this.#config;
    const remote = this.#link && new NatsTransport(this.#link, cluster, { ownsLink: false });
    const transport = new LocalTransport({
      client,
      nodeId,
      pool: this.#pool,
      routes: this.#routes,
      runtime: processRuntime,
      remote,
    });
    this.#switchboard.listeners.transports.push(transport);
    return transport;
  }

  #makeMember(calls: CallPort, systemKv: Client): Member {
    return new Member({
      config: this.#config,
      logger: this.#logger,
      runtime: processRuntime,
      calls,
      pool: this.#pool,
      home: {
        readClusterId: () => readClusterId(this.#config.dataDir),
        writeClusterId: (clusterId) => writeClusterId(this.#config.dataDir, clusterId),
      },
      diskSpace: async () => {
        const { blocks, bavail, bsize } = await statfs(this.#config.dataDir);
        return { capacityBytes: blocks * bsize, availableBytes: bavail * bsize };
      },
      systemKv,
      bootEpoch: this.#bootEpoch,
      incarnation: this.#incarnation,
      orders: this,
      routes: this.#routes,
      link: this.#link,
      onRefused: (error) => this.#fail(error),
    });
  }

  #connect(): Promise<Link> {
    const { cluster, nodeId, nats } = this.#config;
    let warned = false;
    return connectLink({
      servers: nats,
      name: `mraft ${cluster} node ${nodeId}`,
      keepTrying: true,
      onUnreachable: (error) => {
        if (!warned) this.#logger.warn({}, `${error.message}; trying on`);
        warned = true;
      },
      onPermissionError: (operation, subject) =>
        this.#logger.error({ subject }, `the broker refuses ${operation} of ${subject}`),
      onHandlerError: (error) => this.#logger.error({ err: error }, 'a message could not be handled'),
    });
  }

  /** The key-value interface of this node's program. */
  get client(): Client {
    return this.#client!;
  }

  get metricsPort(): number | undefined {
    return this.#metrics?.port;
  }

  get config(): NodeConfig {
    return this.#config;
  }

  // --- questions ---------------------------------------------------------------------------------------------------

  async status(): Promise<NodeStatus> {
    const stats = sumStats(await this.#pool.askAll((control) => control.stats()));
    return {
      nodeId: this.#config.nodeId,
      cluster: this.#config.cluster,
      version: VERSION,
      bootEpoch: this.#bootEpoch,
      uptimeMs: Math.round(performance.now() - this.#startedMs),
      workers: this.#config.workers,
      workerRestarts: this.#pool.restarts,
      slotsMoved: this.#pool.slotsMoved,
      leaderlessRegions: this.#routes.leaderlessRegions,
      knownRegions: this.#routes.regionCount,
      placementLeads: this.#member?.isPlacementLeader ? 1 : 0,
      placement: this.#member?.placementStatus() ?? null,
      ...stats,
    };
  }

  /** The replica of a region on this node; undefined where there is none. */
  regionStatus(regionId: number): Promise<ReplicaStatus | undefined> {
    return this.#pool.ask(this.#workerOf(regionId), (control) => control.regionStatus(regionId));
  }

  /** All replicas on this node. */
  async regions(): Promise<ReplicaStatus[]> {
    return (await this.#pool.askAll((control) => control.listRegions())).flat();
  }

  /** Asks the leader of a region, if it is here, to hand over to another node. */
  transferLeader(regionId: number, nodeId: number): Promise<boolean> {
    return this.#pool.ask(this.#workerOf(regionId), (control) => control.transferLeader(regionId, nodeId));
  }

  /** Changes a region that is led here; ends when the change is applied here. */
  changeRegion(regionId: number, epoch: Epoch, change: RegionChange): Promise<void> {
    return this.#pool.ask(this.#workerOf(regionId), (control) => control.changeRegion(regionId, epoch, change));
  }

  /**
   * Splits a region that is led here: the keys from `splitKey` on become region `childRegionId`, whose peers get
   * `childPeerIds` in the order of the region's peers. Without a key the middle of its data is taken.
   * @throws RegionNotFound, NotLeader, ChangeRefused, RegionChanging, RegionMerging, EpochNotMatch
   */
  async splitRegion(
    regionId: number,
    splitKey: Uint8Array | undefined,
    childRegionId: number,
    childPeerIds: readonly number[],
  ): Promise<void> {
    const region = this.#ownRegion(regionId);
    const key = splitKey ?? (await this.middleKey(regionId));
    const command = { split: { splitKey: key, childRegionId, childPeerIds: [...childPeerIds] } };
    await this.changeRegion(regionId, region.epoch, { kind: 'admin', command });
  }

  /**
   * Merges a region that is led here into its neighbour; ends when that is done.
   * @throws RegionNotFound, NotLeader, ChangeRefused, RegionChanging, RegionMerging, EpochNotMatch, DeadlineExceeded
   */
  async mergeRegions(sourceId: number, targetId: number): Promise<void> {
    await this.#merges!.merge(this.#ownRegion(sourceId), this.#ownRegion(targetId));
  }

  /** The key in the middle of a region's data. @throws ChangeRefused when there are too few keys to split */
  async middleKey(regionId: number): Promise<Uint8Array> {
    const { middleKey } = await measureRegion(this.#owner.store(), this.#ownRegion(regionId));
    if (middleKey) return middleKey;
    throw new ChangeRefused(`region ${regionId} has too few keys to be split in its middle`, { regionId });
  }

  /** Lets the replicas of a region that is led here compare their data. @throws NotLeader */
  async checkConsistency(regionId: number): Promise<void> {
    const begun = await this.#pool.ask(this.#workerOf(regionId), (control) => control.checkConsistency(regionId));
    if (!begun) throw new NotLeader(`region ${regionId} is not led by node ${this.#config.nodeId}`, { regionId });
  }

  /**
   * The replica of a region here goes on alone, because the nodes of the other voters are lost for good. Writes that only
   * those had are lost.
   * @throws RegionNotFound, ChangeRefused while a quorum lives, or might
   */
  unsafeRecover(regionId: number, lostNodes: readonly number[]): Promise<void> {
    return this.#pool.ask(this.#workerOf(regionId), (control) => control.unsafeRecover(regionId, lostNodes));
  }

  /** As it is applied here. */
  #ownRegion(regionId: number): Region {
    const region = loadRegion(this.#owner.store(), regionId);
    if (region) return region;
    throw new RegionNotFound(`node ${this.#config.nodeId} has no region ${regionId}`, { regionId });
  }

  #workerOf(regionId: number): number {
    return this.#pool.workerOf(regionId);
  }

  /** Gives a slot to another worker of this node while it serves. @throws as WorkerPool.moveSlot */
  moveSlot(slot: number, worker: number): Promise<void> {
    return this.#pool.moveSlot(slot, worker);
  }

  /** Asks placement, wherever it is led. @throws PlacementUnavailable, and what placement answers */
  askPlacement(verb: string, question: object): Promise<unknown> {
    return this.#member!.askPlacement(verb, question);
  }

  // --- leaving -----------------------------------------------------------------------------------------------------

  /** Hands leaderships over, lets what runs end, closes everything. A second call waits for the first. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    await this.#service?.close();
    this.#slots.stop();
    this.#member?.close();
    this.#merges?.close();
    this.#sizer?.close();
    if (this.#link && this.#routes.nodes.length > 1) await this.#handOver();
    await Promise.all([this.#client?.close(), this.#systemClient?.close()]);
    await this.#pool.stop();
    await this.#jobs.stop();
    this.#calls?.close();
    await this.#link?.close();
    await this.#metrics?.close();
    await this.#owner.close();
  }

  async #handOver(): Promise<void> {
    const deadlineMs = performance.now() + HANDOVER_MS;
    for (;;) {
      const left = await this.#pool.askAll((control) => control.handOver());
      if (left.every((count) => count === 0) || performance.now() > deadlineMs) return;
      await new Promise((resolve) => setTimeout(resolve, HANDOVER_POLL_MS));
    }
  }
}

/** `readStatus` answers undefined as long as the node is starting. */
function startMetrics(
  config: NodeConfig,
  readStatus: () => Promise<NodeStatus> | undefined,
): Promise<MetricsServer> | undefined {
  if (config.metricsPort === undefined) return undefined;
  return MetricsServer.start(config.metricsPort, () => {
    return readStatus() ?? Promise.reject(new Unavailable('the node is starting'));
  });
}

/** Removes what replicas that were destroyed may have left when the node died in the middle of that. */
function sweepRemains(store: Store, ledger: RangeLedger): void {
  for (const { start, end } of ledger.gaps()) store.deleteRange('data', start, end);
  for (const { region } of listTombstones(store)) {
    if (loadRegion(store, region.regionId)) continue; // it came back, as another peer
    for (const { column, start, end } of regionRanges(region.regionId)) store.deleteRange(column, start, end);
  }
}

/**
 * The regions of this node: those of the store, or at the first start of a node that the cluster begins with, its part of
 * those. A node that was given to others, or moved all it had away, is never begun with again.
 */
function openRegions(store: Store, config: NodeConfig): Region[] {
  const known = listRegions(store);
  if (known.length > 0 || config.initialNodes.length === 0 || isBootstrapped(store)) return known;
  const own = initialRegions(config).filter((region) => region.peers.some((peer) => peer.nodeId === config.nodeId));
  const batch = store.createBatch();
  for (const region of own) putRegion(batch, region);
  putBootstrapped(batch);
  store.write(batch, { sync: true });
  return own;
}
