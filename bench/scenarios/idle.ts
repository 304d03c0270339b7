/**
 * What regions cost that have nothing to do: processor and memory of the nodes while all sleep, the first write to one
 * that sleeps, and what the death of a node wakes.
 */

import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

import type { Admin, NodeStatus, RegionRoute } from '../../tools/admin.ts';
import type { LocalCluster } from '../../tools/local-cluster.ts';
import { cpuSecondsOf } from '../process.ts';
import { median } from '../targets.ts';
import { PlacementHand } from './placement-hand.ts';
import { onStage, type ScenarioHooks, type Stage } from './stage.ts';
import { ratioOfMedians, verdict, type ScenarioVerdict } from './verdict.ts';

export interface IdleRequest {
  readonly regions: number;
  /** Memory is held against a cluster of so many. */
  readonly baseRegions: number;
  readonly workers: number;
  readonly rounds: number;
  /** How long the sleeping cluster is watched. */
  readonly durationMs: number;
}

export interface IdleRound {
  readonly round: number;
  /** From the start of the processes to a leader of every region. */
  readonly startMs: number;
  /** Of one core, of all nodes together. */
  readonly cpuShare: number;
  readonly baseBytes: number;
  readonly bytes: number;
  /** Of memory, a region and replica. */
  readonly bytesPerReplica: number;
  /** Replicas that were awake while it was watched, on all nodes. */
  readonly awake: number;
  readonly sleepingMs: number;
  readonly awakeMs: number;
  readonly killed: IdleKill;
}

export interface IdleKill {
  /** Regions that the killed node led. */
  readonly led: number;
  /** Until each of them had another leader. */
  readonly electedMs: number;
  /** Replicas that woke on the other nodes beside those of these regions. */
  readonly othersWoken: number;
}

/** Also the shape of `idle --json`. */
export interface IdleReport {
  readonly request: IdleRequest;
  readonly rounds: readonly IdleRound[];
  readonly verdicts: readonly ScenarioVerdict[];
}

const NODES = 3;
/** What has nothing to do sleeps within this time, or is said to be awake. */
const FALL_ASLEEP_MS = 120_000;
/** Behind that, until threads that fell idle have given their memory back, and V8 has done with what it had put off. */
const SETTLE_MS = 75_000;
const ELECTED_MS = 60_000;
const POLL_MS = 100;
const PLACEMENT_TIMEOUT_MS = 30_000;
const WRITES = 40;

export async function runIdle(request: IdleRequest, hooks: ScenarioHooks): Promise<IdleReport> {
  const rounds: IdleRound[] = [];
  const base = await withCluster(request.baseRegions, request, hooks, async (stage) => {
    await untilAsleep(stage, hooks);
    await sleep(SETTLE_MS, undefined, { signal: hooks.signal });
    return memoryOf(stage.cluster);
  });
  for (let round = 1; round <= request.rounds; round++) {
    const startedMs = performance.now();
    rounds.push(
      await withCluster(request.regions, request, hooks, (stage) =>
        watch(stage, { round, base, startMs: performance.now() - startedMs, request }, hooks),
      ),
    );
  }
  return { request, rounds, verdicts: judge(rounds) };
}

function withCluster<T>(
  regions: number,
  { workers }: IdleRequest,
  hooks: ScenarioHooks,
  work: (stage: Stage) => Promise<T>,
): Promise<T> {
  return onStage({ nodes: NODES, regions, workers }, hooks, async (stage) => {
    // As many regions as were asked for, to the end.
    await new PlacementHand(stage.admin, hooks.signal).pauseSchedulers(['split', 'merge'], PLACEMENT_TIMEOUT_MS);
    return work(stage);
  });
}

interface Given {
  readonly round: number;
  readonly base: number;
  readonly startMs: number;
  readonly request: IdleRequest;
}

async function watch(stage: Stage, given: Given, hooks: ScenarioHooks): Promise<IdleRound> {
  const { round, base, startMs, request } = given;
  const { cluster, admin } = stage;
  await untilAsleep(stage, hooks);
  await sleep(SETTLE_MS, undefined, { signal: hooks.signal });
  hooks.onProgress('watching', 0.5, 0);
  const cpuBefore = await cpuOf(cluster);
  await sleep(request.durationMs);
  const cpuShare = ((await cpuOf(cluster)) - cpuBefore) / (request.durationMs / 1000);
  const bytes = await memoryOf(cluster);
  const awake = sum(await statuses(admin, NODES), 'awake');
  const writes = await firstWrites(stage);
  // Placement would wake what it moves: what is seen then is what the death of the node alone wakes.
  await new PlacementHand(admin, hooks.signal).pauseAllSchedulers(PLACEMENT_TIMEOUT_MS);
  await untilAsleep(stage, hooks);
  const killed = await kill(stage, hooks);
  const replicas = (request.regions - request.baseRegions) * NODES;
  const bytesPerReplica = (bytes - base) / replicas;
  return { round, startMs, cpuShare, baseBytes: base, bytes, bytesPerReplica, awake, ...writes, killed };
}

