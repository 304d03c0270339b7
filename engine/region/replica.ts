/**
 * One replica of a region: the Raft core, the proposals and reads that wait for it, and the state machine behind it.
 * It runs on one worker and is driven by that worker's turn; every method here is one step of a turn and returns at once.
 */

import type { mraft } from '../../rpc/wire/codec.ts';
import {
  Internal,
  InvalidArgument,
  MraftError,
  ServerBusy,
  asMraftError,
  type NotLeader,
} from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { canVote, type Epoch, type Region } from '../../rpc/wire/region.ts';
import { RaftNode } from '../raft/index.ts';
import type { ProposeResult, RaftConfig, RaftMessage, Ready } from '../raft/index.ts';
import { RegionLog } from '../store/log-store.ts';
import { listSessions, loadApplied, loadHardState, putHardState, type RegionRecord } from '../store/region-records.ts';
import type { CommitMerge } from './commit-merge.ts';
import { PendingChanges, adminPayload, type ChangeDone, type RegionChange } from './admin.ts';
import { preparedCommand } from './admin-proposal.ts';
import { admitCommand } from './admission.ts';
import { Applier, type CommandOutcome } from './applier.ts';
import { ApplyQueue } from './apply-queue.ts';
import { RegionChanges } from './changes.ts';
import { HashCheck } from './hash-check.ts';
import { LogCutter } from './log-cutter.ts';
import { MergeSide } from './merge-side.ts';
import { checkMembershipChange, encodeMembershipChange, membershipOf } from './membership.ts';
import type { Origin, ReplicaEnvironment, TurnBatches } from './ports.ts';
import { PeerNodes } from './peer-nodes.ts';
import { ProposalQueue, type Proposal } from './proposals.ts';
import { ReadSide } from './read-side.ts';
import { ReplicaChanges } from './replica-changes.ts';
import { readRequest, type ReadRequest } from './reads.ts';
import { checkEpoch, checkPhase, proposeRefusal } from './refusals.ts';
import { RegionState } from './region-state.ts';
import type { ReplicaStats, ReplicaStatus } from './replica-status.ts';
import { SessionTable } from './sessions.ts';
import { Traffic } from './traffic.ts';
import { Voice } from './voice.ts';
import { outcomeOf, writeAnswer } from './write-answer.ts';

/** Election time-outs in which a peer hears nothing before it asks whether it was removed. */
const SILENCE_ELECTIONS = 10;

export type { ReplicaStats, ReplicaStatus };

export class Replica {
  readonly peerId: number;
  readonly raft: RaftNode;
  readonly state: RegionState;
  readonly #env: ReplicaEnvironment;
  readonly #log: RegionLog;
  readonly #applier: Applier;
  readonly #proposals = new ProposalQueue();
  readonly #reads: ReadSide;
  /** Some read is under way. A region that is only written does not look at its reads: they are far in memory. */
  #hasReads = false;
  readonly #changes = new PendingChanges();
  readonly hashes: HashCheck;
  readonly traffic: Traffic;
  /** Messages and requests since the worker looked last. */
  work = 0;
  /** The worker has it among those that have something to do. */
  isBusy = false;
  readonly #peerNodes: PeerNodes;
  readonly #voice: Voice;
  readonly #stats: ReplicaStats;
  #ready: Ready | undefined;
  #toldLeader = 0;
  #toldTerm = 0;
  #leads = false;
  /** Committed and not applied yet. */
  readonly #unapplied: ApplyQueue;
  /** When anybody spoke to this peer last. */
  #heardMs: number;
  readonly #cutter: LogCutter;
  readonly #merging: MergeSide;

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
    this.#peerNodes = new PeerNodes(region);

