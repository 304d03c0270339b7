/** Regions that asked to be two get the ids for it. */

import { showMib } from '../operator-words.ts';
import type { Proposal } from '../operators.ts';
import type { Round } from '../round.ts';
import { isInside } from '../split-key.ts';

export function* split(round: Round): Generator<Proposal> {
  const { wishes, regions } = round.model;
  for (const [regionId, { reason, splitKey }] of wishes) {
    if (!round.mayStart('split')) return;
    const slot = regions.slotOf(regionId);
    const possible = slot !== undefined && !regions.isSystem(slot);
    if (!possible || (splitKey && !isInside(round.model, slot, splitKey))) {
      wishes.delete(regionId);
      continue;
    }
    if (!round.isReady(slot)) continue;
    const why =
      reason === 'size'
        ? `it has ${showMib(regions.sizeBytes[slot] as number)}`
        : `it serves ${Math.round(regions.rateOf(slot))} calls a second`;
    yield { regionId, origin: 'split', reason: why, change: { kind: 'split', ...(splitKey && { splitKey }) } };
  }
}
