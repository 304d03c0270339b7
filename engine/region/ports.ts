/** What a replica is given from outside, so that the simulator can be the outside. */

import type { mraft } from '../../rpc/wire/codec.ts';
import type { MraftError } from '../../rpc/wire/errors.ts';
import type { Region } from '../../rpc/wire/region.ts';
import type { RaftMessage } from '../raft/index.ts';
import type { Store, WriteBatch } from '../store/port.ts';
import type { CommitMerge } from './commit-merge.ts';
import type { Difference } from './consistency.ts';

export interface Clock {
  /** Milliseconds that never go back; the origin means nothing. */
  nowMs(): number;
}

/** Uniform in [0, 1). */
export type Random = () => number;

/** Where an answer goes: a NATS reply subject, or a client of the node itself (shard/port-messages.ts). */
export type Origin = string;

/** Answers one request; called at most once for each. */
export interface Respond {
  (origin: Origin, response: mraft.IResponse): void;
}

export interface RegionTimings {
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  /** How much faster or slower than this node's clock another's may run: 0.1 is a tenth. */
  readonly maxClockDrift: number;
  /** How long a region has nothing to do before it sleeps; 0: it never does. */
  readonly hibernateAfterMs: number;
}

export interface ReplicaEnvironment {
  readonly nodeId: number;
  readonly store: Store;
  readonly clock: Clock;
  readonly random: Random;
  readonly timings: RegionTimings;
  /** Nodes that cannot be heard, as of now. */
  readonly lostNodes: ReadonlySet<number>;
  readonly respond: Respond;
  /** Sends a message to the peer of this region on `nodeId`; it may be lost. */
  readonly send: (regionId: number, nodeId: number, message: RaftMessage) => void;
  /** The core wants the region's data sent along with this message; `Replica.snapshotFor` says what of, behind the turn. */
  readonly askSnapshot: (regionId: number, message: RaftMessage) => void;
  /** The region has another leader (0: none known) or term than was told before. */
  readonly onLeader: (regionId: number, leaderNodeId: number, term: number) => void;
  /** The region's descriptor changed, and that is written. */
  readonly onRegionChanged: (region: Region) => void;
  /** This peer belongs to the region no longer; a voter stays a while for those who have not heard so. */
  readonly onRemoved: (regionId: number, wasVoter: boolean) => void;
  /** Tells a peer on `nodeId`, which speaks as if it belonged to the region, what the region is now. */
  readonly sendNotice: (nodeId: number, toPeer: number, region: Region) => void;
  /** The region is two from here on, and that is written. `isBorn`: the new half has a replica here. `campaigns`: at once. */
  readonly onSplit: (parent: Region, child: Region, isBorn: boolean, campaigns: boolean) => void;
  /** Whether the source's replica here has finished, so that the region can take its place; else that is asked for. */
  readonly hasSource: (targetId: number, merge: CommitMerge) => boolean;
  /** The region took the source's place, and that is written. */
  readonly onAbsorbed: (target: Region, source: Region) => void;
  /** A consistency check has begun here; `Replica.hashes` is to be stepped until it is done. */
  readonly onHashing: (regionId: number) => void;
  /** A consistency check found that this replica has other data than its leader. */
  readonly onDifference: (regionId: number, difference: Difference, index: number) => void;
  /** Something that should not be and does no harm: counted and logged. */
  readonly onAnomaly: (regionId: number, error: MraftError) => void;
}

/** The batches of a turn: what must be synced, and what may be replayed from the log. */
export interface TurnBatches {
  readonly durable: WriteBatch;
  readonly applied: WriteBatch;
  /** How often the turns have written the applied batch: what was added to it under a lower number is in the store. */
  readonly appliedWrites: number;
  /** Run once, in order, when the applied batch is written: what others may hear of only then. */
  readonly written: (() => void)[];
}