/** Writes to regions that sleep, and to the same ones again at once. Both in the median. */
async function firstWrites({ admin, kv }: Stage): Promise<{ sleepingMs: number; awakeMs: number }> {
  const regions = await admin.regions();
  const every = Math.max(1, Math.floor(regions.length / WRITES));
  const timed = async (region: RegionRoute): Promise<number> => {
    const startMs = performance.now();
    await kv.put(Buffer.concat([region.startKey, Buffer.of(1)]), 'x');
    return performance.now() - startMs;
  };
  // The client learns its way, and its code is compiled, on regions that are not measured.
  for (const region of regions.filter((_, at) => at % every === 1)) await timed(region);
  const sleeping: number[] = [];
  const awake: number[] = [];
  for (const region of regions.filter((_, at) => at % every === 0)) {
    sleeping.push(await timed(region));
    awake.push(await timed(region));
  }
  return { sleepingMs: median(sleeping) ?? 0, awakeMs: median(awake) ?? 0 };
}

async function kill({ cluster, admin }: Stage, hooks: ScenarioHooks): Promise<IdleKill> {
  hooks.onProgress('killing', 0.8, 0);
  const before = await statuses(admin, NODES);
  const victim = before.toSorted((a, b) => Number(a['leaders']) - Number(b['leaders']))[1]!.nodeId;
  const led = (await admin.regions({ system: true })).filter((region) => region.leaderNodeId === victim);
  const ids = new Set(led.map(({ regionId }) => regionId));
  const killedMs = performance.now();
  await cluster.node(victim).kill9();
  for (;;) {
    const orphans = (await admin.regions({ system: true })).filter(
      ({ regionId, leaderNodeId }) => ids.has(regionId) && (leaderNodeId === victim || leaderNodeId === 0),
    );
    if (orphans.length === 0) break;
    if (performance.now() - killedMs > ELECTED_MS) throw new Error(`${orphans.length} regions have no leader again`);
    await sleep(POLL_MS);
    hooks.signal.throwIfAborted();
  }
  const electedMs = performance.now() - killedMs;
  const after = await statuses(admin, NODES - 1);
  const woken = after.reduce((total, status) => total + wakeUps([status]), 0);
  const wokenBefore = wakeUps(before.filter(({ nodeId }) => nodeId !== victim));
  return { led: ids.size, electedMs, othersWoken: Math.max(0, woken - wokenBefore - ids.size * (NODES - 1)) };
}

/** Until nothing but what placement keeps busy is awake. */
async function untilAsleep({ admin }: Stage, hooks: ScenarioHooks): Promise<void> {
  hooks.onProgress('falling asleep', 0.2, 0);
  const deadlineMs = performance.now() + FALL_ASLEEP_MS;
  while (sum(await statuses(admin, NODES), 'awake') > NODES && performance.now() < deadlineMs) {
    hooks.signal.throwIfAborted();
    await sleep(1_000);
  }
}

async function statuses(admin: Admin, expected: number): Promise<NodeStatus[]> {
  return admin.nodes({ expected });
}

function sum(nodes: readonly NodeStatus[], field: string): number {
  return nodes.reduce((total, node) => total + Number(node[field] ?? 0), 0);
}

function wakeUps(nodes: readonly NodeStatus[]): number {
  return sum(nodes, 'wakeUps');
}

async function cpuOf({ nodes }: LocalCluster): Promise<number> {
  const each = await Promise.all(nodes.map(({ pid }) => cpuSecondsOf(pid)));
  return each.reduce((total, seconds) => total + seconds, 0);
}

/** Resident memory of all nodes. */
async function memoryOf({ nodes }: LocalCluster): Promise<number> {
  const each = await Promise.all(
    nodes.map(async ({ pid }) => {
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
    }),
  );
  return each.reduce((total, bytes) => total + bytes, 0);
}

const KIB = 1024;

function judge(rounds: readonly IdleRound[]): ScenarioVerdict[] {
  const of = (figure: (round: IdleRound) => number): number | undefined => median(rounds.map(figure));
  const writes = ratioOfMedians(
    rounds.map(({ sleepingMs }) => sleepingMs),
    rounds.map(({ awakeMs }) => awakeMs),
  );
  return [
    verdict(
      'all nodes together, of one core',
      of(({ cpuShare }) => cpuShare * 100),
      { atMost: 5, unit: '%' },
    ),
    verdict(
      'memory a region and replica',
      of((round) => round.bytesPerReplica / KIB),
      { atMost: 20, unit: 'KiB' },
    ),
    verdict(
      'leaders after a node was killed',
      of(({ killed }) => killed.electedMs / 1000),
      { atMost: 10, unit: 's' },
    ),
    verdict(
      'replicas of other regions that woke',
      of(({ killed }) => killed.othersWoken),
      { atMost: 0 },
    ),
    verdict('first write to a sleeping region', writes, { atMost: 2, unit: '×' }),
  ];
}
