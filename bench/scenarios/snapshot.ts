/**
 * How fast a snapshot is, held against a plain copy of the same data in one thread, and what it costs those who write meanwhile.
 * A fourth node receives the snapshots, as an observer; three others replicate the region all the time.
 */

import { KEY_BYTES, KeySpace } from '../keys.ts';
import { Random } from '../random.ts';
import { sleep } from '../generator.ts';
import { median } from '../targets.ts';
import { shareUnderWay, underWayIn, type InstalledSnapshot } from './installed-snapshots.ts';
import { NodeCopy } from './node-copy.ts';
import { Observer } from './observer.ts';
import { PlacementHand } from './placement-hand.ts';
import { putLoad } from './put-load.ts';
import { onStage, type ScenarioHooks, type Stage } from './stage.ts';
import type { SteadyLoad, WindowReport } from './steady-load.ts';
import { perRound, ratioOfMedians, sumOf, verdict, type ScenarioVerdict } from './verdict.ts';

export const SNAPSHOT_PARTS = ['speed', 'foreground'] as const;
export type SnapshotPart = (typeof SNAPSHOT_PARTS)[number];

export interface SnapshotRequest {
  readonly parts: readonly SnapshotPart[];
  readonly workers: number;
  /** Of the one region's keys and values. */
  readonly sizeBytes: number;
  readonly valueBytes: number;
  readonly seed: number;
  readonly rounds: number;
  /** Of the foreground: callers of a closed loop of puts, the deadline of each, and how long each window is. */
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly warmupMs: number;
  readonly durationMs: number;
}

/** A snapshot, then a plain copy, of the same keys and values. */
export interface SpeedRound {
  readonly round: number;
  readonly transferMs: number;
  readonly installMs: number;
  /** From asking placement for the replica to that: what the two above are part of. */
  readonly changeMs: number;
  readonly snapshotBytesPerSecond: number;
  readonly copyMs: number;
  /** Of a copy that a fresh process makes, which does not count. */
  readonly firstCopyMs: number;
  readonly copyBytesPerSecond: number;
}

export interface SnapshotWindow extends WindowReport {
  readonly round: number;
  readonly kind: 'quiet' | 'snapshot';
  /** Undefined in a quiet window. */
  readonly snapshots: WindowSnapshots | undefined;
}

export interface WindowSnapshots {
  /** That were under way in it, for at least some of it. */
  readonly count: number;
  /** Which part of the window one was under way. */
  readonly underWay: number;
  /** In the median. */
  readonly bytesPerSecond: number;
}

/** Also the shape of `snapshot --json`. */
export interface SnapshotReport {
  readonly request: SnapshotRequest;
  readonly records: number;
  readonly speed: readonly SpeedRound[];
  readonly windows: readonly SnapshotWindow[];
  /** To the callers of the foreground, also between windows. */
  readonly errors: Readonly<Record<string, number>>;
  readonly errorMessages: Readonly<Record<string, string>>;
  readonly abandoned: number;
  readonly verdicts: readonly ScenarioVerdict[];
}

const NODES = 3;
const RECEIVER = 4;
/** Whose data is copied. */
const COPIED = 3;
const UNLIMITED = ['--snapshot-bytes-per-second', String(2 ** 40)];
const ASK_TIMEOUT_MS = 30_000;
const FILL_CALLERS = 16;
const FILL_BATCH_BYTES = 64 * 1024;
const FILL_TIMEOUT_MS = 30_000;
/** After what was done to the region, before it is quiet again. */
const SETTLE_MS = 2_000;

export async function runSnapshot(request: SnapshotRequest, hooks: ScenarioHooks): Promise<SnapshotReport> {
  const records = Math.ceil(request.sizeBytes / (KEY_BYTES + request.valueBytes));
  const on = <T>(serveArgs: readonly string[], work: (scene: Scene) => Promise<T>): Promise<T> =>
    onStage({ nodes: NODES, regions: 1, workers: request.workers, serveArgs }, hooks, async (stage) =>
      work(await setTheScene(stage, request, records, hooks)),
    );
  const speed = request.parts.includes('speed') ? await on(UNLIMITED, measureSpeed) : [];
  const foreground = request.parts.includes('foreground') ? await on([], measureForeground) : NO_FOREGROUND;
  return { request, records, speed, ...foreground, verdicts: judge(speed, foreground) };
}

