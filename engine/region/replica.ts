/**
 * One replica of a region: the Raft core, the proposals and reads that wait for it, and the state machine behind it.
 * It runs on one worker and is driven by that worker's turn; every method here is one step of a turn and returns at once.
 */

import type { mraft } from '../../rpc/wire/codec.ts';
import { isAdminPayload } from '../../rpc/wire/command.ts';
import { toWireError } from '../../rpc/wire/error-codec.ts';
import {
  EpochNotMatch,
  Internal,
  InvalidArgument,
  MraftError,
  NotLeader,
  RegionChanging,
  RegionMerging,
  ServerBusy,
  asMraftError,
  invariant,
} from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { canVote, sameEpoch, type Epoch, type Region } from '../../rpc/wire/region.ts';
import { RaftNode } from '../raft/index.ts';
import type { Entry, ProposeResult, RaftMessage, RaftStatus, Ready } from '../raft/index.ts';
import { RegionLog } from '../store/log-store.ts';
import {
  listSessions,
  loadApplied,
  loadHardState,
  putHardState,
  type LogPosition,
  type RegionRecord,
} from '../store/region-records.ts';
import { completeLog, composeCommitMerge, type CommitMerge } from './commit-merge.ts';
import { PendingChanges, adminPayload, type ChangeDone, type RegionChange } from './admin.ts';
import { preparedCommand } from './admin-proposal.ts';
import { admitCommand } from './admission.ts';
import { Applier, type CommandOutcome } from './applier.ts';
import { CompactionPace, compactionIndex, isWorthCompacting } from './compaction.ts';
import { RegionChanges } from './changes.ts';
import { HashCheck } from './hash-check.ts';
import { checkMembershipChange, encodeMembershipChange, membershipOf } from './membership.ts';
import type { Origin, ReplicaEnvironment, TurnBatches } from './ports.ts';
import { ProposalQueue, type Proposal } from './proposals.ts';
import { ReadIndexService, readIndexMessage } from './read-index-service.ts';
import { ReadQueue, readRequest, type ReadRequest } from './reads.ts';
import { RegionReader, answerBytes } from './reader.ts';
import { RegionState } from './region-state.ts';
import { SessionTable } from './sessions.ts';
import { Traffic } from './traffic.ts';

/** Election time-outs in which a peer hears nothing before it asks whether it was removed. */
const SILENCE_ELECTIONS = 10;

/** Peers, also former and future ones, whose nodes are remembered. */
const MOST_PEERS = 64;

/** How often the leader of a region that prepared asks for its merge to go on. */
const MERGE_STEP_MS = 1_000;

/** A peer under load is always a few entries behind. */
const IN_STEP_ENTRIES = 64;

export interface ReplicaStatus {
  readonly region: Region;
  readonly phase: RegionRecord['phase'];
  readonly raft: RaftStatus;
  readonly leaderNodeId: number;
  readonly pendingProposals: number;
  readonly pendingReads: number;
  readonly sessions: number;
}

export interface ReplicaStats {
  proposals: number;
  entriesProposed: number;
  entriesApplied: number;
  pointReads: number;
  scans: number;
}

export class Replica {
  readonly peerId: number;
  readonly raft: RaftNode;
  readonly state: RegionState;
  readonly #env: ReplicaEnvironment;
  readonly #log: RegionLog;
  readonly #applier: Applier;
  readonly #proposals = new ProposalQueue();
  readonly #reads: ReadQueue;
  readonly #readIndexes = new ReadIndexService();
  readonly #changes = new PendingChanges();
  readonly #reader: RegionReader;
  readonly hashes: HashCheck;
  readonly traffic: Traffic;
  /** Messages and requests since the worker looked last. */
  work = 0;
  readonly #nodeOfPeer = new Map<number, number>();
  readonly #stats: ReplicaStats;
  #ready: Ready | undefined;
  #toldLeader = 0;
  #toldTerm = 0;
  #leads = false;
  /** Committed and not applied yet. */
  #unapplied: Entry[] = [];
  #unappliedBytes = 0;
  /** Among them is one that changes the region: others may wait for this replica to know of it. */
  #changesRegion = false;
  #laggingSinceMs = 0;
  /** When anybody spoke to this peer last. */
  #heardMs: number;
  /** What the entries that are being applied say about the log. */
  #compaction: LogPosition | undefined;
  readonly #nextCompaction = new CompactionPace();
  /** The entry that asked last: another one follows it, when it is applied. */
  #askedCompaction: LogPosition = { index: 0, term: 0 };
  /** The entries that are being applied; kept over a full disk, so that the same ones are gone on with. */
  #run: Entry[] | undefined;
  /** The region is merged away: nothing but its own log up to here is applied any more. */
  #finish: { readonly commit: number } | undefined;
  #nextMergeStepMs = 0;

