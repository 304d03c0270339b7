/** Regions split by hand under load: what the callers feel of it, how fast it goes, and whether every key still has a place. */

import { untilLeadersAreSpread } from '../mraft/leaders.ts';
import { latencyHistogram, recordLatency, summarise, type LatencySummary } from '../recorder.ts';
import { sleep } from '../generator.ts';
import { PlacementHand } from './placement-hand.ts';
import { putLoad } from './put-load.ts';
import { SplitPlan } from './split-plan.ts';
import { onStage, type ScenarioHooks, type Stage } from './stage.ts';
import type { SteadyLoad, WindowReport } from './steady-load.ts';
import { checkTiling, type TiledRegion, type Tiling } from './tiling.ts';
import { perRound, ratioOfMedians, sumOf, verdict, type ScenarioVerdict } from './verdict.ts';

export interface SplitRequest {
  readonly regions: number;
  readonly workers: number;
  readonly records: number;
  readonly valueBytes: number;
  readonly seed: number;
  /** Callers of a closed loop of puts; 0: no load. */
  readonly concurrency: number;
  /** The deadline of each put. */
  readonly timeoutMs: number;
  readonly warmupMs: number;
  /** Of each window. */
  readonly durationMs: number;
  readonly rounds: number;
  /** Between two splits. */
  readonly pauseMs: number;
  /** So many splits in a row in place of windows. */
  readonly splits: number | undefined;
}

export interface SplitCounts {
  readonly done: number;
  /** Of those that did not come to that, by how they ended. */
  readonly failed: Readonly<Record<string, number>>;
  readonly durationMs: number;
  readonly perSecond: number;
  /** From asking to placement's word that it is done. */
  readonly latency: LatencySummary;
}

export interface SplitWindow extends WindowReport {
  readonly round: number;
  readonly kind: 'quiet' | 'splitting';
  /** Undefined in a quiet window. */
  readonly splits: SplitCounts | undefined;
}

/** Also the shape of `split --json`. */
export interface SplitReport {
  readonly request: SplitRequest;
  readonly windows: readonly SplitWindow[];
  /** Of the splits in a row. */
  readonly series: SplitCounts | undefined;
  readonly calls: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly errorMessages: Readonly<Record<string, string>>;
  readonly abandoned: number;
  readonly regionsBefore: number;
  /** Whether placement had spread the leaders of the fresh cluster before the load began. */
  readonly leadersWereEven: boolean;
  /** As placement knows the regions at the end, and as a node tells clients. */
  readonly placementTiling: Tiling;
  readonly routesTiling: Tiling;
  /** Regions whose first key was written and read at the end. */
  readonly served: number;
  readonly verdicts: readonly ScenarioVerdict[];
  /** The key space is tiled, every region has a leader, and each of them serves. */
  readonly isSound: boolean;
}

const NODES = 3;
const SPLIT_TIMEOUT_MS = 30_000;
const ASK_TIMEOUT_MS = 30_000;
/** After splitting, before it is quiet again. */
const SETTLE_MS = 1_000;
/** How long the last splits may take to be known everywhere. */
const TILING_TIMEOUT_MS = 60_000;
const TILING_POLL_MS = 250;
const SERVE_TIMEOUT_MS = 20_000;
const SERVE_AT_ONCE = 64;
/** As many refusals in a row mean that something is wrong, not late. */
const MOST_FAILURES = 50;
/** They would change the number of regions by themselves. */
const PAUSED = ['split', 'merge'];

export function runSplit(request: SplitRequest, hooks: ScenarioHooks): Promise<SplitReport> {
  const { regions, workers } = request;
  return onStage({ nodes: NODES, regions, workers }, hooks, (stage) => perform(stage, request, hooks));
}

