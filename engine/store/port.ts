/**
 * What the engine needs of a store: ordered columns, one atomic batch over all of them, one durable order of writes.
 * Everything is synchronous, because a worker's turn is. Two implementations: RocksDB and an in-memory twin for the
 * simulator; both pass the same compliance suite (test/store).
 */

export type Column = 'log' | 'data' | 'meta' | 'system' | 'staging';
export const COLUMNS: readonly Column[] = ['log', 'data', 'meta', 'system', 'staging'];

export interface KeyRange {
  readonly gt?: Uint8Array;
  readonly gte?: Uint8Array;
  readonly lt?: Uint8Array;
  readonly lte?: Uint8Array;
}

export interface ScanOptions extends KeyRange {
  readonly reverse?: boolean;
  /** Most entries of the page. */
  readonly limit: number;
  /** The page ends after the entry that passes it. */
  readonly maxBytes: number;
}

export interface StoreEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export interface ScanPage {
  readonly entries: StoreEntry[];
  /** The page ended by limit or bytes; more may follow. */
  readonly more: boolean;
}

/**
 * A range as it was when the cursor was opened, read page by page; what is written meanwhile is not seen. It pins what it
 * reads on the disk: close it, and do not keep it for long.
 */
export interface StoreCursor {
  /** The next page; after one without `more`, pages are empty. */
  next(): ScanPage;
  /** Lets go of what it pins; the cursor must not be read any more. A second call does nothing. */
  close(): void;
}

/** Collects writes. Reused: `Store.write` leaves it empty. Keys and values are read at once, callers may reuse theirs. */
export interface WriteBatch {
  put(column: Column, key: Uint8Array, value: Uint8Array): void;
  delete(column: Column, key: Uint8Array): void;
  clear(): void;
  /** Operations since the last clear. */
  readonly count: number;
  /** Keys and values since the last clear. */
  readonly sizeBytes: number;
}

export interface Store {
  createBatch(): WriteBatch;

  /** The value, a copy that the caller may keep; undefined where there is none. Reads see all writes made before. */
  get(column: Column, key: Uint8Array): Uint8Array | undefined;

  /** As `get`, many at once, answers in the order of the keys. */
  getMany(column: Column, keys: readonly Uint8Array[]): (Uint8Array | undefined)[];

  /** One page of a range, ascending or descending. */
  scan(column: Column, options: ScanOptions): ScanPage;

  /** Opens a cursor on a range; `limit` and `maxBytes` are those of each page. Closing the store closes it too. */
  openCursor(column: Column, options: ScanOptions): StoreCursor;

  /**
   * Writes the batch atomically and clears it. With `sync` it returns after the log of writes is durable up to and
   * including this batch. Writes become durable in the order in which they were made: a crash loses a suffix only.
   * An empty batch may be written with `sync`, to make durable what came before.
   * @throws StorageFailure when the disk failed: the node must stop, and whether the batch is durable shows after the next
   *   start. DiskFull when there is no room: nothing was written, and the batch keeps its operations to be written again.
   */
  write(batch: WriteBatch, options: { readonly sync: boolean }): void;

  /**
   * Removes all keys of [start, end). Not part of a batch, but ordered with the writes before and after it.
   * Replaying it is harmless, so a caller writes what came before, calls this, and goes on.
   */
  deleteRange(column: Column, start: Uint8Array, end: Uint8Array | undefined): void;

  /** Counts for metrics, since the store was opened by this worker. */
  readonly stats: StoreStats;

  close(): Promise<void>;
}

export interface StoreStats {
  writes: number;
  syncs: number;
  writtenBytes: number;
}
