/** Draws faults from a seed, several at a time, and after each round sees how long it takes until every region serves. */

import type { Kv } from '../../../rpc/client/index.ts';
import { eventually } from '../../harness.ts';
import { keysOfAllRegions } from '../keys.ts';
import { describeRegions } from './rest.ts';
import { FAULTS, type Fault, type FaultPorts } from './faults.ts';

const MOST_AT_ONCE = 3;
const LATEST_START_MS = 2_000;
/** Faults that cannot be done at the moment are drawn again, so often. */
const DRAWS = 20;
/** How long a region may be without a leader, once everything runs again. */
const RECOVERY_MS = 10_000;
/** After that it is not waited for any longer. */
const GIVE_UP_MS = 20_000;

export interface NemesisReport {
  readonly rounds: number;
  /** How often each fault was done. */
  readonly faults: Readonly<Record<string, number>>;
  readonly slowestRecoveryMs: number;
}

export class Nemesis {
  readonly #ports: FaultPorts;
  readonly #faults: readonly Fault[];
  readonly #say: (line: string) => void;
  readonly #long = new Set<Promise<void>>();
  readonly #counts = new Map<string, number>();
  #rounds = 0;
  #slowestRecoveryMs = 0;

  /** @param only the names of faults that are drawn; undefined: all */
  constructor(ports: FaultPorts, only: ReadonlySet<string> | undefined, say: (line: string) => void) {
    this.#ports = ports;
    this.#faults = FAULTS.filter(({ name }) => only?.has(name) ?? true);
    this.#say = say;
  }

  get report(): NemesisReport {
    return {
      rounds: this.#rounds,
      faults: Object.fromEntries(this.#counts),
      slowestRecoveryMs: Math.round(this.#slowestRecoveryMs),
    };
  }

  /** Rounds for so long, or until something is found; then everything runs again. */
  async run(durationMs: number): Promise<void> {
    const untilMs = performance.now() + durationMs;
    while (performance.now() < untilMs && this.#ports.fleet.violations.length === 0) await this.#round();
    await Promise.all(this.#long);
  }

  async #round(): Promise<void> {
    const { random } = this.#ports;
    this.#rounds++;
    const count = 1 + Math.floor(random() * MOST_AT_ONCE);
    const faults = Array.from({ length: count }, async () => {
      await pause(count === 1 ? 0 : random() * LATEST_START_MS);
      await this.#one();
    });
    await Promise.all(faults);
    await this.#recovered();
  }

  async #one(): Promise<void> {
    for (let draw = 0; draw < DRAWS; draw++) {
      const fault = this.#draw();
      const done = fault.begin(this.#ports);
      if (!done) continue;
      this.#counts.set(fault.name, (this.#counts.get(fault.name) ?? 0) + 1);
      this.#say(`round ${this.#rounds}: ${fault.name}`);
      if (!fault.isLong) return done;
      this.#long.add(done);
      void done.finally(() => this.#long.delete(done));
      return;
    }
  }

  #draw(): Fault {
    const total = this.#faults.reduce((sum, { weight }) => sum + weight, 0);
    let at = this.#ports.random() * total;
    return this.#faults.find(({ weight }) => (at -= weight) < 0) ?? (this.#faults[0] as Fault);
  }

  /** Until a write in every region was acknowledged; that it takes long is a finding. */
  async #recovered(): Promise<void> {
    const { fleet, kv, slack, view } = this.#ports;
    const startedMs = performance.now();
    try {
      const address = { cluster: fleet.local.cluster, url: fleet.local.url };
      const keys = await eventually('regions are known', () => keysOfAllRegions(address), GIVE_UP_MS * slack);
      await Promise.all(keys.map((key) => writeProbe(kv, key, GIVE_UP_MS * slack)));
    } catch (error) {
      const state = await describeRegions(view).catch(String);
      fleet.violation(`round ${this.#rounds}: a region does not serve: ${(error as Error).message}\n${state}`);
    }
    const tookMs = performance.now() - startedMs;
    this.#slowestRecoveryMs = Math.max(this.#slowestRecoveryMs, tookMs);
    this.#say(`round ${this.#rounds}: every region serves after ${Math.round(tookMs)} ms`);
    if (tookMs > RECOVERY_MS * slack) {
      fleet.violation(`round ${this.#rounds}: it took ${Math.round(tookMs)} ms until every region served`);
    }
  }
}

/** A write that changes nothing: no caller has such a key. */
async function writeProbe(kv: Kv, key: Uint8Array, timeoutMs: number): Promise<void> {
  await kv.delete(key, { timeoutMs });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
