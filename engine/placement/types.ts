/**
 * What goes into placement and what comes out of it. Nodes send heartbeats, placement answers with orders to the leaders
 * of regions, and looks at the next heartbeats to see what became of them: an order is a wish, never a fact.
 *
 * Times are milliseconds of the caller's clock (any origin, never running backwards), sizes are bytes.
 */

import type { Epoch, Region } from '../../rpc/wire/region.ts';

// --- nodes -----------------------------------------------------------------------------------------------------------

/** Where a node stands, by names such as `zone` or `rack`. */
export type Labels = Readonly<Record<string, string>>;

/**
 * - `up`: heard of lately; takes replicas and leaders
 * - `suspect`: not heard of for `suspectAfterMs`; gets nothing new
 * - `dead`: not heard of for `replaceAfterMs`; its replicas are replaced. Up again when it is heard of
 * - `draining`: asked to leave; its leaders go first, then its replicas
 * - `removed`: has left for good; its id is never used again
 */
export type NodeState = 'up' | 'suspect' | 'dead' | 'draining' | 'removed';

/** A node asks to belong to the cluster, each time it starts. */
export interface JoinRequest {
  readonly nodeId: number;
  /** Random, of the data directory: tells a wiped node from the one that had its id before. */
  readonly incarnation: string;
  readonly workers: number;
  readonly labels: Labels;
}

export interface NodeHeartbeat {
  readonly nodeId: number;
  readonly incarnation: string;
  readonly workers: number;
  readonly labels: Labels;
  /** Size of the disk; 0: not known, then all such nodes count as equally large. */
  readonly capacityBytes: number;
  /** What is free of it. */
  readonly availableBytes: number;
  /** Share of its workers' time that is spent, 0 to 1: for people to read. */
  readonly busy: number;
  /** Regions it leads, by its own count: placement asks for all reports when it knows of fewer. */
  readonly leaders: number;
  readonly replicas: number;
}

export interface HeartbeatAnswer {
  /** Placement does not know what this node leads: report every region, not only the changed ones. */
  readonly reportAll: boolean;
}

export interface NodeView {
  readonly nodeId: number;
  readonly incarnation: string;
  readonly state: NodeState;
  readonly workers: number;
  readonly labels: Labels;
  readonly capacityBytes: number;
  readonly availableBytes: number;
  readonly busy: number;
  /** -1: not heard of since placement's leader took over. */
  readonly lastHeardMs: number;
  readonly leaders: number;
  readonly replicas: number;
  /** Of all its replicas together. */
  readonly sizeBytes: number;
  /** Reads and writes per second: what it leads, and what it follows at its share. */
  readonly load: number;
  /** Leaves by itself as soon as it is empty. */
  readonly leaving: boolean;
}

// --- regions ---------------------------------------------------------------------------------------------------------

export type ReportedPhase = 'normal' | 'merging' | 'applying';

/** A region would rather be two. Without a key the region finds its middle when the order comes. */
export interface SplitWish {
  readonly reason: 'size' | 'load';
  readonly splitKey?: Uint8Array;
}

/**
 * What a leader says of its region: at once after a change (leader, descriptor, a peer that caught up or stopped answering, wish),
 * and again now and then, because a report may be lost.
 */
export interface RegionReport {
  readonly region: Region;
  /** In which the sender leads. */
  readonly term: number;
  readonly sizeBytes: number;
  readonly readsPerSecond: number;
  readonly writesPerSecond: number;
  /** Peer ids that have not caught up with the log. */
  readonly pendingPeers: readonly number[];
  /** Peer ids that do not answer. */
  readonly downPeers: readonly number[];
  readonly phase: ReportedPhase;
  readonly splitWish?: SplitWish;
}

export interface RegionReports {
  /** Leads all of these. */
  readonly nodeId: number;
  readonly incarnation: string;
  readonly regions: readonly RegionReport[];
}

export interface RegionView extends Omit<RegionReport, 'splitWish'> {
  /** 0: not known. */
  readonly leaderNodeId: number;
  readonly reportedMs: number;
}

// --- orders ----------------------------------------------------------------------------------------------------------

export interface PeerAddress {
  readonly nodeId: number;
  readonly peerId: number;
}

/**
 * One change of one region, done by its leader:
 * - `addLearner`: a peer on a node that has none; done once it has caught up
 * - `promote`: a learner becomes a voter; with `demote` in one joint change in which that voter becomes a learner
 * - `removePeer`: a learner, or a voter by a simple change; never the leader
 * - `transferLeader`
 * - `split`: without a key the leader takes the middle; `childPeerIds` are in the order of the region's peers
 * - `merge`: into its neighbour, whose peers are on the same nodes
 */
