/**
 * A replica without a vote on a node that has no other: made from a snapshot, taken away, made again. The region's voters stay
 * what they were, so nothing but the snapshot tells apart the time in which it is made.
 */

import type { Admin } from '../../tools/admin.ts';
import type { LocalNode } from '../../tools/local-node.ts';
import { sleep } from '../generator.ts';
import { readInstalledSnapshots, type InstalledSnapshot } from './installed-snapshots.ts';
import type { OperatorJson, PlacementHand } from './placement-hand.ts';

const ASK_TIMEOUT_MS = 30_000;
const CHANGE_TIMEOUT_MS = 120_000;
const POLL_MS = 50;
/** A snapshot of a small region does not take long. */
const UNDER_WAY_POLL_MS = 10;

export interface MadeObserver {
  readonly snapshot: InstalledSnapshot;
  /** From asking placement to the open replica. */
  readonly durationMs: number;
}

export interface ObserverPorts {
  readonly hand: PlacementHand;
  readonly admin: Admin;
  /** Of the whole cluster, `node` included. */
  readonly nodes: number;
  /** Has no other replica. */
  readonly node: LocalNode;
  readonly regionId: number;
  readonly signal: AbortSignal;
}

export class Observer {
  private readonly hand: PlacementHand;
  private readonly admin: Admin;
  private readonly nodes: number;
  private readonly node: LocalNode;
  private readonly regionId: number;
  private readonly signal: AbortSignal;

  constructor({ hand, admin, nodes, node, regionId, signal }: ObserverPorts) {
    this.hand = hand;
    this.admin = admin;
    this.nodes = nodes;
    this.node = node;
    this.regionId = regionId;
    this.signal = signal;
  }

  /** Ends when the snapshot is installed; what was written meanwhile is not waited for. @throws when none comes */
  async make(): Promise<MadeObserver> {
    const before = this.installed().length;
    const startedMs = performance.now();
    const request = { kind: 'addReplica', observer: true, regionId: this.regionId, nodeId: this.node.id };
    const { operatorId } = await this.hand.ask<OperatorJson>('operator.add', request, ASK_TIMEOUT_MS);
    const snapshot = await this.nextSnapshot(before);
    const durationMs = performance.now() - startedMs;
    // It waits until the replica has caught up, or has ended.
    await this.hand.ask('operator.cancel', { operatorId }, ASK_TIMEOUT_MS).catch(() => {});
    return { snapshot, durationMs };
  }

  /** Beside `make`: ends while a snapshot is under way, from its head to the open replica. @throws when none comes */
  async untilUnderWay(): Promise<void> {
    const deadlineMs = performance.now() + CHANGE_TIMEOUT_MS;
    for (;;) {
      // The answer takes its time: what the node received when it answered may be installed by now.
      const before = this.installed().length;
      if ((await this.isReceiving()) && this.installed().length === before) return;
      this.signal.throwIfAborted();
      if (performance.now() > deadlineMs) {
        throw new Error(`${this.describe()}: no snapshot was under way within ${CHANGE_TIMEOUT_MS} ms`);
      }
      await sleep(UNDER_WAY_POLL_MS, this.signal);
    }
  }

  /** @throws when the replica does not go */
  async remove(): Promise<void> {
    const request = { kind: 'removeReplica', regionId: this.regionId, nodeId: this.node.id };
    const { outcome, text } = await this.hand.change(request, CHANGE_TIMEOUT_MS);
    if (outcome !== 'done') throw new Error(`${this.describe()} does not go: ${outcome}, ${text}`);
  }

  private async nextSnapshot(before: number): Promise<InstalledSnapshot> {
    const deadlineMs = performance.now() + CHANGE_TIMEOUT_MS;
    for (;;) {
      const snapshot = this.installed()[before];
      if (snapshot) return snapshot;
      this.signal.throwIfAborted();
      if (performance.now() > deadlineMs) {
        throw new Error(`${this.describe()}: no snapshot was installed within ${CHANGE_TIMEOUT_MS} ms`);
      }
      await sleep(POLL_MS, this.signal);
    }
  }

  private async isReceiving(): Promise<boolean> {
    const statuses = await this.admin.nodes({ expected: this.nodes });
    const status = statuses.find(({ nodeId }) => nodeId === this.node.id);
    return Number(status?.['snapshotsReceiving'] ?? 0) > 0;
  }

  private installed(): InstalledSnapshot[] {
    return readInstalledSnapshots(this.node.logPath, this.regionId);
  }

  private describe(): string {
    return `the observer of region ${this.regionId} on node ${this.node.id}`;
  }
}
