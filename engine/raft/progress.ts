/**
 * What a leader knows of one peer's log, and how it replicates to it: `probe` sends one append at a time until the
 * logs are known to agree, `replicate` sends optimistically within a window, `snapshot` sends none until the snapshot that
 * is under way has arrived or failed.
 */

import { Inflights } from './inflights.ts';
import type { ProgressStatus, ReplicationState } from './types.ts';

export class Progress {
  readonly peerId: number;
  readonly inflights: Inflights;
  state: ReplicationState = 'probe';
  /** Highest index known to be durable there. */
  match = 0;
  /** First index of the next append; always above `match`. */
  next: number;
  /** A probe is out and unanswered. */
  probeSent = false;
  /** An append is due even if it carries no entry: only its answer tells whether the logs still agree. */
  nudge = false;
  /** Entries alone do not help it. */
  needsSnapshot = false;
  /** Its driver asked for the snapshot that is under way, whatever the log has. */
  asked = false;
  /** In the snapshot state: the index of the one that is under way. */
  pendingSnapshot = 0;
  /** It agreed to hibernate, and was not heard otherwise since. */
  asleep = false;
  /** Highest heartbeat round that was echoed. */
  ackedRound = 0;
  /** When the peer was last heard in this term. */
  heardMs: number;
  /** When an append or a heartbeat was last sent to it. */
  sentMs = -Infinity;
  appendSentMs = -Infinity;

  constructor(peerId: number, next: number, maxInflightAppends: number, maxInflightBytes: number, nowMs: number) {
    this.peerId = peerId;
    this.next = next;
    this.heardMs = nowMs;
    this.inflights = new Inflights(maxInflightAppends, maxInflightBytes);
  }

  /** Whether an append may be sent now, to a leader whose log ends at `lastIndex`. */
  wantsAppend(lastIndex: number): boolean {
    if (this.state === 'replicate') return (this.next <= lastIndex && !this.inflights.full) || this.nudge;
    if (this.state === 'probe') return !this.probeSent && (this.next <= lastIndex || this.nudge);
    return false;
  }

  /** An append with `count` entries from `next` on was sent. */
  appendSent(count: number, sizeBytes: number, nowMs: number): void {
    this.nudge = false;
    this.sentMs = nowMs;
    this.appendSentMs = nowMs;
    if (this.state === 'probe') {
      this.probeSent = true;
    } else if (count > 0) {
      this.next += count;
      this.inflights.add(this.next - 1, sizeBytes);
    }
  }

  /** The peer's log agrees up to `index`. Returns whether that is news. */
  accepted(index: number): boolean {
    const advanced = index > this.match;
    if (advanced) this.match = index;
    if (this.next <= index) this.next = index + 1;
    if (this.state === 'replicate') {
      this.inflights.freeUpTo(index);
    } else if (this.state === 'probe' && index >= this.match) {
      this.becomeReplicate();
    }
    return advanced;
  }

  /**
   * The peer refused an append behind `rejectedIndex`; its log may agree at `hintIndex` at best. Returns false for an
   * answer that later ones have overtaken.
   */
  rejected(rejectedIndex: number, hintIndex: number): boolean {
    if (this.state === 'replicate') {
      if (rejectedIndex <= this.match) return false;
      this.becomeProbe();
      return true;
    }
    if (this.state === 'snapshot' || this.next - 1 !== rejectedIndex) return false;
    this.next = Math.max(Math.min(rejectedIndex, hintIndex + 1), this.match + 1);
    this.probeSent = false;
    this.nudge = true;
    return true;
  }

  becomeProbe(): void {
    this.state = 'probe';
    this.next = this.match + 1;
    this.probeSent = false;
    this.nudge = true;
    this.inflights.clear();
  }

  becomeReplicate(): void {
    this.state = 'replicate';
    this.pendingSnapshot = 0;
    this.next = this.match + 1;
    this.probeSent = false;
    this.nudge = false;
    this.inflights.clear();
  }

  /** The peer's driver asks for a snapshot. */
  askSnapshot(): void {
    if (this.state === 'snapshot') return;
    this.becomeProbe();
    this.needsSnapshot = true;
    this.asked = true;
  }

  /** The peer needs a snapshot, and one at `index` is on its way. It gets heartbeats only until that is decided. */
  becomeSnapshot(index: number): void {
    this.state = 'snapshot';
    this.pendingSnapshot = index;
    this.needsSnapshot = false;
    this.probeSent = false;
    this.nudge = false;
    this.inflights.clear();
  }

  /**
   * The snapshot has arrived, or not. The next probe waits until the peer is heard: an answer to the snapshot says more,
   * and a failure is not tried again at once.
   */
  snapshotDecided(arrived: boolean, nowMs: number): void {
    const { pendingSnapshot } = this;
    this.becomeProbe();
    this.asked = false;
    if (arrived) this.next = Math.max(this.next, pendingSnapshot + 1);
    this.pendingSnapshot = 0;
    this.probeSent = true;
    this.appendSentMs = nowMs;
  }

  status(recentlyActive: boolean, learner: boolean): ProgressStatus {
    return {
      peerId: this.peerId,
      state: this.state,
      match: this.match,
      next: this.next,
      pendingSnapshot: this.pendingSnapshot,
      learner,
      inflightMessages: this.inflights.count,
      inflightBytes: this.inflights.sizeBytes,
      recentlyActive,
    };
  }
}