export type Step =
  | { readonly kind: 'addLearner'; readonly peer: PeerAddress }
  | { readonly kind: 'promote'; readonly peer: PeerAddress; readonly demote?: PeerAddress }
  | { readonly kind: 'removePeer'; readonly peer: PeerAddress }
  | { readonly kind: 'transferLeader'; readonly to: PeerAddress }
  | {
      readonly kind: 'split';
      readonly splitKey?: Uint8Array;
      readonly childRegionId: number;
      readonly childPeerIds: readonly number[];
    }
  | { readonly kind: 'merge'; readonly targetRegionId: number };

/**
 * To a region's leader. It may come twice, late, or to a node that leads no more: whoever gets it compares the epoch, does the
 * step when it holds and is not done yet, and otherwise does nothing. What came of it shows in the region's next report.
 */
export interface Order {
  readonly operatorId: number;
  readonly regionId: number;
  /** The region's leader, as far as placement knows. */
  readonly toNodeId: number;
  readonly epoch: Epoch;
  readonly step: Step;
  /** The region to merge into, as last reported (`merge` only). */
  readonly target?: Region;
}

// --- operators -------------------------------------------------------------------------------------------------------

export const SCHEDULERS = [
  'repair',
  'drain',
  'spread',
  'split',
  'leader-balance',
  'replica-balance',
  'hot-region',
  'merge',
] as const;
export type SchedulerName = (typeof SCHEDULERS)[number];

/** What an operator counts as in the limits. */
export const OPERATOR_KINDS = ['leader', 'replica', 'split', 'merge'] as const;
export type OperatorKind = (typeof OPERATOR_KINDS)[number];

export const OPERATOR_ENDS = ['done', 'cancelled', 'timedOut', 'overtaken', 'refused'] as const;
export type OperatorOutcome = 'running' | (typeof OPERATOR_ENDS)[number];

/** A list of steps for one region, one order at a time. */
export interface OperatorView {
  readonly operatorId: number;
  readonly regionId: number;
  readonly kind: OperatorKind;
  /** The scheduler that wanted it, or `hand`. */
  readonly origin: SchedulerName | 'hand';
  /** Why, in words. */
  readonly reason: string;
  readonly steps: readonly Step[];
  /** Steps that are done. */
  readonly position: number;
  readonly startedMs: number;
  readonly outcome: OperatorOutcome;
}

/** One line of the operator log. */
export interface OperatorLogEntry {
  /** Grows by one; the log keeps the latest. */
  readonly sequence: number;
  readonly atMs: number;
  readonly event: 'started' | OperatorOutcome | 'node' | 'settings' | 'scheduler';
  readonly operatorId?: number;
  readonly regionId?: number;
  readonly nodeId?: number;
  readonly origin?: SchedulerName | 'hand';
  /** What was done and why, in words. */
  readonly text: string;
}

/** What people may ask for by hand. */
export type OperatorRequest =
  | { readonly kind: 'addReplica'; readonly regionId: number; readonly nodeId: number; readonly observer?: boolean }
  | { readonly kind: 'removeReplica'; readonly regionId: number; readonly nodeId: number }
  | {
      readonly kind: 'moveReplica';
      readonly regionId: number;
      readonly fromNodeId: number;
      readonly toNodeId: number;
    }
  | { readonly kind: 'transferLeader'; readonly regionId: number; readonly nodeId: number }
  | { readonly kind: 'split'; readonly regionId: number; readonly splitKey?: Uint8Array }
  | { readonly kind: 'merge'; readonly regionId: number; readonly targetRegionId: number };

/** Since this leader of placement took over. */
export interface PlacementCounts {
  readonly running: readonly { readonly kind: OperatorKind; readonly count: number }[];
  readonly ended: readonly { readonly kind: OperatorKind; readonly outcome: OperatorOutcome; readonly count: number }[];
  /** That placement knows. */
  readonly regions: number;
}

export interface SchedulerView {
  readonly name: SchedulerName;
  /** 0: it runs. */
  readonly pausedUntilMs: number;
}

// --- what lasts ------------------------------------------------------------------------------------------------------

/** A record to keep, as text (JSON); null: forget it. */
export interface DurableWrite {
  readonly key: string;
  readonly value: string | null;
}

export interface RoundReport {
  /** False: placement's leader is new and does not know enough of the cluster yet, so nothing was decided. */
  readonly ready: boolean;
  readonly started: number;
  readonly ended: number;
  readonly running: number;
}
