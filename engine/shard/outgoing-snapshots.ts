/**
 * The snapshots that one worker sends. Between two turns each is asked for a chunk, in turn; what may leave is bounded by
 * the rate of the node, by the window of each snapshot, and by how much one turn reads.
 */

import type { mraft } from '../../rpc/wire/codec.ts';
import { fromWireError, toWireError } from '../../rpc/wire/error-codec.ts';
import { SnapshotRefused } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { SnapshotSender } from '../region/snapshot-sender.ts';
import { SnapshotSource } from '../region/snapshot-source.ts';
import { ByteBudget } from './byte-budget.ts';
import type { SendingHost, SnapshotOrder, SnapshotSurroundings } from './snapshot-ports.ts';

interface Outgoing {
  readonly regionId: number;
  readonly toNode: number;
  readonly toPeer: number;
  readonly sender: SnapshotSender;
}

/** A peer is in the core's snapshot state until then, so that a failure is not tried again at once. */
interface LateReport {
  readonly regionId: number;
  readonly toPeer: number;
  readonly dueMs: number;
}

export class OutgoingSnapshots {
  readonly #around: SnapshotSurroundings;
  readonly #host: SendingHost;
  readonly #budget: ByteBudget;
  /** Beside it, while this worker replicates a lot. */
  readonly #busyBudget: ByteBudget;
  #isBusy = false;
  /** By number; the one that is asked first is the one that waits longest. */
  readonly #sending = new Map<number, Outgoing>();
  #late: LateReport[] = [];
  #nextId: number;
  /** The connection or the rate takes no more before the next tick. */
  #isHeldUp = false;

  constructor(around: SnapshotSurroundings, host: SendingHost) {
    this.#around = around;
    this.#host = host;
    this.#nextId = around.firstSnapshotId;
    const nowMs = around.clock.nowMs();
    const { bytesPerSecond } = around.limits;
    this.#budget = new ByteBudget(bytesPerSecond, nowMs);
    this.#busyBudget = new ByteBudget(bytesPerSecond * LIMITS.snapshotBusyShare, nowMs);
  }

  get count(): number {
    return this.#sending.size;
  }

  /** At the end of a turn: everything that is applied is written. */
  start(order: SnapshotOrder, nowMs: number): void {
    const { toNode, toPeer, record, message } = order;
    const { regionId } = record.region;
    for (const other of this.#sending.values()) {
      if (other.regionId === regionId && other.toPeer === toPeer) this.#cancel(other, nowMs);
    }
    if (this.#sending.size >= this.#around.limits.sent) {
      this.#late.push({ regionId, toPeer, dueMs: nowMs + LIMITS.snapshotRetryMs });
      return;
    }
    const { store, codec } = this.#around;
    const snapshotId = this.#nextId++;
    const sender = new SnapshotSender(snapshotId, new SnapshotSource(store, record, message), codec, nowMs);
    this.#sending.set(snapshotId, { regionId, toNode, toPeer, sender });
  }

