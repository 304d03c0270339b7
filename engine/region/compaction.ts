/**
 * Where a leader cuts its log. Two lengths decide: a log above the first is cut behind what every peer has, dead ones
 * included, because a peer that is restarted should find its place again; a log above the second is cut also where that
 * leaves slow or dead peers without what they lack, and they get a snapshot. Never behind a snapshot that is under way, and
 * not behind a peer that has got one and catches up, before the log has a third length: what follows a snapshot must be there when it
 * has arrived.
 */

import { LIMITS } from '../../rpc/wire/limits.ts';
import type { ProgressStatus } from '../raft/index.ts';
import { lastIndexOf, type CatchUp } from './catch-up.ts';

export interface LogExtent {
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** Data of its entries. */
  readonly sizeBytes: number;
  /** Up to here entries may go. */
  readonly appliedIndex: number;
}

export interface CompactionLimits {
  readonly keepEntries: number;
  readonly keepBytes: number;
  readonly forceEntries: number;
  readonly forceBytes: number;
  readonly catchUpEntries: number;
  readonly catchUpBytes: number;
}

export const COMPACTION_LIMITS: CompactionLimits = {
  get keepEntries() {
    return LIMITS.logKeepEntries;
  },
  get keepBytes() {
    return LIMITS.logKeepBytes;
  },
  get forceEntries() {
    return LIMITS.logForceEntries;
  },
  get forceBytes() {
    return LIMITS.logForceBytes;
  },
  get catchUpEntries() {
    return LIMITS.logCatchUpEntries;
  },
  get catchUpBytes() {
    return LIMITS.logCatchUpBytes;
  },
};

/** Whether the log is long enough for `compactionIndex` to be asked: cheap, for every turn. */
export function isWorthCompacting(
  { firstIndex, lastIndex, sizeBytes }: Omit<LogExtent, 'appliedIndex'>,
  limits: CompactionLimits = COMPACTION_LIMITS,
): boolean {
  return lastIndex - firstIndex + 1 >= 2 * limits.keepEntries || sizeBytes >= 2 * limits.keepBytes;
}

/**
 * The last entry that the log can do without; undefined: none, or too few to be worth an entry of their own.
 * @param catchUp hears of the peers first, each time
 */
export function compactionIndex(
  log: LogExtent,
  progress: readonly ProgressStatus[],
  catchUp: CatchUp,
  limits: CompactionLimits = COMPACTION_LIMITS,
): number | undefined {
  const entries = log.lastIndex - log.firstIndex + 1;
  if (!isWorthCompacting(log, limits)) return undefined;
  catchUp.note(progress, log.firstIndex, (peer) => keepsUp(peer, log, entries));
  const forced = entries >= limits.forceEntries || log.sizeBytes >= limits.forceBytes;
  const waits = entries < limits.catchUpEntries && log.sizeBytes < limits.catchUpBytes;
  let index = log.appliedIndex;
  for (const peer of progress) {
    if (peer.state === 'snapshot') index = Math.min(index, peer.pendingSnapshot);
    else if (!forced || keepsUp(peer, log, entries)) index = Math.min(index, peer.match);
    else if (waits && catchUp.has(peer)) index = Math.min(index, lastIndexOf(peer));
  }
  const gained = index - log.firstIndex + 1;
  // It costs an entry itself, and would never end where it gained no more than that.
  return gained >= Math.max(2, Math.min(limits.keepEntries, entries / 4)) ? index : undefined;
}

/** When the question is worth asking again: a log that could not be cut, or was a moment ago, must have grown. */
export class CompactionPace {
  #asked: LogExtent | undefined;

  isDue(log: LogExtent, limits: CompactionLimits = COMPACTION_LIMITS): boolean {
    const before = this.#asked;
    const hasGrown =
      before === undefined ||
      log.lastIndex - before.lastIndex >= limits.keepEntries / 4 ||
      log.sizeBytes - before.sizeBytes >= limits.keepBytes / 4 ||
      log.sizeBytes < before.sizeBytes;
    if (hasGrown) this.#asked = log;
    return hasGrown;
  }
}

/** Whether the peer is there, and less than half of a log that is too long ahead of it. */
function keepsUp(peer: ProgressStatus, log: LogExtent, entries: number): boolean {
  return peer.recentlyActive && peer.match >= log.lastIndex - entries / 2;
}
