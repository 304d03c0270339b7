/**
 * What a peer is while it leads one term: the progress of every peer, heartbeat rounds with the reads and the lease that
 * depend on them, a change of the membership or a transfer under way, and the agreement to hibernate. It begins with the
 * election and is dropped as a whole.
 */

import { Hibernation } from './hibernation.ts';
import { Lease } from './lease.ts';
import { isJoint } from './membership.ts';
import * as messages from './message.ts';
import type { Outbox } from './outbox.ts';
import { Progress } from './progress.ts';
import type { Quorum } from './quorum.ts';
import { entriesBytes, entryBytes } from './raft-log.ts';
import type { RaftLog } from './raft-log.ts';
import { ReadQueue } from './read-index.ts';
import { Rounds } from './rounds.ts';
import type {
  Entry,
  EntryKind,
  Membership,
  ProgressStatus,
  ProposeRefusal,
  ProposeResult,
  RaftConfig,
  RaftMessage,
  ReadState,
} from './types.ts';

const NO_DATA = new Uint8Array(0);
const NOBODY: readonly number[] = Object.freeze([]);
const TRANSFERRING = refusal('transferring');
const BUSY = refusal('busy');
const CHANGE_PENDING = refusal('changePending');
const JOINT = refusal('joint');
const NOT_JOINT = refusal('notJoint');

function refusal(reason: ProposeRefusal): ProposeResult {
  return Object.freeze({ ok: false, reason });
}

/** What the parts of one replica share. */
export interface LeadershipContext {
  readonly config: RaftConfig;
  readonly membership: Membership;
  readonly quorum: Quorum;
  readonly log: RaftLog;
  readonly outbox: Outbox;
}

export class Leadership {
  private readonly config: RaftConfig;
  private membership: Membership;
  private quorum: Quorum;
  private readonly log: RaftLog;
  private readonly outbox: Outbox;
  private readonly term: number;
  private selfSlot: number;
  private alone: boolean;
  /** By slot; this peer's own counts what is durable here. */
  private progress: readonly Progress[];
  /** Index of the no-op: what is committed from there on is committed in this term. */
  private readonly termStart: number;

  private readonly rounds = new Rounds();
  private readonly reads = new ReadQueue();
  private readonly lease: Lease;
  private confirmedRound = 0;
  private confirmedReads: ReadState[] = [];

  private uncommittedBytes = 0;
  /** Some peer may have something to get: looked at by the next flush. */
  private appendDue = true;
  private heartbeatDue = true;
  private heartbeatDueMs: number;
  private quorumCheckDueMs: number;
  private transferTargetId = 0;
  private transferDueMs = Infinity;
  /** No change of the membership is proposed before this index is applied: one at a time, and none before the no-op. */
  private pendingChange: number;
  private readonly hibernation: Hibernation;
  /** Peers whose nodes are lost, as far as the driver knows: the group may sleep without them. */
  private excused: readonly number[] = NOBODY;

  constructor(context: LeadershipContext, term: number, nowMs: number) {
    const { config, membership, quorum, log } = context;
    this.config = config;
    this.membership = membership;
    this.quorum = quorum;
    this.log = log;
    this.outbox = context.outbox;
    this.term = term;
    this.selfSlot = quorum.slotOf(config.peerId);
    this.alone = quorum.isAlone(this.selfSlot);
    const next = log.lastIndex + 1;
    this.progress = quorum.peers.map(
      (peerId) => new Progress(peerId, next, config.maxInflightAppends, config.maxInflightBytes, nowMs),
    );
    this.progress[this.selfSlot]!.accepted(log.stable);
    this.lease = new Lease(config.electionTimeoutMs, config.maxClockDrift);
    this.heartbeatDueMs = nowMs + config.heartbeatMs;
    this.quorumCheckDueMs = nowMs + config.electionTimeoutMs;
    this.termStart = log.append(term, 'normal', NO_DATA).index;
    this.pendingChange = this.termStart;
    this.hibernation = new Hibernation(config.hibernateAfterMs, config.electionTimeoutMs, nowMs);
    log.servePeers(true);
  }

