/**
 * A node as a member of its cluster: it speaks to placement, carries out its orders, and runs placement itself while it
 * leads region 1.
 */

import type { Kv } from '../../rpc/client/index.ts';
import type { CallPort, Link } from '../../rpc/nats/index.ts';
import { asMraftError, PlacementUnavailable, type MraftError } from '../../rpc/wire/errors.ts';
import { PLACEMENT_REGION_ID, type Region } from '../../rpc/wire/region.ts';
import { subjects } from '../../rpc/wire/subjects.ts';
import type { Logger, NodeConfig } from '../config.ts';
import type { SplitBounds } from '../region/traffic.ts';
import type { WorkerPool } from '../shard/pool.ts';
import { NodeAgent, type NodeLoad } from './agent.ts';
import { GossipHost } from './gossip-host.ts';
import { carryOut, type OrderTarget } from './orders.ts';
import { PlacementHost } from './placement-host.ts';
import { fieldsOf, idOf, idsOf, orderFromJson } from './placement-messages.ts';
import { regionFromJson, type RegionJson } from './region-json.ts';
import type { RouteTable } from './route-table.ts';
import type { NodeRuntime } from './runtime.ts';
import type { PlacementStatus } from './status.ts';

const ASK_TIMEOUT_MS = 10_000;

interface KnownLeader {
  readonly leaderNodeId: number;
  readonly term: number;
}

export interface DiskSpace {
  readonly capacityBytes: number;
  readonly availableBytes: number;
}

export interface ClusterHome {
  /** Undefined: of none yet. */
  readClusterId(): string | undefined;
  writeClusterId(clusterId: string): void;
}

export interface MemberOptions {
  readonly config: Pick<NodeConfig, 'cluster' | 'nodeId' | 'workers' | 'labels' | 'regions' | 'initialNodes'>;
  readonly logger: Logger;
  readonly runtime: NodeRuntime;
  readonly calls: CallPort;
  readonly pool: Pick<WorkerPool, 'askAll' | 'postAll'>;
  /** What remembers which cluster of the name the node belongs to. */
  readonly home: ClusterHome;
  readonly diskSpace: () => Promise<DiskSpace>;
  /** Of region 1. */
  readonly systemKv: Kv;
  readonly bootEpoch: number;
  readonly incarnation: number;
  readonly orders: OrderTarget;
  readonly routes: RouteTable;
  /** Undefined where the node is alone. */
  readonly link: Pick<Link, 'publish' | 'subscribe'> | undefined;
  /** This node has no place in the cluster; it must stop. */
  readonly onRefused: (error: MraftError) => void;
}

export class Member {
  readonly #options: MemberOptions;
  readonly #agent: NodeAgent;
  readonly #host: PlacementHost;
  readonly #subscriptions: readonly { close(): void }[];
  readonly #gossip: GossipHost | undefined;
  #splitBounds: SplitBounds = { sizeBytes: 0, loadPerSecond: 0 };
  #turnMs = 0;
  #turnMsAtMs: number;

  constructor(options: MemberOptions) {
    const { config, logger, runtime, calls, pool, home, bootEpoch, incarnation } = options;
    const { cluster, nodeId, workers, labels, regions: initialRegions } = config;
    this.#options = options;
    this.#turnMsAtMs = runtime.nowMs();
    const kv = options.systemKv;
    this.#host = new PlacementHost({ cluster, nodeId, bootEpoch, initialRegions, kv, calls, logger, runtime });
    this.#agent = new NodeAgent({
      cluster,
      nodeId,
      incarnation,
      workers,
      labels,
      calls,
      logger,
      runtime,
      load: () => this.#load(),
      ledRegions: async (all) => (await pool.askAll((control) => control.ledRegions(all, this.#splitBounds))).flat(),
      onSplitBounds: (bounds) => (this.#splitBounds = bounds),
      clusterId: home.readClusterId(),
      onClusterId: (clusterId) => home.writeClusterId(clusterId),
      onMembers: (members, left) => this.#onMembers(members, left),
      onRefused: options.onRefused,
    });
    const { link, routes } = options;
    this.#gossip = link && new GossipHost({ cluster, nodeId, bootEpoch, workers, link, routes, runtime });
    this.#subscriptions = [
      calls.serve(subjects.node(cluster, nodeId, 'order'), (question) => this.#onOrder(question)),
      calls.serve(subjects.node(cluster, nodeId, 'unsafeRecover'), (question) => this.#onUnsafeRecover(question)),
    ];
  }

  /** Whether placement runs here. */
  get isPlacementLeader(): boolean {
    return this.#host.isActing;
  }

  /** What placement counts; undefined where it is not led here. */
  placementStatus(): PlacementStatus | undefined {
    return this.#host.status();
  }

  /**
   * Of a new node; waits for placement, and asks it where all regions are.
   * @throws NodeIdInUse, ClusterMismatch, InvalidArgument
   */
  async join(): Promise<void> {
    await this.#agent.join();
    await this.#learnRoutes().catch((error: unknown) =>
      this.#options.logger.warn({ err: error }, 'the routes are not known yet: gossip will tell'),
    );
  }

  async #learnRoutes(): Promise<void> {
    const { routes } = this.#options;
    for (let fromKey: string | undefined = ''; fromKey !== undefined;) {
      const views = (await this.askPlacement('region.list', { fromKey })) as (RegionJson & KnownLeader)[];
      for (const view of views) routes.learn(regionFromJson(view), view.leaderNodeId, view.term);
      const endKey: string | undefined = views.at(-1)?.endKey;
      fromKey = endKey === '' ? undefined : endKey;
    }
  }

  /** Of a node that the cluster begins with, at its first start: the cluster may have begun long ago. @throws as `join` */
  joinIfLed(): Promise<void> {
    return this.#agent.joinIfLed();
  }

  start(): void {
    this.#agent.start();
  }

  /** A replica here has another leader. */
  noteLeader(regionId: number, leaderNodeId: number): void {
    if (regionId === PLACEMENT_REGION_ID) this.#host.noteLeader(leaderNodeId === this.#options.config.nodeId);
    this.#noteRoute(regionId);
    this.#agent.noteChange();
  }

  /** Descriptors of regions here have changed. */
  noteRegions(regions: readonly Region[]): void {
    for (const { regionId } of regions) this.#noteRoute(regionId);
    this.#agent.noteChange();
  }

  #noteRoute(regionId: number): void {
    const route = this.#gossip && this.#options.routes.route(regionId);
    if (route) this.#gossip?.noteRoute(route);
  }