    const { store } = env;
    const { regionId } = region;
    const hardState = loadHardState(store, regionId);
    const applied = loadApplied(store, regionId);
    this.#log = new RegionLog(store, regionId);
    this.#unapplied = new ApplyQueue(this.#log);
    this.#cutter = new LogCutter(this.#log, this.state);
    this.raft = new RaftNode(raftConfig(own.peerId, env), {
      hardState: hardState ?? { term: 0, vote: 0, commit: 0 },
      applied: applied.index,
      membership: membershipOf(region),
      log: this.#log,
      nowMs: env.clock.nowMs(),
      restarted: hardState !== undefined && !isNewborn,
    });
    this.#voice = new Voice(env, this.state, this.#peerNodes, this.raft);
    this.traffic = new Traffic(env.random, env.clock.nowMs());
    this.hashes = new HashCheck(store, this.state, (difference, index) =>
      env.onDifference(regionId, difference, index),
    );
    const changes = new ReplicaChanges({
      env,
      state: this.state,
      raft: this.raft,
      peerNodes: this.#peerNodes,
      cutter: this.#cutter,
      hashes: this.hashes,
      isFinishing: () => this.#merging.isFinishing,
      tellCommit: () => this.#reads.tellCommit(env.clock.nowMs()),
    });
    const sessions = SessionTable.load(listSessions(store, regionId));
    this.#applier = new Applier(store, this.state, sessions, new RegionChanges(env.nodeId, changes), applied, (error) =>
      env.onAnomaly(regionId, error),
    );
    const { raft } = this;
    const host = { raft, applied: this.#applier, voice: this.#voice };
    this.#reads = new ReadSide(env, this.state, stats, host);
    this.#merging = new MergeSide(store, this.state, this.#log, {
      raft,
      applied: this.#applier,
      voice: this.#voice,
      handOver: (nowMs) => this.#handOver(nowMs),
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
    return this.#voice.leaderNodeId;
  }

  /** It tells nobody that it is there, until something wakes it. */
  get isAsleep(): boolean {
    return this.raft.isHibernating;
  }

  /** Whether the passing of time means anything to it. */
  get needsTicks(): boolean {
    return !this.isAsleep || this.state.phase !== 'normal';
  }

  /**
   * Whether it must not sleep on now that these nodes, and no others, are lost: its leader's is one of them, and the others
   * can elect another; or it leads, and a peer that it fell asleep without is back.
   */
  isWokenBy(lostNodes: ReadonlySet<number>): boolean {
    const isLost = (peerId: number): boolean => lostNodes.has(this.#peerNodes.of(peerId) ?? 0);
    if (this.isLeader) return !this.raft.excused.every(isLost);
    if (!lostNodes.has(this.leaderNodeId)) return false;
    const voters = this.region.peers.filter((peer) => peer.role !== 'learner');
    return voters.filter((peer) => !lostNodes.has(peer.nodeId)).length * 2 > voters.length;
  }

  /** Wakes it: see `isWokenBy`. */
  nodesChanged(nowMs: number): void {
    if (this.isLeader) this.#excuseLost(nowMs);
    else this.raft.reportNodeLost(this.raft.leader, nowMs);
  }

  /** A leader sleeps without peers that cannot be heard, and wakes for one that can be heard again: it may have missed something. */
  #excuseLost(nowMs: number): void {
    const { lostNodes } = this.#env;
    if (!this.isLeader || (lostNodes.size === 0 && this.raft.excused.length === 0)) return;
    const lost = this.region.peers.filter(({ nodeId }) => lostNodes.has(nodeId));
    this.raft.excuse(
      lost.map(({ peerId }) => peerId),
      nowMs,
    );
  }

  wake(nowMs: number): void {
    this.raft.wake(nowMs);
  }

  /** Whether a message of `peerId` may have come from that node. */
  comesFrom(peerId: number, nodeId: number): boolean {
    return this.#peerNodes.comesFrom(peerId, nodeId);
  }

  /** Whether a turn has something to do here. */
  get hasWork(): boolean {
    // Who is being merged away takes part in nothing: its core would hand out once more what it is told to apply.
    if (this.#merging.isFinishing) return false;
    return this.#proposals.hasGathered || this.raft.hasReady() || (this.#hasReads && this.#reads.hasWork);
  }

  /** Whether committed entries wait to be applied, though nobody waits for them. */
  get isLagging(): boolean {
    return !this.#unapplied.isEmpty;
  }

  /** Whether what lags makes a run that is worth it, or has waited for `waitMs`. */
  isRunDue(nowMs: number, waitMs: number): boolean {
    return this.#merging.isFinishing || this.#hasReads || this.#unapplied.isRunDue(nowMs, waitMs);
  }

  // --- step 2: what comes in ---------------------------------------------------------------------------------------

  step(message: RaftMessage, nowMs: number): void {
    // A snapshot is nothing without its data, and comes with it (stepSnapshot).
    if (message.kind === 'snapshot') return;
    if (message.kind === 'readIndex') return this.#reads.onReadIndex(message, this.state.phase, nowMs);
    if (message.kind === 'readIndexResponse') return this.#reads.onReadIndexResponse(message);
    if (message.kind === 'askSnapshot') return this.#merging.onAskSnapshot(message, nowMs);
    if (message.kind === 'vote' || message.kind === 'preVote') this.#noticeStranger(message.from);
    if (message.kind === 'append' || message.kind === 'heartbeat') this.#heardMs = nowMs;
    this.raft.step(message, nowMs);
  }

  /** A peer that wants to be elected and does not belong to the region may have been removed and not know it. */
  #noticeStranger(peerId: number): void {
    if (this.region.peers.some((peer) => peer.peerId === peerId)) return;
    const nodeId = this.#peerNodes.of(peerId);
    if (nodeId !== undefined) this.#env.sendNotice(nodeId, peerId, this.region);
  }

  tick(nowMs: number): void {
    this.#excuseLost(nowMs);
    this.raft.tick(nowMs);
    this.#merging.tick(nowMs);
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
      checkEpoch(this.state, epochOf(request));
      if (request.write) this.#takeWrite(origin, id, request.write);
      else if (request.read || request.scan)
        this.#takeRead(readRequest(this.region, origin, request, this.#env.clock.nowMs()));
      else throw new InvalidArgument('a request is a write, a read or a scan', { field: 'body' });
    } catch (error) {
      this.#voice.fail(origin, id, error);
    }
  }

  #takeWrite(origin: Origin, requestId: number, bytes: Uint8Array): void {
    if (!this.isLeader) throw this.#refuseAsFollower();
    checkPhase(this.state);
    const command = admitCommand(this.region, bytes);
    if (!this.#proposals.gather({ origin, requestId, command })) {
      throw new ServerBusy(`region ${this.regionId} has too many writes under way`, { regionId: this.regionId });
    }
    this.traffic.noteWrite(bytes, command.calls);
  }

  #takeRead(request: ReadRequest): void {
    if (!this.#reads.canTake(request)) throw this.#refuseAsFollower();
    checkPhase(this.state);
    this.#hasReads = true;
    this.#reads.take(request, this.regionId);
    this.traffic.noteRead(request);
  }

  /** A sleeping follower asks its leader whether it is there: whoever came here had perhaps no answer from it. */
  #refuseAsFollower(): NotLeader {
    this.raft.wake(this.#env.clock.nowMs());
    return this.#voice.notLeader();
  }

  // --- step 3: what the turn gathered becomes entries and read indexes ---------------------------------------------

  /** Proposes what the turn gathered, and collects what the core wants. False: nothing is to be done. */
  proposeAndCollect(nowMs: number): boolean {
    if (this.#proposals.hasGathered) this.#proposeGathered(nowMs);
    if (this.#hasReads) this.#reads.confirmGathered(nowMs);
    return this.#collect(nowMs);
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
      const error = result.reason === 'busy' ? this.#refusal(result) : this.#voice.notLeader();
      for (const proposal of this.#proposals.drop(bundle)) this.#voice.fail(proposal.origin, proposal.requestId, error);
    }
  }

  // --- steps 4 to 8: what the core wants done ----------------------------------------------------------------------

  /** Collects what the core wants and sends what need not wait for the disk. False: nothing to do. */
  #collect(nowMs: number): boolean {
    if (this.#merging.isFinishing || !this.raft.hasReady()) return false;
    this.#ready = this.raft.ready(nowMs);
    this.#voice.send(this.#ready.messages);
    if (this.#ready.readStates.length > 0) this.#reads.answerAskers(this.#ready.readStates);
    this.#unapplied.push(this.#ready.committed, nowMs);
    return true;
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
    this.#voice.send(ready.durableMessages);
    this.#noticeLeader();
  }

  /**
   * Adds what is committed to the applied batch, if somebody waits for it or much has gathered: always on a leader, else
   * only with reads pending. The rest is left to `applyLagging`. `answers` are those of the callers; they may leave
   * before that batch is written, because what they tell is in the log of a majority.
   * @throws DiskFull: the same call again goes on where this one stopped. StorageFailure
   */
  apply(batches: TurnBatches, answers: (() => void)[]): void {
    if (this.#hasReads) this.#reads.confirm(this.#ready!.readStates);
    const { changesRegion, sizeBytes } = this.#unapplied;
    const isAwaited = this.isLeader || changesRegion || this.#hasReads || sizeBytes >= LIMITS.laggingBytes;
    while (isAwaited && this.isLagging && this.#applyRun(Infinity, batches, answers));
    this.#ready = undefined;
    if (this.#leads) this.#cutter.propose(this.raft, this.#applier.appliedIndex, this.#env.clock.nowMs());
  }

  /**
   * Adds committed entries that nobody waits for to the applied batch: at least one, then up to `mostBytes`. Answers how
   * many bytes those were. `answers` has those of a leader whose run had to wait.
   * @throws as `apply`
   */
  applyLagging(batches: TurnBatches, mostBytes: number, answers: (() => void)[]): number {
    const before = this.#unapplied.takenBytes;
    if (this.isLagging) this.#applyRun(mostBytes, batches, answers);
    // They are served in the next turn, behind the write of what they see.
    if (this.#hasReads) this.#reads.release();
    return this.#unapplied.takenBytes - before;
  }

  /** False: an entry cannot be applied yet. */
  #applyRun(mostBytes: number, batches: TurnBatches, answers: (() => void)[]): boolean {
    const before = this.#unapplied.takenBytes;
    const run = this.#unapplied.run(mostBytes);
    this.traffic.noteApplied(this.#unapplied.takenBytes - before);
    const isDone = this.#applier.apply(run, batches, (entry, outcomes) => {
      const proposals = this.#proposals.takeApplied(entry.index, entry.term);
      if (proposals) answers.push(() => this.#answerProposals(proposals, outcomes));
      if (proposals?.[0]?.command.exclusive) this.traffic.noteRangeDelete();
      const done = this.#changes.takeApplied(entry.index, entry.term);
      if (done) batches.written.push(() => done(outcomes[0] instanceof MraftError ? outcomes[0] : undefined));
    });
    if (!isDone) {
      this.#merging.noteWaiting(this.#applier.appliedIndex + 1, this.#env.clock.nowMs());
      return false;
    }
    this.#merging.noteApplied();
    this.#unapplied.finishRun();
    this.#stats.entriesApplied += run.length;
    const last = run.at(-1)!;
    if (this.#merging.isFinishing) return true;
    this.raft.appliedTo(last.index, last.term);
    this.#cutter.cut(this.raft, this.#applier.appliedIndex, batches.applied);
    return true;
  }

  #answerProposals(proposals: readonly Proposal[], outcomes: readonly CommandOutcome[]): void {
    for (const [position, proposal] of proposals.entries()) {
      const outcome = outcomeOf(outcomes, position);
      if (outcome instanceof MraftError) this.#voice.fail(proposal.origin, proposal.requestId, outcome);
      else this.#env.respond(proposal.origin, writeAnswer(proposal, outcome));
    }
  }

  /** Serves the reads whose index is applied. The applied batch must have been written. */
  serveReads(): void {
    if (!this.#hasReads) return;
    this.#reads.serve();
    this.#hasReads = this.#reads.count > 0;
  }

  // --- snapshots ---------------------------------------------------------------------------------------------------

  /**
   * What a snapshot that the core asked for is of now: at the end of a turn, when all that is applied is written. Undefined:
   * it is not asked for any more.
   */
  snapshotFor(
    message: RaftMessage,
  ): { readonly toNode: number; readonly record: RegionRecord; readonly message: RaftMessage } | undefined {
    const toNode = this.#peerNodes.of(message.to);
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

  /** Whether a snapshot that ends with this entry takes the place of data that is stuck before it. */
  lacksDataOf(index: number): boolean {
    return this.#merging.lacksDataOf(index);
  }

  /** The log has that entry, and so all that is before it. */
  hasInLog(index: number, term: number): boolean {
    return this.#log.term(index) === term;
  }

  // --- changes of the region ---------------------------------------------------------------------------------------

  /**
   * Proposes a change of the region as it was at `epoch`. `done` is told once, when it is applied and written here, or
   * with why it is not: NotLeader, EpochNotMatch, RegionChanging, RegionMerging, ServerBusy, ChangeRefused.
   */
  change(epoch: Epoch, change: RegionChange, nowMs: number, done: ChangeDone): void {
    try {
      if (!this.isLeader) throw this.#voice.notLeader();
      checkEpoch(this.state, epoch);
      const result = this.#proposeChange(change, nowMs);
      if (!result.ok) throw this.#refusal(result);
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
    checkPhase(this.state);
    const { progress } = this.raft.status();
    const hasLog = (id: number): boolean => progress.some(({ peerId, match }) => peerId === id && match > 0);
    checkMembershipChange(this.region, this.peerId, change, hasLog);
    return this.raft.proposeConfChange(encodeMembershipChange(epoch, change), nowMs);
  }

  #refusal({ reason }: Exclude<ProposeResult, { ok: true }>): MraftError {
    return reason === 'notLeader' ? this.#voice.notLeader() : proposeRefusal(this.regionId, reason);
  }

  /** Campaigns without waiting: for the new half of a split, where its parent is led. */
  campaign(nowMs: number): void {
    this.raft.campaign(nowMs, 'vote');
  }

  /** It was led by this replica until another worker closed it, just now. */
  resumeLeading(nowMs: number): void {
    this.raft.resumeLeadership(nowMs);
  }

  // --- being merged away -------------------------------------------------------------------------------------------

  /** What the leader of a region that prepared asks its target to do, now and then; undefined: nothing, or not yet. */
  mergeStep(nowMs: number): { readonly target: Region; readonly merge: CommitMerge } | undefined {
    return this.#merging.step(nowMs);
  }

  /**
   * The target has committed the merge: this replica takes part in nothing any more, and applies what its log has up to the
   * PrepareMerge; what it lacks of that came along. Between turns. Whatever it throws, the replica is not to be used any more.
   * @throws Internal when its log ends before what every peer was known to have; DiskFull, StorageFailure
   */
  finish(merge: CommitMerge): void {
    if (this.#merging.isFinishing) return;
    this.abandon();
    this.#merging.finish(merge, this.#unapplied, this.#env.clock.nowMs());
  }

  /** Everything up to the PrepareMerge is applied. */
  get isFinished(): boolean {
    return this.#merging.isFinished(this.#unapplied);
  }

  // --- leadership --------------------------------------------------------------------------------------------------

  /** Hands the region over to the peer on `nodeId`. False when this peer does not lead or there is no such voter. */
  transferTo(nodeId: number, nowMs: number): boolean {
    const target = this.region.peers.find((peer) => peer.nodeId === nodeId && canVote(peer));
    return target !== undefined && this.isLeader && this.raft.transferLeadership(target.peerId, nowMs);
  }

  /** Peers that are in step, the most advanced first: whom a leader that must go hands over to. */
  handoverCandidates(): number[] {
    const status = this.raft.status();
    return status.progress
      .filter((progress) => progress.peerId !== this.peerId && progress.recentlyActive && !progress.learner)
      .sort((a, b) => b.match - a.match)
      .map((progress) => this.#peerNodes.of(progress.peerId) ?? 0);
  }

  /** Lets another peer lead, if one is fit to. */
  #handOver(nowMs: number): void {
    const [nodeId] = this.handoverCandidates();
    if (nodeId !== undefined) this.transferTo(nodeId, nowMs);
  }

  #noticeLeader(): void {
    const { role, leader, term } = this.raft;
    if (this.#leads && role !== 'leader') this.#failAll();
    this.#leads = role === 'leader';
    if (leader === this.#toldLeader && term === this.#toldTerm) return;
    // Who was asked for a read index may lead no more.
    if (!this.#leads) this.#reads.failUnconfirmed();
    this.#toldLeader = leader;
    this.#toldTerm = term;
    this.#env.onLeader(this.regionId, this.leaderNodeId, term);
  }

  /** The replica is closed where it stands; whoever waits tries again. */
  abandon(): void {
    this.hashes.close();
    this.#failAll();
    this.#reads.close();
  }

  /** This peer leads no more. What waits may still commit: a client tries again under the same sequence. */
  #failAll(): void {
    const error = this.#voice.notLeader();
    for (const proposal of this.#proposals.takeAll()) this.#voice.fail(proposal.origin, proposal.requestId, error);
    for (const done of this.#changes.takeAll()) done(error);
    this.#reads.stopLeading();
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

/** Field by field: of a spread object V8 makes a shape of its own, and there are thousands of replicas. */
function raftConfig(peerId: number, { timings, random }: ReplicaEnvironment): RaftConfig {
  return {
    peerId,
    electionTimeoutMs: timings.electionTimeoutMs,
    heartbeatMs: timings.heartbeatMs,
    maxClockDrift: timings.maxClockDrift,
    hibernateAfterMs: timings.hibernateAfterMs,
    maxAppendBytes: LIMITS.appendBytes,
    maxInflightAppends: LIMITS.inflightAppends,
    maxInflightBytes: LIMITS.inflightAppendBytes,
    maxUncommittedBytes: LIMITS.uncommittedBytes,
    entryCacheBytes: LIMITS.entryCacheBytes,
    maxApplyBytes: LIMITS.applyBytes,
    random,
  };
}

function epochOf({ epoch }: mraft.IRequest): Epoch {
  return { version: epoch?.version ?? 0, confVersion: epoch?.confVersion ?? 0 };
}
