/** A cluster that starts with one region, lives under load and faults for a while, and must then be whole. */

import { connect, type Client, type Kv } from '../../../rpc/client/index.ts';
import { seededRandom } from '../../linearizability/random-history.ts';
import { Load } from '../load.ts';
import { PlacementView } from '../placement-view.ts';
import { RawClient } from '../raw-client.ts';
import { CallLog, sortOfError } from './call-log.ts';
import { Fleet } from './fleet.ts';
import { JsonCounter } from './json-counter.ts';
import { unexplainedLines } from './logs.ts';
import { Nemesis, type NemesisReport } from './nemesis.ts';
import { RangeOwner } from './range-owner.ts';
import { describePlacement, SEEN_AT_REST_MS, untilAtRest, untilReplicasEven, untilUntroubled } from './rest.ts';

export interface SoakOptions {
  readonly seed: number;
  /** How long faults come. */
  readonly seconds: number;
  /** Names of the faults that are drawn. Default: all. */
  readonly only?: ReadonlySet<string> | undefined;
  /** What times that are promised are multiplied by. */
  readonly slack: number;
  /** Hears what is being done. */
  readonly say: (line: string) => void;
}

export interface SoakReport {
  readonly seed: number;
  readonly violations: readonly string[];
  readonly nemesis: NemesisReport;
  readonly acknowledgedWrites: number;
  readonly recordedCalls: number;
  readonly jsonSwaps: number;
  /** Calls while faults came, and the errors that they met. */
  readonly calls: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
  readonly regions: number;
  readonly restAfterMs: number;
  readonly peakResidentMib: number;
  /** Where logs and data are; kept when something was found. */
  readonly dir: string;
}

/** Regions are split, merged and moved all the time, and whoever dies is replaced soon. */
const SETTINGS = {
  splitSizeBytes: 64 * 1024,
  mergeSizeBytes: 16 * 1024,
  splitLoadPerSecond: 100,
  minimumRegions: 3,
  mergeAfterMs: 1_500,
  coldPerSecond: 10,
  hotPerSecond: 50,
  suspectAfterMs: 1_500,
  replaceAfterMs: 6_000,
};
/** No region is merged while replicas are compared: one that is being merged is not level with its peers, and dozens would be. */
const NO_MERGES = { minimumRegions: 2 ** 31 };
const CONNECTIONS = 3;
const CALL_TIMEOUT_MS = 20_000;
/** A call may end that much after its deadline on a machine that is busy. */
const LATE_MS = 10_000;
const WRITERS = 6;
const RECORDED = 8;
const OWNERS = 8;
const COUNTERS = 4;
const CALM_MS = 5_000;
const CALM_TIMEOUT_MS = 2_000;
const REST_MS = 30_000;
const EVEN_MS = 15_000;
/** At rest, long enough for every region to be checked twice. */
const CHECKED_MS = 7_000;

/** Runs it to its end. Whatever is wrong is in the report; a throw is a fault of the soak itself. */
export async function soak(options: SoakOptions): Promise<SoakReport> {
  const fleet = await Fleet.start();
  const run = new Soak(fleet, options);
  try {
    return await run.run();
  } finally {
    await run.close();
  }
}

class Soak {
  readonly #fleet: Fleet;
  readonly #options: SoakOptions;
  #clients: Client[] = [];
  #view: PlacementView | undefined;
  #raw: RawClient | undefined;

  constructor(fleet: Fleet, options: SoakOptions) {
    this.#fleet = fleet;
    this.#options = options;
  }

