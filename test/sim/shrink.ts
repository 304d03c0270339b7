/**
 * Makes a failing run smaller: without some fault, with fewer clients, nodes, regions or operations, in less time. What
 * still fails by the same check is kept and made smaller again. Another configuration draws other chances, so each is
 * tried under a few seeds.
 */

import { faultsOf, type SimConfig } from './config.ts';
import type { Violation } from './violation.ts';

const SEEDS_PER_CANDIDATE = 4;

export interface ShrinkOptions {
  /** Of real time. */
  readonly budgetMs: number;
  readonly nowMs: () => number;
  readonly run: (config: SimConfig) => Promise<Violation | undefined>;
  readonly onSmaller?: (config: SimConfig) => void;
}

/** The smallest configuration found that fails by `check`; the given one if none smaller does. */
export async function shrink(config: SimConfig, check: string, options: ShrinkOptions): Promise<SimConfig> {
  const endMs = options.nowMs() + options.budgetMs;
  let smallest = config;
  for (;;) {
    const smaller = await firstThatFails(smallest, check, options, endMs);
    if (!smaller) return smallest;
    smallest = smaller;
    options.onSmaller?.(smallest);
  }
}

async function firstThatFails(
  config: SimConfig,
  check: string,
  { nowMs, run }: ShrinkOptions,
  endMs: number,
): Promise<SimConfig | undefined> {
  for (const candidate of smallerOnes(config)) {
    for (let i = 0; i < SEEDS_PER_CANDIDATE; i++) {
      if (nowMs() > endMs) return undefined;
      const seeded: SimConfig = { ...candidate, profile: 'given', seed: config.seed + i };
      if ((await run(seeded))?.check === check) return seeded;
    }
  }
  return undefined;
}

/** The boldest first. */
function* smallerOnes(config: SimConfig): Generator<SimConfig> {
  const { faults } = config;
  const on = faultsOf(config);
  for (const half of on.length > 3 ? [on.slice(0, on.length >> 1), on.slice(on.length >> 1)] : []) {
    yield { ...config, faults: { ...faults, ...Object.fromEntries(half.map((fault) => [fault, 0])) } };
  }
  for (const fault of on) yield { ...config, faults: { ...faults, [fault]: 0 } };
  if (config.regions > 1) yield { ...config, regions: 1 };
  if (config.workers > 1) yield { ...config, workers: 1 };
  if (config.nodes > 3) yield { ...config, nodes: 3, initialNodes: 3, replicas: 3 };
  if (config.nodes > 1 && config.nodes <= 3 && !config.placement) {
    const nodes = config.nodes - 1;
    yield { ...config, nodes, initialNodes: nodes, replicas: nodes };
  }
  if (config.clients > 1) {
    yield { ...config, clients: 1 };
    yield { ...config, clients: config.clients - 1 };
  }
  if (config.callsAtOnce > 1) yield { ...config, callsAtOnce: 1 };
  if (config.keysPerRegion > 1) yield { ...config, keysPerRegion: 1 };
  if (config.operations > 5) yield { ...config, operations: Math.floor(config.operations / 2) };
  if (config.durationMs > 200) yield { ...config, durationMs: Math.floor(config.durationMs * 0.6) };
  if (config.regions > 2) yield { ...config, regions: config.regions - 1 };
  if (config.paddingBytes > 0) yield { ...config, paddingBytes: 0 };
  if (config.clockSpread > 0) yield { ...config, clockSpread: 0 };
  if (config.hibernateAfterMs > 0) yield { ...config, hibernateAfterMs: 0 };
  if (config.shortLogs) yield { ...config, shortLogs: false };
  if (config.smallLimits) yield { ...config, smallLimits: false };
  if (config.healMajorityOnly) yield { ...config, healMajorityOnly: false };
  if (config.leaseReads > 0) yield { ...config, leaseReads: 0 };
}
