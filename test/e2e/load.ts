/** Load on a cluster while something happens to it, and what must be true of it afterwards. */

import type { Kv } from '../../rpc/client/index.ts';
import { Closed } from '../../rpc/wire/errors.ts';
import { assert } from '../harness.ts';
import { checkHistory } from '../linearizability/checker.ts';
import { seededRandom } from '../linearizability/random-history.ts';
import { Recorder, type RecordedClient } from '../linearizability/recorder.ts';
import { spreadKey } from './keys.ts';

export interface LoadOptions {
  /** Callers that write keys of their own as fast as they are answered. Default 64. */
  readonly writers?: number;
  /** Callers whose gets, puts, deletes and swaps of shared keys are recorded. Default 12. */
  readonly recorded?: number;
  /** How long a call may take, retries included. Default 20,000. */
  readonly timeoutMs?: number;
}

/** Where the shared keys lie: first bytes from all over the key space. */
const PLACES = ['\u0001', '#', '1', 'A', 'Q', 'a', 'h', 'm', 't', '}', 'é', '中', '\u{1f600}'];
const PAUSE_MS = 4;
const CHECK_BATCH = 500;
/** Each load has keys of its own: its history begins with none of them. */
let loadsStarted = 0;

export class Load {
  readonly recorder = new Recorder();
  readonly #kvs: readonly Kv[];
  readonly #timeoutMs: number;
  readonly #running: Promise<void>[] = [];
  /** Of each writer, how many of its keys were acknowledged in an unbroken row. */
  readonly #acknowledged: number[] = [];
  /** Of each writer, the keys beyond the row whose fate is unknown. */
  readonly #failed = new Set<string>();
  readonly #name = `load${loadsStarted++}`;
  readonly #sharedKeys = PLACES.map((place) => `${place}${this.#name}`);
  #stopped = false;

  private constructor(kvs: readonly Kv[], timeoutMs: number) {
    this.#kvs = kvs;
    this.#timeoutMs = timeoutMs;
  }

  /** Starts the load; callers take the connections in turn. */
  static start(kvs: readonly Kv[], options: LoadOptions = {}): Load {
    const load = new Load(kvs, options.timeoutMs ?? 20_000);
    for (let id = 0; id < (options.writers ?? 64); id++) load.#running.push(load.#write(id));
    for (let id = 0; id < (options.recorded ?? 12); id++) load.#running.push(load.#record(id));
    return load;
  }

  get acknowledgedWrites(): number {
    return this.#acknowledged.reduce((sum, count) => sum + count, 0);
  }

  /** No new calls; waits for those that are out. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#running);
  }

  /**
   * After `stop`: every acknowledged write is there, and the shared keys' history is linearizable, the values that
   * they hold at the end included. A write that was applied twice would be seen as a value that comes back.
   */
  async verify(kv: Kv): Promise<void> {
    const reader = this.recorder.client(-1, kv, { timeoutMs: this.#timeoutMs });
    for (const key of this.#sharedKeys) assert.ok(await reader.get(key), `the final read of ${key} failed`);
    const verdict = checkHistory(this.recorder.history);
    assert.is(verdict.result, 'linearizable', 'explanation' in verdict ? verdict.explanation : verdict.result);
    await this.#verifyWrites(kv);
  }

  async #write(id: number): Promise<void> {
    const kv = this.#kvs[id % this.#kvs.length] as Kv;
    this.#acknowledged[id] = 0;
    for (let at = 0; !this.#stopped; at++) {
      try {
        await kv.put(spreadKey(`${this.#name}/${id}`, at), `${id}/${at}`, { timeoutMs: this.#timeoutMs });
      } catch (error) {
        // A test that failed has closed the client under its load, which must not spin.
        if (error instanceof Closed) return;
        this.recorder.countError(error);
        this.#failed.add(`${id}/${at}`);
      }
      this.#acknowledged[id] = at + 1;
    }
  }

  async #verifyWrites(kv: Kv): Promise<void> {
    for (const [id, count] of this.#acknowledged.entries()) {
      for (let from = 0; from < count; from += CHECK_BATCH) {
        const numbers = Array.from({ length: Math.min(CHECK_BATCH, count - from) }, (_, at) => from + at);
        const values = await kv.batchGet(
          numbers.map((at) => spreadKey(`${this.#name}/${id}`, at)),
          { timeoutMs: this.#timeoutMs },
        );
        values.forEach((value, at) => {
          const name = `${id}/${from + at}`;
          if (value === undefined && this.#failed.has(name)) return;
          assert.is(value && new TextDecoder().decode(value), name, `the acknowledged write ${name} is lost`);
        });
      }
    }
  }

  async #record(id: number): Promise<void> {
    const random = seededRandom(id);
    const kv = this.#kvs[id % this.#kvs.length] as Kv;
    const client = this.recorder.client(id, kv, { timeoutMs: this.#timeoutMs });
    for (let at = 0; !this.#stopped; at++) {
      const key = this.#sharedKeys[Math.floor(random() * PLACES.length)] as string;
      await recordedCall(client, key, random(), `${id}.${at}`);
      await new Promise((resolve) => setTimeout(resolve, random() * PAUSE_MS));
    }
  }
}

/** One call, or a get and a swap of what it read; `choice` is uniform in [0, 1). */
async function recordedCall(client: RecordedClient, key: string, choice: number, value: string): Promise<void> {
  if (choice < 0.45) await client.get(key);
  else if (choice < 0.7) await client.put(key, value);
  else if (choice < 0.75) await client.delete(key);
  else {
    // Swaps mostly expect what is there, so that they mostly happen.
    const read = await client.get(key);
    if (read) await client.cas(key, client.lastRead(key), choice < 0.77 ? undefined : value);
  }
}

/** How long it takes until a write in every region has been acknowledged, all asked at once. */
export async function untilAllServe(kv: Kv, keys: readonly Uint8Array[], timeoutMs: number): Promise<number> {
  const startedMs = performance.now();
  await Promise.all(keys.map((key) => kv.put(key, String(startedMs), { timeoutMs })));
  return performance.now() - startedMs;
}
