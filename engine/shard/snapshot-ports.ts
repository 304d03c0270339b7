/** What the traffic of snapshots needs from the shard around it. */

import type { mraft } from '../../rpc/wire/codec.ts';
import type { MraftError } from '../../rpc/wire/errors.ts';
import type { Region } from '../../rpc/wire/region.ts';
import type { BodyCodec } from '../region/snapshot-chunk.ts';
import type { Clock } from '../region/ports.ts';
import type { WriteSynced } from '../region/snapshot-install.ts';
import type { ReceivedHead } from '../region/snapshot-receiver.ts';
import type { Store } from '../store/port.ts';
import type { RegionRecord } from '../store/region-records.ts';

/** Of one worker. */
export interface SnapshotLimits {
  readonly bytesPerSecond: number;
  readonly sent: number;
  readonly received: number;
}

export interface SnapshotSurroundings {
  readonly store: Store;
  readonly clock: Clock;
  readonly codec: BodyCodec;
  readonly bootEpoch: number;
  /**
   * Snapshots are numbered from here. Drawn anew by each worker: one that is started again within the same boot, or has taken
   * a region over from another worker, must not give a second snapshot the name of a first, whose chunks may be staged.
   */
  readonly firstSnapshotId: number;
  readonly limits: SnapshotLimits;
  readonly stats: SnapshotStats;
  readonly writeSynced: WriteSynced;
  /** Sends to the worker of the region on another node; false: it was certainly lost. */
  send(nodeId: number, step: mraft.ISnapshotStep): boolean;
}

/** What a leader's snapshot is of, as of the end of a turn. */
export interface SnapshotOrder {
  readonly toNode: number;
  readonly toPeer: number;
  readonly record: RegionRecord;
  readonly message: mraft.IRaftMessage;
}

export interface SendingHost {
  /** Whether the region is led here and the peer still waits for a snapshot. */
  isAwaited(regionId: number, toPeer: number): boolean;
  /** Tells the core what became of it. */
  report(regionId: number, toPeer: number, arrived: boolean): void;
}

/** What a snapshot that is announced, or has come, is to this node. */
export type Admission = 'wanted' | 'needless' | MraftError;

export interface ReceivingHost {
  /** Whether the region's replica here, if there is one, lacks it, and may have it. */
  admit(head: ReceivedHead, fromNode: number): Admission;
  /** The replica has all that is in it: its core hears so. */
  acknowledge(head: ReceivedHead): void;
  /** The descriptor of the replica that is open now. */
  regionOf(regionId: number): Region | undefined;
  /** Whether the replica that is open now is the peer that the snapshot is for, and its log has the last entry of it. */
  keepsLog(head: ReceivedHead): boolean;
  /** The replica is closed where it stands. */
  close(regionId: number): void;
  /** The store holds the region as of the snapshot: its replica is opened. */
  open(record: RegionRecord, message: mraft.RaftMessage): void;
  readonly ranges: RangeClaims;
  onAnomaly(regionId: number, error: MraftError): void;
  onInstalled(installed: InstalledSnapshot): void;
}

/** What a snapshot brought and how long that took. */
export interface InstalledSnapshot {
  readonly regionId: number;
  readonly fromNode: number;
  readonly index: number;
  /** Of keys and values. */
  readonly sizeBytes: number;
  /** From its head to its last chunk, and from there to the open replica. */
  readonly transferMs: number;
  readonly installMs: number;
}

/** The node's ledger of ranges, as a worker asks it. */
export interface RangeClaims {
  /** Answers once, at once or later: whether the region may have its range here. */
  claim(record: RegionRecord, done: (isGranted: boolean) => void): void;
  release(regionId: number): void;
}

export interface SnapshotStats {
  snapshotsSent: number;
  snapshotsInstalled: number;
  /** On their way out, or in: given up. */
  snapshotsFailed: number;
  snapshotBytesSent: number;
  snapshotBytesReceived: number;
  snapshotChunksResent: number;
  /** Out of order, repeated, damaged, or of a snapshot that is not known: they changed nothing. */
  snapshotChunksRefused: number;
}

export function emptySnapshotStats(): SnapshotStats {
  return {
    snapshotsSent: 0,
    snapshotsInstalled: 0,
    snapshotsFailed: 0,
    snapshotBytesSent: 0,
    snapshotBytesReceived: 0,
    snapshotChunksResent: 0,
    snapshotChunksRefused: 0,
  };
}