  get transferTarget(): number {
    return this.transferTargetId;
  }

  get hasWork(): boolean {
    return (
      this.appendDue ||
      this.heartbeatDue ||
      this.confirmedReads.length > 0 ||
      (this.reads.hasWaiting && this.committedInTerm)
    );
  }

  /** Until an entry of its own term is committed, a leader does not know what is (thesis 3.6.2, 6.4). */
  get committedInTerm(): boolean {
    return this.log.commit >= this.termStart;
  }

  get leaseUntilMs(): number {
    // A change that is on its way may be in force elsewhere, and need this peer no more: the only voter of the next
    // configuration may be bound by nothing that this peer counts on.
    if (this.log.applied < this.pendingChange) return -Infinity;
    if (!this.committedInTerm || this.transferTargetId !== 0) return -Infinity;
    return this.alone ? Infinity : this.lease.untilMs;
  }

  propose(data: Uint8Array): ProposeResult {
    if (this.transferTargetId !== 0) return TRANSFERRING;
    if (this.isFull(data)) return BUSY;
    return this.append('normal', data);
  }

  /** Appends a change of the membership; without data the one that leaves a joint configuration. */
  proposeChange(data: Uint8Array): ProposeResult {
    if (this.transferTargetId !== 0) return TRANSFERRING;
    if (this.log.applied < this.pendingChange) return CHANGE_PENDING;
    const joint = isJoint(this.membership);
    if (data.length === 0) return joint ? this.appendChange(data) : NOT_JOINT;
    if (joint) return JOINT;
    return this.isFull(data) ? BUSY : this.appendChange(data);
  }

  /** Takes on the configuration that was applied. The caller drops a leader that does not vote in it. */
  reconfigure(membership: Membership, quorum: Quorum, nowMs: number): void {
    const { maxInflightAppends, maxInflightBytes } = this.config;
    const before = this.progress;
    this.progress = quorum.peers.map((peerId) => {
      const known = before.find((progress) => progress.peerId === peerId);
      if (known !== undefined) return known;
      const added = new Progress(peerId, this.log.lastIndex + 1, maxInflightAppends, maxInflightBytes, nowMs);
      added.nudge = true;
      return added;
    });
    this.membership = membership;
    this.quorum = quorum;
    this.selfSlot = quorum.slotOf(this.config.peerId);
    this.alone = quorum.isAlone(this.selfSlot);
    if (!membership.voters.includes(this.transferTargetId)) this.endTransfer();
    this.appendDue = true;
    this.hibernation.noteActivity();
    this.recountRounds();
    this.advanceCommit(Infinity);
  }

  /** More is applied. A joint configuration that leaves by itself is left once the change to it is applied. */
  applied(): void {
    if (!this.membership.autoLeave || this.transferTargetId !== 0 || this.log.applied < this.pendingChange) return;
    this.appendChange(NO_DATA);
  }

  /** Tells everyone what is committed, for the last time. */
  farewell(nowMs: number): void {
    this.startRound(nowMs);
    this.progress.forEach((progress, slot) => {
      if (slot !== this.selfSlot) this.sendHeartbeat(progress, nowMs);
    });
  }

  get hibernating(): boolean {
    return this.hibernation.hibernating;
  }

  /** Begins to heartbeat again, at once: nothing is known about what the others did meanwhile. */
  wake(nowMs: number): void {
    this.hibernation.wake(nowMs);
    for (const progress of this.progress) progress.asleep = false;
    this.heartbeatDue = true;
    this.heartbeatDueMs = nowMs + this.config.heartbeatMs;
    this.quorumCheckDueMs = nowMs + this.config.electionTimeoutMs;
  }

