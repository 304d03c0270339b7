/** The snapshots that a node says in its log it has installed, and for how much of a window one was under way. */

import { readFileSync } from 'node:fs';

export interface InstalledSnapshot {
  readonly regionId: number;
  /** Of keys and values. */
  readonly sizeBytes: number;
  /** From its head to its last chunk, and from there to the open replica. */
  readonly transferMs: number;
  readonly installMs: number;
  /** Wall-clock time, as all nodes of one machine have it. */
  readonly installedAtMs: number;
}

const MESSAGE = 'a snapshot was installed';

/** Those of one region, in order. */
export function readInstalledSnapshots(logPath: string, regionId: number): InstalledSnapshot[] {
  return parseInstalledSnapshots(readFileSync(logPath, 'utf8')).filter((snapshot) => snapshot.regionId === regionId);
}

/** From the text of a node's log, a JSON object a line; a last line that is still being written is left out. */
export function parseInstalledSnapshots(log: string): InstalledSnapshot[] {
  return log
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.includes(MESSAGE))
    .map((line) => JSON.parse(line) as InstalledSnapshot & { readonly time: number; readonly msg: string })
    .filter(({ msg }) => msg === MESSAGE)
    .map(({ regionId, sizeBytes, transferMs, installMs, time }) => {
      return { regionId, sizeBytes, transferMs, installMs, installedAtMs: time };
    });
}

/** Those of them that were under way, between head and open replica, at some time in [fromMs, untilMs). */
export function underWayIn(
  snapshots: readonly InstalledSnapshot[],
  fromMs: number,
  untilMs: number,
): InstalledSnapshot[] {
  return snapshots.filter((snapshot) => underWayMs(snapshot, fromMs, untilMs) > 0);
}

/** Which part of [fromMs, untilMs) lay between some snapshot's head and its open replica. */
export function shareUnderWay(snapshots: readonly InstalledSnapshot[], fromMs: number, untilMs: number): number {
  // One after the other: one replica receives them.
  const coveredMs = snapshots.reduce((total, snapshot) => total + underWayMs(snapshot, fromMs, untilMs), 0);
  return coveredMs / (untilMs - fromMs);
}

function underWayMs(
  { transferMs, installMs, installedAtMs }: InstalledSnapshot,
  fromMs: number,
  untilMs: number,
): number {
  const beganMs = installedAtMs - installMs - transferMs;
  return Math.max(0, Math.min(untilMs, installedAtMs) - Math.max(fromMs, beganMs));
}
