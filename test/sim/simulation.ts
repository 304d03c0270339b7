/** One run: faults and work, then rest, then the questions that only the end answers. */

import { checkHistory } from '../linearizability/checker.ts';
import type { SimConfig } from './config.ts';
import { Nemesis } from './nemesis.ts';
import { hasLostQuorum, rest } from './rest.ts';
import type { Violation } from './violation.ts';
import { Workload } from './workload.ts';
import { World, type WorldOptions } from './world.ts';

/** States of one key that the checker of histories tries. */
const MAX_STATES = 200_000;

export interface SimResult {
  readonly config: SimConfig;
  readonly violation: Violation | undefined;
  readonly traceHash: string;
  readonly events: number;
  readonly turns: number;
  readonly virtualMs: number;
  readonly calls: number;
  readonly failedCalls: number;
  readonly crashes: number;
  readonly committed: number;
  /** Entries of logs that were replaced by another leader's. */
  readonly overwrites: number;
  /** The history was too wide to be decided. */
  readonly undecided: boolean;
  readonly faults: Readonly<Record<string, number>>;
  /** How changes of regions ended, by code. */
  readonly changes: Readonly<Record<string, number>>;
}

export async function simulate(config: SimConfig, options: WorldOptions = {}): Promise<SimResult> {
  const world = new World(config, options);
  const nemesis = new Nemesis(world);
  for (const node of world.nodes.slice(0, config.initialNodes)) node.start();
  const workload = new Workload(world);
  workload.start();
  nemesis.start();
  await world.run(config.durationMs);
  let undecided = false;
  if (!world.violation) {
    const well = nemesis.heal();
    world.trace(() => `the faults end; well: ${well.map((node) => node.nodeId).join(' ')}`);
    workload.stopped = true;
    await rest({ world, workload, well, meddler: nemesis.meddler, openMoves: () => nemesis.openMoves });
    if (!world.violation) await lookBack(world, workload);
    if (!world.violation) checkFrames(world);
    if (!world.violation) {
      const verdict = checkHistory(workload.history, { maxStates: MAX_STATES });
      if (verdict.result === 'violation') world.report('linearizability', `key ${verdict.key}: ${verdict.explanation}`);
      undecided = verdict.result === 'undecided';
    }
  }
  return {
    config,
    violation: world.violation,
    traceHash: world.traceHash,
    events: world.events,
    turns: world.turns,
    virtualMs: world.nowMs,
    calls: workload.calls,
    failedCalls: workload.failedCalls,
    crashes: world.crashes,
    committed: world.safety.committedCount,
    overwrites: world.safety.overwrites,
    undecided,
    faults: Object.fromEntries(nemesis.made),
    changes: Object.fromEntries([
      ...nemesis.meddler.outcomes,
      ...nemesis.administrator.outcomes,
      ...world.placementCheck.made,
    ]),
  };
}

/** A user who comes when all is well can read every key. */
async function lookBack(world: World, workload: Workload): Promise<void> {
  let answered: boolean | undefined;
  void workload.readAll().then((all) => (answered = all));
  await world.run(world.nowMs + workload.callTimeoutMs * 12, () => answered !== undefined);
  if (!answered && !world.currentRegions.some((region) => hasLostQuorum(world, region)))
    world.report('a well cluster answers', `not every key could be read: ${[...workload.errors.keys()].join(' ')}`);
  world.safety.checkTiling(world.currentRegions);
}

/** Nobody here is hostile, so nothing may have been taken for it. */
function checkFrames(world: World): void {
  for (const node of world.nodes) {
    for (const worker of node.process?.workers ?? []) {
      const { malformed, otherCluster, otherSender, otherPeer, tooManyNodes } = worker.shard.stats().dropped;
      // Where peers come and go, some frames are for those that were there before.
      const { membershipEvery, splitEvery, mergeEvery } = world.config.faults;
      const isChanging = world.config.placement || membershipEvery + splitEvery + mergeEvery > 0;
      const forOthers = isChanging ? 0 : otherPeer;
      const refused = malformed + otherCluster + otherSender + forOthers + tooManyNodes;
      if (refused > 0) world.report('no honest frame is refused', `node ${node.nodeId} dropped ${refused}`);
    }
  }
}