  get excusedPeers(): readonly number[] {
    return this.excused;
  }

  /**
   * The group may sleep without these peers, as long as the others are a quorum. Returns whether one that it may sleep
   * without is none of them any more: what that one missed, nobody will tell it while the group sleeps.
   */
  excuse(peerIds: readonly number[]): boolean {
    const hasReturned = this.excused.some((peerId) => !peerIds.includes(peerId));
    this.excused = peerIds.length > 0 && this.isQuorumWithout(peerIds) ? peerIds : NOBODY;
    return hasReturned;
  }

  private isQuorumWithout(peerIds: readonly number[]): boolean {
    const { values } = this.quorum;
    for (let slot = 0; slot < this.progress.length; slot++) {
      values[slot] = peerIds.includes(this.progress[slot]!.peerId) ? 0 : 1;
    }
    return this.quorum.highest(values) === 1;
  }

  readIndex(id: number): void {
    this.hibernation.noteActivity();
    // The only voter need not ask anyone; its read waits for the no-op at most.
    if (this.alone && this.committedInTerm) this.confirmedReads.push({ id, index: this.log.commit });
    else this.reads.add(id);
  }

  /** Returns false when no quorum was heard for an election time-out: then another may lead already (check-quorum). */
  tick(nowMs: number): boolean {
    if (this.hibernation.hibernating) return true;
    if (nowMs >= this.quorumCheckDueMs) {
      const dueMs = this.quorumHeardMs(nowMs) + this.config.electionTimeoutMs;
      if (dueMs <= nowMs) return false;
      this.quorumCheckDueMs = dueMs;
    }
    if (nowMs >= this.transferDueMs) this.endTransfer();
    if (nowMs >= this.heartbeatDueMs) {
      this.heartbeatDue = true;
      this.log.peersHave(this.lowestMatch(nowMs));
      this.heartbeatDueMs = nowMs + this.config.heartbeatMs;
      if (this.hibernation.enabled) this.considerHibernation(nowMs);
    }
    return true;
  }

  /** What was appended here is durable: only now does this peer count itself. */
  persisted(): void {
    const own = this.progress[this.selfSlot]!;
    if (this.log.stable <= own.match) return;
    own.accepted(this.log.stable);
    this.advanceCommit(own.match);
  }

  /** Returns false for an answer that no correct peer gives. */
  onAppendResponse(message: RaftMessage, nowMs: number): boolean {
    const progress = this.heard(message, nowMs);
    if (progress === undefined) return true;
    if (message.reject) {
      const hint =
        message.hintTerm > 0 ? this.log.agreement(message.hintIndex, message.hintTerm).index : message.hintIndex;
      if (progress.rejected(message.index, hint)) {
        this.appendDue = true;
        // A new peer, which knows no configuration.
        if (message.index === 0) progress.needsSnapshot = true;
      }
      return true;
    }
    if (message.index > this.log.lastIndex) return false;
    if (progress.accepted(message.index)) this.advanceCommit(progress.match);
    // Whatever became of the snapshot: the log reaches back to what the peer has.
    const isNeedless = progress.match >= this.log.firstIndex - 1 && !progress.asked;
    if (progress.state === 'snapshot' && isNeedless) progress.becomeReplicate();
    if (progress.next <= this.log.lastIndex) this.appendDue = true;
    if (progress.peerId === this.transferTargetId) this.continueTransfer();
    return true;
  }

  onHeartbeatResponse(message: RaftMessage, nowMs: number): void {
    const progress = this.heard(message, nowMs);
    if (progress === undefined) return;
    if (this.hibernation.enabled) this.noteSleep(progress, message);
    if (progress.match >= this.log.lastIndex) return;
    // It answers, and an append that is this old it has not answered: take it for lost.
    if (nowMs - progress.appendSentMs < this.config.heartbeatMs) return;
    progress.probeSent = false;
    if (progress.inflights.full) progress.inflights.freeOldest();
    progress.nudge = true;
    this.appendDue = true;
  }

