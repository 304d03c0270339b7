/** What a replica says of itself. */

import type { Region } from '../../rpc/wire/region.ts';
import type { RaftStatus } from '../raft/index.ts';
import type { RegionRecord } from '../store/region-records.ts';

export interface ReplicaStatus {
  readonly region: Region;
  readonly phase: RegionRecord['phase'];
  readonly raft: RaftStatus;
  readonly leaderNodeId: number;
  readonly pendingProposals: number;
  readonly pendingReads: number;
  readonly sessions: number;
}

/** Counted since the worker was started, for all of its replicas together. */
export interface ReplicaStats {
  proposals: number;
  entriesProposed: number;
  entriesApplied: number;
  pointReads: number;
  scans: number;
}
