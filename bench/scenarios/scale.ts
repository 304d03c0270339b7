/** Nodes join and leave under load: how soon leaders are even again, and whether the callers noticed or lost anything. */

import { PermanentError, asMraftError } from '../../rpc/wire/errors.ts';
import { sleep } from '../generator.ts';
import { KeySpace } from '../keys.ts';
import { Random } from '../random.ts';
import { median } from '../targets.ts';
import type { Operation } from '../workload.ts';
import { summariseEvenness, type Evenness, type LeaderSample } from './evenness.ts';
import { LeaderWatch, type Movement } from './leader-watch.ts';
import { PlacementHand } from './placement-hand.ts';
import { onStage, type ScenarioHooks, type Stage } from './stage.ts';
import { SteadyLoad, type WindowReport } from './steady-load.ts';
import { sumOf, verdict, type ScenarioVerdict } from './verdict.ts';
import { Versions, type Finding } from './versions.ts';

export interface ScaleRequest {
  /** Nodes that there are, one number after the other; the cluster begins with the first. */
  readonly steps: readonly number[];
  readonly regions: number;
  readonly workers: number;
  readonly records: number;
  readonly valueBytes: number;
  readonly seed: number;
  /** Calls a second, open loop. */
  readonly ratePerSecond: number;
  /** Share of the calls that are gets. */
  readonly readRatio: number;
  /** Of each call. */
  readonly deadlineMs: number;
  /** Load before the first change. */
  readonly warmupMs: number;
  /** How long leaders are watched after the beginning of each change. */
  readonly observeMs: number;
  /** Which nodes leave first. */
  readonly leave: 'newest' | 'oldest';
  /** Each on a cluster of its own. */
  readonly rounds: number;
}

export interface ScaleChange {
  readonly from: number;
  readonly to: number;
  readonly nodes: readonly number[];
  /** Until all have joined and serve, or have left and ended; counted, as all times here, from when the change was asked for. */
  readonly changedMs: number;
  readonly evenness: Evenness;
  readonly load: WindowReport;
  readonly moved: Movement;
  /** Operators that ended, by who wanted them and how they ended. */
  readonly operators: Readonly<Record<string, number>>;
  readonly samples: readonly LeaderSample[];
}

export interface ScaleRound {
  readonly round: number;
  readonly changes: readonly ScaleChange[];
  readonly calls: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly errorMessages: Readonly<Record<string, string>>;
  readonly abandoned: number;
  readonly acknowledgedWrites: number;
  /** Keys with an acknowledged write, and what was found of them at the end. */
  readonly verified: number;
  readonly findings: Readonly<Record<Finding, number>>;
  /** The first few keys of which not all was found. */
  readonly examples: readonly string[];
  /** Gets that found less than was acknowledged before they began. */
  readonly staleReads: number;
}

/** Also the shape of `scale --json`. */
export interface ScaleReport {
  readonly request: ScaleRequest;
  readonly rounds: readonly ScaleRound[];
  readonly verdicts: readonly ScenarioVerdict[];
  /** Nothing was lost, and nothing old was read. */
  readonly isSound: boolean;
}

/** As placement begins with it. */
const REPLICAS = 3;
const LOAD_CALLERS = 256;
const ASK_TIMEOUT_MS = 30_000;
/** A change that takes longer has failed. */
const CHANGE_TIMEOUT_MS = 300_000;
const POLL_MS = 250;
const VERIFY_BATCH = 256;
const VERIFY_TIMEOUT_MS = 30_000;
const EXAMPLES = 10;
const EVEN_WITHIN_MS = 60_000;

export async function runScale(request: ScaleRequest, hooks: ScenarioHooks): Promise<ScaleReport> {
  const { regions, workers, steps } = request;
  const rounds: ScaleRound[] = [];
  for (let round = 1; round <= request.rounds; round++) {
    const ofRound: ScenarioHooks = {
      ...hooks,
      onProgress: (step, ...rest) => hooks.onProgress(`round ${round}: ${step}`, ...rest),
    };
    const figures = await onStage({ nodes: steps[0] as number, regions, workers }, ofRound, (stage) =>
      new Scale(stage, request, ofRound).run(),
    );
    rounds.push({ round, ...figures });
  }
  return { request, rounds, ...judge(request, rounds) };
}

