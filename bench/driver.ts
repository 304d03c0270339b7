/** What the benchmark needs of a store: a cluster that it starts and stops, and sessions that read and write. */

import type { Kv } from '../rpc/client/kv.ts';

/** What a driver can do and what its numbers mean; printed beside them. */
export interface DriverInfo {
  readonly name: string;
  /** How the store is run and driven, in plain words. */
  readonly description: string;
  /** What has happened when a write is answered. */
  readonly durability: string;
  /** What a get promises. */
  readonly reads: string;
  /** What a batch is here: one atomic step, or writes that merely travel together. */
  readonly batches: string;
  readonly canScan: boolean;
}

/** One client. Many calls may be under way at once; keys and values are not changed afterwards by the caller. */
export interface Session {
  put(key: Uint8Array, value: Uint8Array): Promise<unknown>;
  /** The value, or undefined where there is no such key. */
  get(key: Uint8Array): Promise<Uint8Array | undefined>;
  /** Puts all of `keys` in one call; every key gets `value`. */
  batch(keys: readonly Uint8Array[], value: Uint8Array): Promise<unknown>;
  /** Reads up to `limit` entries from `start` upwards and returns how many there were. */
  scan(start: Uint8Array, limit: number): Promise<number>;
  close(): Promise<void>;
}

/** Counters since the cluster started; a run subtracts two of them. */
export interface Usage {
  /** CPU seconds of every server process, brokers included, by a name such as `etcd` or `nats-server`. */
  readonly cpuSeconds: Readonly<Record<string, number>>;
  /** Syncs of logs to disk over all members; undefined where the store does not count them. */
  readonly fsyncs: number | undefined;
}

export interface Driver {
  readonly info: DriverInfo;
  /** Starts the store's processes on loopback with fresh data, or reaches one that runs. */
  start(): Promise<void>;
  connect(): Promise<Session>;
  usage(): Promise<Usage>;
  /** Stops what `start` started and removes its data. Safe to call at any time, and twice. */
  stop(): Promise<void>;
}

/** A session over the interface that mraft itself offers. */
export function sessionOfKv(kv: Kv): Session {
  return {
    put: (key, value) => kv.put(key, value),
    get: (key) => kv.get(key),
    batch: (keys, value) => kv.batch(keys.map((key) => ({ type: 'put', key, value }))),
    async scan(start, limit) {
      let count = 0;
      for await (const _entry of kv.scan({ gte: start, limit })) count += 1;
      return count;
    },
    close: () => kv.close(),
  };
}