  async run(): Promise<SoakReport> {
    const { seed, seconds, slack, say } = this.#options;
    const fleet = this.#fleet;
    const { cluster, url } = fleet.local;
    const open = (): Promise<Client> => connect({ servers: url, cluster });
    this.#clients = await Promise.all(Array.from({ length: CONNECTIONS + 1 }, open));
    const [kv, ...kvs] = this.#clients as [Client, ...Client[]];
    const view = (this.#view = await PlacementView.connect({ cluster, url }));
    const raw = (this.#raw = await RawClient.connect(url));
    await view.untilUp(fleet.members.size, REST_MS * slack);
    await view.set(SETTINGS);

    const random = seededRandom(seed);
    const stormy = new Callers({ fleet, kvs, raw, seed, timeoutMs: CALL_TIMEOUT_MS });
    const nemesis = new Nemesis({ fleet, view, raw, kv, random, slack }, this.#options.only, say);
    await nemesis.run(seconds * 1_000);
    say('no more faults');
    await stormy.stop();

    const calm = new Callers({ fleet, kvs, raw, seed: seed + 1, timeoutMs: CALM_TIMEOUT_MS * slack });
    await pause(CALM_MS);
    await calm.stop();
    for (const [what, count] of calm.errors) fleet.violation(`without faults ${count} calls ended with ${what}`);

    await view.set(NO_MERGES);
    const restAfterMs = await this.#atRest(view);
    say('replicas are alike');
    await stormy.verify(kv);
    await calm.verify(kv);
    say('what was written is there');
    const regions = (await view.regions().catch(() => [])).length;
    await this.#closeConnections();
    await fleet.stop();
    for (const line of unexplainedLines(fleet)) fleet.violation(line);
    if (fleet.violations.length === 0) fleet.removeData();
    return {
      seed,
      violations: fleet.violations,
      nemesis: nemesis.report,
      acknowledgedWrites: stormy.load.acknowledgedWrites + calm.load.acknowledgedWrites,
      recordedCalls: stormy.load.recorder.history.length + calm.load.recorder.history.length,
      jsonSwaps: stormy.jsonSwaps + calm.jsonSwaps,
      calls: Object.fromEntries(stormy.log.calls),
      errors: Object.fromEntries(stormy.errors),
      regions,
      restAfterMs,
      peakResidentMib: fleet.peakResidentMib,
      dir: fleet.local.dir,
    };
  }

  async #atRest(view: PlacementView): Promise<number> {
    const { slack, say } = this.#options;
    const fleet = this.#fleet;
    const { tookMs, problem } = await untilAtRest(view, fleet.staying, REST_MS * slack);
    if (problem !== undefined) {
      const state = await describePlacement(view).catch(String);
      fleet.violation(`not at rest after ${tookMs} ms: ${problem}\n${state}`);
    }
    say(`at rest after ${tookMs} ms`);
    await pause(CHECKED_MS - SEEN_AT_REST_MS);
    const uneven = await untilReplicasEven(view, EVEN_MS * slack);
    if (uneven !== undefined) fleet.violation(uneven);
    for (const text of await untilUntroubled(view, fleet.staying, EVEN_MS * slack)) fleet.violation(text);
    return tookMs;
  }

  async #closeConnections(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    await this.#raw?.close();
    await this.#view?.close();
    [this.#clients, this.#raw, this.#view] = [[], undefined, undefined];
  }

  /** Also after a throw. */
  async close(): Promise<void> {
    await this.#closeConnections();
    await this.#fleet.stop();
  }
}

/** Everybody who calls, from the start to `stop`. */
class Callers {
  readonly load: Load;
  readonly log: CallLog;
  readonly #fleet: Fleet;
  readonly #counters: readonly JsonCounter[];
  readonly #running: Promise<void>[];
  readonly #longestMs: number;
  #stopped = false;

  constructor(options: { fleet: Fleet; kvs: readonly Kv[]; raw: RawClient; seed: number; timeoutMs: number }) {
    const { fleet, kvs, raw, seed, timeoutMs } = options;
    this.#fleet = fleet;
    this.#longestMs = timeoutMs + LATE_MS;
    this.log = new CallLog(this.#longestMs);
    this.load = Load.start(kvs, { writers: WRITERS, recorded: RECORDED, timeoutMs });
    const isStopped = (): boolean => this.#stopped;
    const owners = Array.from({ length: OWNERS }, (_, id) => {
      const kv = kvs[id % kvs.length] as Kv;
      return new RangeOwner(kv, { id, seed, timeoutMs, log: this.log });
    });
    const { cluster } = fleet.local;
    this.#counters = Array.from(
      { length: COUNTERS },
      (_, id) => new JsonCounter(raw, { cluster, id, seed, log: this.log }),
    );
    this.#running = [...owners, ...this.#counters].map((caller) => caller.run(isStopped));
  }

  get jsonSwaps(): number {
    return this.#counters.reduce((sum, { count }) => sum + count, 0);
  }

  get errors(): Map<string, number> {
    return new Map([...this.log.errors, ...this.load.recorder.errors]);
  }

  /** No new calls; that one does not end is a violation. */
  async stop(): Promise<void> {
    this.#stopped = true;
    const ended = Promise.all([this.load.stop(), ...this.#running]).then(() => true);
    if (!(await Promise.race([ended, pause(2 * this.#longestMs).then(() => false)]))) {
      this.#fleet.violation('calls do not end');
    }
    for (const text of this.log.violations) this.#fleet.violation(text);
    for (const [code, count] of this.load.recorder.errors) {
      if (sortOfError(code) === 'wrong') this.#fleet.violation(`${count} calls ended with ${code}`);
    }
  }

  async verify(kv: Kv): Promise<void> {
    await this.load.verify(kv).catch((error: Error) => this.#fleet.violation(error.message));
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