  /**
   * Opens the replica from what the store knows. `stats` is shared by the replicas of a worker. `isNewborn`: the region
   * came into being with this record, so that the peer cannot have promised anything to anyone.
   */
  constructor(record: RegionRecord, env: ReplicaEnvironment, stats: ReplicaStats, isNewborn = false) {
    const { region } = record;
    const own = region.peers.find((peer) => peer.nodeId === env.nodeId);
    if (!own) throw new Internal(`node ${env.nodeId} has no peer in region ${region.regionId}`);
    this.state = new RegionState(record);
    this.peerId = own.peerId;
    this.#env = env;
    this.#heardMs = env.clock.nowMs();
    this.#stats = stats;
    for (const peer of region.peers) this.#nodeOfPeer.set(peer.peerId, peer.nodeId);

    const { store, timings } = env;
    const { regionId } = region;
    const hardState = loadHardState(store, regionId);
    const applied = loadApplied(store, regionId);
    this.#log = new RegionLog(store, regionId);
    this.#reads = new ReadQueue(1 + Math.floor(env.random() * 2 ** 30) * 2 ** 20);
    this.#reader = new RegionReader(store, this.state, stats);
    this.traffic = new Traffic(env.random, env.clock.nowMs());
    this.hashes = new HashCheck(store, this.state, (difference, index) =>
      env.onDifference(regionId, difference, index),
    );
    const sessions = SessionTable.load(listSessions(store, regionId));
    this.#applier = new Applier(store, this.state, sessions, this.#regionChanges(), applied, (error) =>
      env.onAnomaly(regionId, error),
    );
    this.raft = new RaftNode(
      {
        peerId: own.peerId,
        electionTimeoutMs: timings.electionTimeoutMs,
        heartbeatMs: timings.heartbeatMs,
        maxClockDrift: timings.maxClockDrift,
        maxAppendBytes: LIMITS.appendBytes,
        maxInflightAppends: LIMITS.inflightAppends,
        maxInflightBytes: LIMITS.inflightAppendBytes,
        maxUncommittedBytes: LIMITS.uncommittedBytes,
        entryCacheBytes: LIMITS.entryCacheBytes,
        maxApplyBytes: LIMITS.applyBytes,
        hibernateAfterMs: timings.hibernateAfterMs,
        random: env.random,
      },
      {
        hardState: hardState ?? { term: 0, vote: 0, commit: 0 },
        applied: applied.index,
        membership: membershipOf(region),
        log: this.#log,
        nowMs: env.clock.nowMs(),
        restarted: hardState !== undefined && !isNewborn,
      },
    );
  }

  #regionChanges(): RegionChanges {
    const env = this.#env;
    return new RegionChanges(env.nodeId, {
      applyConfChange: (change) => {
        if (!this.#finish) this.raft.applyConfChange(change);
      },
      // The core has not heard yet that what stands before this entry is applied.
      compactTo: (index, term) => void (this.#compaction = { index, term }),
      onRegionChanged: (region) => {
        for (const peer of region.peers) this.#nodeOfPeer.set(peer.peerId, peer.nodeId);
        env.onRegionChanged(region);
      },
      // Nobody speaks to them any more, and they never campaign: this is how they hear of it.
      onLearnersLeft: (left, region) => {
        if (!this.isLeader) return;
        for (const { nodeId, peerId } of left) env.sendNotice(nodeId, peerId, region);
      },
      onRemoved: (wasVoter) => env.onRemoved(this.regionId, wasVoter),
      onSplit: (parent, child, isBorn) => {
        // A round of heartbeats tells the others at once that they can apply it: the new half needs their votes.
        if (this.isLeader) this.raft.readIndex(this.#reads.takeId(), env.clock.nowMs());
        env.onSplit(parent, child, isBorn, this.isLeader);
      },
      hasSource: (merge) => env.hasSource(this.regionId, merge),
      onAbsorbed: (target, source) => env.onAbsorbed(target, source),
      computeHash: (round, index) => {
        this.hashes.begin(round, index);
        env.onHashing(this.regionId);
      },
      verifyHash: (verify) => this.hashes.verify(verify),
      onAnomaly: (error) => env.onAnomaly(this.regionId, error),
    });
  }

  /** As of what is applied. */
  get region(): Region {
    return this.state.region;
  }

  get regionId(): number {
    return this.state.region.regionId;
  }

  get isLeader(): boolean {
    return this.raft.role === 'leader';
  }

  /** The node that leads, as far as this replica knows; 0: unknown. */
  get leaderNodeId(): number {
    return this.#nodeOfPeer.get(this.raft.leader) ?? 0;
  }

  /** It tells nobody that it is there, until something wakes it. */
  get isAsleep(): boolean {
    return this.raft.isHibernating;
  }

  /** Whether the passing of time means anything to it. */
  get needsTicks(): boolean {
    return !this.isAsleep || this.state.phase !== 'normal';
  }

  /** Whether the voters on other nodes than these can elect a leader. */
  hasQuorumWithout(lostNodes: ReadonlySet<number>): boolean {
    const voters = this.region.peers.filter((peer) => peer.role !== 'learner');
    return voters.filter((peer) => !lostNodes.has(peer.nodeId)).length * 2 > voters.length;
  }

  /** The node of its leader is lost: wakes it to elect another one. */
  leaderNodeLost(nowMs: number): void {
    this.raft.reportNodeLost(this.raft.leader, nowMs);
  }

  wake(nowMs: number): void {
    this.raft.wake(nowMs);
  }

  nodeOfPeer(peerId: number): number | undefined {
    return this.#nodeOfPeer.get(peerId);
  }

  /**
   * Whether a message of `peerId` may have come from that node. A peer that is not known here may be newer than what is
   * applied: where it lives is what it says, and it never moves.
   */
  comesFrom(peerId: number, nodeId: number): boolean {
    const known = this.#nodeOfPeer.get(peerId);
    if (known !== undefined) return known === nodeId;
    if (this.#nodeOfPeer.size >= MOST_PEERS) return false;
    this.#nodeOfPeer.set(peerId, nodeId);
    return true;
  }

  /** Whether a turn has something to do here. */
  get hasWork(): boolean {
    return this.raft.hasReady() || this.#proposals.hasGathered || this.#reads.hasGathered || this.#reads.hasReady;
  }

  /** Whether committed entries wait to be applied, though nobody waits for them. */
  get isLagging(): boolean {
    return this.#run !== undefined || this.#unapplied.length > 0;
  }

  /** Whether what lags makes a run that is worth it, or has waited long enough. */
  isRunDue(nowMs: number): boolean {
    return (
      this.#run !== undefined ||
      this.#finish !== undefined ||
      this.#changesRegion ||
      this.#reads.count > 0 ||
      this.#unapplied.length >= LIMITS.laggingRunEntries ||
      this.#unappliedBytes >= LIMITS.laggingRunBytes ||
      nowMs - this.#laggingSinceMs >= LIMITS.laggingRunMs
    );
  }

  // --- step 2: what comes in ---------------------------------------------------------------------------------------

  step(message: RaftMessage, nowMs: number): void {
    // A snapshot is nothing without its data, and comes with it (stepSnapshot).
    if (message.kind === 'snapshot') return;
    if (message.kind === 'readIndex') return this.#onReadIndex(message, nowMs);
    if (message.kind === 'readIndexResponse') return this.#onReadIndexResponse(message);
    if (message.kind === 'vote' || message.kind === 'preVote') this.#noticeStranger(message.from);
    if (message.kind === 'append' || message.kind === 'heartbeat') this.#heardMs = nowMs;
    this.raft.step(message, nowMs);
  }

  /** A replica asks for a read index; who does not lead keeps silent, and the reader tries again elsewhere. */
  #onReadIndex(message: RaftMessage, nowMs: number): void {
    if (!this.isLeader || this.state.phase !== 'normal') return;
    const id = this.#reads.takeId();
    if (this.#readIndexes.await(id, message)) this.raft.readIndex(id, nowMs);
  }

  #onReadIndexResponse({ context: id, index }: RaftMessage): void {
    this.#reads.confirm([{ id, index }]);
    this.#reads.release(this.#applier.appliedIndex);
  }

  /** A peer that wants to be elected and does not belong to the region may have been removed and not know it. */
  #noticeStranger(peerId: number): void {
    if (this.region.peers.some((peer) => peer.peerId === peerId)) return;
    const nodeId = this.#nodeOfPeer.get(peerId);
    if (nodeId !== undefined) this.#env.sendNotice(nodeId, peerId, this.region);
  }

  tick(nowMs: number): void {
    this.raft.tick(nowMs);
    if (this.isLeader || this.isAsleep) this.#heardMs = nowMs;
    else if (nowMs - this.#heardMs >= SILENCE_ELECTIONS * this.#env.timings.electionTimeoutMs)
      this.#askWhetherMember(nowMs);
  }

  /** Nobody speaks to this peer: it may have been removed without hearing of it, and a learner does not even campaign. */
  #askWhetherMember(nowMs: number): void {
    this.#heardMs = nowMs;
    for (const { nodeId, peerId } of this.region.peers) {
      if (peerId !== this.peerId) this.#env.sendNotice(nodeId, peerId, this.region);
    }
  }

  /** Takes one request of a client. Whatever is wrong with it is answered; nothing is thrown. */
  request(origin: Origin, request: mraft.IRequest): void {
    const id = request.id ?? 0;
    try {
      this.#checkEpoch(request.epoch);
      if (request.write) this.#takeWrite(origin, id, request.write);
      else if (request.read || request.scan)
        this.#takeRead(readRequest(this.region, origin, request, this.#env.clock.nowMs()));
      else throw new InvalidArgument('a request is a write, a read or a scan', { field: 'body' });
    } catch (error) {
      this.#fail(origin, id, error);
    }
  }

  #checkEpoch(wire: mraft.IEpoch | null | undefined): void {
    this.#checkSameEpoch({ version: wire?.version ?? 0, confVersion: wire?.confVersion ?? 0 });
  }

  #checkSameEpoch(epoch: Epoch): void {
    if (sameEpoch(epoch, this.region.epoch)) return;
    const own = this.region.epoch;
    throw new EpochNotMatch(
      `region ${this.regionId} is at epoch ${own.version}.${own.confVersion}, the request at ${epoch.version}.${epoch.confVersion}`,
      { regionId: this.regionId, regions: this.state.current },
    );
  }

  #takeWrite(origin: Origin, requestId: number, bytes: Uint8Array): void {
    if (!this.isLeader) throw this.#refuseAsFollower();
    this.#checkPhase();
    const command = admitCommand(this.region, bytes);
    if (!this.#proposals.gather({ origin, requestId, command })) {
      throw new ServerBusy(`region ${this.regionId} has too many writes under way`, { regionId: this.regionId });
    }
    this.traffic.noteWrite(bytes, command.calls);
  }

  /** Behind its PrepareMerge a region takes nothing: what is read or written there may be with its target already. */
  #checkPhase(): void {
    if (this.state.phase === 'normal') return;
    throw new RegionMerging(`region ${this.regionId} is being merged into its neighbour`, { regionId: this.regionId });
  }

  #takeRead(request: ReadRequest): void {
    const anyone = request.mode === 'stale' || (request.mode === 'replica' && this.raft.leader !== 0);
    if (!anyone && !this.isLeader) throw this.#refuseAsFollower();
    this.#checkPhase();
    if (!this.#reads.gather(request)) {
      throw new ServerBusy(`region ${this.regionId} has too many reads under way`, { regionId: this.regionId });
    }
    this.traffic.noteRead(request);
  }

  /** A sleeping follower asks its leader whether it is there: whoever came here had perhaps no answer from it. */
  #refuseAsFollower(): NotLeader {
    this.raft.wake(this.#env.clock.nowMs());
    return this.#notLeader();
  }

  #notLeader(): NotLeader {
    const leaderNodeId = this.leaderNodeId;
    const known = leaderNodeId !== 0 && leaderNodeId !== this.#env.nodeId;
    return new NotLeader(`region ${this.regionId} is not led by node ${this.#env.nodeId}`, {
      regionId: this.regionId,
      ...(known ? { leaderNodeId } : {}),
    });
  }

  #fail(origin: Origin, id: number, error: unknown): void {
    this.#env.respond(origin, { id, error: toWireError(error) });
    if (!(error instanceof MraftError) || error instanceof Internal) {
      this.#env.onAnomaly(
        this.regionId,
        error instanceof MraftError ? error : new Internal(String(error), { cause: error }),
      );
    }
  }

  // --- step 3: what the turn gathered becomes entries and read indexes ---------------------------------------------

  propose(nowMs: number): void {
    if (this.#proposals.hasGathered) this.#proposeGathered(nowMs);
    if (this.#reads.hasGathered) this.#confirmGathered(nowMs);
  }

  #proposeGathered(nowMs: number): void {
    for (const bundle of this.#proposals.bundle(this.region.epoch)) {
      const result = this.raft.propose(bundle.payload, nowMs);
      if (result.ok) {
        this.#proposals.await(result.index, result.term, bundle);
        this.#stats.proposals += bundle.proposals.length;
        this.#stats.entriesProposed++;
        continue;
      }
      const error = result.reason === 'busy' ? this.#refusal('busy') : this.#notLeader();
      for (const proposal of this.#proposals.drop(bundle)) this.#fail(proposal.origin, proposal.requestId, error);
    }
  }

  #confirmGathered(nowMs: number): void {
    if (this.raft.hasLease(nowMs)) this.#reads.admitLease(this.raft.commit, this.#applier.appliedIndex);
    else this.#reads.demoteLease();
    const id = this.#reads.closeGroup();
    if (id === 0) return;
    if (this.isLeader) this.raft.readIndex(id, nowMs);
    else this.#askLeader(id);
  }

  #askLeader(id: number): void {
    const { leader, term } = this.raft;
    if (leader === 0) return this.#failReads();
    this.#send([readIndexMessage('readIndex', this.peerId, leader, term, id)]);
  }

  // --- steps 4 to 8: what the core wants done ----------------------------------------------------------------------

  /** Collects what the core wants and sends what need not wait for the disk. False: nothing to do. */
  collect(nowMs: number): boolean {
    if (!this.raft.hasReady()) return false;
    this.#ready = this.raft.ready(nowMs);
    this.#send(this.#ready.messages);
    if (this.#readIndexes.count > 0) {
      this.#send(this.#readIndexes.confirmed(this.#ready.readStates, this.peerId, this.raft.term));
    }
    if (!this.isLagging) this.#laggingSinceMs = nowMs;
    this.#takeCommitted(this.#ready.committed);
    return true;
  }

  #takeCommitted(entries: readonly Entry[]): void {
    for (const entry of entries) {
      this.#unapplied.push(entry);
      this.#unappliedBytes += entry.data.length;
      this.#changesRegion ||= entry.kind === 'confChange' || isAdminPayload(entry.data);
    }
  }

  #send(messages: readonly RaftMessage[]): void {
    for (const message of messages) {
      if (message.kind === 'snapshot') {
        this.#env.askSnapshot(this.regionId, message);
        continue;
      }
      const nodeId = this.#nodeOfPeer.get(message.to);
      if (nodeId !== undefined) this.#env.send(this.regionId, nodeId, message);
    }
  }

  /** Adds entries and hard state to the durable batch. True: it must be synced before `persisted`. */
  persist(batches: TurnBatches): boolean {
    const ready = this.#ready!;
    if (ready.entries.length > 0) this.#log.append(batches.durable, ready.entries);
    if (ready.hardState) putHardState(batches.durable, this.regionId, ready.hardState);
    return ready.mustSync;
  }

  /** The durable batch is synced: tells the core and sends what had to wait for it. */
  persisted(): void {
    const ready = this.#ready!;
    const last = ready.entries.at(-1);
    if (last) this.raft.persisted(last.index, last.term);
    this.#send(ready.durableMessages);
    this.#noticeLeader();
  }

  /**
   * Adds what is committed to the applied batch, if somebody waits for it or much has gathered: always on a leader, else
   * only with reads pending. The rest is left to `applyLagging`. `answers` are those of the callers; they may leave
   * before that batch is written, because what they tell is in the log of a majority.
   * @throws DiskFull: the same call again goes on where this one stopped. StorageFailure
   */
  apply(batches: TurnBatches, answers: (() => void)[]): void {
    this.#reads.confirm(this.#ready!.readStates);

    const isAwaited =
      this.isLeader || this.#changesRegion || this.#reads.count > 0 || this.#unappliedBytes >= LIMITS.laggingBytes;
    while (isAwaited && this.isLagging && this.#applyRun(Infinity, batches, answers));
    this.#ready = undefined;
    if (this.#leads) this.#proposeCompaction();
  }

  /**
   * Adds committed entries that nobody waits for to the applied batch: at least one, then up to `mostBytes`. Answers how
   * many bytes those were. `answers` has those of a leader whose run had to wait.
   * @throws as `apply`
   */
  applyLagging(batches: TurnBatches, mostBytes: number, answers: (() => void)[]): number {
    const before = this.#unappliedBytes;
    if (this.isLagging) this.#applyRun(mostBytes, batches, answers);
    // They are served in the next turn, behind the write of what they see.
    this.#reads.release(this.#applier.appliedIndex);
    return before - this.#unappliedBytes;
  }

  /** False: an entry cannot be applied yet. */
  #applyRun(mostBytes: number, batches: TurnBatches, answers: (() => void)[]): boolean {
    this.#run ??= this.#takeRun(mostBytes);
    const run = this.#run;
    const isDone = this.#applier.apply(run, batches, (entry, outcomes) => {
      const proposals = this.#proposals.takeApplied(entry.index, entry.term);
      if (proposals) answers.push(() => this.#answerProposals(proposals, outcomes));
      if (proposals?.[0]?.command.exclusive) this.traffic.noteRangeDelete();
      const done = this.#changes.takeApplied(entry.index, entry.term);
      if (done) batches.written.push(() => done(outcomes[0] instanceof MraftError ? outcomes[0] : undefined));
    });
    if (!isDone) return false;
    this.#run = undefined;
    if (this.#unapplied.length === 0) this.#changesRegion = false;
    this.#stats.entriesApplied += run.length;
    const last = run.at(-1)!;
    if (this.#finish) return true;
    this.raft.appliedTo(last.index, last.term);
    this.#compact(batches);
    return true;
  }

  #takeRun(mostBytes: number): Entry[] {
    let sizeBytes = 0;
    let count = 0;
    for (const entry of this.#unapplied) {
      if (count > 0 && sizeBytes + entry.data.length > mostBytes) break;
      sizeBytes += entry.data.length;
      count++;
    }
    this.#unappliedBytes -= sizeBytes;
    this.traffic.noteApplied(sizeBytes);
    return this.#unapplied.splice(0, count);
  }

  #answerProposals(proposals: readonly Proposal[], outcomes: readonly CommandOutcome[]): void {
    for (let i = 0; i < proposals.length; i++) {
      const { origin, requestId } = proposals[i]!;
      const outcome = outcomes[i] ?? outcomes.at(-1);
      if (outcome === undefined) this.#fail(origin, requestId, new Internal('an entry lost its commands'));
      else if (outcome instanceof MraftError) this.#fail(origin, requestId, outcome);
      else this.#env.respond(origin, { id: requestId, write: { results: fitToFrame(outcome) } });
    }
  }

  /**
   * Serves the reads whose index is applied, up to LIMITS.regionReadBytesPerTurn: a small frame can ask for so much that a turn
   * would outlast an election time-out. Whoever does not wait any more is not answered. The applied batch must have been written.
   */
  serveReads(): void {
    this.#reads.release(this.#applier.appliedIndex);
    if (!this.#reads.hasReady) return;
    const ready = this.#reads.takeReady();
    const nowMs = this.#env.clock.nowMs();
    let sizeBytes = 0;
    for (const [at, request] of ready.entries()) {
      if (nowMs >= request.deadlineMs) {
        this.#reads.settle(request);
        continue;
      }
      if (sizeBytes >= LIMITS.regionReadBytesPerTurn) {
        this.#reads.putBack(ready.slice(at));
        return;
      }
      if (!this.#stillServes(request)) continue;
      const response = this.#reader.answer(request);
      sizeBytes += answerBytes(response);
      // The loop may have stalled between the first look at the lease and now: look again after the read.
      if (request.mode === 'lease' && !this.raft.hasLease(this.#env.clock.nowMs())) {
        this.#reads.regather(request);
        continue;
      }
      this.#reads.settle(request);
      this.#env.respond(request.origin, response);
    }
  }

  /** The region may have changed since the read was taken: then its range may be another's, which knows more. */
  #stillServes(request: ReadRequest): boolean {
    try {
      this.#checkSameEpoch(request.epoch);
      this.#checkPhase();
      return true;
    } catch (error) {
      this.#reads.settle(request);
      this.#fail(request.origin, request.requestId, error);
      return false;
    }
  }

  // --- the log's beginning -----------------------------------------------------------------------------------------

  /** Of a leader: cuts the log when it has grown long. Only what applies entries asks, so nothing wakes for it. */
  #proposeCompaction(): void {
    const { firstIndex, lastIndex, sizeBytes } = this.#log;
    const log = { firstIndex, lastIndex, sizeBytes, appliedIndex: this.#applier.appliedIndex };
    if (!isWorthCompacting(log) || this.state.phase !== 'normal' || !this.#nextCompaction.isDue(log)) return;
    const { index: asked, term: askedTerm } = this.#askedCompaction;
    if (asked > log.appliedIndex && askedTerm === this.raft.term) return;
    const index = compactionIndex(log, this.raft.status().progress);
    if (index === undefined) return;
    const command = { compactLog: { index, term: this.#log.term(index)! } };
    const result = this.raft.propose(adminPayload(this.region.epoch, command), this.#env.clock.nowMs());
    if (result.ok) this.#askedCompaction = result;
  }

  /** Forgets what an applied entry said may go. The bound and the applied index are in one batch, so no crash parts them. */
  #compact(batches: TurnBatches): void {
    const cut = this.#compaction;
    this.#compaction = undefined;
    // A peer that installed a snapshot has nothing there any more.
    if (cut && cut.index >= this.#log.firstIndex && cut.index <= this.#applier.appliedIndex) {
      invariant(this.#log.term(cut.index) === cut.term, `a log is cut behind entry ${cut.index}, which it has`);
      this.raft.compactTo(cut.index);
      this.#log.truncateTo(batches.applied, cut.index);
    } else if (this.#log.hasRubbish) {
      this.#log.dropRubbish(batches.applied);
    }
  }

  // --- snapshots ---------------------------------------------------------------------------------------------------

  /**
   * What a snapshot that the core asked for is of now: at the end of a turn, when all that is applied is written. Undefined:
   * it is not asked for any more.
   */
  snapshotFor(
    message: RaftMessage,
  ): { readonly toNode: number; readonly record: RegionRecord; readonly message: RaftMessage } | undefined {
    const toNode = this.#nodeOfPeer.get(message.to);
    const { record, region } = this.state;
    const isMember = region.peers.some((peer) => peer.peerId === message.to);
    if (toNode === undefined || !isMember || !this.isLeader || message.term !== this.raft.term) return undefined;
    const { appliedIndex: index, appliedTerm: logTerm } = this.#applier;
    return { toNode, record, message: { ...message, index, logTerm, membership: membershipOf(region) } };
  }

  /** Whether this leader sends the peer nothing but a snapshot. */
  awaitsSnapshot(peerId: number): boolean {
    const { progress } = this.raft.status();
    return progress.some((peer) => peer.peerId === peerId && peer.state === 'snapshot');
  }

  /** Whether a snapshot that ends with this entry would bring nothing new. Between turns. */
  hasEntry(index: number, term: number): boolean {
    return index <= this.raft.commit || this.#log.term(index) === term;
  }

  /** A snapshot whose data this replica has, by installing it or by itself. */
  stepSnapshot(message: RaftMessage, nowMs: number): void {
    this.raft.step(message, nowMs);
  }

  // --- changes of the region ---------------------------------------------------------------------------------------

  /**
   * Proposes a change of the region as it was at `epoch`. `done` is told once, when it is applied and written here, or
   * with why it is not: NotLeader, EpochNotMatch, RegionChanging, RegionMerging, ServerBusy, ChangeRefused.
   */
  change(epoch: Epoch, change: RegionChange, nowMs: number, done: ChangeDone): void {
    try {
      if (!this.isLeader) throw this.#notLeader();
      this.#checkSameEpoch(epoch);
      const result = this.#proposeChange(change, nowMs);
      if (!result.ok) throw this.#refusal(result.reason);
      this.#changes.await(result.index, result.term, done);
    } catch (error) {
      done(asMraftError(error));
    }
  }

  #proposeChange(change: RegionChange, nowMs: number): ProposeResult {
    const { epoch } = this.region;
    if (change.kind === 'admin') {
      const proposer = { state: this.state, store: this.#env.store, log: this.#log, status: this.raft.status() };
      return this.raft.propose(adminPayload(epoch, preparedCommand(change.command, proposer)), nowMs);
    }
    this.#checkPhase();
    const { progress } = this.raft.status();
    const hasLog = (id: number): boolean => progress.some(({ peerId, match }) => peerId === id && match > 0);
    checkMembershipChange(this.region, this.peerId, change, hasLog);
    return this.raft.proposeConfChange(encodeMembershipChange(epoch, change), nowMs);
  }

  #refusal(reason: Exclude<ProposeResult, { ok: true }>['reason']): MraftError {
    const { regionId } = this;
    if (reason === 'notLeader') return this.#notLeader();
    if (reason === 'busy') {
      return new ServerBusy(`region ${regionId} has too much that is not committed`, { regionId });
    }
    return new RegionChanging(`region ${regionId} is changing already (${reason}); try again`, { regionId });
  }

  /** Campaigns without waiting: for the new half of a split, where its parent is led. */
  campaign(nowMs: number): void {
    this.raft.campaign(nowMs);
  }

  /** It was led by this replica until another worker closed it, just now. */
  resumeLeading(nowMs: number): void {
    this.raft.resumeLeadership(nowMs);
  }

  // --- being merged away -------------------------------------------------------------------------------------------

  /** What the leader of a region that prepared asks its target to do, now and then; undefined: nothing, or not yet. */
  mergeStep(nowMs: number): { readonly target: Region; readonly merge: CommitMerge } | undefined {
    const { record, phase } = this.state;
    if (phase !== 'merging' || !record.merge || !this.isLeader || nowMs < this.#nextMergeStepMs) return undefined;
    this.#nextMergeStepMs = nowMs + MERGE_STEP_MS;
    const everyoneHas = Math.min(...this.raft.status().progress.map((peer) => peer.match));
    const merge = composeCommitMerge(record, this.#log, everyoneHas);
    return merge && { target: record.merge.target, merge };
  }

  /**
   * The target has committed the merge: this replica takes part in nothing any more, and applies what its log has up to the
   * PrepareMerge; what it lacks of that came along. Between turns. Whatever it throws, the replica is not to be used any more.
   * @throws Internal when its log ends before what every peer was known to have; DiskFull, StorageFailure
   */
  finish(merge: CommitMerge): void {
    if (this.#finish) return;
    this.abandon();
    completeLog(this.#env.store, this.#log, merge);
    this.#finish = { commit: merge.commit };
    const known = this.#unapplied.at(-1)?.index ?? this.#run?.at(-1)?.index ?? this.#applier.appliedIndex;
    for (let index = known + 1; index <= merge.commit;) {
      const page = this.#log.entries(index, merge.commit + 1, LIMITS.applyBytes);
      this.#takeCommitted(page);
      index += page.length;
    }
  }

  /** Everything up to the PrepareMerge is applied. */
  get isFinished(): boolean {
    return this.#finish !== undefined && !this.isLagging && this.#applier.appliedIndex >= this.#finish.commit;
  }

  // --- leadership --------------------------------------------------------------------------------------------------

  /** Hands the region over to the peer on `nodeId`. False when this peer does not lead or there is no such voter. */
  transferTo(nodeId: number, nowMs: number): boolean {
    const target = this.region.peers.find((peer) => peer.nodeId === nodeId && canVote(peer));
    return target !== undefined && this.isLeader && this.raft.transferLeadership(target.peerId, nowMs);
  }

  /** Whether the peer on `nodeId` has been heard of lately and has the whole log, so that it could lead at once. */
  isInStep(nodeId: number): boolean {
    const { progress, lastIndex } = this.raft.status();
    return progress.some(
      (peer) =>
        this.#nodeOfPeer.get(peer.peerId) === nodeId &&
        peer.recentlyActive &&
        peer.match >= lastIndex - IN_STEP_ENTRIES,
    );
  }

  /** Peers that are in step, the most advanced first: whom a leader that must go hands over to. */
  handoverCandidates(): number[] {
    const status = this.raft.status();
    return status.progress
      .filter((progress) => progress.peerId !== this.peerId && progress.recentlyActive && !progress.learner)
      .sort((a, b) => b.match - a.match)
      .map((progress) => this.#nodeOfPeer.get(progress.peerId) ?? 0);
  }

  #noticeLeader(): void {
    const { role, leader, term } = this.raft;
    if (this.#leads && role !== 'leader') this.#failAll();
    this.#leads = role === 'leader';
    if (leader === this.#toldLeader && term === this.#toldTerm) return;
    // Who was asked for a read index may lead no more.
    if (!this.#leads) this.#failReads();
    this.#toldLeader = leader;
    this.#toldTerm = term;
    this.#env.onLeader(this.regionId, this.leaderNodeId, term);
  }

  /** The replica is closed where it stands; whoever waits tries again. */
  abandon(): void {
    this.hashes.close();
    this.#failAll();
    const error = this.#notLeader();
    for (const read of this.#reads.takeReady()) {
      this.#reads.settle(read);
      this.#fail(read.origin, read.requestId, error);
    }
  }

  /** This peer leads no more. What waits may still commit: a client tries again under the same sequence. */
  #failAll(): void {
    const error = this.#notLeader();
    for (const proposal of this.#proposals.takeAll()) this.#fail(proposal.origin, proposal.requestId, error);
    for (const done of this.#changes.takeAll()) done(error);
    this.#readIndexes.clear();
    this.#failReads();
  }

  #failReads(): void {
    const error = this.#notLeader();
    for (const read of this.#reads.takeUnconfirmed()) {
      this.#reads.settle(read);
      this.#fail(read.origin, read.requestId, error);
    }
  }

  status(): ReplicaStatus {
    return {
      region: this.region,
      phase: this.state.phase,
      raft: this.raft.status(),
      leaderNodeId: this.leaderNodeId,
      pendingProposals: this.#proposals.count,
      pendingReads: this.#reads.count,
      sessions: this.#applier.sessionCount,
    };
  }
}

/**
 * What calls found may not fit into one frame. Those beyond it are told to ask again: what they came to is remembered
 * under their sequence.
 */
function fitToFrame(results: readonly mraft.ICallResult[]): mraft.ICallResult[] {
  let sizeBytes = 0;
  return results.map((result) => {
    if (!result.current) return result;
    sizeBytes += result.current.length;
    if (sizeBytes <= LIMITS.readBytes || sizeBytes === result.current.length) return result;
    return { position: result.position ?? 0, error: toWireError(new ServerBusy('the answer did not fit, ask again')) };
  });
}