  onUnreachable(slot: number): void {
    const progress = this.progress[slot];
    if (progress === undefined || progress.state !== 'replicate') return;
    progress.becomeProbe();
    this.appendDue = true;
  }

  sendSnapshotTo(slot: number): void {
    if (slot === this.selfSlot) return;
    this.progress[slot]?.askSnapshot();
    this.appendDue = true;
  }

  onSnapshotReport(slot: number, arrived: boolean, nowMs: number): void {
    const progress = this.progress[slot];
    if (progress?.state === 'snapshot') progress.snapshotDecided(arrived, nowMs);
  }

  startTransfer(slot: number, nowMs: number): boolean {
    const target = this.progress[slot];
    if (target === undefined || slot === this.selfSlot) return false;
    // One that votes in the outgoing half only would have to step down again.
    if (!this.membership.voters.includes(target.peerId)) return false;
    if (target.peerId === this.transferTargetId) return true;
    this.hibernation.noteActivity();
    this.transferTargetId = target.peerId;
    this.transferDueMs = nowMs + this.config.electionTimeoutMs;
    this.continueTransfer();
    return true;
  }

  /** Puts what is due into the outbox. Messages must leave at `nowMs` or later: the lease counts from it. */
  flush(nowMs: number): void {
    const reads = this.reads.hasWaiting && this.committedInTerm;
    if (!reads && !this.heartbeatDue && !this.appendDue) return;
    if (reads || this.heartbeatDue) this.startRound(nowMs);
    const heartbeatMs = this.config.heartbeatMs;
    for (let slot = 0; slot < this.progress.length; slot++) {
      if (slot === this.selfSlot) continue;
      const progress = this.progress[slot]!;
      if (this.sendAppends(progress, nowMs)) continue;
      // A peer that was just sent an append needs no heartbeat, unless reads ask for this very round.
      if (reads || (this.heartbeatDue && nowMs - progress.sentMs >= heartbeatMs / 2)) {
        this.sendHeartbeat(progress, nowMs);
      }
    }
    this.appendDue = false;
    this.heartbeatDue = false;
    if (this.alone) this.confirmRound(this.rounds.latest);
  }

  takeReads(): ReadState[] {
    const taken = this.confirmedReads;
    this.confirmedReads = [];
    return taken;
  }

  get hasReads(): boolean {
    return this.confirmedReads.length > 0;
  }

  progressStatus(nowMs: number): ProgressStatus[] {
    return this.progress.map((progress, slot) => {
      // Who agreed to sleep is silent because of that, and has everything.
      const hasAgreed = this.hibernating && !this.excused.includes(progress.peerId);
      const isActive = slot === this.selfSlot || hasAgreed || this.isRecent(progress, nowMs);
      return progress.status(isActive, !this.quorum.isVoter(slot));
    });
  }

  private isRecent(progress: Progress, nowMs: number): boolean {
    return nowMs - progress.heardMs < this.config.electionTimeoutMs;
  }

  // --- proposals ----------------------------------------------------------------------------------------------------

  private isFull(data: Uint8Array): boolean {
    return this.uncommittedBytes > 0 && this.uncommittedBytes + data.length > this.config.maxUncommittedBytes;
  }

  private append(kind: EntryKind, data: Uint8Array): ProposeResult {
    const entry = this.log.append(this.term, kind, data);
    this.uncommittedBytes += entryBytes(entry);
    this.appendDue = true;
    this.hibernation.noteActivity();
    return { ok: true, index: entry.index, term: entry.term };
  }

  private appendChange(data: Uint8Array): ProposeResult {
    const result = this.append('confChange', data);
    this.pendingChange = this.log.lastIndex;
    return result;
  }

  // --- replication --------------------------------------------------------------------------------------------------