/** A filled region on three nodes, and a node without any. */
interface Scene {
  readonly stage: Stage;
  readonly request: SnapshotRequest;
  readonly records: number;
  readonly hooks: ScenarioHooks;
  readonly observer: Observer;
}

async function setTheScene(
  stage: Stage,
  request: SnapshotRequest,
  records: number,
  hooks: ScenarioHooks,
): Promise<Scene> {
  const hand = new PlacementHand(stage.admin, hooks.signal);
  // It would split the region, and give the fourth node replicas.
  await hand.pauseAllSchedulers(ASK_TIMEOUT_MS);
  const [region] = await hand.allRegions(ASK_TIMEOUT_MS);
  if (!region) throw new Error('the cluster has no region');
  await fill(stage, request, records, hooks);
  const receiver = stage.cluster.addNode(RECEIVER, ['--log-level', 'info']);
  await receiver.start();
  const { regionId } = region;
  const ports = { hand, admin: stage.admin, nodes: NODES + 1, node: receiver, regionId, signal: hooks.signal };
  return { stage, request, records, hooks, observer: new Observer(ports) };
}

/** Every key once. @throws the first error */
async function fill(
  { kv }: Stage,
  { valueBytes, seed }: SnapshotRequest,
  records: number,
  hooks: ScenarioHooks,
): Promise<void> {
  const keys = new KeySpace(records);
  const random = new Random(seed);
  const batchSize = Math.max(1, Math.floor(FILL_BATCH_BYTES / (KEY_BYTES + valueBytes)));
  let next = 0;
  const caller = async (): Promise<void> => {
    while (next < records && !hooks.signal.aborted) {
      const from = next;
      next = Math.min(records, from + batchSize);
      const value = random.bytes(valueBytes);
      const puts = Array.from({ length: next - from }, (_, at) => {
        return { type: 'put', key: keys.at(from + at), value } as const;
      });
      await kv.batch(puts, { timeoutMs: FILL_TIMEOUT_MS });
      hooks.onProgress('loading', next / records, next);
    }
  };
  await Promise.all(Array.from({ length: FILL_CALLERS }, caller));
  hooks.signal.throwIfAborted();
}

// --- speed ---------------------------------------------------------------------------------------------------------------

async function measureSpeed({ stage, request, records, hooks, observer }: Scene): Promise<SpeedRound[]> {
  const sizeBytes = records * (KEY_BYTES + request.valueBytes);
  const copied = await NodeCopy.take(stage.cluster, COPIED);
  const rounds: SpeedRound[] = [];
  for (let round = 1; round <= request.rounds; round++) {
    hooks.signal.throwIfAborted();
    hooks.onProgress(`speed, round ${round}: snapshot`, (round - 1) / request.rounds, 0);
    const { snapshot, durationMs: changeMs } = await observer.make();
    await observer.remove();
    await sleep(SETTLE_MS, hooks.signal);
    hooks.onProgress(`speed, round ${round}: plain copy`, (round - 0.5) / request.rounds, 0);
    const copy = await copied.copy();
    if (copy.entries !== records || snapshot.sizeBytes < sizeBytes) {
      throw new Error(`not all of ${records} keys: ${copy.entries} copied, a snapshot of ${snapshot.sizeBytes} bytes`);
    }
    const { transferMs, installMs } = snapshot;
    rounds.push({
      round,
      transferMs,
      installMs,
      changeMs,
      snapshotBytesPerSecond: (sizeBytes * 1000) / (transferMs + installMs),
      copyMs: copy.durationMs,
      firstCopyMs: copy.firstMs,
      copyBytesPerSecond: (sizeBytes * 1000) / copy.durationMs,
    });
  }
  return rounds;
}

// --- foreground ----------------------------------------------------------------------------------------------------------

type Foreground = Pick<SnapshotReport, 'windows' | 'errors' | 'errorMessages' | 'abandoned'>;

const NO_FOREGROUND: Foreground = { windows: [], errors: {}, errorMessages: {}, abandoned: 0 };

