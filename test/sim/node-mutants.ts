/** Bugs to be planted into what a node does beside its replicas: slots that move between its workers, placement. */

import type { ProfileChoice } from './batch.ts';
import type { Mutant } from './mutant.ts';

function mutant(profile: ProfileChoice, name: string, file: string, find: string, replace: string): Mutant {
  return { name, replacements: [{ file, find, replace }], profile };
}

const SLOTS: readonly Mutant[] = [
  mutant(
    'regions',
    'a slot is opened at its new worker before the old one has closed it',
    'engine/shard/worker-slots.js',
    'for (const { regionId } of released)\n            close(regionId);',
    '',
  ),
  mutant(
    'regions',
    'a slot is let go of while a snapshot or a merge is under way',
    'engine/shard/worker-slots.js',
    'if (going.some(isHeld) || isUnderWay(isOfSlot))\n            return undefined;',
    '',
  ),
  mutant(
    'regions',
    'a slot is given away before its worker has let go of it',
    'engine/shard/slot-moves.js',
    'this.#moves.set(slot, { from, to, done });',
    'this.#moves.set(slot, { from, to, done }); this.#table.move(slot, to);',
  ),
  mutant(
    'regions',
    'a worker that starts again has the slots that were moved away from it',
    'engine/shard/shard-host.js',
    'slots: new SlotTable(config.workers, movedSlots),',
    'slots: new SlotTable(config.workers),',
  ),
];

export const NODE_MUTANTS: readonly Mutant[] = [...SLOTS];