  /** Sends what the peer lacks and its window takes. Returns whether anything was sent. */
  private sendAppends(progress: Progress, nowMs: number): boolean {
    const last = this.log.lastIndex;
    let sent = false;
    while (progress.wantsAppend(last)) {
      const previous = progress.next - 1;
      const previousTerm = this.log.term(previous);
      if (previousTerm === undefined || progress.needsSnapshot || this.isTooFarBehind(progress)) {
        return this.sendSnapshot(progress, nowMs) || sent;
      }
      const entries =
        previous < last ? this.log.slice(progress.next, last + 1, this.config.maxAppendBytes) : messages.NO_ENTRIES;
      this.sendAppend(progress, previous, previousTerm, entries, nowMs);
      sent = true;
    }
    return sent;
  }

  private sendAppend(
    progress: Progress,
    previous: number,
    previousTerm: number,
    entries: readonly Entry[],
    nowMs: number,
  ): void {
    const commit = Math.min(this.log.commit, previous + entries.length);
    this.outbox.send(
      messages.append(
        this.config.peerId,
        progress.peerId,
        this.term,
        previous,
        previousTerm,
        commit,
        entries,
        this.rounds.latest,
      ),
    );
    progress.appendSent(entries.length, entriesBytes(entries), nowMs);
  }

  private isTooFarBehind(progress: Progress): boolean {
    return (
      progress.state === 'probe' && this.log.applied - progress.next >= (this.config.maxCatchUpEntries ?? Infinity)
    );
  }

  /** The configuration in force is the one at the applied index, so this is what the driver's data is of. */
  private sendSnapshot(progress: Progress, nowMs: number): boolean {
    const index = this.log.applied;
    const term = this.log.term(index);
    // A peer that is down would cost a snapshot and not get it.
    if (index === 0 || term === undefined || !this.isRecent(progress, nowMs)) return false;
    const snapshot = { index, term, membership: this.membership };
    const { peerId } = this.config;
    this.outbox.send(messages.snapshotOf(peerId, progress.peerId, this.term, snapshot, this.rounds.latest));
    progress.becomeSnapshot(index);
    return true;
  }

  private sendHeartbeat(progress: Progress, nowMs: number): void {
    // Never more than what the peer is known to have: beyond it, its log may hold something else.
    const commit = Math.min(this.log.commit, progress.match);
    const { peerId } = this.config;
    const { latest } = this.rounds;
    this.outbox.send(
      messages.heartbeat(peerId, progress.peerId, this.term, commit, latest, this.hibernation.asks(latest)),
    );
    progress.sentMs = nowMs;
  }

  /** Commits what a quorum has, if it is of this term: entries of older terms are committed with it (thesis 3.6.2). */
  private advanceCommit(newMatch: number): void {
    const before = this.log.commit;
    if (newMatch <= before) return;
    const { values } = this.quorum;
    for (let slot = 0; slot < this.progress.length; slot++) values[slot] = this.progress[slot]!.match;
    const agreed = this.quorum.highest(values);
    if (agreed <= before || this.log.term(agreed) !== this.term) return;
    this.log.commitTo(agreed);
    this.uncommittedBytes -= this.log.bytesBetween(Math.max(before, this.termStart), agreed);
  }

  // --- rounds, reads and the lease ----------------------------------------------------------------------------------

  private startRound(nowMs: number): void {
    const round = this.rounds.start(nowMs);
    if (this.committedInTerm) this.reads.roundStarted(round, this.log.commit);
  }

  /** Notes who answered and which round. Undefined for a peer that is not in the configuration. */
  private heard(message: RaftMessage, nowMs: number): Progress | undefined {
    const progress = this.progress[this.quorum.slotOf(message.from)];
    if (progress === undefined) return undefined;
    progress.heardMs = nowMs;
    const round = Math.min(message.context, this.rounds.latest);
    if (round > progress.ackedRound) {
      progress.ackedRound = round;
      if (round > this.confirmedRound) this.countRounds();
    }
    return progress;
  }