  /** Nodes come to be known before anything of theirs is, and are forgotten when they have left. */
  #onMembers(members: readonly number[], left: readonly number[]): void {
    const { routes, pool, config } = this.#options;
    // An answer that names nobody comes from a placement that has just begun.
    if (members.length > 0) pool.postAll({ kind: 'members', nodeIds: [...members, ...config.initialNodes] });
    for (const nodeId of members) routes.noteNode(nodeId, 0);
    for (const nodeId of left) {
      routes.forgetNode(nodeId);
      this.#gossip?.noteLeft(nodeId);
    }
  }

  /**
   * Asks whoever leads placement.
   * @throws PlacementUnavailable when nobody does, and what placement answers
   */
  async askPlacement(verb: string, question: object): Promise<unknown> {
    const { calls, config } = this.#options;
    try {
      return await calls.ask(subjects.placement(config.cluster, verb), question, ASK_TIMEOUT_MS);
    } catch (thrown) {
      const error = asMraftError(thrown);
      if (error.code !== 'Unavailable' && error.code !== 'DeadlineExceeded') throw error;
      throw new PlacementUnavailable('nobody leads placement at the moment: try again', { cause: error });
    }
  }

  close(): void {
    for (const subscription of this.#subscriptions) subscription.close();
    this.#gossip?.close();
    this.#agent.close();
    this.#host.close();
  }

  async #onOrder(question: unknown): Promise<void> {
    const order = orderFromJson(question);
    try {
      await carryOut(order, this.#options.config.nodeId, this.#options.orders);
    } catch (thrown) {
      const error = asMraftError(thrown);
      // The region has moved on since: its next report says how far.
      if (error.code !== 'EpochNotMatch') throw error;
    } finally {
      this.#agent.noteChange();
    }
  }

  /** From a person, not from placement, which may be what is lost. */
  async #onUnsafeRecover(question: unknown): Promise<void> {
    const fields = fieldsOf(question);
    await this.#options.orders.unsafeRecover(idOf(fields, 'regionId'), idsOf(fields['lostNodes'], 'lostNodes'));
    this.#agent.noteChange();
  }

  async #load(): Promise<NodeLoad> {
    const { pool, diskSpace } = this.#options;
    const stats = await pool.askAll((control) => control.stats());
    const sum = (field: 'turnMs' | 'leaders' | 'regions'): number =>
      stats.reduce((total, part) => total + part[field], 0);
    return {
      ...(await diskSpace()),
      busy: this.#busy(sum('turnMs')),
      leaders: sum('leaders'),
      replicas: sum('regions'),
    };
  }

  /** The share of the workers' time since the last call that went into turns. */
  #busy(turnMs: number): number {
    const nowMs = this.#options.runtime.nowMs();
    const share = (turnMs - this.#turnMs) / ((nowMs - this.#turnMsAtMs) * this.#options.config.workers);
    this.#turnMs = turnMs;
    this.#turnMsAtMs = nowMs;
    return Math.min(1, Math.max(0, share));
  }
}
