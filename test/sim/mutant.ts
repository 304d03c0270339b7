/** What a bug to be planted is. */

import type { ProfileChoice } from './batch.ts';

export interface Replacement {
  /** Below dist. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  readonly name: string;
  readonly replacements: readonly Replacement[];
  /** Where it is looked for. Default: mixed. */
  readonly profile?: ProfileChoice;
}
