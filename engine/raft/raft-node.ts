/** One replica's consensus: see index.ts for the contract with its driver. */

import { invariant } from '../../rpc/wire/errors.ts';
import { Campaign, yieldsTo } from './campaign.ts';
import type { CampaignKind } from './campaign.ts';
import { acceptAppend, acceptSnapshot, learnCommit } from './follower.ts';
import { Leadership } from './leadership.ts';
import { changeMembership } from './membership.ts';
import * as messages from './message.ts';
import { Outbox } from './outbox.ts';
import { Quorum } from './quorum.ts';
import { RaftLog } from './raft-log.ts';
import { Slumber } from './slumber.ts';
import type {
  ConfChange,
  Entry,
  HardState,
  Membership,
  ProposeResult,
  RaftConfig,
  RaftMessage,
  RaftStart,
  RaftStatus,
  ReadIndexResult,
  Ready,
  ReadState,
  Role,
  Snapshot,
} from './types.ts';

const NOT_LEADER = Object.freeze({ ok: false, reason: 'notLeader' } as const);
const READ_TAKEN: ReadIndexResult = Object.freeze({ ok: true });
const NO_ENTRIES = Object.freeze([]) as unknown as Entry[];
const NOBODY: readonly number[] = Object.freeze([]);
const NO_READS = Object.freeze([]) as unknown as ReadState[];

/** Terms beyond it are refused: adding one to them would lose precision, and no honest cluster gets there. */
const MAX_TERM = 2 ** 52;

export class RaftNode {
  readonly peerId: number;
  private readonly config: RaftConfig;
  private readonly log: RaftLog;
  private readonly outbox = new Outbox();
  /** The configuration that is applied, and the same for counting. */
  private membershipValue: Membership;
  private quorum: Quorum;
  /** A snapshot to be installed that no Ready has handed out yet. */
  private snapshotDue: Snapshot | undefined;
  /** The one of the Ready that is out. */
  private snapshotOut: Snapshot | undefined;

  private roleValue: Role = 'follower';
  private termValue: number;
  private vote: number;
  /** What the last Ready that changed it gave to be persisted. */
  private savedTerm: number;
  private savedVote: number;
  private savedCommit: number;
  private leaderId = 0;
  /** Set while this peer leads. */
  private leadership: Leadership | undefined;
  /** Set while this peer is a candidate or pre-candidate. */
  private campaignValue: Campaign | undefined;

  /** The latest time that was ever given. */
  private nowMs: number;
  private electionWaitMs = 0;
  private electionDueMs = 0;
  /** Until then this peer has promised its vote to nobody else, because it heard a leader or cannot know whether it did. */
  private promisedUntilMs: number;
  /** As a follower. */
  private readonly slumber = new Slumber();

  /** The entries or the snapshot of the last Ready are not reported as persisted. */
  private writeOut = false;
  /** Role or leader changed since the last Ready: the driver gets to see it even if there is nothing to do. */
  private standingChanged = false;
  private refusedCount = 0;

  /**
   * @throws Internal when the start contradicts itself (applied or commit beyond the end of the log) or the times do.
   */
  constructor(config: RaftConfig, start: RaftStart) {
    const { heartbeatMs, electionTimeoutMs, maxClockDrift } = config;
    invariant(heartbeatMs > 0 && heartbeatMs < electionTimeoutMs, 'heartbeats are sent more often than elections held');
    invariant(maxClockDrift >= 0 && maxClockDrift < 1, 'a clock drifts by a share of time');
    this.config = config;
    this.peerId = config.peerId;
    this.membershipValue = start.membership;
    this.quorum = Quorum.of(start.membership);
    this.log = new RaftLog(start.log, start.hardState.commit, start.applied, config);
    this.termValue = start.hardState.term;
    this.vote = start.hardState.vote;
    this.savedTerm = this.termValue;
    this.savedVote = this.vote;
    this.savedCommit = start.hardState.commit;
    invariant(this.log.lastTerm <= this.termValue, `the log's term ${this.log.lastTerm} is above ${this.termValue}`);
    this.nowMs = start.nowMs;
    this.promisedUntilMs = start.restarted ? start.nowMs + config.electionTimeoutMs : -Infinity;
    this.resetElectionTimer();
    if (this.quorum.isAlone(this.quorum.slotOf(this.peerId))) {
      // The only voter has nobody to wait for, but for one whom it made leader of a configuration that it forgot in the
      // crash. A leader that it did not elect knows of the change to this one, and has no lease (Leadership.leaseUntilMs).
      if (this.vote === this.peerId) this.promisedUntilMs = -Infinity;
      this.electionDueMs = Math.max(start.nowMs, this.promisedUntilMs);
    }
  }

