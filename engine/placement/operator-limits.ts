/** How much may run at once and begin per second: in the cluster, of a kind, and on a node. */

import type { PlacementNode } from './node-table.ts';
import type { PlacementSettings } from './settings.ts';
import type { OperatorKind } from './types.ts';

/** Tokens that come at a rate and are saved up to one second's worth (at least one). */
class TokenBucket {
  private tokens: number | undefined;
  private filledMs = 0;

  has(ratePerSecond: number, nowMs: number): boolean {
    const most = Math.max(1, ratePerSecond);
    const grown = (this.tokens ?? most) + ((nowMs - this.filledMs) * ratePerSecond) / 1000;
    this.tokens = this.tokens === undefined ? most : Math.min(most, grown);
    this.filledMs = nowMs;
    return this.tokens >= 1;
  }

  take(): void {
    this.tokens = (this.tokens ?? 1) - 1;
  }
}

export class OperatorLimits {
  private readonly running: Record<OperatorKind, number> = { leader: 0, replica: 0, split: 0, merge: 0 };
  private readonly starts = new TokenBucket();
  /** By slot of the receiving node. */
  private readonly replicaStarts: TokenBucket[] = [];

  get total(): number {
    const { leader, replica, split, merge } = this.running;
    return leader + replica + split + merge;
  }

  runningOf(kind: OperatorKind): number {
    return this.running[kind];
  }

  mayStart(kind: OperatorKind, settings: PlacementSettings, nowMs: number): boolean {
    const most = {
      leader: settings.leaderOperators,
      replica: settings.replicaOperators,
      split: settings.splitOperators,
      merge: settings.mergeOperators,
    };
    return (
      this.running[kind] < most[kind] &&
      this.total < settings.operatorsPerCluster &&
      this.starts.has(settings.startsPerSecond, nowMs)
    );
  }

  /** Whether the node may be given one more replica. */
  mayReceive(node: PlacementNode, settings: PlacementSettings, nowMs: number): boolean {
    return (
      node.pending.incoming < settings.incomingPerNode &&
      this.bucketOf(node).has(settings.replicaStartsPerNodePerSecond, nowMs)
    );
  }

  maySend(node: PlacementNode, settings: PlacementSettings): boolean {
    return node.pending.outgoing < settings.outgoingPerNode;
  }

  mayTransfer(node: PlacementNode, settings: PlacementSettings): boolean {
    return node.pending.transfers < settings.transfersPerNode;
  }

  started(kind: OperatorKind): void {
    this.running[kind] += 1;
    this.starts.take();
  }

  received(node: PlacementNode): void {
    this.bucketOf(node).take();
  }

  ended(kind: OperatorKind): void {
    this.running[kind] -= 1;
  }

  private bucketOf(node: PlacementNode): TokenBucket {
    return (this.replicaStarts[node.slot] ??= new TokenBucket());
  }
}
