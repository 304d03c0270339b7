/**
 * The words of the Raft core. Terms, indexes and ids are integers below 2^53; times are milliseconds of the caller's
 * monotonic clock. Peer id 0 means nobody.
 */

export type EntryKind = 'normal' | 'confChange';

export interface Entry {
  readonly term: number;
  readonly index: number;
  readonly kind: EntryKind;
  /** Opaque to the core. Empty: the no-op of a new leader, or the change that leaves a joint configuration. */
  readonly data: Uint8Array;
}

export interface HardState {
  readonly term: number;
  /** The peer voted for in `term`, 0: none. */
  readonly vote: number;
  readonly commit: number;
}

/**
 * Who belongs to the group. `votersOutgoing` is empty but for a joint configuration, in which a majority of it and one of
 * `voters` must agree on everything. No peer is both a voter and a learner.
 */
export interface Membership {
  readonly voters: readonly number[];
  readonly votersOutgoing: readonly number[];
  /** Are replicated to, count in no quorum and do not campaign. */
  readonly learners: readonly number[];
  /** Voters of the outgoing half that become learners when the joint configuration is left. */
  readonly learnersNext: readonly number[];
  /** The leader proposes to leave the joint configuration as soon as it has applied it. */
  readonly autoLeave: boolean;
}

export interface PeerChange {
  readonly action: 'addVoter' | 'addLearner' | 'remove';
  readonly peerId: number;
}

/**
 * One change of the membership. `simple` takes effect at once and changes one voter at most; `joint` goes through a joint
 * configuration that the leader leaves by itself; `jointManual` stays there until `leave` is proposed.
 */
export interface ConfChange {
  readonly mode: 'simple' | 'joint' | 'jointManual' | 'leave';
  /** Applied in order. Empty in `leave`. */
  readonly changes: readonly PeerChange[];
}

/** What a snapshot is of; its data is the driver's. */
export interface Snapshot {
  readonly index: number;
  readonly term: number;
  readonly membership: Membership;
}

export type MessageKind =
  | 'append'
  | 'appendResponse'
  | 'heartbeat'
  | 'heartbeatResponse'
  | 'vote'
  | 'voteResponse'
  | 'preVote'
  | 'preVoteResponse'
  | 'timeoutNow'
  | 'snapshot'
  /** Between drivers: a replica asks its leader for a read index. The core never sees them. */
  | 'readIndex'
  | 'readIndexResponse'
  /** Between drivers: a replica asks its leader for a snapshot, because it cannot apply what its log has. */
  | 'askSnapshot';

/** One message between two peers of a region. Fields that a kind does not use are 0, false or empty. */
export interface RaftMessage {
  readonly kind: MessageKind;
  readonly from: number;
  readonly to: number;
  readonly term: number;
  /** append: index before the entries. appendResponse: last index that matches, or the rejected one. votes: last index.
   *  snapshot: the last index that is in it. */
  readonly index: number;
  /** Term of the entry at `index` (append, votes, snapshot). */
  readonly logTerm: number;
  readonly commit: number;
  readonly entries: readonly Entry[];
  readonly reject: boolean;
  /**
   * Rejected append: where the follower's log could agree with the leader's, and its term there. `hintTerm` of votes and
   * their answers: the term of the entry at `commit`.
   */
  readonly hintIndex: number;
  readonly hintTerm: number;
  /** heartbeat, append and their responses: the leader's round, from which leases and read indexes are counted. */
  readonly context: number;
  /** votes: the old leader asked for this campaign, so leases do not hold it back. */
  readonly transfer: boolean;
  /** heartbeat: asks a follower to hibernate. heartbeatResponse: it does. */
  readonly hibernate: boolean;
  /** snapshot: the configuration at `index`. */
  readonly membership: Membership | undefined;
}

export type Role = 'follower' | 'preCandidate' | 'candidate' | 'leader';

/** What the persisted log answers; every call is synchronous. */
export interface LogReader {
  /** Index of the first entry that is kept; 1 in a log that was never truncated. */
  readonly firstIndex: number;
  /** 0 in an empty log. */
  readonly lastIndex: number;
  /** Term of an entry, also of `firstIndex - 1` (0 when that is 0); undefined outside. */
  term(index: number): number | undefined;
  /** Entries of [from, to), at least one, then up to `maxBytes` of data. */
  entries(from: number, to: number, maxBytes: number): Entry[];
}