  // --- what it is ---------------------------------------------------------------------------------------------------

  get role(): Role {
    return this.roleValue;
  }

  get term(): number {
    return this.termValue;
  }

  /** 0: not known. */
  get leader(): number {
    return this.leaderId;
  }

  get commit(): number {
    return this.log.commit;
  }

  get applied(): number {
    return this.log.applied;
  }

  get lastIndex(): number {
    return this.log.lastIndex;
  }

  /** The configuration in force here, which is that of the applied index. */
  get membership(): Membership {
    return this.membershipValue;
  }

  /** Neither time nor ticks mean anything to this peer until something wakes it; a driver need not tick it. */
  get isHibernating(): boolean {
    return this.leadership !== undefined ? this.leadership.hibernating : this.slumber.asleep;
  }

  /** Peers without which the group that this peer leads may hibernate. */
  get excused(): readonly number[] {
    return this.leadership?.excusedPeers ?? NOBODY;
  }

  /** Messages that no correct peer sends, and that were dropped. */
  get refusedMessages(): number {
    return this.refusedCount;
  }

  /** Whether a read may be served at `nowMs` from what is applied up to `commit`, without asking anyone. */
  hasLease(nowMs: number): boolean {
    return this.leadership !== undefined && Math.max(nowMs, this.nowMs) < this.leadership.leaseUntilMs;
  }

  status(): RaftStatus {
    return {
      peerId: this.peerId,
      role: this.roleValue,
      term: this.termValue,
      vote: this.vote,
      leader: this.leaderId,
      commit: this.log.commit,
      applied: this.log.applied,
      lastIndex: this.log.lastIndex,
      leaseUntilMs: this.leadership?.leaseUntilMs ?? -Infinity,
      transferTarget: this.leadership?.transferTarget ?? 0,
      membership: this.membershipValue,
      hibernating: this.isHibernating,
      progress: this.leadership?.progressStatus(this.nowMs) ?? [],
    };
  }

  // --- what happens to it -------------------------------------------------------------------------------------------

  /** Time passed. Cheap when nothing is due. */
  tick(nowMs: number): void {
    const now = this.advanceTime(nowMs);
    if (this.leadership !== undefined) {
      if (!this.leadership.tick(now)) this.becomeFollower(this.termValue, 0);
    } else if (now >= this.electionDueMs && !this.slumber.asleep) {
      this.resetElectionTimer();
      this.startCampaign('preVote', false);
    }
  }

  /**
   * A message arrived, not later than `nowMs`. Those of older terms, from strangers or against the protocol change
   * nothing; the last are counted in `refusedMessages`.
   */
  step(message: RaftMessage, nowMs: number): void {
    const now = this.advanceTime(nowMs);
    if (message.to !== this.peerId || message.from === this.peerId || !(message.term <= MAX_TERM)) {
      this.refusedCount++;
      return;
    }
    if (this.isHibernating && this.isWokenBy(message)) this.wakeUp(now, message.from);
    if (message.kind === 'vote' || message.kind === 'preVote') {
      this.onVoteRequest(message, now);
      return;
    }
    if (message.term > this.termValue) {
      if (message.kind !== 'preVoteResponse' || message.reject) this.becomeFollower(message.term, 0);
    } else if (message.term < this.termValue) {
      this.onOldTerm(message);
      return;
    }
    switch (message.kind) {
      case 'append':
        this.onAppend(message, now);
        break;
      case 'heartbeat':
        this.onHeartbeat(message, now);
        break;
      case 'appendResponse':
        if (this.leadership?.onAppendResponse(message, now) === false) this.refusedCount++;
        break;
      case 'heartbeatResponse':
        this.leadership?.onHeartbeatResponse(message, now);
        break;
      case 'voteResponse':
      case 'preVoteResponse':
        this.onVoteResponse(message);
        break;
      case 'timeoutNow':
        this.onTimeoutNow(message);
        break;
      case 'snapshot':
        this.onSnapshot(message, now);
        break;
    }
  }

