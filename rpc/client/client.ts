/** The public methods: they check what they are given, and leave the work to the dispatcher. */

import { InvalidArgument } from '../wire/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import type { Dispatcher } from './dispatcher.ts';
import type {
  BatchOperation,
  CallOptions,
  CompareAndSwapResult,
  Key,
  KeyValue,
  Kv,
  ReadOptions,
  ScanOptions,
  Value,
} from './kv.ts';
import { Gather, ReadCall, ScanCall, WriteCall, type ScanPage } from './pending-call.ts';
import { scanEntries } from './scan.ts';
import { ForeignSession } from './session.ts';
import type { ClientStats } from './stats.ts';
import {
  checkBatch,
  checkDeleteRange,
  checkKey,
  checkKeys,
  checkLimit,
  checkReadMode,
  checkScanRange,
  checkSwapSize,
  checkTimeout,
  checkValue,
} from './validate.ts';

/** A user's own session and sequence. */
interface Identity {
  readonly session: Uint8Array;
  readonly seq: number;
}

const NO_OPTIONS = {};

/**
 * A client over any transport (connect.ts makes one over NATS). Keys and values that are passed in must not be changed
 * before the call has ended; those that come out may share memory with each other.
 *
 * Every method rejects with a typed error (rpc/wire/errors.ts): what is wrong with the arguments at once; ServerBusy at
 * once when too much is pending; DeadlineExceeded, with the last error as its cause, at the call's deadline. A write
 * that fails with `details.outcomeUnknown` may have taken effect; it never takes effect twice.
 */
export class Client implements Kv {
  readonly #dispatcher: Dispatcher;
  readonly #timeoutMs: number;
  readonly #identity: Identity | undefined;

  /** @internal use `connect` or `createClient` */
  constructor(dispatcher: Dispatcher, timeoutMs: number, identity?: Identity) {
    this.#dispatcher = dispatcher;
    this.#timeoutMs = timeoutMs;
    this.#identity = identity;
  }

  /** Counters since the client was made. */
  get stats(): Readonly<ClientStats> {
    return this.#dispatcher.stats;
  }

  /** Calls that have begun and not ended. */
  get pendingCalls(): number {
    return this.#dispatcher.pendingCalls;
  }