async function measureForeground(scene: Scene): Promise<Foreground> {
  const { stage, request, records, hooks } = scene;
  const load = putLoad(stage.kv, { ...request, records });
  load.start();
  const windows: SnapshotWindow[] = [];
  let abandoned = 0;
  try {
    hooks.onProgress('foreground, warming up', 0, 0);
    await sleep(request.warmupMs, hooks.signal);
    for (let round = 1; round <= request.rounds; round++) {
      hooks.onProgress(`foreground, round ${round}: quiet`, (round - 1) / request.rounds, load.calls);
      const figures = await load.window(request.durationMs, hooks.signal);
      windows.push({ ...figures, round, kind: 'quiet', snapshots: undefined });
      hooks.onProgress(`foreground, round ${round}: snapshot`, (round - 0.5) / request.rounds, load.calls);
      windows.push({ ...(await snapshotWindow(scene, load)), round });
      await sleep(SETTLE_MS, hooks.signal);
    }
  } finally {
    abandoned = await load.stop();
  }
  return { windows, errors: load.errors, errorMessages: load.errorMessages, abandoned };
}

/**
 * One snapshot after the other. The window opens when one is under way: what placement needs before the first is no part of it.
 * The last is let come to its end, so that it is known from when it was.
 */
async function snapshotWindow(
  { observer, request, hooks }: Scene,
  load: SteadyLoad,
): Promise<Omit<SnapshotWindow, 'round'>> {
  const { durationMs } = request;
  const made: InstalledSnapshot[] = [];
  let isOver = false;
  const make = async (): Promise<void> => {
    while (!isOver) {
      made.push((await observer.make()).snapshot);
      await observer.remove();
      hooks.signal.throwIfAborted();
    }
  };
  const measure = async (): Promise<{ fromMs: number; figures: WindowReport }> => {
    try {
      await observer.untilUnderWay();
      return { fromMs: Date.now(), figures: await load.window(durationMs, hooks.signal) };
    } finally {
      isOver = true;
    }
  };
  const [{ fromMs, figures }] = await Promise.all([measure(), make()]);
  return { ...figures, kind: 'snapshot', snapshots: snapshotsOf(made, fromMs, fromMs + durationMs) };
}

function snapshotsOf(made: readonly InstalledSnapshot[], fromMs: number, untilMs: number): WindowSnapshots {
  const snapshots = underWayIn(made, fromMs, untilMs);
  const rates = snapshots.map(({ sizeBytes, transferMs, installMs }) => (sizeBytes * 1000) / (transferMs + installMs));
  return {
    count: snapshots.length,
    underWay: shareUnderWay(snapshots, fromMs, untilMs),
    bytesPerSecond: median(rates) ?? 0,
  };
}

// --- targets -------------------------------------------------------------------------------------------------------------

const SPEED_AT_LEAST = 0.4;
const THROUGHPUT_AT_LEAST = 0.75;
/** Less would not be a window of a snapshot. */
const UNDER_WAY_AT_LEAST = 0.8;

function judge(speed: readonly SpeedRound[], { windows, errors, abandoned }: Foreground): ScenarioVerdict[] {
  const verdicts: ScenarioVerdict[] = [];
  if (speed.length > 0) {
    const ratio = ratioOfMedians(
      speed.map((round) => round.snapshotBytesPerSecond),
      speed.map((round) => round.copyBytesPerSecond),
    );
    verdicts.push(
      verdict('speed of a snapshot to that of a plain copy', ratio, { atLeast: SPEED_AT_LEAST, unit: '×' }),
    );
  }
  if (windows.length > 0) {
    const ratio = (figure: (window: SnapshotWindow) => number): number | undefined =>
      ratioOfMedians(perRound(windows, 'snapshot', figure), perRound(windows, 'quiet', figure));
    const underWay = median(windows.flatMap(({ snapshots }) => (snapshots ? [snapshots.underWay] : [])));
    verdicts.push(
      verdict(
        'puts/s during a snapshot to those without one',
        ratio((window) => window.callsPerSecond),
        { atLeast: THROUGHPUT_AT_LEAST, unit: '×' },
      ),
      verdict(
        'p99 during a snapshot to that without one',
        ratio((window) => window.all.p99Ms),
        { unit: '×' },
      ),
      verdict('share of these windows in which one was under way', underWay, { atLeast: UNDER_WAY_AT_LEAST }),
      verdict('errors to callers', sumOf(errors) + abandoned, { atMost: 0 }),
    );
  }
  return verdicts;
}