  /** Appends one entry to a leader's log. It takes effect if and when it comes back as committed with this term. */
  propose(data: Uint8Array, nowMs: number): ProposeResult {
    return this.awakeLeadership(nowMs)?.propose(data) ?? NOT_LEADER;
  }

  /**
   * Proposes a change of the membership; `data` is opaque, and without data it is the one that leaves a joint
   * configuration. One at a time: refused until the one before is applied here. It takes effect where it is applied,
   * by `applyConfChange`. The caller makes sure that the change can follow the present configuration
   * (`changeMembership` throws if not).
   */
  proposeConfChange(data: Uint8Array, nowMs: number): ProposeResult {
    return this.awakeLeadership(nowMs)?.proposeChange(data) ?? NOT_LEADER;
  }

  /**
   * The driver applies an entry of kind confChange, and this is what it says. To be called before `appliedTo` reports that
   * entry, and not at all for a change that the driver decides to ignore, on every replica alike. Returns the new
   * configuration, which the driver persists along with the applied index. A leader that does not vote in it steps down.
   *
   * @throws InvalidArgument when the change cannot follow the present configuration: then it is to be ignored
   */
  applyConfChange(change: ConfChange): Membership {
    const membership = changeMembership(this.membershipValue, change);
    this.reconfigure(membership);
    return membership;
  }

  /**
   * Campaigns without waiting for a time-out: at bootstrap, and for the new half of a split. No effect on a leader, on
   * a peer that does not vote, and while this peer is bound by a promise to a leader that it heard. Pre-votes cost a round,
   * and tell nothing of a group that has just come into being (`kind` vote).
   */
  campaign(nowMs: number, kind: CampaignKind = 'preVote'): void {
    const now = this.advanceTime(nowMs);
    if (this.leadership !== undefined || now < this.promisedUntilMs) return;
    this.slumber.end();
    this.resetElectionTimer();
    this.startCampaign(kind, false);
  }

  /**
   * This peer led the group, and was closed and opened again by its driver, in one process and with nothing stepped in
   * between: it campaigns at once, and like one that the leader asked for (thesis 4.2.3), for that leader was itself. Its
   * lease ended where it was closed, and it promised nothing to another. No effect on a peer that leads or has no vote.
   */
  resumeLeadership(nowMs: number): void {
    this.advanceTime(nowMs);
    if (this.leadership !== undefined) return;
    this.slumber.end();
    this.resetElectionTimer();
    this.startCampaign('vote', true);
  }

  /**
   * Asks for a read index; it comes back in a Ready under `id`. Reads that are outstanding when this peer stops leading,
   * or leads another term, are forgotten: the caller fails them.
   */
  readIndex(id: number, nowMs: number): ReadIndexResult {
    const leadership = this.awakeLeadership(nowMs);
    leadership?.readIndex(id);
    return leadership === undefined ? NOT_LEADER : READ_TAKEN;
  }

  /**
   * Hands leadership to a voter once its log has caught up; proposals are refused meanwhile, for one election time-out
   * at most. False: this peer does not lead, or there is no such other voter.
   */
  transferLeadership(toPeerId: number, nowMs: number): boolean {
    return this.awakeLeadership(nowMs)?.startTransfer(this.quorum.slotOf(toPeerId), this.nowMs) ?? false;
  }

  /** Messages to the peer were lost: stop sending to it on trust. */
  reportUnreachable(peerId: number): void {
    this.leadership?.onUnreachable(this.quorum.slotOf(peerId));
  }

