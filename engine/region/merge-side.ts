/**
 * A replica's part in a merge. Of the source: what its leader asks the target for, and the end of a replica that is merged away.
 * Of the target: how long it waits for its source on this node. That is there, because both regions have their peers on the
 * same nodes and nothing moves them while they merge; unless a disk, a person or a bug has taken it away. Then no patience
 * helps, but the merged region has all of it: a snapshot does.
 */

import { RegionMerging, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Region } from '../../rpc/wire/region.ts';
import type { RaftMessage, RaftNode } from '../raft/index.ts';
import type { RegionLog } from '../store/log-store.ts';
import type { Store } from '../store/port.ts';
import type { ApplyQueue } from './apply-queue.ts';
import { completeLog, composeCommitMerge, type CommitMerge } from './commit-merge.ts';
import type { RegionState } from './region-state.ts';
import { sideMessage } from './side-message.ts';
import type { Voice } from './voice.ts';

/** How often the leader of a region that prepared asks for its merge to go on. */
const STEP_MS = 1_000;

/** What the merge needs of the replica. */
export interface MergeHost {
  readonly raft: RaftNode;
  readonly applied: { readonly appliedIndex: number };
  readonly voice: Voice;
  /** Lets another peer lead, if one is fit to. */
  handOver(nowMs: number): void;
}

export class MergeSide {
  readonly #store: Store;
  readonly #state: RegionState;
  readonly #log: RegionLog;
  readonly #host: MergeHost;
  #nextStepMs = 0;
  /** The region is merged away: nothing but its own log up to here is applied any more. 0: it is not. */
  #finishAt = 0;
  /** The CommitMerge that waits for its source; 0: none does. */
  #waitsAt = 0;
  #askDueMs = 0;
  /** The source is not to be expected any more. */
  #hasAsked = false;

  constructor(store: Store, state: RegionState, log: RegionLog, host: MergeHost) {
    this.#store = store;
    this.#state = state;
    this.#log = log;
    this.#host = host;
  }

  // --- the source --------------------------------------------------------------------------------------------------

  /** What the leader of a region that prepared asks its target to do, now and then; undefined: nothing, or not yet. */
  step(nowMs: number): { readonly target: Region; readonly merge: CommitMerge } | undefined {
    const { raft } = this.#host;
    const { record, phase } = this.#state;
    if (phase !== 'merging' || !record.merge || raft.role !== 'leader' || nowMs < this.#nextStepMs) return undefined;
    this.#nextStepMs = nowMs + STEP_MS;
    const everyoneHas = Math.min(...raft.status().progress.map((peer) => peer.match));
    const merge = composeCommitMerge(record, this.#log, everyoneHas);
    return merge && { target: record.merge.target, merge };
  }

  /** It takes part in nothing any more. */
  get isFinishing(): boolean {
    return this.#finishAt !== 0;
  }

  /** Everything up to the PrepareMerge is applied. */
  isFinished(unapplied: ApplyQueue): boolean {
    return this.isFinishing && unapplied.isEmpty && this.#host.applied.appliedIndex >= this.#finishAt;
  }

  /**
   * The target has committed the merge: what the log has up to the PrepareMerge is to be applied; what it lacks of that came
   * along. @throws Internal when the log ends before what every peer was known to have; DiskFull, StorageFailure
   */
  finish(merge: CommitMerge, unapplied: ApplyQueue, nowMs: number): void {
    completeLog(this.#store, this.#log, merge);
    this.#finishAt = merge.commit;
    const known = unapplied.lastIndex ?? this.#host.applied.appliedIndex;
    for (let index = known + 1; index <= merge.commit;) {
      const page = this.#log.entries(index, merge.commit + 1, LIMITS.applyBytes);
      unapplied.push(page, nowMs);
      index += page.length;
    }
  }

  // --- the target --------------------------------------------------------------------------------------------------

  /** The entry at `index` cannot be applied yet. */
  noteWaiting(index: number, nowMs: number): void {
    if (this.#waitsAt === index) return;
    this.#waitsAt = index;
    this.#askDueMs = nowMs + LIMITS.mergePatienceMs;
    this.#hasAsked = false;
  }

  noteApplied(): void {
    this.#waitsAt = 0;
  }

  /** Asks for a snapshot when the source does not come. A leader cannot get one, and lets another lead. */
  tick(nowMs: number): void {
    if (this.#waitsAt === 0 || nowMs < this.#askDueMs) return;
    if (!this.#hasAsked) this.#host.voice.report(this.#missing());
    this.#hasAsked = true;
    this.#askDueMs = nowMs + LIMITS.mergeAskAgainMs;
    const { role, peerId: from, leader: to, term } = this.#host.raft;
    if (role === 'leader') this.#host.handOver(nowMs);
    else if (to !== 0)
      this.#host.voice.send([sideMessage('askSnapshot', { from, to, term }, { index: this.#waitsAt })]);
  }

  #missing(): MraftError {
    const { regionId } = this.#state.region;
    const where = `region ${regionId} lacks the source of the merge at its entry ${this.#waitsAt}`;
    return new RegionMerging(`${where}; it asks for a snapshot instead`, { regionId });
  }

  /** A replica cannot go on at `index`. Who has not come so far has nothing for it. */
  onAskSnapshot({ from, index }: RaftMessage, nowMs: number): void {
    if (this.#host.applied.appliedIndex >= index) this.#host.raft.sendSnapshotTo(from, nowMs);
  }

  /** Whether a snapshot that ends with this entry takes the place of data that is stuck before it. */
  lacksDataOf(index: number): boolean {
    return this.#waitsAt !== 0 && this.#hasAsked && index >= this.#waitsAt;
  }
}