class Scale {
  private readonly stage: Stage;
  private readonly request: ScaleRequest;
  private readonly hooks: ScenarioHooks;
  private readonly hand: PlacementHand;
  private readonly watch: LeaderWatch;
  private readonly keys: KeySpace;
  private readonly random: Random;
  private readonly versions: Versions;
  private readonly load: SteadyLoad;
  private replicas = REPLICAS;
  private lastNodeId: number;
  private staleReads = 0;

  constructor(stage: Stage, request: ScaleRequest, hooks: ScenarioHooks) {
    const { records, valueBytes, seed, ratePerSecond, deadlineMs } = request;
    this.stage = stage;
    this.request = request;
    this.hooks = hooks;
    this.hand = new PlacementHand(stage.admin, hooks.signal);
    this.watch = new LeaderWatch(stage.admin, () => this.running.length);
    this.keys = new KeySpace(records);
    this.random = new Random(seed);
    this.versions = new Versions(records, valueBytes, this.random);
    const plan = { concurrency: 0, targetPerSecond: ratePerSecond, timeoutMs: deadlineMs };
    this.load = new SteadyLoad(() => this.call(), plan);
    this.lastNodeId = stage.cluster.nodes.length;
  }

  private get running(): readonly number[] {
    return this.stage.cluster.nodes.filter((node) => node.isRunning).map((node) => node.id);
  }

  async run(): Promise<Omit<ScaleRound, 'round'>> {
    const { request, hooks, load } = this;
    const changes: ScaleChange[] = [];
    let abandoned = 0;
    try {
      await this.fill();
      load.start();
      hooks.onProgress('warming up', 0, 0);
      await sleep(request.warmupMs, hooks.signal);
      await this.endedOperators();
      for (const [at, to] of request.steps.entries()) {
        hooks.signal.throwIfAborted();
        if (at > 0) changes.push(await this.change(request.steps[at - 1] as number, to));
      }
    } finally {
      abandoned = await load.stop();
      this.watch.stop();
    }
    return this.report(changes, abandoned);
  }

  // --- load ------------------------------------------------------------------------------------------------------------

  /** Every key once. @throws the first error */
  private async fill(): Promise<void> {
    const { records } = this.request;
    let next = 0;
    const caller = async (): Promise<void> => {
      while (next < records && !this.hooks.signal.aborted) {
        await this.put(next++, VERIFY_TIMEOUT_MS);
        if (next % 1000 === 0) this.hooks.onProgress('loading', next / records, next);
      }
    };
    await Promise.all(Array.from({ length: Math.min(records, LOAD_CALLERS) }, caller));
    this.hooks.signal.throwIfAborted();
  }

  private async call(): Promise<Operation> {
    const { readRatio, records, deadlineMs } = this.request;
    const key = this.random.below(records);
    if (this.random.next() >= readRatio) {
      await this.put(key, deadlineMs);
      return 'put';
    }
    const atLeast = this.versions.acknowledgedVersion(key);
    const value = await this.stage.kv.get(this.keys.at(key), { timeoutMs: deadlineMs });
    if (this.versions.judge(key, value, atLeast) !== 'sound') this.staleReads += 1;
    return 'get';
  }

  private async put(from: number, timeoutMs: number): Promise<void> {
    const write = this.versions.begin(from);
    if (!write) throw new Error('every key has a write under way or one that failed: give it more --records');
    let wasAcknowledged = false;
    try {
      await this.stage.kv.put(this.keys.at(write.key), write.value, { timeoutMs });
      wasAcknowledged = true;
    } finally {
      this.versions.end(write, wasAcknowledged);
    }
  }

  // --- changes ---------------------------------------------------------------------------------------------------------