  /** What the receiver says. Others' words, and those to an earlier start of this node, are nothing. */
  onStep(step: mraft.SnapshotStep, fromNode: number, nowMs: number): void {
    const outgoing = this.#sending.get(step.snapshotId);
    if (!outgoing || outgoing.toNode !== fromNode || outgoing.regionId !== step.regionId) return;
    if (step.sourceBoot !== this.#around.bootEpoch) return;
    const { ack, abort } = step;
    if (abort) outgoing.sender.fail(fromWireError(abort));
    else if (ack)
      outgoing.sender.onAck({ next: ack.next ?? 0, resend: ack.resend ?? false, stage: ack.stage ?? 0 }, nowMs);
    this.#settle(outgoing, nowMs);
  }

  /** The node was started again: what it had received is gone. */
  onNodeStarted(nodeId: number, nowMs: number): void {
    for (const outgoing of this.#sending.values()) {
      if (outgoing.toNode !== nodeId) continue;
      outgoing.sender.fail(new SnapshotRefused(`node ${nodeId} was started again`));
      this.#settle(outgoing, nowMs);
    }
  }

  /** Of each snapshot. */
  get #window(): number {
    return Math.max(1, Math.floor(LIMITS.snapshotWindowChunks / this.#sending.size));
  }

  /** Whether a turn would send or read something. */
  get hasWork(): boolean {
    if (this.#isHeldUp) return false;
    const window = this.#window;
    for (const { sender } of this.#sending.values()) if (sender.wantsRead(window) || sender.peek()) return true;
    return false;
  }

  /** Between two turns: reads at most one chunk of each, and sends what is ready. */
  pump(nowMs: number): void {
    if (this.#sending.size === 0 || this.#isHeldUp) return;
    for (const outgoing of [...this.#sending.values()]) {
      if (!this.#budget.isOpen(nowMs) || (this.#isBusy && !this.#busyBudget.isOpen(nowMs))) this.#isHeldUp = true;
      if (this.#isHeldUp) return;
      const sizeBytes = outgoing.sender.read(this.#window);
      this.#budget.spend(sizeBytes);
      if (this.#isBusy) this.#busyBudget.spend(sizeBytes);
      this.#sendReady(outgoing, nowMs);
      // The next turn begins with another.
      this.#sending.delete(outgoing.sender.snapshotId);
      this.#sending.set(outgoing.sender.snapshotId, outgoing);
    }
  }

  #sendReady(outgoing: Outgoing, nowMs: number): void {
    const { sender } = outgoing;
    for (let chunk = sender.peek(); chunk; chunk = sender.peek()) {
      if (!this.#around.send(outgoing.toNode, { ...this.#name(outgoing), chunk })) {
        this.#isHeldUp = true;
        return;
      }
      sender.sent(nowMs);
      this.#around.stats.snapshotBytesSent += chunk.body.length;
    }
  }

  /** `isBusy`: this worker replicates a lot. */
  tick(nowMs: number, isBusy: boolean): void {
    this.#isHeldUp = false;
    this.#isBusy = isBusy;
    for (const outgoing of [...this.#sending.values()]) {
      if (!this.#host.isAwaited(outgoing.regionId, outgoing.toPeer)) this.#cancel(outgoing, nowMs);
      else outgoing.sender.tick(nowMs);
      this.#settle(outgoing, nowMs);
    }
    if (this.#late.length === 0) return;
    const due = this.#late.filter(({ dueMs }) => dueMs <= nowMs);
    this.#late = this.#late.filter(({ dueMs }) => dueMs > nowMs);
    for (const { regionId, toPeer } of due) this.#host.report(regionId, toPeer, false);
  }

  #cancel(outgoing: Outgoing, nowMs: number): void {
    outgoing.sender.abandon();
    this.#settle(outgoing, nowMs);
  }

  #settle(outgoing: Outgoing, nowMs: number): void {
    const { regionId, toPeer, toNode, sender } = outgoing;
    const { outcome, snapshotId } = sender;
    if (outcome === undefined || !this.#sending.delete(snapshotId)) return;
    const { stats } = this.#around;
    stats.snapshotChunksResent += sender.resent;
    if (outcome === 'installed') {
      stats.snapshotsSent++;
      this.#host.report(regionId, toPeer, true);
      return;
    }
    stats.snapshotsFailed++;
    this.#around.send(toNode, { ...this.#name(outgoing), cancel: toWireError(outcome) });
    this.#late.push({ regionId, toPeer, dueMs: nowMs + LIMITS.snapshotRetryMs });
  }

  #name({ regionId, sender }: Outgoing): mraft.ISnapshotStep {
    return { regionId, snapshotId: sender.snapshotId, sourceBoot: this.#around.bootEpoch };
  }

  /** The worker stops. */
  close(): void {
    for (const { sender } of this.#sending.values()) sender.abandon();
    this.#sending.clear();
  }
}
