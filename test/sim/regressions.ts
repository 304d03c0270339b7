/** Runs that failed once and are run again ever since. */

import { readFileSync } from 'node:fs';
import { NO_FAULTS, type SimConfig } from './config.ts';

export interface Regression {
  /** The hazard, in words. */
  readonly name: string;
  readonly config: SimConfig;
}

/** From the folder of the sources: the build copies no JSON. */
export function loadRegressions(): Regression[] {
  const file = new URL('../../../test/sim/regressions.json', import.meta.url);
  const pinned = JSON.parse(readFileSync(file, 'utf8')) as Regression[];
  // What was invented since is off in an old configuration.
  return pinned.map(({ name, config }) => ({
    name,
    config: {
      ...config,
      initialNodes: config.initialNodes ?? config.nodes,
      placement: config.placement ?? false,
      paddingBytes: config.paddingBytes ?? 0,
      shortLogs: config.shortLogs ?? false,
      hibernateAfterMs: config.hibernateAfterMs ?? 0,
      faults: { ...NO_FAULTS, ...config.faults },
    },
  }));
}
