/**
 * The store on RocksDB: one database a node, opened by one thread and shared by its workers. The only import of `rocksdb`.
 *
 * Lifetime (rule): `openRocks` makes the owner; the workers attach to its handle, which is a bare pointer. Only the owner
 * closes the database, after every worker has stopped using it. A worker's `close` lets go of its own part and nothing
 * else, and a worker that is terminated in the middle of a write leaves the database sound.
 */

import { RocksLevel, type ChainedBatch, type ColumnOption, type Iterator, type QueryOptions } from 'rocksdb';

import { Closed, StorageFailure, invariant } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import {
  COLUMNS,
  type Column,
  type ScanOptions,
  type ScanPage,
  type Store,
  type StoreCursor,
  type StoreEntry,
  type StoreStats,
  type WriteBatch,
} from './port.ts';
import { openError, storageError } from './rocks-errors.ts';
import { DEFAULT_TUNING, FAMILY_OF, type RocksTuning } from './rocks-options.ts';

export interface RocksOptions {
  /** The directory of the database; made if there is none. */
  readonly dir: string;
  readonly tuning?: RocksTuning;
}

/**
 * Databases that are open in this thread. A database object that nothing refers to is collected and closes the database
 * under the workers that use its handle; this set is what refers to it.
 */
const openDatabases = new Set<RocksOwner>();

/**
 * Opens the database of a node, making it where there is none.
 * @throws DataDirInUse, DataDirUnusable, DiskFull, StorageFailure (corruption and I/O errors)
 */
export async function openRocks(options: RocksOptions): Promise<RocksOwner> {
  const tuning = options.tuning ?? DEFAULT_TUNING;
  const columns = Object.fromEntries(COLUMNS.map((column) => [FAMILY_OF[column], tuning.columns[column]]));
  const { parallelism, walCompression, pipelinedWrite } = tuning;
  const level = new RocksLevel(options.dir, { columns, parallelism, walCompression, pipelinedWrite });
  try {
    await level.open();
  } catch (error) {
    throw openError(error, options.dir);
  }
  const owner = new RocksOwner(level);
  openDatabases.add(owner);
  return owner;
}

/**
 * Attaches a thread to the database that another thread of this process has open.
 * @param handle `RocksOwner.handle`; a handle whose owner has closed is not detected and ends the process
 */
export function attachRocks(handle: bigint): RocksStore {
  const level = new RocksLevel(handle);
  // On a handle it is synchronous; the promise adds nothing.
  level.open({ createIfMissing: false }).catch(() => {});
  invariant(level.status === 'open', 'a database attaches at once when its owner has it open');
  return new RocksStore(level);
}

/** The opened database of a node, in the thread that opened it. */
export class RocksOwner {
  readonly #level: RocksLevel;
  #closing: Promise<void> | undefined;

  constructor(level: RocksLevel) {
    this.#level = level;
  }

  /** What `attachRocks` needs; can be posted to a worker. */
  get handle(): bigint {
    this.#assertOpen();
    return this.#level.handle;
  }

  /** Number of operations ever written; grows by one with each put and delete. */
  get sequence(): number {
    this.#assertOpen();
    return this.#level.sequence;
  }

  /** A store for this thread. */
  store(): RocksStore {
    this.#assertOpen();
    return new RocksStore(this.#level);
  }

  /**
   * A property of RocksDB, such as `rocksdb.estimate-num-keys` or `rocksdb.is-write-stopped`; those of a column family are
   * the data column's. Empty where RocksDB knows no such property.
   */
  property(name: string): string {
    this.#assertOpen();
    return this.#level.getProperty(name);
  }

  /** Syncs what is written and closes the database. Every worker must have stopped. A second call waits for the first. */
  close(): Promise<void> {
    this.#closing ??= this.#level
      .close()
      .catch((error: unknown) => {
        throw storageError(error, 'closing the database');
      })
      .finally(() => openDatabases.delete(this));
    return this.#closing;
  }

  #assertOpen(): void {
    if (this.#closing) throw new Closed('the database is closed');
  }
}

type ColumnOptions = Readonly<Record<Column, ColumnOption>>;

class RocksBatch implements WriteBatch {
  count = 0;
  sizeBytes = 0;
  readonly #level: RocksLevel;
  readonly #columns: ColumnOptions;
  #native: ChainedBatch;

  constructor(level: RocksLevel, columns: ColumnOptions) {
    this.#level = level;
    this.#columns = columns;
    this.#native = nativeBatch(level);
  }

  put(column: Column, key: Uint8Array, value: Uint8Array): void {
    this.#native._put(key, value, this.#columns[column]);
    this.count++;
    this.sizeBytes += key.length + value.length;
  }

