/** The module hooks behind mutant-loader.ts. */

import type { InitializeHook, LoadHook } from 'node:module';
import type { Mutant } from './mutant.ts';
import { filesOf, MUTANTS, mutate } from './mutants.ts';

let planted: Mutant | undefined;

export const initialize: InitializeHook<string> = (name) => {
  planted = MUTANTS.find((mutant) => mutant.name === name);
  if (!planted) throw new Error(`there is no mutant '${name}'`);
};

export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context);
  const file = planted && filesOf(planted).find((name) => url.endsWith(`/${name}`));
  if (!planted || !file || !loaded.source) return loaded;
  return { ...loaded, source: mutate(planted, file, Buffer.from(loaded.source as Uint8Array).toString()) };
};