  private async change(from: number, to: number): Promise<ScaleChange> {
    const { hooks, watch, load, request } = this;
    const nodes = to > from ? this.newIds(to - from) : this.leavingIds(from - to);
    const staying = to > from ? [...this.running, ...nodes] : this.running.filter((id) => !nodes.includes(id));
    const movedBefore = watch.movement;
    const startedMs = performance.now();
    watch.begin(staying);
    const figures = load.window(request.observeMs, hooks.signal);
    // Whoever fails first is heard below; the window may end meanwhile.
    figures.catch(() => {});
    const ticker = setInterval(() => {
      const done = Math.min(1, (performance.now() - startedMs) / request.observeMs);
      hooks.onProgress(`${from} → ${to} nodes`, done, load.calls);
    }, POLL_MS);
    try {
      if (to > from) await this.join(nodes);
      else await this.leave(nodes, to);
      const changedMs = performance.now() - startedMs;
      await sleep(startedMs + request.observeMs - performance.now(), hooks.signal);
      const window = await figures;
      const samples = [...watch.taken];
      return {
        from,
        to,
        nodes,
        changedMs,
        evenness: summariseEvenness(samples),
        load: window,
        moved: difference(watch.movement, movedBefore),
        operators: await this.endedOperators(),
        samples,
      };
    } finally {
      clearInterval(ticker);
    }
  }

  private newIds(count: number): number[] {
    return Array.from({ length: count }, () => ++this.lastNodeId);
  }

  private leavingIds(count: number): number[] {
    const ids = [...this.running].sort((a, b) => a - b);
    return this.request.leave === 'oldest' ? ids.slice(0, count) : ids.slice(-count).reverse();
  }

  private async join(nodes: readonly number[]): Promise<void> {
    const joining = nodes.map((id) => this.stage.cluster.addNode(id));
    await Promise.all(joining.map((node) => node.start()));
    this.hooks.signal.throwIfAborted();
    await this.setReplicas(this.running.length);
  }

  /** As `mraft ctl node drain --leave` does it; then the processes are stopped. */
  private async leave(nodes: readonly number[], left: number): Promise<void> {
    await this.setReplicas(left);
    for (const nodeId of nodes) await this.hand.ask('node.drain', { nodeId, leave: true }, ASK_TIMEOUT_MS);
    await Promise.all(nodes.map((nodeId) => this.untilRemoved(nodeId)));
    await Promise.all(nodes.map((nodeId) => this.stage.cluster.node(nodeId).term()));
  }

  /** A cluster of fewer nodes than replicas cannot have them all, and lets no node go. */
  private async setReplicas(nodes: number): Promise<void> {
    const replicas = Math.min(REPLICAS, nodes);
    if (replicas === this.replicas) return;
    await this.hand.ask('settings.set', { patch: { replicas } }, ASK_TIMEOUT_MS);
    this.replicas = replicas;
  }

  private async untilRemoved(nodeId: number): Promise<void> {
    const deadlineMs = performance.now() + CHANGE_TIMEOUT_MS;
    for (;;) {
      this.hooks.signal.throwIfAborted();
      const node = await this.hand.ask<NodeJson>('node.show', { nodeId }, ASK_TIMEOUT_MS);
      if (node.state === 'removed') return;
      if (performance.now() > deadlineMs) {
        throw new Error(
          `node ${nodeId} has not left within ${CHANGE_TIMEOUT_MS} ms: it has ${node.leaders} leaders and ${node.replicas} replicas still`,
        );
      }
      await sleep(POLL_MS, this.hooks.signal);
    }
  }