  /**
   * What became of a snapshot message: the peer has installed it, or it failed anywhere on the way. The driver reports each
   * one, sooner or later: nothing else is sent to the peer before, unless it catches up without it.
   */
  reportSnapshot(peerId: number, arrived: boolean): void {
    this.leadership?.onSnapshotReport(this.quorum.slotOf(peerId), arrived, this.nowMs);
  }

  /** The peer's driver cannot go on with what is in its log: it gets a snapshot. No effect unless this peer leads. */
  sendSnapshotTo(peerId: number, nowMs: number): void {
    this.awakeLeadership(nowMs)?.sendSnapshotTo(this.quorum.slotOf(peerId));
  }

  /** The driver wants this peer to be awake: no effect unless it hibernates. */
  wake(nowMs: number): void {
    const now = this.advanceTime(nowMs);
    if (this.isHibernating) this.wakeUp(now, 0);
  }

  /** The node of a peer is lost. Wakes this peer if that one is a member of its group, and no other group. */
  reportNodeLost(peerId: number, nowMs: number): void {
    const now = this.advanceTime(nowMs);
    if (this.quorum.slotOf(peerId) < 0) return;
    if (peerId === this.leaderId || this.leaderId === 0) this.slumber.leaderIsLost();
    if (this.isHibernating) this.wakeUp(now, 0);
  }

  /**
   * The nodes of these peers are lost, and of no others: a group that this peer leads may hibernate without them, if the
   * rest is a quorum. Wakes it when one that it hibernates without is back. No effect on a peer that does not lead.
   */
  excuse(peerIds: readonly number[], nowMs: number): void {
    if (this.leadership?.excuse(peerIds) === true) this.wake(nowMs);
  }

  /**
   * The driver's log may forget entries up to `index`, which must be applied. It does so after this call; the term of
   * `index` stays known to it.
   *
   * @throws Internal when `index` is beyond what is applied
   */
  compactTo(index: number): void {
    this.log.compactTo(index);
  }

  // --- what it wants done -------------------------------------------------------------------------------------------

  /** Whether `ready()` has anything to say, or role or leader changed since the last one. Constant time. */
  hasReady(): boolean {
    return (
      this.log.hasUnstable ||
      this.log.hasCommitted ||
      !this.outbox.empty ||
      this.standingChanged ||
      this.snapshotDue !== undefined ||
      this.hardStateChanged ||
      (this.leadership !== undefined && this.leadership.hasWork)
    );
  }

  /**
   * Everything that is to be done now. The messages must leave at `nowMs` or later.
   * @throws Internal while the entries or the snapshot of the last Ready are not reported as persisted.
   */
  ready(nowMs: number): Ready {
    invariant(!this.writeOut, 'a Ready was asked for before the entries of the last one were persisted');
    const now = this.advanceTime(nowMs);
    this.standingChanged = false;
    this.leadership?.flush(now);
    const hardState = this.takeHardState();
    let atOnce = this.outbox.takeNow();
    let durable = this.outbox.takeDurable();
    if (hardState !== undefined && atOnce.length > 0) {
      // Nobody may hear of a term that this peer could forget.
      durable = atOnce.concat(durable);
      atOnce = [];
    }
    const entries = this.log.hasUnstable ? this.log.takeUnstable() : NO_ENTRIES;
    const snapshot = this.snapshotDue;
    this.snapshotOut = snapshot;
    this.snapshotDue = undefined;
    this.writeOut = snapshot !== undefined || entries.length > 0;
    return {
      messages: atOnce,
      snapshot,
      hardState,
      entries,
      mustSync: hardState !== undefined || entries.length > 0,
      durableMessages: durable,
      committed: this.log.hasCommitted ? this.log.takeCommitted(this.config.maxApplyBytes) : NO_ENTRIES,
      readStates: this.leadership?.hasReads ? this.leadership.takeReads() : NO_READS,
    };
  }

