/** A virtual node as a member of its cluster: what engine/node puts together of placement, put together here on virtual parts. */

import { LocalTransport } from '../../engine/node/local-transport.ts';
import { Member } from '../../engine/node/member.ts';
import type { OrderTarget } from '../../engine/node/orders.ts';
import { measureRegion } from '../../engine/node/region-size.ts';
import { RegionSizer } from '../../engine/node/region-sizer.ts';
import type { RouteTable } from '../../engine/node/route-table.ts';
import type { NodeRuntime } from '../../engine/node/runtime.ts';
import type { Logger } from '../../engine/config.ts';
import { loadRegion } from '../../engine/store/region-records.ts';
import type { Store } from '../../engine/store/port.ts';
import { createSystemClient } from '../../rpc/client/connect.ts';
import type { Link, LinkHandler } from '../../rpc/nats/index.ts';
import { ChangeRefused, RegionNotFound, type MraftError } from '../../rpc/wire/errors.ts';
import type { VirtualCalls } from './calls.ts';
import { CLUSTER } from './cluster.ts';
import { VirtualConnection } from './connection.ts';
import { watchedKv } from './placement-check.ts';
import type { Random } from './random.ts';
import type { NodeSurroundings } from './surroundings.ts';
import type { VirtualPool } from './virtual-pool.ts';

/** Of every disk: placement balances by what is on it, not by this. */
const DISK_BYTES = 1 << 30;

export interface MemberParts {
  readonly world: NodeSurroundings;
  readonly nodeId: number;
  readonly incarnation: number;
  readonly bootEpoch: number;
  readonly workers: number;
  /** Empty: it joins a cluster that runs. */
  readonly initialNodes: readonly number[];
  /** Made at this start: whether the node has a place in the cluster is asked before it serves. */
  readonly isNew: boolean;
  readonly home: { clusterId: string | undefined };
  readonly store: Store;
  readonly pool: VirtualPool;
  readonly calls: VirtualCalls;
  readonly routes: RouteTable;
  readonly runtime: NodeRuntime;
  readonly random: Random;
  readonly logger: Logger;
  readonly isDead: () => boolean;
  readonly onRefused: (error: MraftError) => void;
}

export class VirtualMember {
  readonly member: Member;
  /** The node's own client of region 1. */
  readonly transport: LocalTransport;
  readonly #parts: MemberParts;
  #onGossip: LinkHandler = () => {};

  constructor(parts: MemberParts) {
    this.#parts = parts;
    const { world, nodeId, pool, routes, runtime, random, isDead } = parts;
    const connection = new VirtualConnection(world.clients, random, { party: nodeId, isDead });
    this.transport = new LocalTransport({ client: 'system', nodeId, pool, routes, runtime, remote: connection });
    const client = createSystemClient(this.transport, { cluster: CLUSTER, runtime: connection.runtime });
    this.member = new Member({
      config: {
        cluster: CLUSTER,
        nodeId,
        workers: parts.workers,
        labels: {},
        regions: 1,
        initialNodes: parts.initialNodes,
      },
      logger: parts.logger,
      runtime,
      calls: parts.calls,
      pool,
      home: {
        readClusterId: () => parts.home.clusterId,
        writeClusterId: (clusterId) => void (parts.home.clusterId = clusterId),
      },
      diskSpace: () => Promise.resolve({ capacityBytes: DISK_BYTES, availableBytes: DISK_BYTES / 2 }),
      systemKv: watchedKv(client, world.placementCheck, () => world.nowMs),
      bootEpoch: parts.bootEpoch,
      incarnation: parts.incarnation,
      orders: this.#orders(),
      routes,
      link: this.#link(),
      onRefused: parts.onRefused,
    });
  }

  /** As Node.#serve: in this order, `startWorkers` in the middle. @throws NodeIdInUse, ClusterMismatch */
  async serve(startWorkers: () => void): Promise<void> {
    const { isNew, initialNodes, routes, store, pool, logger, runtime, isDead } = this.#parts;
    if (isNew && initialNodes.length > 0) await this.member.joinIfLed();
    if (isDead()) return;
    startWorkers();
    if (initialNodes.length === 0 && routes.regionCount === 0) await this.member.join();
    if (isDead()) return;
    this.member.start();
    void new RegionSizer(store, pool, logger, runtime);
  }

  #orders(): OrderTarget {
    const { pool, store, nodeId } = this.#parts;
    return {
      changeRegion: (regionId, epoch, change) =>
        pool.ask(pool.workerOf(regionId), (control) => control.changeRegion(regionId, epoch, change)),
      transferLeader: (regionId, to) =>
        pool.ask(pool.workerOf(regionId), (control) => control.transferLeader(regionId, to)),
      unsafeRecover: (regionId, lostNodes) =>
        pool.ask(pool.workerOf(regionId), (control) => control.unsafeRecover(regionId, lostNodes)),
      middleKey: async (regionId) => {
        const region = loadRegion(store, regionId);
        if (!region) throw new RegionNotFound(`node ${nodeId} has no region ${regionId}`, { regionId });
        const { middleKey } = await measureRegion(store, region);
        if (middleKey) return middleKey;
        throw new ChangeRefused(`region ${regionId} has too few keys to be split in its middle`, { regionId });
      },
    };
  }

  #link(): Pick<Link, 'publish' | 'subscribe'> {
    const { world, nodeId } = this.#parts;
    return {
      publish: (subject, data) => {
        if (world.isOffline) return false;
        const to = Number(subject.split('.').at(-2));
        world.network.send(nodeId, to, world.nowMs, () => world.processOf(to)?.onGossip(subject, data));
        return true;
      },
      subscribe: (_subject, handler) => {
        this.#onGossip = handler;
        return { close: () => void (this.#onGossip = () => {}) };
      },
    };
  }

  onGossip(subject: string, data: Uint8Array): void {
    this.#onGossip(data, subject, undefined, 0);
  }
}