  /** Those that ended since the last call, such as `repair done`. */
  private async endedOperators(): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const { origin, event } of await this.hand.newLogEntries().catch(() => [])) {
      if (origin === undefined || event === 'started') continue;
      const name = `${origin} ${event}`;
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return counts;
  }

  // --- the end ---------------------------------------------------------------------------------------------------------

  private async report(changes: readonly ScaleChange[], abandoned: number): Promise<Omit<ScaleRound, 'round'>> {
    const { load, versions, staleReads } = this;
    const { calls, errors, errorMessages } = load;
    return {
      changes,
      calls,
      errors,
      errorMessages,
      abandoned,
      acknowledgedWrites: versions.acknowledged,
      ...(await this.verify()),
      staleReads,
    };
  }

  /** Reads every key that was ever acknowledged. @throws when they cannot be read */
  private async verify(): Promise<Pick<ScaleRound, 'verified' | 'findings' | 'examples'>> {
    const findings: Record<Finding, number> = { sound: 0, lost: 0, foreign: 0 };
    const examples: string[] = [];
    const { records } = this.request;
    let verified = 0;
    for (let from = 0; from < records; from += VERIFY_BATCH) {
      this.hooks.signal.throwIfAborted();
      this.hooks.onProgress('verifying', from / records, 0);
      const numbers = Array.from({ length: Math.min(VERIFY_BATCH, records - from) }, (_, at) => from + at);
      const wanted = numbers.filter((key) => this.versions.acknowledgedVersion(key) > 0);
      const values = await this.readAll(wanted);
      for (const [at, key] of wanted.entries()) {
        const finding = this.versions.judge(key, values[at]);
        findings[finding] += 1;
        verified += 1;
        if (finding !== 'sound' && examples.length < EXAMPLES)
          examples.push(`${finding}: ${this.describe(key, values[at])}`);
      }
    }
    return { verified, findings, examples };
  }

  private async readAll(numbers: readonly number[]): Promise<(Uint8Array | undefined)[]> {
    const keys = numbers.map((number) => this.keys.at(number));
    const deadlineMs = performance.now() + 2 * VERIFY_TIMEOUT_MS;
    for (;;) {
      try {
        return await this.stage.kv.batchGet(keys, { timeoutMs: VERIFY_TIMEOUT_MS });
      } catch (thrown) {
        const error = asMraftError(thrown);
        if (error instanceof PermanentError || performance.now() > deadlineMs) throw error;
      }
    }
  }

  private describe(key: number, value: Uint8Array | undefined): string {
    const found = value === undefined ? 'nothing' : Buffer.from(value.subarray(0, 8)).toString('hex');
    const name = this.keys.at(key).toString('hex');
    return `key ${name}: version ${this.versions.acknowledgedVersion(key)} was acknowledged, found ${found}`;
  }
}

interface NodeJson {
  readonly state: string;
  readonly leaders: number;
  readonly replicas: number;
}

// --- targets -------------------------------------------------------------------------------------------------------------

/** When leaders were even for good after the change of that number, the first being 0; never is the longest time. */
export function evenAfterMs(rounds: readonly ScaleRound[], change: number): number | undefined {
  const each = rounds.map(({ changes }) => changes[change]?.evenness.sinceMs ?? Infinity);
  const middle = median(each);
  return middle === Infinity ? undefined : middle;
}

function judge(request: ScaleRequest, rounds: readonly ScaleRound[]): Pick<ScaleReport, 'verdicts' | 'isSound'> {
  const total = (figure: (round: ScaleRound) => number): number =>
    rounds.reduce((sum, round) => sum + figure(round), 0);
  const lost = total(({ findings }) => findings.lost + findings.foreign);
  const staleReads = total((round) => round.staleReads);
  const even = request.steps.slice(1).map((to, change) => {
    const sinceMs = evenAfterMs(rounds, change);
    const bounds = { atMost: EVEN_WITHIN_MS / 1000, unit: 's' };
    return verdict(
      `leaders even after ${request.steps[change]} → ${to}`,
      sinceMs === undefined ? undefined : sinceMs / 1000,
      bounds,
    );
  });
  const errors = total((round) => sumOf(round.errors) + round.abandoned);
  return {
    verdicts: [
      ...even,
      verdict('acknowledged writes lost', lost, { atMost: 0 }),
      verdict('stale reads', staleReads, { atMost: 0 }),
      verdict(`errors to callers with ${request.deadlineMs} ms`, errors, { atMost: 0 }),
    ],
    isSound: lost === 0 && staleReads === 0,
  };
}

function difference(after: Movement, before: Movement): Movement {
  return {
    snapshots: after.snapshots - before.snapshots,
    snapshotBytes: after.snapshotBytes - before.snapshotBytes,
  };
}
