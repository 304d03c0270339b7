/**
 * mraft, embedded: `open` starts a node inside this process. With only `dataDir` it is a single node that needs no
 * broker; with `nats` and `initialNodes` it is one node of a cluster.
 */

import pino from 'pino';
import type {
  BatchOperation,
  CallOptions,
  CompareAndSwapResult,
  Key,
  KeyValue,
  Kv,
  ReadOptions,
  ScanOptions,
  Value,
} from '../rpc/client/index.ts';
import type { MraftError } from '../rpc/wire/errors.ts';
import { parseOpenOptions, type Logger, type NodeConfig, type OpenOptions } from './config.ts';
import { Node } from './node/node.ts';
import { placementAdmin, type PlacementAdmin } from './node/placement-client.ts';
import type { NodeStatus } from './node/status.ts';
import type { ReplicaStatus } from './region/replica.ts';

export * from '../rpc/wire/errors.ts';
export type * from '../rpc/client/kv.ts';
export type { Region, Peer, Epoch } from '../rpc/wire/region.ts';
export type { OpenOptions, Logger, LogLevel } from './config.ts';
export { parseOpenOptions } from './config.ts';
export type { NodeStatus } from './node/status.ts';
export type { PlacementAdmin, SchedulerState } from './node/placement-client.ts';
export type {
  NodeView,
  OperatorLogEntry,
  OperatorRequest,
  OperatorView,
  PlacementSettings,
} from './placement/index.ts';
export type { ReplicaStatus } from './region/replica.ts';
/** For a program that is nothing but a node: its main thread, too, gives memory back when it falls idle. */
export { watchIdleMemory } from './shard/idle-memory.ts';

/** Questions and orders to this node. */
export interface Admin {
  /** To placement, wherever in the cluster it is led. */
  readonly placement: PlacementAdmin;
  status(): Promise<NodeStatus>;
  /** All replicas on this node. */
  regions(): Promise<ReplicaStatus[]>;
  /** Hands a region that this node leads over to another. False: it is not led here, or the target has no voter. */
  transferLeader(regionId: number, nodeId: number): Promise<boolean>;
  /**
   * Gives a slot to another worker of this node while it serves.
   * @throws RegionChanging when that is impossible at the moment, Unavailable, InvalidArgument
   */
  moveSlot(slot: number, worker: number): Promise<void>;
  /**
   * Splits a region that this node leads: the keys from `splitKey` on (undefined: from the middle of its data) become region
   * `childRegionId`, whose peers get `childPeerIds` in the order of the region's peers. All ids must never have been used;
   * `mraft ctl region split` lets placement choose them.
   * @throws RegionNotFound, NotLeader, ChangeRefused, RegionChanging, RegionMerging, EpochNotMatch
   */
  splitRegion(
    regionId: number,
    splitKey: Uint8Array | undefined,
    childRegionId: number,
    childPeerIds: readonly number[],
  ): Promise<void>;
  /**
   * Merges a region that this node leads into its neighbour, whose replicas are on the same nodes; ends when that is done.
   * @throws RegionNotFound, NotLeader, ChangeRefused, RegionChanging (also when the neighbour changed meanwhile, and the merge
   *   was given up), RegionMerging, EpochNotMatch, DeadlineExceeded (it goes on)
   */
  mergeRegions(sourceId: number, targetId: number): Promise<void>;
  /** Lets the replicas of a region that this node leads compare their data; what differs is logged and counted. @throws NotLeader */
  checkConsistency(regionId: number): Promise<void>;
}

/** A database that is open in this process. */
export interface Db extends Kv {
  readonly nodeId: number;
  readonly cluster: string;
  readonly admin: Admin;
  /** Where the metrics are served, if they are. */
  readonly metricsPort: number | undefined;
  /**
   * Resolves when the node cannot go on: its disk failed (StorageFailure), or it has no place in the cluster (NodeIdInUse,
   * ClusterMismatch). Close it then.
   */
  readonly failed: Promise<MraftError>;
  /** Hands leaderships over and closes everything; calls that are under way fail with Closed. */
  close(): Promise<void>;
}

/**
 * Opens a node; resolves when it serves. A region may still be electing its leader: calls wait for it.
 * @throws InvalidConfig (nothing was touched), DataDirMismatch, DataDirInUse, DataDirUnusable, Amnesia, DiskFull, StorageFailure
 */
export async function open(options: OpenOptions): Promise<Db> {
  const config = parseOpenOptions(options);
  const logger = config.logger ?? defaultLogger(config);
  return new EmbeddedDb(await Node.start(config, logger));
}

function defaultLogger(config: NodeConfig): Logger {
  const base = { cluster: config.cluster, nodeId: config.nodeId };
  return pino({ name: 'mraft', level: config.logLevel, base }, pino.destination(2));
}

class EmbeddedDb implements Db {
  readonly #node: Node;
  readonly admin: Admin;

  constructor(node: Node) {
    this.#node = node;
    this.admin = {
      placement: placementAdmin((verb, question) => node.askPlacement(verb, question)),
      status: () => node.status(),
      regions: () => node.regions(),
      transferLeader: (regionId, nodeId) => node.transferLeader(regionId, nodeId),
      moveSlot: (slot, worker) => node.moveSlot(slot, worker),
      splitRegion: (regionId, splitKey, childRegionId, childPeerIds) =>
        node.splitRegion(regionId, splitKey, childRegionId, childPeerIds),
      mergeRegions: (sourceId, targetId) => node.mergeRegions(sourceId, targetId),
      checkConsistency: (regionId) => node.checkConsistency(regionId),
    };
  }

  get nodeId(): number {
    return this.#node.config.nodeId;
  }

  get cluster(): string {
    return this.#node.config.cluster;
  }

  get metricsPort(): number | undefined {
    return this.#node.metricsPort;
  }

  get failed(): Promise<MraftError> {
    return this.#node.failed;
  }

  get(key: Key, options?: ReadOptions): Promise<Uint8Array | undefined> {
    return this.#node.client.get(key, options);
  }

  batchGet(keys: readonly Key[], options?: ReadOptions): Promise<(Uint8Array | undefined)[]> {
    return this.#node.client.batchGet(keys, options);
  }

  put(key: Key, value: Value, options?: CallOptions): Promise<void> {
    return this.#node.client.put(key, value, options);
  }

  delete(key: Key, options?: CallOptions): Promise<void> {
    return this.#node.client.delete(key, options);
  }

  compareAndSwap(
    key: Key,
    expected: Value | undefined,
    value: Value | undefined,
    options?: CallOptions,
  ): Promise<CompareAndSwapResult> {
    return this.#node.client.compareAndSwap(key, expected, value, options);
  }

  batch(operations: readonly BatchOperation[], options?: CallOptions): Promise<void> {
    return this.#node.client.batch(operations, options);
  }

  scan(options?: ScanOptions): AsyncIterable<KeyValue> {
    return this.#node.client.scan(options);
  }

  deleteRange(start: Key, end: Key, options?: CallOptions): Promise<void> {
    return this.#node.client.deleteRange(start, end, options);
  }

  close(): Promise<void> {
    return this.#node.stop();
  }
}
