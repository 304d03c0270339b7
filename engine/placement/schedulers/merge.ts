/**
 * Small, cold neighbours become one. The smaller is merged into the other; its replicas are first moved to the nodes of
 * the other, which the operator does in its steps.
 */

import { showMib } from '../operator-words.ts';
import type { Proposal } from '../operators.ts';
import type { Round } from '../round.ts';

export function* merge(round: Round): Generator<Proposal> {
  const { settings, model } = round;
  if (settings.mergeSizeBytes === 0) return;
  for (const slot of round.patrolled) {
    if (!round.mayStart('merge')) return;
    if (model.userRegions - round.runningMerges <= settings.minimumRegions) return;
    if (!model.regions.isTaken(slot) || !isSmall(round, slot) || !isQuiet(round, slot)) continue;
    const target = chooseNeighbour(round, slot);
    if (target === undefined || !round.maySend(slot)) continue;
    const { regionId, sizeBytes } = model.regions;
    const targetRegionId = regionId[target] as number;
    yield {
      regionId: regionId[slot] as number,
      origin: 'merge',
      reason: `it has ${showMib(sizeBytes[slot] as number)} and its neighbour ${showMib(sizeBytes[target] as number)}, and both are cold`,
      change: { kind: 'merge', targetRegionId },
    };
  }
}

function isSmall({ model, settings }: Round, slot: number): boolean {
  return (model.regions.sizeBytes[slot] as number) < settings.mergeSizeBytes;
}

/** Sound, cold, and long enough as it is. */
function isQuiet(round: Round, slot: number): boolean {
  const { regions } = round.model;
  const { coldPerSecond, mergeAfterMs } = round.settings;
  return (
    !regions.isSystem(slot) &&
    regions.rateOf(slot) < coldPerSecond &&
    round.nowMs - (regions.changedMs[slot] as number) >= mergeAfterMs &&
    round.isSound(slot)
  );
}

/** The smaller of those that can take it and will not have to be split again. */
function chooseNeighbour(round: Round, slot: number): number | undefined {
  const { model, settings } = round;
  const { sizeBytes } = model.regions;
  const fits = (other: number | undefined): other is number =>
    other !== undefined &&
    isQuiet(round, other) &&
    (sizeBytes[slot] as number) <= (sizeBytes[other] as number) &&
    (sizeBytes[slot] as number) + (sizeBytes[other] as number) <= settings.splitSizeBytes / 2 &&
    isAllUp(round, other);
  const left = model.before(slot);
  const right = model.after(slot);
  if (!fits(right)) return fits(left) ? left : undefined;
  return fits(left) && (sizeBytes[left] as number) < (sizeBytes[right] as number) ? left : right;
}

/** Its nodes may be given replicas. */
function isAllUp({ model }: Round, slot: number): boolean {
  const { regions, nodes } = model;
  for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
    if (nodes.at(regions.nodeOf(at)).state !== 'up') return false;
  }
  return true;
}