async function perform(stage: Stage, request: SplitRequest, hooks: ScenarioHooks): Promise<SplitReport> {
  const hand = new PlacementHand(stage.admin, hooks.signal);
  await hand.pauseSchedulers(PAUSED, ASK_TIMEOUT_MS);
  const leadersWereEven = await untilLeadersAreSpread(
    stage.admin,
    { nodes: NODES, regions: request.regions },
    hooks.signal,
  );
  const before = await hand.allRegions(ASK_TIMEOUT_MS);
  const splitter = new Splitter(hand, before, request, hooks);
  const load = putLoad(stage.kv, request);
  load.start();
  let windows: SplitWindow[] = [];
  let series: SplitCounts | undefined;
  let abandoned: number;
  try {
    hooks.onProgress('warming up', 0, 0);
    await sleep(request.warmupMs, hooks.signal);
    if (request.splits === undefined) windows = await measureWindows(load, splitter, request, hooks);
    else series = await splitter.run({ count: request.splits, onProgress: hooks.onProgress });
  } finally {
    abandoned = await load.stop();
  }
  hooks.signal.throwIfAborted();
  const end = await inspect(stage, hand, hooks);
  const { calls, errors, errorMessages } = load;
  const report = {
    request,
    windows,
    series,
    calls,
    errors,
    errorMessages,
    abandoned,
    regionsBefore: before.length,
    leadersWereEven,
  };
  return {
    ...report,
    ...end,
    verdicts: judge(request, windows, series, { ...load.errors, ...(abandoned && { abandoned }) }),
  };
}

async function measureWindows(
  load: SteadyLoad,
  splitter: Splitter,
  { rounds, durationMs }: SplitRequest,
  { signal, onProgress }: ScenarioHooks,
): Promise<SplitWindow[]> {
  const windows: SplitWindow[] = [];
  for (let round = 1; round <= rounds; round++) {
    onProgress(`round ${round}, quiet`, (round - 1) / rounds, load.calls);
    windows.push({ ...(await load.window(durationMs, signal)), round, kind: 'quiet', splits: undefined });
    onProgress(`round ${round}, splitting`, (round - 0.5) / rounds, load.calls);
    const untilMs = performance.now() + durationMs;
    const [figures, splits] = await Promise.all([load.window(durationMs, signal), splitter.run({ untilMs })]);
    windows.push({ ...figures, round, kind: 'splitting', splits });
    await sleep(SETTLE_MS, signal);
  }
  return windows;
}

interface SplitLimits {
  readonly untilMs?: number;
  readonly count?: number;
  readonly onProgress?: ScenarioHooks['onProgress'];
}

/** Splits one region after the other. */
class Splitter {
  private readonly hand: PlacementHand;
  private readonly request: SplitRequest;
  private readonly hooks: ScenarioHooks;
  private plan: SplitPlan;

  constructor(hand: PlacementHand, regions: readonly TiledRegion[], request: SplitRequest, hooks: ScenarioHooks) {
    this.hand = hand;
    this.request = request;
    this.hooks = hooks;
    this.plan = new SplitPlan(regions);
  }

  /** @throws the last refusal, when there were many in a row */
  async run({ untilMs = Infinity, count = Infinity, onProgress }: SplitLimits): Promise<SplitCounts> {
    const { signal } = this.hooks;
    const startedMs = performance.now();
    const histogram = latencyHistogram();
    const failed: Record<string, number> = {};
    let done = 0;
    let failuresInARow = 0;
    while (done < count && performance.now() < untilMs && !signal.aborted) {
      const problem = await this.splitNext((durationMs) => recordLatency(histogram, durationMs));
      if (problem === undefined) {
        done += 1;
        failuresInARow = 0;
        if (done % 10 === 0) onProgress?.(`${done} splits`, done / count, 0);
      } else {
        failed[problem.outcome] = (failed[problem.outcome] ?? 0) + 1;
        failuresInARow += 1;
        if (failuresInARow >= MOST_FAILURES) throw new Error(`no region can be split: ${problem.text}`);
        // Whatever became of it, placement knows the regions as they are.
        this.plan = new SplitPlan(await this.hand.allRegions(ASK_TIMEOUT_MS));
      }
      if (this.request.pauseMs > 0) await sleep(this.request.pauseMs, signal);
    }
    const durationMs = performance.now() - startedMs;
    return { done, failed, durationMs, perSecond: (done * 1000) / durationMs, latency: summarise(histogram) };
  }

