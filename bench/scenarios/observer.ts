/**
 * A replica without a vote on a node that has no other: made from a snapshot, taken away, made again. The region's voters stay
 * what they were, so nothing but the snapshot tells apart the time in which it is made.
 */

import type { LocalNode } from '../../tools/local-node.ts';
import { sleep } from '../generator.ts';
import { readInstalledSnapshots, type InstalledSnapshot } from './installed-snapshots.ts';
import type { OperatorJson, PlacementHand } from './placement-hand.ts';

const ASK_TIMEOUT_MS = 30_000;
const CHANGE_TIMEOUT_MS = 120_000;
const POLL_MS = 50;

export interface MadeObserver {
  readonly snapshot: InstalledSnapshot;
  /** From asking placement to the open replica. */
  readonly durationMs: number;
}

export class Observer {
  private readonly hand: PlacementHand;
  private readonly node: LocalNode;
  private readonly regionId: number;
  private readonly signal: AbortSignal;

  constructor(hand: PlacementHand, node: LocalNode, regionId: number, signal: AbortSignal) {
    this.hand = hand;
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

  private installed(): InstalledSnapshot[] {
    return readInstalledSnapshots(this.node.logPath, this.regionId);
  }

  private describe(): string {
    return `the observer of region ${this.regionId} on node ${this.node.id}`;
  }
}
