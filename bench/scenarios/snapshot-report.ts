/** The report of `mraft-bench snapshot` as text for people. */

import { formatTable } from '../../tools/commands/table.ts';
import { count, fixed } from '../report.ts';
import { median } from '../targets.ts';
import { codesText, errorsText, formatVerdicts } from './report.ts';
import type { SnapshotReport, SnapshotWindow, SpeedRound } from './snapshot.ts';
import { medianOf } from './verdict.ts';

const MEGABYTE = 1e6;

export function formatSnapshot(report: SnapshotReport): string {
  const { request, records, speed, windows } = report;
  const megabytes = fixed(request.sizeBytes / MEGABYTE, 0);
  return [
    `cluster    one region on 3 nodes, ${request.workers} worker each, and a fourth node that receives it; placement does only what it is told`,
    `region     ${count(records)} keys, ${request.valueBytes}-byte values, ${megabytes} MB`,
    ...(windows.length > 0
      ? [
          `load       ${count(request.concurrency)} callers, closed loop, puts with a deadline of ${request.timeoutMs} ms; errors: ${errorsText(report)}`,
        ]
      : []),
    '',
    ...(speed.length > 0 ? [formatTable([...speed.map(speedRow), medianSpeedRow(speed)])] : []),
    ...(windows.length > 0 ? [formatTable([...windows.map(windowRow), ...medianRows(windows)])] : []),
    formatVerdicts(report.verdicts),
  ].join('\n');
}

function speedRow(round: SpeedRound): Record<string, unknown> {
  const { transferMs, installMs, changeMs, copyMs, firstCopyMs } = round;
  return {
    round: round.round,
    'transfer s': fixed(transferMs / 1000),
    'install s': fixed(installMs / 1000),
    'change s': fixed(changeMs / 1000),
    'snapshot MB/s': fixed(round.snapshotBytesPerSecond / MEGABYTE, 1),
    'copy s': fixed(copyMs / 1000),
    'copy MB/s': fixed(round.copyBytesPerSecond / MEGABYTE, 1),
    'first copy s': fixed(firstCopyMs / 1000),
  };
}

function medianSpeedRow(rounds: readonly SpeedRound[]): Record<string, unknown> {
  const of = (figure: (round: SpeedRound) => number): number => median(rounds.map(figure)) ?? 0;
  return {
    ...speedRow({
      round: 0,
      transferMs: of((round) => round.transferMs),
      installMs: of((round) => round.installMs),
      changeMs: of((round) => round.changeMs),
      snapshotBytesPerSecond: of((round) => round.snapshotBytesPerSecond),
      copyMs: of((round) => round.copyMs),
      firstCopyMs: of((round) => round.firstCopyMs),
      copyBytesPerSecond: of((round) => round.copyBytesPerSecond),
    }),
    round: 'median',
  };
}

function windowRow({ round, kind, callsPerSecond, all, errors, snapshots }: SnapshotWindow): Record<string, unknown> {
  return {
    round,
    window: kind,
    'puts/s': count(callsPerSecond),
    'p50 ms': fixed(all.p50Ms),
    'p99 ms': fixed(all.p99Ms),
    'max ms': fixed(all.maxMs),
    errors: codesText(errors),
    snapshots: snapshots?.count,
    'under way': snapshots && `${fixed(snapshots.underWay * 100, 0)} %`,
    'MB/s': snapshots && fixed(snapshots.bytesPerSecond / MEGABYTE, 1),
  };
}

function medianRows(windows: readonly SnapshotWindow[]): Record<string, unknown>[] {
  return (['quiet', 'snapshot'] as const).map((kind) => ({
    round: 'median',
    window: kind,
    'puts/s': count(medianOf(windows, kind, (window) => window.callsPerSecond) ?? 0),
    'p50 ms': fixed(medianOf(windows, kind, (window) => window.all.p50Ms)),
    'p99 ms': fixed(medianOf(windows, kind, (window) => window.all.p99Ms)),
    'max ms': fixed(medianOf(windows, kind, (window) => window.all.maxMs)),
  }));
}