  delete(column: Column, key: Uint8Array): void {
    this.#native._del(key, this.#columns[column]);
    this.count++;
    this.sizeBytes += key.length;
  }

  clear(): void {
    this.#native._clear();
    // A native batch never gives memory back, so one that grew beyond the usual is left to the collector.
    if (this.sizeBytes > LIMITS.storeBatchRetainedBytes) this.#native = nativeBatch(this.#level);
    this.count = 0;
    this.sizeBytes = 0;
  }

  commit(options: { readonly sync: boolean }): void {
    this.#native._writeSync(options);
  }
}

class RocksCursor implements StoreCursor {
  readonly #iterator: Iterator;
  readonly #limit: number;
  readonly #onClose: () => void;
  #closed = false;

  constructor(iterator: Iterator, limit: number, onClose: () => void) {
    this.#iterator = iterator;
    this.#limit = limit;
    this.#onClose = onClose;
  }

  /** One call of the binding, which a thread that is terminated finishes: nothing of it runs on another thread. */
  next(): ScanPage {
    invariant(!this.#closed, 'a closed cursor is not read');
    try {
      const { rows, finished } = this.#iterator._nextvSync(this.#limit);
      return { entries: entriesOf(rows), more: !finished };
    } catch (error) {
      throw storageError(error, 'reading from a cursor');
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#iterator._closeSync();
    this.#onClose();
  }
}

/** One thread's view of the database. */
export class RocksStore implements Store {
  readonly stats: StoreStats = { writes: 0, syncs: 0, writtenBytes: 0 };
  readonly #level: RocksLevel;
  readonly #columns: ColumnOptions;
  readonly #oneKey: [Uint8Array] = [new Uint8Array()];
  /** Open ones: an iterator must not outlive the database. */
  readonly #cursors = new Set<RocksCursor>();
  #closed = false;

  /** @param level open; `openRocks` and `attachRocks` make it */
  constructor(level: RocksLevel) {
    this.#level = level;
    this.#columns = Object.fromEntries(
      COLUMNS.map((column) => [column, { column: familyHandle(level, column) }]),
    ) as unknown as ColumnOptions;
  }

  createBatch(): WriteBatch {
    this.#assertOpen();
    return new RocksBatch(this.#level, this.#columns);
  }

  get(column: Column, key: Uint8Array): Uint8Array | undefined {
    this.#oneKey[0] = key;
    return this.getMany(column, this.#oneKey)[0];
  }

  getMany(column: Column, keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    this.#assertOpen();
    let values: (Uint8Array | undefined | null)[];
    try {
      values = this.#level._getManySync(keys, this.#columns[column]);
    } catch (error) {
      throw storageError(error, 'reading keys');
    }
    // The binding gives null for a read that was cut short, which without a deadline or a soft limit cannot be.
    if (values.includes(null)) throw new StorageFailure('a read was given up half-way: start the node again');
    return values as (Uint8Array | undefined)[];
  }

  scan(column: Column, options: ScanOptions): ScanPage {
    this.#assertOpen();
    const limit = pageLimit(options);
    try {
      const { rows, finished } = this.#query({ ...this.#queryOf(column, options), limit, fillCache: true });
      const entries = entriesOf(rows);
      // `finished` also says that the limit ended the page.
      return { entries, more: !finished || entries.length >= limit };
    } catch (error) {
      throw storageError(error, 'scanning a range');
    }
  }

  /** An iterator of RocksDB sees what was there when it was made. It does not fill the cache: a range is read once. */
  openCursor(column: Column, options: ScanOptions): StoreCursor {
    this.#assertOpen();
    const limit = pageLimit(options);
    try {
      const iterator = this.#iterator({ ...this.#queryOf(column, options), fillCache: false });
      const cursor = new RocksCursor(iterator, limit, () => this.#cursors.delete(cursor));
      this.#cursors.add(cursor);
      return cursor;
    } catch (error) {
      throw storageError(error, 'opening a cursor');
    }
  }

  #queryOf(column: Column, options: ScanOptions): QueryOptions {
    return {
      ...rangeOf(options),
      reverse: options.reverse ?? false,
      highWaterMarkBytes: Math.max(0, Math.min(options.maxBytes, MAX_INT32)),
      asyncIO: false,
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      column: this.#columns[column].column,
    };
  }

  write(batch: WriteBatch, options: { readonly sync: boolean }): void {
    this.#assertOpen();
    invariant(batch instanceof RocksBatch, 'a batch is written by the store that made it');
    try {
      batch.commit(options);
    } catch (error) {
      throw storageError(error, options.sync ? 'writing and syncing its log' : 'writing');
    }
    this.stats.writes++;
    if (options.sync) this.stats.syncs++;
    this.stats.writtenBytes += batch.sizeBytes;
    batch.clear();
  }

  /**
   * A range delete leaves a mark that every later read of the memtable and the files has to look at, so a range of few keys
   * is deleted key by key.
   */
  deleteRange(column: Column, start: Uint8Array, end: Uint8Array | undefined): void {
    this.#assertOpen();
    const lt = end ?? BEHIND_ALL_KEYS;
    if (Buffer.compare(start, lt) >= 0) return;
    try {
      const few = this.#keysOf(column, start, lt, LIMITS.storePointDeletes + 1);
      if (few.length <= LIMITS.storePointDeletes) {
        this.#deleteKeys(column, few);
        return;
      }
      this.#level._clear({ gte: start, lt, column: this.#columns[column].column }, () => {});
      this.stats.writes++;
      // The binding tells of a failed range delete only in a later tick. So look, and delete what is left key by key:
      // that write throws what is wrong.
      let left = this.#keysOf(column, start, lt, LIMITS.storePointDeletes);
      while (left.length > 0) {
        this.#deleteKeys(column, left);
        left = this.#keysOf(column, start, lt, LIMITS.storePointDeletes);
      }
    } catch (error) {
      throw storageError(error, 'deleting a range');
    }
  }

  /** Lets go of this thread's part. The database stays open until its owner closes it. */
  close(): Promise<void> {
    for (const cursor of this.#cursors) cursor.close();
    this.#closed = true;
    return Promise.resolve();
  }

  #keysOf(column: Column, gte: Uint8Array, lt: Uint8Array, limit: number): Uint8Array[] {
    const { rows } = this.#query({
      gte,
      lt,
      limit,
      values: false,
      fillCache: false,
      asyncIO: false,
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      column: this.#columns[column].column,
    });
    return rows.filter((_, at) => at % 2 === 0);
  }

  /**
   * In two calls, though the binding has one for both (`querySync`): that one reads from an iterator that it could not
   * make, and ends the process, when this thread is terminated meanwhile.
   */
  #query(options: QueryOptions): { rows: Uint8Array[]; finished: boolean } {
    const iterator = this.#iterator(options);
    try {
      return iterator._nextvSync(MAX_INT32);
    } finally {
      iterator._closeSync();
    }
  }

