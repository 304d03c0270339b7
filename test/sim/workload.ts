/** Virtual users: each holds a real client, does one thing after the other, and writes down what it asked and heard. */

import { createClient, type Client } from '../../rpc/client/index.ts';
import type { ReadMode } from '../../rpc/client/kv.ts';
import { MraftError } from '../../rpc/wire/errors.ts';
import type { Input, Operation, Output } from '../linearizability/history.ts';
import { CLUSTER } from './cluster.ts';
import { VirtualConnection } from './connection.ts';
import type { Random } from './random.ts';
import { regionLetter, type World } from './world.ts';

/** Calls of users end after so many election time-outs. */
const CALL_TIMEOUT_ELECTIONS = 8;
/** Some users give up on a silent node before the others have a new leader, some wait for it until it is back. */
const ATTEMPT_TIMEOUT_ELECTIONS = [0.7, 1.5, 5] as const;

/** A node knows its own regions only, and a client asks any node: it may take several questions to hear of all. */
const READ_ALL_ATTEMPTS = 4;

type Asked = readonly { readonly key: string; readonly input: Input }[];

export class Workload {
  readonly history: Operation[] = [];
  readonly keys: readonly string[];
  readonly callTimeoutMs: number;
  /** Calls that ended in an error, by its code. */
  readonly errors = new Map<string, number>();
  calls = 0;
  failedCalls = 0;
  openCalls = 0;
  /** No user begins anything new. */
  stopped = false;
  readonly #world: World;
  readonly #users: User[] = [];
  readonly #written = new Map<string, Set<string>>();

  constructor(world: World) {
    this.#world = world;
    const { config } = world;
    this.callTimeoutMs = config.electionTimeoutMs * CALL_TIMEOUT_ELECTIONS;
    this.keys = world.regions.flatMap((_, region) =>
      Array.from({ length: config.keysPerRegion }, (_, i) => `${regionLetter(region)}${i}`),
    );
    for (let id = 0; id < config.clients; id++) this.#users.push(this.#newUser(id));
  }

  #newUser(id: number): User {
    return new User(this.#world, this, id, this.#world.random.stream(`user ${id}`));
  }

  start(): void {
    for (const user of this.#users) user.start();
  }

  /** Nothing is under way any more. */
  get isIdle(): boolean {
    return this.openCalls === 0 && this.#users.every((user) => user.pendingCalls === 0);
  }

  describeOpen(): string {
    return `${this.openCalls} calls have not ended`;
  }

  /** Reads every key once in each mode, as a user that came late. Resolves with whether all reads were answered. */
  async readAll(): Promise<boolean> {
    const user = this.#newUser(this.#users.length);
    this.#users.push(user);
    for (const mode of ['linearizable', 'lease', 'stale'] as const)
      if (!(await this.#readAllIn(user, mode))) return false;
    return true;
  }

  async #readAllIn(user: User, mode: ReadMode): Promise<boolean> {
    let left = this.keys;
    for (let attempt = 0; attempt < READ_ALL_ATTEMPTS && left.length > 0; attempt++) {
      const answered = await Promise.all(left.map((key) => user.readOne(key, mode)));
      left = left.filter((_, i) => !answered[i]);
    }
    return left.length === 0;
  }

  noteWritten(key: string, value: string): void {
    let values = this.#written.get(key);
    if (!values) this.#written.set(key, (values = new Set()));
    values.add(value);
  }

  /** A stale read may lag, but it never shows what nobody wrote. */
  checkStale(key: string, value: string | undefined): void {
    if (value === undefined || this.#written.get(key)?.has(value)) return;
    this.#world.report('reads show what was written', `a stale read of ${key} answered ${value}`);
  }

  noteError(error: unknown): void {
    this.failedCalls++;
    const code = error instanceof MraftError ? error.code : String(error);
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1);
    if (error instanceof MraftError && error.retryable) return;
    if (error instanceof MraftError && (error.code === 'SessionExpired' || error.code === 'Closed')) return;
    const { placement, faults } = this.#world.config;
    if (code === 'BatchCrossesRegions' && (placement || faults.splitEvery > 0)) return;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#world.report('a good call meets no permanent error', text);
  }
}

class User {
  readonly #world: World;
  readonly #workload: Workload;
  readonly #id: number;
  readonly #random: Random;
  readonly #client: Client;
  #left: number;
  #open = 0;
  #writes = 0;
  /** What each key held when it was last heard of here: what a compare-and-swap expects. */
  readonly #heard = new Map<string, string | undefined>();

  constructor(world: World, workload: Workload, id: number, random: Random) {
    this.#world = world;
    this.#workload = workload;
    this.#id = id;
    this.#random = random;
    const connection = new VirtualConnection(world, random);
    this.#left = world.config.operations;
    this.#client = createClient(connection, {
      cluster: CLUSTER,
      timeoutMs: workload.callTimeoutMs,
      attemptTimeoutMs: world.config.electionTimeoutMs * random.pick(ATTEMPT_TIMEOUT_ELECTIONS),
      inflightFrames: world.config.inflightFrames,
      runtime: connection.runtime,
    });
  }