  get(key: Key, options: ReadOptions = NO_OPTIONS): Promise<Uint8Array | undefined> {
    try {
      const bytes = checkKey(key);
      const mode = checkReadMode(options.read);
      return this.#dispatcher.begin(new ReadCall(this.#deadline(options), bytes.length, mode, [bytes]));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  batchGet(keys: readonly Key[], options: ReadOptions = NO_OPTIONS): Promise<(Uint8Array | undefined)[]> {
    try {
      const checked = checkKeys(keys);
      const mode = checkReadMode(options.read);
      const call = new ReadCall(this.#deadline(options), checked.sizeBytes, mode, checked.keys);
      if (checked.keys.length === 0) return Promise.resolve([]);
      call.gather = new Gather(new Array<Uint8Array | undefined>(checked.keys.length).fill(undefined));
      call.positions = checked.keys.map((_, i) => i);
      return this.#dispatcher.begin(call);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  put(key: Key, value: Value, options: CallOptions = NO_OPTIONS): Promise<void> {
    try {
      const operation = { kind: 'put', key: checkKey(key), value: checkValue(value) } as const;
      const sizeBytes = operation.key.length + operation.value.length;
      return this.#write(new WriteCall(this.#deadline(options), sizeBytes, operation));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  delete(key: Key, options: CallOptions = NO_OPTIONS): Promise<void> {
    try {
      const operation = { kind: 'delete', key: checkKey(key) } as const;
      return this.#write(new WriteCall(this.#deadline(options), operation.key.length, operation));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  compareAndSwap(
    key: Key,
    expected: Value | undefined,
    value: Value | undefined,
    options: CallOptions = NO_OPTIONS,
  ): Promise<CompareAndSwapResult> {
    try {
      const operation = {
        kind: 'compareAndSwap',
        key: checkKey(key),
        expected: expected === undefined ? undefined : checkValue(expected, 'expected'),
        value: value === undefined ? undefined : checkValue(value),
      } as const;
      checkSwapSize(operation.expected, operation.value);
      const sizeBytes = operation.key.length + (operation.expected?.length ?? 0) + (operation.value?.length ?? 0);
      return this.#write(new WriteCall(this.#deadline(options), sizeBytes, operation));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  batch(operations: readonly BatchOperation[], options: CallOptions = NO_OPTIONS): Promise<void> {
    try {
      const { mutations, sizeBytes } = checkBatch(operations);
      const deadlineMs = this.#deadline(options);
      if (mutations.length === 0) return Promise.resolve();
      const overheadBytes = mutations.length * MUTATION_OVERHEAD_BYTES;
      return this.#write(new WriteCall(deadlineMs, sizeBytes + overheadBytes, { kind: 'batch', mutations }));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  scan(options: ScanOptions = NO_OPTIONS): AsyncIterable<KeyValue> {
    const range = checkScanRange(options);
    const limit = checkLimit(options.limit);
    const mode = checkReadMode(options.read);
    const timeoutMs = checkTimeout(options.timeoutMs, this.#timeoutMs);
    const reverse = options.reverse ?? false;
    return scanEntries(range, limit, (rest, left) => {
      const deadlineMs = this.#dispatcher.nowMs() + timeoutMs;
      const pageLimit = Math.min(left, LIMITS.scanPageEntries);
      return this.#dispatcher.begin<ScanPage>(new ScanCall(deadlineMs, mode, rest, reverse, pageLimit));
    });
  }

  deleteRange(start: Key, end: Key, options: CallOptions = NO_OPTIONS): Promise<void> {
    try {
      const range = checkDeleteRange(start, end);
      const deadlineMs = this.#deadline(options);
      if (Buffer.compare(range.start, range.end) === 0) return Promise.resolve();
      const operation = { kind: 'deleteRange', start: range.start, end: range.end } as const;
      const call = new WriteCall(deadlineMs, range.start.length + range.end.length, operation);
      call.gather = new Gather(undefined);
      return this.#write(call);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * The same client for one write under a session and a sequence of the caller's own, for exactly once over a
   * caller's retries: the write takes effect once, however often it is made. Sequences of a session should ascend; one
   * that lags more than 1,024 behind another is refused as StaleSequence.
   * @throws InvalidArgument
   */
  withSession(session: Uint8Array, seq: number): Kv {
    if (!(session instanceof Uint8Array) || session.length === 0 || session.length > LIMITS.sessionBytes) {
      throw new InvalidArgument(`session must have 1 to ${LIMITS.sessionBytes} bytes`, { field: 'session' });
    }
    if (!Number.isSafeInteger(seq) || seq < 1) {
      throw new InvalidArgument('seq must be a whole number, 1 or more', { field: 'seq' });
    }
    return new Client(this.#dispatcher, this.#timeoutMs, { session, seq });
  }

  /** Rejects what is pending with Closed. A client of `withSession` has nothing to close. */
  close(): Promise<void> {
    return this.#identity === undefined ? this.#dispatcher.close() : Promise.resolve();
  }

  #deadline(options: CallOptions): number {
    return this.#dispatcher.nowMs() + checkTimeout(options.timeoutMs, this.#timeoutMs);
  }

  #write<T>(call: WriteCall): Promise<T> {
    if (this.#identity !== undefined) {
      call.session = new ForeignSession(this.#identity.session, this.#identity.seq);
      call.seq = this.#identity.seq;
    }
    return this.#dispatcher.begin(call);
  }
}

/** Bytes that a mutation takes beside its key and value, at most. */
const MUTATION_OVERHEAD_BYTES = 20;