  private async splitNext(
    onDone: (durationMs: number) => void,
  ): Promise<{ outcome: string; text: string } | undefined> {
    const planned = this.plan.next();
    if (!planned) throw new Error('every region is as small as the keys allow');
    const { regionId, splitKey } = planned;
    const key = Buffer.from(splitKey).toString('base64');
    const end = await this.hand.change({ kind: 'split', regionId, splitKey: key }, SPLIT_TIMEOUT_MS);
    const childRegionId = end.operator?.steps[0]?.childRegionId;
    if (end.outcome !== 'done' || childRegionId === undefined) return end;
    this.plan.done(planned, childRegionId);
    onDone(end.durationMs);
    return undefined;
  }
}

// --- the end -------------------------------------------------------------------------------------------------------------

type Inspection = Pick<SplitReport, 'placementTiling' | 'routesTiling' | 'served' | 'isSound'>;

async function inspect({ admin, kv }: Stage, hand: PlacementHand, hooks: ScenarioHooks): Promise<Inspection> {
  hooks.onProgress('checking', 1, 0);
  const deadlineMs = performance.now() + TILING_TIMEOUT_MS;
  for (;;) {
    const routes = await admin.regions();
    const placementTiling = checkTiling(await hand.regions());
    const routesTiling = checkTiling(routes);
    const isSame = placementTiling.regions === routesTiling.regions;
    if ((isSame && placementTiling.isSound && routesTiling.isSound) || performance.now() > deadlineMs) {
      const served = await countServed(kv, routes);
      const isSound = isSame && placementTiling.isSound && routesTiling.isSound && served === routes.length;
      return { placementTiling, routesTiling, served, isSound };
    }
    hooks.signal.throwIfAborted();
    await sleep(TILING_POLL_MS, hooks.signal);
  }
}

/** Writes and reads the first key of every region. */
async function countServed(kv: Stage['kv'], regions: readonly TiledRegion[]): Promise<number> {
  const waiting = [...regions];
  let served = 0;
  const ask = async ({ startKey }: TiledRegion): Promise<boolean> => {
    const key = startKey.length === 0 ? Buffer.of(0) : startKey;
    const value = Buffer.from(key);
    await kv.put(key, value, { timeoutMs: SERVE_TIMEOUT_MS });
    const found = await kv.get(key, { timeoutMs: SERVE_TIMEOUT_MS });
    return found !== undefined && value.equals(found);
  };
  const asker = async (): Promise<void> => {
    for (let region = waiting.pop(); region; region = waiting.pop()) {
      if (await ask(region).catch(() => false)) served += 1;
    }
  };
  await Promise.all(Array.from({ length: SERVE_AT_ONCE }, asker));
  return served;
}

// --- targets -------------------------------------------------------------------------------------------------------------

function judge(
  request: SplitRequest,
  windows: readonly SplitWindow[],
  series: SplitCounts | undefined,
  errors: Readonly<Record<string, number>>,
): ScenarioVerdict[] {
  const none = verdict('errors to callers', sumOf(errors), { atMost: 0 });
  if (series) return [verdict('splits done', series.done, { atLeast: request.splits ?? 0 }), none];
  const ratio = (figure: (window: SplitWindow) => number): number | undefined =>
    ratioOfMedians(perRound(windows, 'splitting', figure), perRound(windows, 'quiet', figure));
  return [
    verdict(
      'p99 while splitting to p99 before',
      ratio((window) => window.all.p99Ms),
      { atMost: 3, unit: '×' },
    ),
    verdict(
      'throughput while splitting to that before',
      ratio((window) => window.callsPerSecond),
      { unit: '×' },
    ),
    none,
  ];
}