  /**
   * The entries of the last Ready are durable; the arguments are those of its last entry, or of its snapshot if it had no
   * entry (0, 0 if it had neither). Messages may have been stepped in between: entries that were replaced meanwhile are not
   * taken for durable. Index and term name one entry and all before it, and only one write is out, so an entry that was
   * replaced, and by a later leader put back, is what the disk holds.
   */
  persisted(lastIndex: number, lastTerm: number): void {
    this.writeOut = false;
    if (this.snapshotOut !== undefined) this.snapshotInstalled(this.snapshotOut);
    if (lastIndex === 0) return;
    this.log.stableTo(lastIndex, lastTerm);
    this.leadership?.persisted();
  }

  /**
   * The state machine's data holds everything up to the entry of `index` and `term`. A report that a snapshot has overtaken
   * says nothing.
   *
   * @throws Internal when that entry was not handed out
   */
  appliedTo(index: number, term: number): void {
    if (this.log.appliedTo(index, term)) this.leadership?.applied();
  }

  // --- configuration ------------------------------------------------------------------------------------------------

  private reconfigure(membership: Membership): void {
    this.membershipValue = membership;
    this.quorum = Quorum.of(membership);
    // Votes were counted by the slots, and the majority, of the configuration before.
    if (this.campaignValue !== undefined) this.becomeFollower(this.termValue, 0);
    const { leadership } = this;
    if (leadership === undefined) return;
    if (this.quorum.isVoter(this.quorum.slotOf(this.peerId))) {
      leadership.reconfigure(membership, this.quorum, this.nowMs);
      return;
    }
    // The others may need this peer's word that the change is committed: without it they count this peer still.
    leadership.farewell(this.nowMs);
    this.becomeFollower(this.termValue, 0);
  }

  // --- elections ----------------------------------------------------------------------------------------------------

  private startCampaign(kind: CampaignKind, transfer: boolean): void {
    const slot = this.quorum.slotOf(this.peerId);
    if (!this.quorum.isVoter(slot)) return;
    // Who has not applied a change that is committed does not know whose votes count.
    if (this.log.isRestoring || this.log.hasUnappliedChange(this.config.maxApplyBytes)) return;
    const campaign = new Campaign(kind, this.quorum);
    this.campaignValue = campaign;
    this.leaderId = 0;
    this.standingChanged = true;
    if (kind === 'vote') {
      this.roleValue = 'candidate';
      this.termValue++;
      this.vote = this.peerId;
    } else {
      this.roleValue = 'preCandidate';
    }
    if (campaign.record(slot, true) === 'won') {
      this.campaignWon();
      return;
    }
    // A pre-vote names the term that the vote would have, and leaves this peer's own as it is.
    const term = kind === 'vote' ? this.termValue : this.termValue + 1;
    for (const peerId of this.quorum.peers) {
      if (peerId === this.peerId || !this.quorum.isVoter(this.quorum.slotOf(peerId))) continue;
      const request = messages.voteRequest(
        kind,
        this.peerId,
        peerId,
        term,
        { index: this.log.lastIndex, term: this.log.lastTerm },
        this.log.commitPosition,
        transfer,
      );
      if (kind === 'vote') this.outbox.sendDurable(request);
      else this.outbox.send(request);
    }
  }

  private campaignWon(): void {
    if (this.roleValue === 'preCandidate') {
      this.resetElectionTimer();
      this.startCampaign('vote', false);
      return;
    }
    this.roleValue = 'leader';
    this.leaderId = this.peerId;
    this.standingChanged = true;
    this.campaignValue = undefined;
    const { config, membershipValue: membership, quorum, log, outbox } = this;
    this.leadership = new Leadership({ config, membership, quorum, log, outbox }, this.termValue, this.nowMs);
  }

