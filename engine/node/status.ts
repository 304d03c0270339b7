/** What a node says of itself: the sums over its workers, and what only the node knows. */

import type { PlacementCounts } from '../placement/index.ts';
import { emptyShardStats, type ShardStats } from '../shard/stats.ts';

/** What placement counts, where it is led. */
export interface PlacementStatus extends PlacementCounts {
  /** Null: it is paused until it is resumed. 0: it runs. */
  readonly schedulers: readonly { readonly name: string; readonly pausedUntilMs: number | null }[];
}

export interface NodeStatus extends ShardStats {
  readonly nodeId: number;
  readonly cluster: string;
  readonly version: string;
  readonly bootEpoch: number;
  readonly uptimeMs: number;
  readonly workers: number;
  readonly workerRestarts: number;
  readonly slotsMoved: number;
  readonly leaderlessRegions: number;
  /** Regions that this node knows of, wherever they are. */
  readonly knownRegions: number;
  /** 1: placement is led here. */
  readonly placementLeads: number;
  /** Null: placement is not led here. */
  readonly placement: PlacementStatus | null;
}

/** Adds the counts of several workers; the slowest persist is that of the slowest. */
export function sumStats(parts: readonly ShardStats[]): ShardStats {
  const sum = emptyShardStats();
  for (const part of parts) {
    for (const [field, value] of Object.entries(part)) {
      if (typeof value !== 'number') continue;
      const numbers = sum as unknown as Record<string, number>;
      numbers[field] = field === 'slowestPersistMs' ? Math.max(numbers[field]!, value) : numbers[field]! + value;
    }
    for (const [reason, count] of Object.entries(part.dropped)) {
      sum.dropped[reason as keyof ShardStats['dropped']] += count;
    }
  }
  return sum;
}
