/** Records what clients do and hear, as a history for the checker. One clock for all of them: one process. */

import type { Kv, ReadMode } from '../../rpc/client/kv.ts';
import type { Input, Operation, Output } from './history.ts';

const decoder = new TextDecoder();

export class Recorder {
  readonly history: Operation[] = [];
  /** Calls that ended in an error, by its code. */
  readonly errors = new Map<string, number>();

  /** A client whose calls are recorded. An error counts as no answer: the call may have taken effect, or may yet. */
  client(id: number, kv: Kv, options: { timeoutMs?: number; read?: ReadMode } = {}): RecordedClient {
    return new RecordedClient(id, kv, options, this);
  }

  /** Runs one call. False when it failed. */
  async record(client: number, key: string, input: Input, call: () => Promise<Output>): Promise<boolean> {
    const invokedAt = performance.now();
    try {
      const output = await call();
      this.history.push({ key, client, input, invokedAt, returnedAt: performance.now(), output });
      return true;
    } catch (error) {
      this.countError(error);
      this.history.push({ key, client, input, invokedAt, returnedAt: Infinity, output: undefined });
      return false;
    }
  }

  countError(error: unknown): void {
    const code = (error as { code?: unknown }).code;
    const name = typeof code === 'string' ? code : String(error);
    this.errors.set(name, (this.errors.get(name) ?? 0) + 1);
  }
}

export class RecordedClient {
  readonly #id: number;
  readonly #kv: Kv;
  readonly #options: { timeoutMs?: number; read?: ReadMode };
  readonly #recorder: Recorder;
  readonly #lastRead = new Map<string, string | undefined>();

  constructor(id: number, kv: Kv, options: { timeoutMs?: number; read?: ReadMode }, recorder: Recorder) {
    this.#id = id;
    this.#kv = kv;
    this.#options = options;
    this.#recorder = recorder;
  }

  get(key: string): Promise<boolean> {
    return this.#recorder.record(this.#id, key, { kind: 'get' }, async () => {
      const value = text(await this.#kv.get(key, this.#options));
      this.#lastRead.set(key, value);
      return { value };
    });
  }

  /** What this client's last answered get of the key read. */
  lastRead(key: string): string | undefined {
    return this.#lastRead.get(key);
  }

  put(key: string, value: string): Promise<boolean> {
    return this.#recorder.record(this.#id, key, { kind: 'put', value }, async () => {
      await this.#kv.put(key, value, this.#options);
      return {};
    });
  }

  delete(key: string): Promise<boolean> {
    return this.#recorder.record(this.#id, key, { kind: 'delete' }, async () => {
      await this.#kv.delete(key, this.#options);
      return {};
    });
  }

  cas(key: string, expected: string | undefined, value: string | undefined): Promise<boolean> {
    return this.#recorder.record(this.#id, key, { kind: 'cas', expected, value }, async () => {
      const { swapped, current } = await this.#kv.compareAndSwap(key, expected, value, this.#options);
      return swapped ? { swapped } : { swapped, current: text(current) };
    });
  }
}

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : decoder.decode(bytes);
}
