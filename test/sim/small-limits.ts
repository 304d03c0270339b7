/**
 * Limits so small that a run of seconds meets them all the time. LIMITS is read where it is used, so that it can be
 * drawn like any other part of a configuration.
 */

import { LIMITS } from '../../rpc/wire/limits.ts';
import type { SimConfig } from './config.ts';
import type { Random } from './random.ts';

type Limits = { -readonly [K in keyof typeof LIMITS]: number };

const PRODUCTION: Readonly<Limits> = { ...LIMITS };

/** Sets the limits of a run; all runs of a process share them, so each run begins with this. */
export function setLimits({ smallLimits, shortLogs, electionTimeoutMs }: SimConfig, random: Random): void {
  const limits = LIMITS as unknown as Limits;
  Object.assign(limits, PRODUCTION);
  if (smallLimits) cutEverything(limits, random);
  if (shortLogs) cutLogs(limits, random.stream('logs'));
  // In the measure of a run: production's seconds outlast its faults.
  limits.snapshotResendMs = electionTimeoutMs / 2;
  limits.snapshotIdleMs = electionTimeoutMs * 4;
  limits.snapshotRetryMs = electionTimeoutMs / 4;
}

function cutLogs(limits: Limits, random: Random): void {
  // With one, each entry that cuts the log would be worth another.
  limits.logKeepEntries = random.pick([2, 4, 10]);
  limits.logForceEntries = limits.logKeepEntries * random.pick([2, 4, 8]);
  limits.logCatchUpEntries = limits.logForceEntries * 4;
  limits.logDeletesPerBatch = random.pick([1, 3, 100]);
}

function cutEverything(limits: Limits, random: Random): void {
  limits.appendBytes = random.pick([64, 200, 600]);
  limits.inflightAppends = random.pick([1, 2, 4]);
  limits.inflightAppendBytes = random.pick([200, 1_000, 4_000]);
  limits.uncommittedBytes = random.pick([500, 4_000]);
  limits.entryCacheBytes = random.pick([0, 100, 500]);
  limits.applyBytes = random.pick([1, 64, 600]);
  limits.laggingRunEntries = random.pick([1, 4, 16]);
  limits.laggingRunMs = random.pick([0, 30, 300]);
  limits.laggingBytesPerTurn = random.pick([1, 200, 2_000]);
  limits.laggingBytes = random.pick([100, 1_000, 10_000]);
  limits.framesPerTurn = random.pick([4, 8, 32]);
  limits.frameTargetBytes = random.pick([60, 200, 1_000]);
  // A command of one client's frame always fits an entry.
  limits.entryBytes = Math.max(250, limits.frameTargetBytes * 2.5);
  limits.scanPageEntries = random.pick([1, 2, 3]);
  limits.recordsPerPage = random.pick([1, 2, 5]);
  limits.readBytes = random.pick([4, 20]);
  limits.regionPendingProposals = random.pick([2, 8]);
  limits.regionPendingReads = random.pick([2, 8]);
  limits.logTermRuns = random.pick([1, 2, 4]);
  limits.inboxFrames = random.pick([8, 32, 200]);
  const snapshots = random.stream('snapshots');
  limits.snapshotChunkBytes = snapshots.pick([20, 100, 1_000]);
  limits.snapshotChunkEntries = snapshots.pick([1, 3, 20]);
  limits.snapshotWindowChunks = snapshots.pick([1, 2, 8]);
  limits.snapshotInstallBytesPerTurn = snapshots.pick([1, 50, 1_000]);
  limits.snapshotsSent = snapshots.pick([1, 2]);
  limits.snapshotsReceived = snapshots.pick([1, 2]);
}
