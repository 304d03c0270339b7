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

const PLACEMENT: readonly Mutant[] = [
  mutant(
    'placement',
    'placement writes without comparing',
    'engine/node/placement-store.js',
    'const seen = this.#seen.get(key);',
    'const seen = text(await this.#kv.get(PREFIX + key, { timeoutMs: TIMEOUT_MS }));',
  ),
  mutant(
    'placement',
    'placement does not keep which ids it has given',
    'engine/placement/placement.js',
    'if (this.ids.durableBound !== bound)\n            this.keepIds();',
    '',
  ),
  mutant(
    'placement',
    'placement takes a node back that has lost its data',
    'engine/placement/roster.js',
    'if (node.incarnation !== incarnation) {',
    'if (false) {',
  ),
  mutant(
    'placement',
    'whoever leads region 1 no more goes on placing',
    'engine/node/placement-host.js',
    'this.#turn++;\n        this.#letGo();',
    'this.#turn++;',
  ),
  mutant(
    'changes',
    'a change is carried out without comparing the epoch',
    'engine/region/replica.js',
    'checkEpoch(this.state, epoch);\n            const result = this.#proposeChange(change, nowMs);',
    'const result = this.#proposeChange(change, nowMs);',
  ),
];

const MERGES: readonly Mutant[] = [
  mutant(
    'regions',
    'a merge is rolled back without proof',
    'engine/node/merge-driver.js',
    "if (!verdicts.includes('movedOn'))\n            return false;",
    '',
  ),
  mutant(
    'regions',
    'a merge is given up after one attempt',
    'engine/node/merge-driver.js',
    'const isDoubtful = ',
    'return; const isDoubtful = ',
  ),
];

export const NODE_MUTANTS: readonly Mutant[] = [...SLOTS, ...MERGES, ...PLACEMENT];