  private onVoteRequest(message: RaftMessage, now: number): void {
    const { kind, from, term } = message;
    learnCommit(this.log, message);
    if (term < this.termValue) {
      this.answerVote(message, false);
      return;
    }
    // A leader that was just heard may hold a lease on this promise; a rejoining peer must not disturb it either. Only a
    // candidate that the leader itself sent is not held back (thesis 4.2.3).
    if (!message.transfer && (this.leadership !== undefined || now < this.promisedUntilMs)) return;
    if (kind === 'vote' && term > this.termValue) this.becomeFollower(term, 0);
    const rivals = kind === 'preVote' && this.roleValue === 'preCandidate' && term === this.termValue + 1;
    if (rivals && !yieldsTo(message, this.log, this.peerId)) return this.answerVote(message, false);
    if (rivals) this.becomeFollower(this.termValue, 0);
    const free = this.vote === from || (this.vote === 0 && this.leaderId === 0) || term > this.termValue;
    const granted = free && this.log.isUpToDate(message.index, message.logTerm);
    if (granted && kind === 'vote') {
      this.vote = from;
      this.resetElectionTimer();
    }
    this.answerVote(message, granted);
  }

  private answerVote(request: RaftMessage, granted: boolean): void {
    // A granted pre-vote names the term it is for, which this peer has not entered.
    const term = granted ? request.term : this.termValue;
    const { from, kind } = request;
    const commit = this.log.commitPosition;
    if (kind === 'vote') {
      this.outbox.sendDurable(messages.voteResponse('voteResponse', this.peerId, from, term, commit, !granted));
    } else {
      this.outbox.send(messages.voteResponse('preVoteResponse', this.peerId, from, term, commit, !granted));
    }
  }

  private onVoteResponse(message: RaftMessage): void {
    learnCommit(this.log, message);
    const campaign = this.campaignValue;
    if (campaign === undefined || message.kind !== `${campaign.kind}Response`) return;
    // A grant of an earlier pre-campaign.
    if (campaign.kind === 'preVote' && !message.reject && message.term !== this.termValue + 1) return;
    const slot = this.quorum.slotOf(message.from);
    if (!this.quorum.isVoter(slot)) return;
    const result = campaign.record(slot, !message.reject);
    if (result === 'won') this.campaignWon();
    else if (result === 'lost') this.becomeFollower(this.termValue, 0);
  }

  private onTimeoutNow(message: RaftMessage): void {
    if (this.roleValue !== 'follower' || message.from !== this.leaderId) return;
    this.resetElectionTimer();
    this.startCampaign('vote', true);
  }

  /** A leader of an older term must learn that it leads no more. What an answer says about the commit holds in any term. */
  private onOldTerm(message: RaftMessage): void {
    if (message.kind === 'preVoteResponse') learnCommit(this.log, message);
    if (message.kind !== 'append' && message.kind !== 'heartbeat' && message.kind !== 'snapshot') return;
    this.outbox.send(messages.heartbeatResponse(this.peerId, message.from, this.termValue, 0, false));
  }

  // --- following ----------------------------------------------------------------------------------------------------

  private becomeFollower(term: number, leaderId: number): void {
    if (term > this.termValue) {
      this.termValue = term;
      this.vote = 0;
      this.slumber.newTerm();
    }
    if (this.roleValue !== 'follower' || this.leaderId !== leaderId) this.standingChanged = true;
    this.roleValue = 'follower';
    this.leaderId = leaderId;
    this.slumber.end();
    if (this.leadership !== undefined) this.log.servePeers(false);
    this.leadership = undefined;
    this.campaignValue = undefined;
    this.resetElectionTimer();
  }

  /** A leader of the current term was heard. Returns false if that cannot be: a term has one leader. */
  private heardLeader(leaderId: number, now: number): boolean {
    if (this.leaderId !== leaderId) {
      if (this.leaderId !== 0) return false;
      this.becomeFollower(this.termValue, leaderId);
    }
    this.electionDueMs = now + this.electionWaitMs;
    this.promisedUntilMs = now + this.config.electionTimeoutMs;
    return true;
  }

  private onAppend(message: RaftMessage, now: number): void {
    const answer = this.heardLeader(message.from, now)
      ? acceptAppend(this.log, this.membershipValue, message)
      : undefined;
    if (answer === undefined) this.refusedCount++;
    else if (answer.reject) this.outbox.sendDurable(answer);
    else this.outbox.acknowledge(answer);
  }

