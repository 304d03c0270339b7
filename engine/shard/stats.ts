/** What a shard counts since it was opened; sums over workers become the node's metrics. */

import { emptySnapshotStats, type SnapshotStats } from './snapshot-ports.ts';

export interface DroppedFrames {
  inboxFull: number;
  malformed: number;
  otherCluster: number;
  otherSender: number;
  otherPeer: number;
  notMember: number;
  olderBoot: number;
  otherIncarnation: number;
  tooManyNodes: number;
  unknownRegion: number;
  removedPeer: number;
  /** For a region whose snapshot is being put in its place. */
  installing: number;
}

export interface ShardStats extends SnapshotStats {
  turns: number;
  turnMs: number;
  persistMs: number;
  slowestPersistMs: number;
  applyMs: number;
  peerFramesReceived: number;
  requestFrames: number;
  requests: number;
  forwarded: number;
  transfers: number;
  /** Splits of regions that were led here, and merges into such. */
  splits: number;
  merges: number;
  /** How often a sleeping replica was woken, and nodes were taken for lost. */
  wakeUps: number;
  nodesLost: number;
  anomalies: number;
  /** Consistency checks that found a replica to differ from its leader. */
  differences: number;
  dropped: DroppedFrames;

  proposals: number;
  entriesProposed: number;
  entriesApplied: number;
  pointReads: number;
  scans: number;

  peerFramesSent: number;
  peerBytesSent: number;
  peerMessagesSent: number;
  peerFramesRefused: number;
  responses: number;
  errorResponses: number;

  storeWrites: number;
  storeSyncs: number;
  storeWrittenBytes: number;

  // As of now, not since the start.
  regions: number;
  /** Replicas that are ticked; the others sleep. */
  awake: number;
  leaders: number;
  /** Replicas whose region prepared to merge, and regions that a snapshot is being put in the place of. */
  merging: number;
  applying: number;
  /** On their way, out and in. */
  snapshotsSending: number;
  snapshotsReceiving: number;
  inboxFrames: number;
}

export function emptyShardStats(): ShardStats {
  return {
    turns: 0,
    turnMs: 0,
    persistMs: 0,
    slowestPersistMs: 0,
    applyMs: 0,
    peerFramesReceived: 0,
    requestFrames: 0,
    requests: 0,
    forwarded: 0,
    transfers: 0,
    splits: 0,
    merges: 0,
    wakeUps: 0,
    nodesLost: 0,
    anomalies: 0,
    differences: 0,
    ...emptySnapshotStats(),
    dropped: {
      inboxFull: 0,
      malformed: 0,
      otherCluster: 0,
      otherSender: 0,
      otherPeer: 0,
      notMember: 0,
      olderBoot: 0,
      otherIncarnation: 0,
      tooManyNodes: 0,
      unknownRegion: 0,
      removedPeer: 0,
      installing: 0,
    },
    proposals: 0,
    entriesProposed: 0,
    entriesApplied: 0,
    pointReads: 0,
    scans: 0,
    peerFramesSent: 0,
    peerBytesSent: 0,
    peerMessagesSent: 0,
    peerFramesRefused: 0,
    responses: 0,
    errorResponses: 0,
    storeWrites: 0,
    storeSyncs: 0,
    storeWrittenBytes: 0,
    regions: 0,
    awake: 0,
    leaders: 0,
    merging: 0,
    applying: 0,
    snapshotsSending: 0,
    snapshotsReceiving: 0,
    inboxFrames: 0,
  };
}