  get pendingCalls(): number {
    return this.#client.pendingCalls;
  }

  /** Begins a call now and then, whether or not those before have ended: that is what fills the log of a lost leader. */
  start(): void {
    const { config } = this.#world;
    const thinkMs = this.#random.chance(0.5) ? this.#random.wait(1) : this.#random.wait(config.thinkMs * 2);
    this.#world.at(this.#world.nowMs + 0.01 + thinkMs, () => {
      if (this.#workload.stopped || this.#left <= 0) return;
      this.start();
      if (this.#open >= config.callsAtOnce) return;
      this.#left--;
      this.#world.promisesMoved = true;
      this.#open++;
      void this.#act().finally(() => this.#open--);
    });
  }

  async #act(): Promise<void> {
    const { config } = this.#world;
    const { keys } = this.#workload;
    const key = this.#random.chance(config.hotKey) ? keys[0]! : this.#random.pick(keys);
    if (this.#random.chance(config.reads)) {
      await this.#read(key);
      return;
    }
    const dice = this.#random.next();
    if (dice < 0.4) await this.#put(key);
    else if (dice < 0.65) await this.#swap(key);
    else if (dice < 0.8) await this.#delete(key);
    else if (dice < 0.93) await this.#batch(key);
    else await this.#deleteRange(key);
  }

  #newValue(key: string): string {
    const value = `${this.#id}.${++this.#writes}${'.'.repeat(this.#world.config.paddingBytes)}`;
    this.#workload.noteWritten(key, value);
    return value;
  }

  // --- reads ---------------------------------------------------------------------------------------------------------

  async #read(key: string): Promise<void> {
    const { config } = this.#world;
    const dice = this.#random.next();
    const mode = this.#random.chance(config.leaseReads) ? 'lease' : dice < 0.1 ? 'stale' : 'linearizable';
    const what = this.#random.next();
    if (what < 0.7) await this.readOne(key, mode);
    else if (what < 0.85) await this.#readMany(mode);
    else await this.#scan(mode);
  }

  async readOne(key: string, read: ReadMode): Promise<boolean> {
    return this.#ask([{ key, input: { kind: 'get' } }], this.#isChecked(read), async () => {
      const value = text(await this.#client.get(key, { read }));
      this.#hear(key, value, read);
      return [{ value }];
    });
  }

  async #readMany(read: ReadMode): Promise<void> {
    const keys = this.#random.sample(this.#workload.keys, 1 + this.#random.below(5));
    const asked = keys.map((key) => ({ key, input: { kind: 'get' } as const }));
    await this.#ask(asked, this.#isChecked(read), async () => {
      const values = (await this.#client.batchGet(keys, { read })).map(text);
      keys.forEach((key, i) => this.#hear(key, values[i], read));
      return values.map((value) => ({ value }));
    });
  }

  /** A scan reads every key of its range, also those that are not there. */
  async #scan(read: ReadMode): Promise<void> {
    const [a, b] = [this.#random.pick(this.#workload.keys), this.#random.pick(this.#workload.keys)];
    const [gte, lte] = a < b ? [a, b] : [b, a];
    const reverse = this.#random.chance(0.5);
    const keys = this.#workload.keys.filter((key) => key >= gte && key <= lte);
    const asked = keys.map((key) => ({ key, input: { kind: 'get' } as const }));
    await this.#ask(asked, this.#isChecked(read), async () => {
      const found = new Map<string, string | undefined>();
      let before: string | undefined;
      for await (const entry of this.#client.scan({ gte, lte, reverse, read })) {
        const key = text(entry.key)!;
        const inOrder = before === undefined || (reverse ? key < before : key > before);
        if (!inOrder || !keys.includes(key)) {
          this.#world.report('scans are in order and in range', `${key} behind ${before} in [${gte}, ${lte}]`);
        }
        before = key;
        found.set(key, text(entry.value));
      }
      for (const key of keys) this.#hear(key, found.get(key), read);
      return keys.map((key) => ({ value: found.get(key) }));
    });
  }

  #hear(key: string, value: string | undefined, read: ReadMode): void {
    this.#heard.set(key, value);
    if (!this.#isChecked(read)) this.#workload.checkStale(key, value);
  }

  /** Whether reads of this kind are promised to be linearizable in this run. */
  #isChecked(read: ReadMode): boolean {
    return read === 'linearizable' || (read === 'lease' && this.#world.config.faults.wildClockEvery === 0);
  }

  // --- writes --------------------------------------------------------------------------------------------------------

  async #put(key: string): Promise<void> {
    const value = this.#newValue(key);
    await this.#ask([{ key, input: { kind: 'put', value } }], true, async () => {
      await this.#client.put(key, value);
      return [{}];
    });
  }

  async #delete(key: string): Promise<void> {
    await this.#ask([{ key, input: { kind: 'delete' } }], true, async () => {
      await this.#client.delete(key);
      return [{}];
    });
  }

  async #swap(key: string): Promise<void> {
    const expected = this.#random.chance(0.6) ? this.#heard.get(key) : undefined;
    const value = this.#random.chance(0.85) ? this.#newValue(key) : undefined;
    if (expected === value) return;
    await this.#ask([{ key, input: { kind: 'cas', expected, value } }], true, async () => {
      const { swapped, current } = await this.#client.compareAndSwap(key, expected, value);
      this.#heard.set(key, swapped ? value : text(current));
      return [swapped ? { swapped } : { swapped, current: text(current) }];
    });
  }

  /** Several keys of one region at once. */
  async #batch(first: string): Promise<void> {
    const mates = this.#workload.keys.filter((key) => key[0] === first[0]);
    const keys = this.#random.sample(mates, 1 + this.#random.below(3));
    const asked = keys.map((key) => {
      if (this.#random.chance(0.2)) return { key, input: { kind: 'delete' } as const };
      return { key, input: { kind: 'put', value: this.#newValue(key) } as const };
    });
    await this.#ask(asked, true, async () => {
      await this.#client.batch(
        asked.map(({ key, input }) =>
          input.kind === 'put' ? { type: 'put', key, value: input.value } : { type: 'delete', key },
        ),
      );
      return asked.map(() => ({}));
    });
  }

  async #deleteRange(start: string): Promise<void> {
    const reach = this.#random.chance(0.8) ? `${start[0]}~` : `${String.fromCharCode(start.charCodeAt(0) + 1)}~`;
    const keys = this.#workload.keys.filter((key) => key >= start && key < reach);
    const asked = keys.map((key) => ({ key, input: { kind: 'delete' } as const }));
    await this.#ask(asked, true, async () => {
      await this.#client.deleteRange(start, reach);
      return asked.map(() => ({}));
    });
  }

  // --- the record ----------------------------------------------------------------------------------------------------

  /** Runs one call; false: it ended in an error, so that it may have taken effect, or may yet. */
  async #ask(asked: Asked, isChecked: boolean, call: () => Promise<readonly Output[]>): Promise<boolean> {
    const world = this.#world;
    const workload = this.#workload;
    const invokedAt = world.nowMs;
    workload.calls++;
    workload.openCalls++;
    world.trace(() => `user ${this.#id} asks ${JSON.stringify(asked)}`);
    let outputs: readonly Output[] | undefined;
    try {
      outputs = await call();
      world.trace(() => `user ${this.#id} hears ${JSON.stringify(outputs)} to ${JSON.stringify(asked)}`);
    } catch (error) {
      workload.noteError(error);
      world.trace(() => `user ${this.#id} hears ${String(error)} to ${JSON.stringify(asked)}`);
    }
    workload.openCalls--;
    world.mix(outputs ? 1 : 0);
    if (isChecked) {
      asked.forEach(({ key, input }, i) => {
        const answer = outputs
          ? { returnedAt: world.nowMs, output: outputs[i]! }
          : { returnedAt: Infinity, output: undefined };
        workload.history.push({ key, client: this.#id, input, invokedAt, ...answer });
      });
    }
    return outputs !== undefined;
  }
}

const decoder = new TextDecoder();

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : decoder.decode(bytes);
}
