/** What a shard is given from outside: the network, the clock and chance, the store. */

import type { Clock, Origin, Random, RegionTimings } from '../region/ports.ts';
import type { Region } from '../../rpc/wire/region.ts';
import type { MraftError } from '../../rpc/wire/errors.ts';
import type { BodyCodec } from '../region/snapshot-chunk.ts';
import type { Fence } from '../store/fence.ts';
import type { Store } from '../store/port.ts';
import type { SlotTable } from './slot-table.ts';
import type { Lane } from '../../rpc/wire/subjects.ts';
import type { InstalledSnapshot, RangeClaims } from './snapshot-ports.ts';

export interface ShardTransport {
  /** Sends a PeerFrame to a worker of another node. It may be lost; false: it certainly was. */
  sendPeerFrame(nodeId: number, worker: number, frame: Uint8Array, lane: Lane): boolean;
  /** Sends a ResponseFrame to where a request came from. */
  respond(origin: Origin, frame: Uint8Array): void;
  /** Hands messages of a region that lives on another worker of this node to that worker. */
  forwardPeerFrame(worker: number, frame: Uint8Array, fromNode: number): void;
  forwardRequests(worker: number, origin: Origin, frame: Uint8Array): void;
  /** Hands everything that was sent over to the sockets, now. */
  flush(): void;
}

/** What a shard tells its node. */
export interface ShardEvents {
  onLeader(regionId: number, leaderNodeId: number, term: number): void;
  /** Another node was heard for the first time, or with another number of workers or a newer boot. */
  onNode(nodeId: number, workers: number, bootEpoch: number): void;
  /**
   * Regions of this worker came into being or changed; where a range passes from one to another they come together.
   * `absorbed` are gone: they are part of the one region that changed.
   */
  onRegions(regions: readonly Region[], absorbed?: readonly number[]): void;
  /** The region led here prepared to be merged into `target`: that one's leader is to commit it (an encoded CommitMerge). */
  onMergeStep(target: Region, merge: Uint8Array): void;
  /** A target that lives here waits for its source, which lives on another worker, to finish. */
  onSourceNeeded(sourceId: number, targetId: number, merge: Uint8Array): void;
  /** The source that lived here has finished; its target lives on another worker. */
  onSourceReady(sourceId: number, targetId: number): void;
  /** The child of a split is in the store: its home worker opens it. `campaigns`: at once, its parent is led here. */
  onNewborn(regionId: number, campaigns: boolean): void;
  /** A replica is gone from this worker, with its data. */
  onRegionGone(regionId: number): void;
  /** Another node was not heard for so long that it is taken for lost. */
  onNodeLost(nodeId: number): void;
  /** A snapshot has taken the place of what a region had here. */
  onSnapshot?(installed: InstalledSnapshot): void;
  onAnomaly(what: string, error: MraftError | undefined, regionId: number): void;
}

export interface ShardConfig {
  readonly cluster: string;
  readonly nodeId: number;
  /** This worker's number, and how many the node has. */
  readonly worker: number;
  readonly workers: number;
  /** Of this process; a later start of the same node has a higher one. */
  readonly bootEpoch: number;
  /** Of the node's data; see Directory. Without it the node does not say. */
  readonly incarnation?: number;
  readonly timings: RegionTimings;
  readonly tickMs: number;
  /** How often each region that is led here is checked for differences between its replicas. 0 or undefined: never. */
  readonly consistencyCheckMs?: number;
  /** What the whole node may send of snapshots. Default: DEFAULTS.snapshotBytesPerSecond. */
  readonly snapshotBytesPerSecond?: number;
  /** Chunks of snapshots are made smaller before they are sent. */
  readonly snapshotCompression?: boolean;
}

export interface ShardEnvironment {
  /** This worker's own copy. Without it all slots are at home. */
  readonly slots?: SlotTable;
  readonly store: Store;
  /** Remembers what was synced, apart from the store; undefined in tests that lose nothing. */
  readonly fence?: Fence;
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: ShardTransport;
  readonly events: ShardEvents;
  /** Makes chunks of snapshots smaller. Default: they travel as they are. */
  readonly codec?: BodyCodec;
  /** The node's ledger of ranges. Default: whoever asks may have a range. */
  readonly ranges?: RangeClaims;
}