export interface RaftConfig {
  readonly peerId: number;
  /** Each wait is drawn from [electionTimeoutMs, 2 × electionTimeoutMs). */
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly maxAppendBytes: number;
  readonly maxInflightAppends: number;
  readonly maxInflightBytes: number;
  /** Entries appended and not yet committed; `propose` refuses more. */
  readonly maxUncommittedBytes: number;
  /** Recent entries kept in memory, beside those not yet persisted or applied. */
  readonly entryCacheBytes: number;
  readonly maxApplyBytes: number;
  /** How much faster or slower than this clock another node's may run (0.1: a tenth). Leases are shortened by it. */
  readonly maxClockDrift: number;
  /** How long a group is idle before it hibernates. 0: it never does. */
  readonly hibernateAfterMs: number;
  /** A peer whose log is known to end further behind gets a snapshot, even if the log still has what it lacks. */
  readonly maxCatchUpEntries?: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** What the core starts from: what the store knows. */
export interface RaftStart {
  readonly hardState: HardState;
  /** Index up to which the state machine's data is applied. */
  readonly applied: number;
  /** The configuration at `applied`. Without voters: this peer waits for a leader to tell it. */
  readonly membership: Membership;
  readonly log: LogReader;
  readonly nowMs: number;
  /** True when this peer ran before: it gives no votes for one election time-out (its lease promises are forgotten). */
  readonly restarted: boolean;
}

/** A read index that a quorum confirmed: the read `id` may be served once `index` is applied. */
export interface ReadState {
  readonly id: number;
  readonly index: number;
}

/**
 * What the core wants done, in this order: send `messages`; install `snapshot`; persist `entries` (an entry replaces all
 * at and above its index) and `hardState` in one synced write; report `persisted()`; send `durableMessages`; apply `committed` and
 * report `appliedTo()`; serve `readStates` whose index is applied. Only one Ready is out at a time.
 */
export interface Ready {
  /** May leave before the disk is asked: a leader's appends and heartbeats, vote requests excepted. */
  readonly messages: RaftMessage[];
  /** Replaces the whole log and all applied data; to be persisted before, or together with, the rest. */
  readonly snapshot: Snapshot | undefined;
  /** Set when term or vote changed, and with a snapshot or a change of the membership. `commit` alone does not set it. */
  readonly hardState: HardState | undefined;
  readonly entries: Entry[];
  /** Whether the write must be synced: it holds a snapshot, entries, or a term or vote that changed. */
  readonly mustSync: boolean;
  /** Must not leave before the write above is synced: append and vote responses, and vote requests. */
  readonly durableMessages: RaftMessage[];
  /** Committed and durable here, in order, from the last handed out. At most `maxApplyBytes`. */
  readonly committed: Entry[];
  readonly readStates: ReadState[];
}

export type ProposeResult =
  | { readonly ok: true; readonly index: number; readonly term: number }
  | { readonly ok: false; readonly reason: ProposeRefusal };

/**
 * busy: too much is uncommitted. transferring: leadership is being handed over. Of changes of the membership only:
 * changePending: an earlier one, or the no-op of this leader, is not applied here yet. joint: only `leave` may follow now.
 * notJoint: there is nothing to leave.
 */
export type ProposeRefusal = 'notLeader' | 'busy' | 'transferring' | 'changePending' | 'joint' | 'notJoint';

export type ReadIndexResult =
  | { readonly ok: true }
  /** noCommitInTerm is not returned: such reads wait inside the core until the no-op commits. */
  | { readonly ok: false; readonly reason: 'notLeader' };

export type ReplicationState = 'probe' | 'replicate' | 'snapshot';

export interface ProgressStatus {
  readonly peerId: number;
  readonly state: ReplicationState;
  readonly match: number;
  readonly next: number;
  /** Index of the snapshot that is under way, 0: none. */
  readonly pendingSnapshot: number;
  readonly learner: boolean;
  readonly inflightMessages: number;
  readonly inflightBytes: number;
  /** Heard within an election time-out; in a group that hibernates all are taken to be there. */
  readonly recentlyActive: boolean;
}

export interface RaftStatus {
  readonly peerId: number;
  readonly role: Role;
  readonly term: number;
  readonly vote: number;
  readonly leader: number;
  readonly commit: number;
  readonly applied: number;
  readonly lastIndex: number;
  readonly leaseUntilMs: number;
  readonly transferTarget: number;
  readonly membership: Membership;
  readonly hibernating: boolean;
  /** Of a leader; empty otherwise. */
  readonly progress: readonly ProgressStatus[];
}