  #iterator(options: QueryOptions): Iterator {
    const iterator = this.#level._iterator(options);
    // Like a batch, it would be remembered by its database.
    this.#level.detachResource(iterator);
    return iterator;
  }

  #deleteKeys(column: Column, keys: readonly Uint8Array[]): void {
    if (keys.length === 0) return;
    const batch = this.createBatch();
    for (const key of keys) batch.delete(column, key);
    this.write(batch, { sync: false });
  }

  #assertOpen(): void {
    if (this.#closed) throw new Closed('the store is closed');
  }
}

const MAX_INT32 = 2 ** 31 - 1;

/** Behind every key of any column: longer than the longest and all of the highest byte. */
const BEHIND_ALL_KEYS = Buffer.alloc(LIMITS.keyBytes + 64, 0xff);

function pageLimit({ limit }: ScanOptions): number {
  invariant(Number.isSafeInteger(limit) && limit > 0, 'a page has at least one entry');
  return Math.min(limit, MAX_INT32);
}

/** The binding gives keys and values in turn. */
function entriesOf(rows: readonly Uint8Array[]): StoreEntry[] {
  const entries: StoreEntry[] = [];
  for (let at = 0; at < rows.length; at += 2) entries.push({ key: rows[at]!, value: rows[at + 1]! });
  return entries;
}

/** A batch that its database does not remember: the database would keep it until it closes. */
function nativeBatch(level: RocksLevel): ChainedBatch {
  const batch = level._chainedBatch();
  level.detachResource(batch);
  return batch;
}

function familyHandle(level: RocksLevel, column: Column): ColumnOption['column'] {
  const handle = level.columns[FAMILY_OF[column]];
  invariant(handle !== undefined, `the database has a column family for ${column}`);
  return handle;
}

/** Only the bounds that are set: the binding takes a property that is undefined for one that is absent, at a price. */
function rangeOf(options: ScanOptions): Pick<ScanOptions, 'gt' | 'gte' | 'lt' | 'lte'> {
  const range: { -readonly [K in 'gt' | 'gte' | 'lt' | 'lte']?: Uint8Array } = {};
  if (options.gte) range.gte = options.gte;
  else if (options.gt) range.gt = options.gt;
  if (options.lte) range.lte = options.lte;
  else if (options.lt) range.lt = options.lt;
  return range;
}