  private agreedRound(): number {
    const { values } = this.quorum;
    for (let slot = 0; slot < this.progress.length; slot++) {
      values[slot] = slot === this.selfSlot ? this.rounds.latest : this.progress[slot]!.ackedRound;
    }
    return this.quorum.highest(values);
  }

  private countRounds(): void {
    const agreed = this.agreedRound();
    if (agreed > this.confirmedRound) this.confirmRound(agreed);
  }

  /**
   * A quorum of the configuration before the last one need not meet one of the next. So what has proved leadership counts
   * only as far as the present one has answered, even if that is less.
   */
  private recountRounds(): void {
    const agreed = this.agreedRound();
    this.lease.restart(this.rounds.sentMs(agreed));
    this.confirmedRound = agreed;
    this.reads.confirmed(agreed, this.confirmedReads);
  }

  private confirmRound(round: number): void {
    this.confirmedRound = round;
    this.lease.renew(this.rounds.sentMs(round));
    this.reads.confirmed(round, this.confirmedReads);
  }

  private quorumHeardMs(nowMs: number): number {
    const { values } = this.quorum;
    for (let slot = 0; slot < this.progress.length; slot++) {
      values[slot] = slot === this.selfSlot ? nowMs : this.progress[slot]!.heardMs;
    }
    return this.quorum.highest(values);
  }

  /**
   * What every peer has that was heard lately. One that is down does not keep entries in memory, nor one that waits for a
   * snapshot: under load they would outlive it by far, and what it lacks then is in the store.
   */
  private lowestMatch(nowMs: number): number {
    let lowest = Infinity;
    for (const { match, heardMs, state } of this.progress) {
      if (state !== 'snapshot' && match < lowest && nowMs - heardMs < this.config.electionTimeoutMs) lowest = match;
    }
    return lowest;
  }

  // --- transfer -----------------------------------------------------------------------------------------------------

  private continueTransfer(): void {
    const target = this.progress[this.quorum.slotOf(this.transferTargetId)];
    if (target === undefined) return;
    if (target.match < this.log.lastIndex) {
      this.appendDue = true;
      return;
    }
    this.lease.suspend();
    this.outbox.send(messages.timeoutNow(this.config.peerId, target.peerId, this.term));
  }

  private endTransfer(): void {
    if (this.transferTargetId === 0) return;
    this.transferTargetId = 0;
    this.transferDueMs = Infinity;
    this.applied();
  }

  // --- hibernation --------------------------------------------------------------------------------------------------

  /** Asks the others to hibernate when there has been nothing to do for long enough. */
  private considerHibernation(nowMs: number): void {
    if (!this.hibernation.isDue(nowMs, this.rounds.latest, this.isQuiet())) return;
    for (const progress of this.progress) progress.asleep = false;
    this.sleepIfAgreed();
  }

  /** Everyone who can be heard has everything, and nothing is under way. */
  private isQuiet(): boolean {
    const { log } = this;
    const last = log.lastIndex;
    if (log.applied < last || log.stable < last || this.transferTargetId !== 0 || this.reads.hasAny) return false;
    if (this.confirmedReads.length > 0 || isJoint(this.membership)) return false;
    return this.progress.every(
      ({ state, match, peerId }) => (state === 'replicate' && match === last) || this.excused.includes(peerId),
    );
  }

  private noteSleep(progress: Progress, message: RaftMessage): void {
    progress.asleep = message.hibernate && this.hibernation.asks(message.context);
    if (progress.asleep) this.sleepIfAgreed();
  }

  private sleepIfAgreed(): void {
    const agreed = this.progress.every(
      ({ asleep, peerId }, slot) => asleep || slot === this.selfSlot || this.excused.includes(peerId),
    );
    if (!agreed || !this.isQuiet()) return;
    this.rounds.forget();
    this.hibernation.sleep();
  }
}
