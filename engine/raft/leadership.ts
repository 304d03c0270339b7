/**
 * What a peer is while it leads one term: the progress of every peer, heartbeat rounds with the reads and the lease that
 * depend on them, and a leadership transfer under way. It begins with the election and is dropped as a whole.
 */

import { Lease } from './lease.ts';
import * as messages from './message.ts';
import type { Outbox } from './outbox.ts';
import { Progress } from './progress.ts';
import type { Quorum } from './quorum.ts';
import { entriesBytes, entryBytes } from './raft-log.ts';
import type { RaftLog } from './raft-log.ts';
import { ReadQueue } from './read-index.ts';
import { Rounds } from './rounds.ts';
import type { Entry, ProgressStatus, ProposeResult, RaftConfig, RaftMessage, ReadState } from './types.ts';

const NO_DATA = new Uint8Array(0);
const TRANSFERRING: ProposeResult = Object.freeze({ ok: false, reason: 'transferring' });
const BUSY: ProposeResult = Object.freeze({ ok: false, reason: 'busy' });

/** What the parts of one replica share. */
export interface LeadershipContext {
  readonly config: RaftConfig;
  readonly quorum: Quorum;
  readonly log: RaftLog;
  readonly outbox: Outbox;
}

export class Leadership {
  private readonly config: RaftConfig;
  private readonly quorum: Quorum;
  private readonly log: RaftLog;
  private readonly outbox: Outbox;
  private readonly term: number;
  private readonly selfSlot: number;
  private readonly alone: boolean;
  /** By slot; this peer's own counts what is durable here. */
  private readonly progress: readonly Progress[];
  private readonly values: Float64Array;
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

  constructor(context: LeadershipContext, term: number, nowMs: number) {
    const { config, quorum, log } = context;
    this.config = config;
    this.quorum = quorum;
    this.log = log;
    this.outbox = context.outbox;
    this.term = term;
    this.selfSlot = quorum.slotOf(config.peerId);
    this.alone = quorum.isAlone(this.selfSlot);
    this.values = new Float64Array(quorum.size);
    const next = log.lastIndex + 1;
    this.progress = quorum.peers.map(
      (peerId) => new Progress(peerId, next, config.maxInflightAppends, config.maxInflightBytes, nowMs),
    );
    this.progress[this.selfSlot]!.accepted(log.stable);
    this.lease = new Lease(config.electionTimeoutMs, config.maxClockDrift);
    this.heartbeatDueMs = nowMs + config.heartbeatMs;
    this.quorumCheckDueMs = nowMs + config.electionTimeoutMs;
    this.termStart = log.append(term, 'normal', NO_DATA).index;
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
    if (!this.committedInTerm || this.transferTargetId !== 0) return -Infinity;
    return this.alone ? Infinity : this.lease.untilMs;
  }

  propose(data: Uint8Array): ProposeResult {
    if (this.transferTargetId !== 0) return TRANSFERRING;
    if (this.uncommittedBytes > 0 && this.uncommittedBytes + data.length > this.config.maxUncommittedBytes) return BUSY;
    const entry = this.log.append(this.term, 'normal', data);
    this.uncommittedBytes += entryBytes(entry);
    this.appendDue = true;
    return { ok: true, index: entry.index, term: entry.term };
  }

  readIndex(id: number): void {
    // The only voter need not ask anyone; its read waits for the no-op at most.
    if (this.alone && this.committedInTerm) this.confirmedReads.push({ id, index: this.log.commit });
    else this.reads.add(id);
  }

  /** Returns false when no quorum was heard for an election time-out: then another may lead already (check-quorum). */
  tick(nowMs: number): boolean {
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
      if (progress.rejected(message.index, hint)) this.appendDue = true;
      return true;
    }
    if (message.index > this.log.lastIndex) return false;
    if (progress.accepted(message.index)) this.advanceCommit(progress.match);
    if (progress.next <= this.log.lastIndex) this.appendDue = true;
    if (progress.peerId === this.transferTargetId) this.continueTransfer();
    return true;
  }

  onHeartbeatResponse(message: RaftMessage, nowMs: number): void {
    const progress = this.heard(message, nowMs);
    if (progress === undefined || progress.match >= this.log.lastIndex) return;
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

  startTransfer(slot: number, nowMs: number): boolean {
    const target = this.progress[slot];
    if (target === undefined || slot === this.selfSlot || !this.quorum.isVoter(slot)) return false;
    if (target.peerId === this.transferTargetId) return true;
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
    return this.progress.map((progress, slot) =>
      progress.status(slot === this.selfSlot || nowMs - progress.heardMs < this.config.electionTimeoutMs),
    );
  }

  // --- replication --------------------------------------------------------------------------------------------------

  /** Sends what the peer lacks and its window takes. Returns whether anything was sent. */
  private sendAppends(progress: Progress, nowMs: number): boolean {
    const last = this.log.lastIndex;
    let sent = false;
    while (progress.wantsAppend(last)) {
      const previous = progress.next - 1;
      const previousTerm = this.log.term(previous);
      if (previousTerm === undefined) {
        progress.becomeSnapshot();
        break;
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

  private sendHeartbeat(progress: Progress, nowMs: number): void {
    // Never more than what the peer is known to have: beyond it, its log may hold something else.
    const commit = Math.min(this.log.commit, progress.match);
    this.outbox.send(messages.heartbeat(this.config.peerId, progress.peerId, this.term, commit, this.rounds.latest));
    progress.sentMs = nowMs;
  }

  /** Commits what a quorum has, if it is of this term: entries of older terms are committed with it (thesis 3.6.2). */
  private advanceCommit(newMatch: number): void {
    const before = this.log.commit;
    if (newMatch <= before) return;
    for (let slot = 0; slot < this.progress.length; slot++) this.values[slot] = this.progress[slot]!.match;
    const agreed = this.quorum.highest(this.values);
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

  private countRounds(): void {
    for (let slot = 0; slot < this.progress.length; slot++) {
      this.values[slot] = slot === this.selfSlot ? this.rounds.latest : this.progress[slot]!.ackedRound;
    }
    const agreed = this.quorum.highest(this.values);
    if (agreed > this.confirmedRound) this.confirmRound(agreed);
  }

  private confirmRound(round: number): void {
    this.confirmedRound = round;
    this.lease.renew(this.rounds.sentMs(round));
    this.reads.confirmed(round, this.confirmedReads);
  }

  private quorumHeardMs(nowMs: number): number {
    for (let slot = 0; slot < this.progress.length; slot++) {
      this.values[slot] = slot === this.selfSlot ? nowMs : this.progress[slot]!.heardMs;
    }
    return this.quorum.highest(this.values);
  }

  /** What every peer has that was heard lately. One that is down does not keep entries in memory. */
  private lowestMatch(nowMs: number): number {
    let lowest = Infinity;
    for (const { match, heardMs } of this.progress) {
      if (match < lowest && nowMs - heardMs < this.config.electionTimeoutMs) lowest = match;
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
    this.transferTargetId = 0;
    this.transferDueMs = Infinity;
  }
}