  private onHeartbeat(message: RaftMessage, now: number): void {
    // A leader names no commit beyond what this peer has acknowledged as durable.
    if (!this.heardLeader(message.from, now) || message.commit > this.log.lastIndex) {
      this.refusedCount++;
      return;
    }
    this.log.commitTo(message.commit);
    const sleeps = this.slumber.heard(message, this.log);
    this.outbox.send(messages.heartbeatResponse(this.peerId, message.from, this.termValue, message.context, sleeps));
  }

  private onSnapshot(message: RaftMessage, now: number): void {
    const { from, logTerm, membership, context } = message;
    const wellFormed = membership !== undefined && logTerm > 0 && logTerm <= message.term;
    if (!wellFormed || !this.heardLeader(from, now)) {
      this.refusedCount++;
      return;
    }
    this.snapshotDue = acceptSnapshot(this.log, membership, message) ?? this.snapshotDue;
    this.outbox.acknowledge(messages.appendAccepted(this.peerId, from, this.termValue, this.log.commit, context));
  }

  private snapshotInstalled({ index, membership }: Snapshot): void {
    this.snapshotOut = undefined;
    if (this.log.restored(index)) this.reconfigure(membership);
  }

  // --- hibernation --------------------------------------------------------------------------------------------------

  /** Of a leader; there is something to do for it. */
  private awakeLeadership(nowMs: number): Leadership | undefined {
    this.advanceTime(nowMs);
    if (this.leadership?.hibernating) this.leadership.wake(this.nowMs);
    return this.leadership;
  }

  /** Whatever a member says wakes this peer, except what keeps it asleep. */
  private isWokenBy(message: RaftMessage): boolean {
    if (this.quorum.slotOf(message.from) < 0) return message.term > this.termValue && message.kind !== 'preVote';
    return !message.hibernate || message.term !== this.termValue;
  }

  private wakeUp(now: number, byPeerId: number): void {
    if (this.leadership !== undefined) {
      this.leadership.wake(now);
      return;
    }
    this.slumber.end();
    this.resetElectionTimer();
    if (this.slumber.leaderLost || this.leaderId === 0) return;
    // As far as it knows its leader is there and only asleep: it wakes it, and elects no other before it could answer.
    this.promisedUntilMs = now + this.config.electionTimeoutMs;
    if (byPeerId === this.leaderId) return;
    this.outbox.send(messages.heartbeatResponse(this.peerId, this.leaderId, this.termValue, 0, false));
  }

  // --- time and hard state ------------------------------------------------------------------------------------------

  private advanceTime(nowMs: number): number {
    if (nowMs > this.nowMs) this.nowMs = nowMs;
    return this.nowMs;
  }

  private resetElectionTimer(): void {
    this.electionWaitMs = this.config.electionTimeoutMs * (1 + this.config.random());
    this.electionDueMs = this.nowMs + this.electionWaitMs;
  }

  private get hardStateChanged(): boolean {
    return this.termValue !== this.savedTerm || this.vote !== this.savedVote || this.isChangeToBeTold;
  }

  /** A leader has committed a change of the membership, and its disk does not know so. */
  private get isChangeToBeTold(): boolean {
    return this.leadership !== undefined && this.log.hasCommittedChange(this.savedCommit);
  }

  /**
   * The commit travels along; alone it is not worth a write, because it is learned again and `applied` bounds it. With two
   * exceptions. A leader does not tell that a change is committed before it cannot forget it: of two voters the one that is
   * removed goes when it hears so, and the other, by the configuration before, would need its vote. And whoever has a change of the membership in its log, has it from a leader that had applied the change before
   * it, and said so by its commit. Forgetting that, it could campaign by a configuration that is two changes old, whose
   * majorities need not meet those of today. A snapshot brings its commit along as well.
   */
  private takeHardState(): HardState | undefined {
    if (!this.hardStateChanged && !this.log.hasUnstableChange && this.snapshotDue === undefined) return undefined;
    this.savedTerm = this.termValue;
    this.savedVote = this.vote;
    this.savedCommit = this.log.commit;
    return { term: this.termValue, vote: this.vote, commit: this.log.commit };
  }
}
