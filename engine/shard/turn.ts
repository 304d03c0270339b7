/**
 * The second half of a turn: what the replicas want done is persisted, acknowledged, applied and answered, in that order.
 * A turn that meets a full disk waits where it stands, and goes on there when there is room.
 */

import { DiskFull } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Clock, TurnBatches } from '../region/ports.ts';
import type { Replica } from '../region/replica.ts';
import type { Fence } from '../store/fence.ts';
import type { Store, WriteBatch } from '../store/port.ts';
import type { Merges } from './merges.ts';
import type { Outbox } from './outbox.ts';
import type { ShardTransport } from './ports.ts';
import type { Replicas } from './replicas.ts';
import type { Responder } from './responder.ts';
import type { ShardStats } from './stats.ts';

/** What was collected and how far it came. It ends, or it waits for room on the disk. */
interface OpenTurn {
  readonly nowMs: number;
  readonly busy: readonly Replica[];
  readonly collected: readonly Replica[];
  readonly answers: (() => void)[];
  sync: boolean;
  stage: 'gather' | 'persist' | 'apply' | 'lag' | 'writeApplied';
  /** Of `collected`: how many have applied what they had. */
  applied: number;
}

export interface TurnParts {
  readonly store: Store;
  readonly fence: Fence | undefined;
  readonly clock: Clock;
  readonly replicas: Replicas;
  readonly outbox: Outbox;
  readonly responder: Responder;
  readonly transport: ShardTransport;
  readonly merges: Merges;
  readonly stats: ShardStats;
}

export class TurnEnd {
  readonly #parts: TurnParts;
  readonly #batches: TurnBatches & { appliedWrites: number };
  /** Followers had to wait with what they have to apply. */
  #runsAreLeft = false;
  #stalled: OpenTurn | undefined;

  constructor(parts: TurnParts) {
    this.#parts = parts;
    const { store } = parts;
    this.#batches = { durable: store.createBatch(), applied: store.createBatch(), appliedWrites: 0, written: [] };
  }

  /** Waiting for room on the disk. */
  get isStalled(): boolean {
    return this.#stalled !== undefined;
  }

  /** Whether another turn is needed though nobody asks for one. */
  get hasWork(): boolean {
    return this.#runsAreLeft;
  }

  /** A replica has entries to apply that do not come from its core. */
  noteLagging(replica: Replica): void {
    this.#parts.replicas.lagging.add(replica);
    this.#runsAreLeft = true;
  }

  /**
   * Ends a turn in which these replicas were busy.
   * @throws StorageFailure; DiskFull: `resume` it
   */
  run(nowMs: number, busy: readonly Replica[], collected: readonly Replica[]): void {
    const open: OpenTurn = { nowMs, busy, collected, answers: [], sync: false, stage: 'gather', applied: 0 };
    try {
      this.#complete(open);
    } catch (error) {
      if (error instanceof DiskFull) this.#stalled = open;
      throw error;
    }
  }

  /** Goes on where the disk was full. @throws as `run` */
  resume(): void {
    if (!this.#stalled) return;
    this.#complete(this.#stalled);
    this.#stalled = undefined;
  }

  /** Persists, applies and answers, from the stage that the turn has reached. */
  #complete(open: OpenTurn): void {
    const { replicas, outbox, responder, transport, merges } = this.#parts;
    const { durable, applied, written } = this.#batches;
    if (open.stage === 'gather') {
      for (const replica of open.collected) if (replica.persist(this.#batches)) open.sync = true;
      open.stage = 'persist';
    }
    if (open.stage === 'persist') {
      if (durable.count > 0) this.writeDurable(durable, open.sync);
      for (const replica of open.collected) replica.persisted();
      outbox.send();
      open.stage = 'apply';
    }
    if (open.stage === 'apply') {
      for (; open.applied < open.collected.length; open.applied++) {
        const replica = open.collected[open.applied]!;
        replica.apply(this.#batches, open.answers);
        if (replica.isLagging) replicas.lagging.add(replica);
      }
      // What is answered is committed: a crash before the write below only means that the log is replayed. No read of
      // this worker comes before that write.
      for (const answer of open.answers.splice(0)) answer();
      responder.send();
      transport.flush();
      open.stage = 'lag';
    }
    if (open.stage === 'lag') {
      this.#applyLagging(open);
      open.stage = 'writeApplied';
    }
    if (applied.count > 0) this.#writeApplied(applied);
    for (const tell of written.splice(0)) tell();
    for (const answer of open.answers.splice(0)) answer();
    merges.end();
    for (const replica of open.busy) {
      replica.serveReads();
      replicas.noteTurn(replica);
    }
    if (responder.send()) transport.flush();
  }

  /**
   * Followers apply behind everything that somebody waits for, so that acknowledgements are not late; in runs, because
   * one run of several entries costs less than several of one; and not much in a turn, so that no turn is long.
   */
  #applyLagging({ nowMs, answers }: OpenTurn): void {
    const { replicas } = this.#parts;
    this.#runsAreLeft = false;
    const waitMs = laggingWaitMs(replicas.lagging.size);
    let sizeBytes = 0;
    for (const replica of replicas.lagging) {
      if (!replica.isRunDue(nowMs, waitMs)) continue;
      if (sizeBytes >= LIMITS.laggingBytesPerTurn) {
        this.#runsAreLeft = true;
        return;
      }
      sizeBytes += replica.applyLagging(this.#batches, LIMITS.laggingBytesPerTurn - sizeBytes, answers);
      if (!replica.isLagging) replicas.lagging.delete(replica);
      replicas.noteBusy(replica);
    }
  }

  /** Writes what must be durable before anybody hears of it. @throws StorageFailure, DiskFull */
  writeDurable(batch: WriteBatch, sync: boolean): void {
    const { store, fence, clock, stats } = this.#parts;
    const startMs = clock.nowMs();
    if (sync) fence?.addMark(batch);
    store.write(batch, { sync });
    if (sync) fence?.pass();
    const tookMs = clock.nowMs() - startMs;
    stats.persistMs += tookMs;
    if (tookMs > stats.slowestPersistMs) stats.slowestPersistMs = tookMs;
  }

  #writeApplied(batch: WriteBatch): void {
    const { store, clock, stats } = this.#parts;
    const startMs = clock.nowMs();
    store.write(batch, { sync: false });
    this.#batches.appliedWrites++;
    stats.applyMs += clock.nowMs() - startMs;
  }
}

/** How long entries wait on a follower for others of their region, when so many regions of the worker have some. */
function laggingWaitMs(regions: number): number {
  return Math.min(Math.max(LIMITS.laggingRunMs, regions * LIMITS.laggingRunMsPerRegion), LIMITS.laggingRunMostMs);
}
