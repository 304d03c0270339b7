/** The key-value interface of mraft: the same embedded (`mraft`) and remote (`mraft/client`). */

/** A string is its UTF-8 bytes. */
export type Key = Uint8Array | string;
export type Value = Uint8Array | string;

/**
 * How fresh a read is.
 * - `linearizable`: sees every write that was acknowledged before the read began; costs a round to a majority.
 * - `lease`: the same as long as clocks run at the same speed within the configured drift; answered by the leader alone.
 * - `replica`: as linearizable, but answered by any replica, learners too: one small message to the leader, which reads nothing.
 * - `stale`: what some replica has applied; may lag, never goes through the leader on purpose.
 */
export type ReadMode = 'linearizable' | 'lease' | 'stale' | 'replica';

export interface CallOptions {
  /** How long the call may take, retries included. Default 10,000. */
  readonly timeoutMs?: number;
}

export interface ReadOptions extends CallOptions {
  readonly read?: ReadMode;
}

export interface ScanOptions extends ReadOptions {
  readonly gt?: Key;
  readonly gte?: Key;
  readonly lt?: Key;
  readonly lte?: Key;
  readonly reverse?: boolean;
  /** Most entries. Default: all. */
  readonly limit?: number;
}

export interface KeyValue {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export type BatchOperation =
  { readonly type: 'put'; readonly key: Key; readonly value: Value } | { readonly type: 'delete'; readonly key: Key };

export interface CompareAndSwapResult {
  readonly swapped: boolean;
  /** What the key held when it did not swap; undefined: no such key, or it swapped. */
  readonly current: Uint8Array | undefined;
}

export interface Kv {
  /** The value, or undefined where there is no such key. */
  get(key: Key, options?: ReadOptions): Promise<Uint8Array | undefined>;
  /** The values in the order of the keys. Keys of several regions are read at (slightly) different moments. */
  batchGet(keys: readonly Key[], options?: ReadOptions): Promise<(Uint8Array | undefined)[]>;
  put(key: Key, value: Value, options?: CallOptions): Promise<void>;
  delete(key: Key, options?: CallOptions): Promise<void>;
  /** Writes `value` (undefined: deletes) if the key holds `expected` (undefined: does not exist). */
  compareAndSwap(
    key: Key,
    expected: Value | undefined,
    value: Value | undefined,
    options?: CallOptions,
  ): Promise<CompareAndSwapResult>;
  /**
   * All operations or none, in order. All keys must lie in one region.
   * @throws BatchCrossesRegions when they do not
   */
  batch(operations: readonly BatchOperation[], options?: CallOptions): Promise<void>;
  /** Entries of the range in key order, page by page; each page is as fresh as `read` says. */
  scan(options?: ScanOptions): AsyncIterable<KeyValue>;
  /** Removes every key of [start, end), from the first key where `start` is empty; not atomic across regions. */
  deleteRange(start: Key, end: Key, options?: CallOptions): Promise<void>;
  close(): Promise<void>;
}
