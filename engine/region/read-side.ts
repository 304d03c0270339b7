/**
 * The reads of one replica, from the request to the answer: gathered during a turn, proved by the leader's quorum or its
 * lease (reads.ts), at the leader's word where another replica serves them (read-index-service.ts), read and answered.
 */

import { ServerBusy } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { RaftMessage, RaftNode, ReadState } from '../raft/index.ts';
import type { RegionPhase } from '../store/region-records.ts';
import type { ReplicaEnvironment } from './ports.ts';
import { ReadIndexService } from './read-index-service.ts';
import { RegionReader, answerBytes, type ReadStats } from './reader.ts';
import { ReadQueue, type ReadRequest } from './reads.ts';
import { checkEpoch, checkPhase } from './refusals.ts';
import type { RegionState } from './region-state.ts';
import { sideMessage } from './side-message.ts';
import type { Voice } from './voice.ts';

/** What the reads need of the replica. */
export interface ReadHost {
  readonly raft: RaftNode;
  readonly applied: { readonly appliedIndex: number };
  readonly voice: Voice;
}

export class ReadSide {
  readonly #env: ReplicaEnvironment;
  readonly #state: RegionState;
  readonly #host: ReadHost;
  readonly #queue: ReadQueue;
  readonly #readIndexes = new ReadIndexService();
  readonly #reader: RegionReader;

  constructor(env: ReplicaEnvironment, state: RegionState, stats: ReadStats, host: ReadHost) {
    this.#env = env;
    this.#state = state;
    this.#host = host;
    this.#queue = new ReadQueue(1 + Math.floor(env.random() * 2 ** 30) * 2 ** 20);
    this.#reader = new RegionReader(env.store, state, stats);
  }

  /** Reads that were taken and not answered. */
  get count(): number {
    return this.#queue.count;
  }

  /** Whether a turn has something to do here. */
  get hasWork(): boolean {
    return this.#queue.hasGathered || this.#queue.hasReady;
  }

  /** Whether this replica may serve a read of that mode. */
  canTake({ mode }: ReadRequest): boolean {
    const { raft } = this.#host;
    return raft.role === 'leader' || mode === 'stale' || (mode === 'replica' && raft.leader !== 0);
  }

  /** @throws ServerBusy */
  take(request: ReadRequest, regionId: number): void {
    if (this.#queue.gather(request)) return;
    throw new ServerBusy(`region ${regionId} has too many reads under way`, { regionId });
  }

  /** What the turn gathered asks for a read index, all together, unless a lease answers for it. */
  confirmGathered(nowMs: number): void {
    if (!this.#queue.hasGathered) return;
    const { raft, applied } = this.#host;
    if (raft.hasLease(nowMs)) this.#queue.admitLease(raft.commit, applied.appliedIndex);
    else this.#queue.demoteLease();
    const id = this.#queue.closeGroup();
    if (id === 0) return;
    if (raft.role === 'leader') raft.readIndex(id, nowMs);
    else this.#askLeader(id);
  }

  #askLeader(id: number): void {
    const { peerId, leader, term } = this.#host.raft;
    if (leader === 0) return this.failUnconfirmed();
    this.#host.voice.send([sideMessage('readIndex', { from: peerId, to: leader, term }, { context: id })]);
  }

  /** Tells all followers at once what is committed, by a round that nobody reads at. */
  tellCommit(nowMs: number): void {
    this.#host.raft.readIndex(this.#queue.takeId(), nowMs);
  }

  /** A replica asks for a read index; who does not lead keeps silent, and the reader tries again elsewhere. */
  onReadIndex(message: RaftMessage, phase: RegionPhase, nowMs: number): void {
    const { raft } = this.#host;
    if (raft.role !== 'leader' || phase !== 'normal') return;
    const id = this.#queue.takeId();
    if (this.#readIndexes.await(id, message)) raft.readIndex(id, nowMs);
  }

  onReadIndexResponse({ context: id, index }: RaftMessage): void {
    this.confirm([{ id, index }]);
    this.release();
  }

  /** Answers the replicas whose read index was proved. */
  answerAskers(states: readonly ReadState[]): void {
    if (this.#readIndexes.count === 0) return;
    const { peerId, term } = this.#host.raft;
    this.#host.voice.send(this.#readIndexes.confirmed(states, peerId, term));
  }

  confirm(states: readonly ReadState[]): void {
    this.#queue.confirm(states);
  }

  /** More is applied: what waited for it is served in the next turn that has written it. */
  release(): void {
    this.#queue.release(this.#host.applied.appliedIndex);
  }

  /**
   * Serves the reads whose index is applied, up to LIMITS.regionReadBytesPerTurn: a small frame can ask for so much that a turn
   * would outlast an election time-out. Whoever does not wait any more is not answered. The applied batch must have been written.
   */
  serve(): void {
    this.release();
    if (!this.#queue.hasReady) return;
    const ready = this.#queue.takeReady();
    const nowMs = this.#env.clock.nowMs();
    let sizeBytes = 0;
    for (const [at, request] of ready.entries()) {
      if (nowMs >= request.deadlineMs) {
        this.#queue.settle(request);
        continue;
      }
      if (sizeBytes >= LIMITS.regionReadBytesPerTurn) {
        this.#queue.putBack(ready.slice(at));
        return;
      }
      if (!this.#stillServes(request)) continue;
      const response = this.#reader.answer(request);
      sizeBytes += answerBytes(response);
      // The loop may have stalled between the first look at the lease and now: look again after the read.
      if (request.mode === 'lease' && !this.#host.raft.hasLease(this.#env.clock.nowMs())) {
        this.#queue.regather(request);
        continue;
      }
      this.#queue.settle(request);
      this.#env.respond(request.origin, response);
    }
  }

  /** The region may have changed since the read was taken. */
  #stillServes(request: ReadRequest): boolean {
    try {
      checkEpoch(this.#state, request.epoch);
      checkPhase(this.#state);
      return true;
    } catch (error) {
      this.#fail([request], error);
      return false;
    }
  }

  /** Whoever was asked for a read index leads no more. */
  failUnconfirmed(): void {
    this.#fail(this.#queue.takeUnconfirmed(), this.#host.voice.notLeader());
  }

  /** The replica is closed: nobody is answered here any more. */
  close(): void {
    this.stopLeading();
    this.#fail(this.#queue.takeReady(), this.#host.voice.notLeader());
  }

  stopLeading(): void {
    this.#readIndexes.clear();
    this.failUnconfirmed();
  }

  #fail(requests: readonly ReadRequest[], error: unknown): void {
    for (const request of requests) {
      this.#queue.settle(request);
      this.#host.voice.fail(request.origin, request.requestId, error);
    }
  }
}
