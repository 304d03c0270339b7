/**
 * The in-memory twin of the RocksDB store, for the simulator and for tests: the same port, and a disk that does what it is
 * told. It models one log of writes: a synced write makes all before it durable, and a crash loses a suffix of what was
 * written since. Nothing in it is random; whoever wants chance passes numbers in.
 */

import { Closed, DiskFull, StorageFailure, invariant } from '../../rpc/wire/errors.ts';
import { OrderedMap } from './ordered-map.ts';
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

/** `value` undefined: the key is deleted. */
interface Operation {
  readonly column: Column;
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

class MemoryBatch implements WriteBatch {
  operations: Operation[] = [];
  sizeBytes = 0;

  get count(): number {
    return this.operations.length;
  }

  put(column: Column, key: Uint8Array, value: Uint8Array): void {
    this.operations.push({ column, key: Buffer.from(key), value: Buffer.from(value) });
    this.sizeBytes += key.length + value.length;
  }

  delete(column: Column, key: Uint8Array): void {
    this.operations.push({ column, key: Buffer.from(key), value: undefined });
    this.sizeBytes += key.length;
  }

  clear(): void {
    this.operations = [];
    this.sizeBytes = 0;
  }
}

class MemoryCursor implements StoreCursor {
  #entries: readonly StoreEntry[];
  #at = 0;
  #closed = false;
  readonly #page: Pick<ScanOptions, 'limit' | 'maxBytes'>;
  readonly #assertOpen: () => void;

  constructor(entries: readonly StoreEntry[], page: Pick<ScanOptions, 'limit' | 'maxBytes'>, assertOpen: () => void) {
    this.#entries = entries;
    this.#page = page;
    this.#assertOpen = assertOpen;
  }

  next(): ScanPage {
    this.#assertOpen();
    invariant(!this.#closed, 'a closed cursor is not read');
    const entries: StoreEntry[] = [];
    let sizeBytes = 0;
    while (this.#at < this.#entries.length) {
      const { key, value } = this.#entries[this.#at++]!;
      entries.push({ key: Buffer.from(key), value: Buffer.from(value) });
      sizeBytes += key.length + value.length;
      if (entries.length >= this.#page.limit || sizeBytes > this.#page.maxBytes) return { entries, more: true };
    }
    return { entries, more: false };
  }

  close(): void {
    this.#closed = true;
    this.#entries = [];
  }
}

export class MemoryStore implements Store {
  stats: StoreStats = { writes: 0, syncs: 0, writtenBytes: 0 };
  readonly #columns = Object.fromEntries(COLUMNS.map((column) => [column, new OrderedMap()])) as Record<
    Column,
    OrderedMap
  >;
  /** What takes back each write that is not durable yet, in the order of the writes. */
  #undo: Operation[][] = [];
  /** The write whose sync failed: nobody sees it, but the disk may have it. */
  #inDoubt: Operation[] | undefined;
  #failNextSync = false;
  #failed = false;
  #closed = false;

  /** While it is true, writes are refused with DiskFull. */
  diskFull = false;

  /** How many writes a crash would put at risk, one whose sync failed included. */
  get unsyncedWrites(): number {
    return this.#undo.length + (this.#inDoubt ? 1 : 0);
  }

  /** Lets the next synced write throw StorageFailure, and everything that follows it until `crash`. */
  failNextSync(): void {
    this.#failNextSync = true;
  }

  /**
   * The process died and came back: of the writes since the last sync the first `keepWrites` are there (none by default),
   * the others are lost. Faults are gone, and a closed store is open again.
   */
  crash({ keepWrites = 0 }: { readonly keepWrites?: number } = {}): void {
    if (this.#inDoubt && keepWrites > this.#undo.length) this.#apply(this.#inDoubt);
    while (this.#undo.length > keepWrites) {
      for (const operation of this.#undo.pop()!.reverse()) this.#set(operation);
    }
    this.#undo = [];
    this.#inDoubt = undefined;
    this.#failNextSync = false;
    this.#failed = false;
    this.#closed = false;
    this.diskFull = false;
    this.stats = { writes: 0, syncs: 0, writtenBytes: 0 };
  }

  createBatch(): WriteBatch {
    this.#assertOpen();
    return new MemoryBatch();
  }

  get(column: Column, key: Uint8Array): Uint8Array | undefined {
    this.#assertOpen();
    const value = this.#columns[column].get(key);
    return value && Buffer.from(value);
  }

  getMany(column: Column, keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    this.#assertOpen();
    return keys.map((key) => this.get(column, key));
  }

  scan(column: Column, options: ScanOptions): ScanPage {
    this.#assertOpen();
    invariant(Number.isSafeInteger(options.limit) && options.limit > 0, 'a page has at least one entry');
    const entries: StoreEntry[] = [];
    let sizeBytes = 0;
    for (const { key, value } of this.#columns[column].entries(options, options.reverse)) {
      entries.push({ key: Buffer.from(key), value: Buffer.from(value) });
      sizeBytes += key.length + value.length;
      if (entries.length >= options.limit || sizeBytes > options.maxBytes) return { entries, more: true };
    }
    return { entries, more: false };
  }

  /** Keys and values are never changed in place, so the range as it is now is a list of references. */
  openCursor(column: Column, options: ScanOptions): StoreCursor {
    this.#assertOpen();
    invariant(Number.isSafeInteger(options.limit) && options.limit > 0, 'a page has at least one entry');
    return new MemoryCursor([...this.#columns[column].entries(options, options.reverse)], options, () =>
      this.#assertOpen(),
    );
  }

  write(batch: WriteBatch, { sync }: { readonly sync: boolean }): void {
    this.#assertOpen();
    invariant(batch instanceof MemoryBatch, 'a batch is written by the store that made it');
    this.#assertWritable();
    if (sync && this.#failNextSync) {
      this.#failed = true;
      this.#inDoubt = batch.operations;
      throw new StorageFailure('the sync failed, as the test asked');
    }
    this.#apply(batch.operations);
    if (sync) this.#undo = [];
    this.stats.writes++;
    if (sync) this.stats.syncs++;
    this.stats.writtenBytes += batch.sizeBytes;
    batch.clear();
  }

  deleteRange(column: Column, start: Uint8Array, end: Uint8Array | undefined): void {
    this.#assertOpen();
    this.#assertWritable();
    const operations: Operation[] = [];
    for (const { key } of this.#columns[column].entries(end ? { gte: start, lt: end } : { gte: start })) {
      operations.push({ column, key, value: undefined });
    }
    if (operations.length === 0) return;
    this.#apply(operations);
    this.stats.writes++;
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }

  /** Applies one write and remembers what takes it back. */
  #apply(operations: readonly Operation[]): void {
    this.#undo.push(
      operations.map((operation) => ({
        column: operation.column,
        key: operation.key,
        value: this.#set(operation),
      })),
    );
  }

  /** Returns the value that was there. */
  #set({ column, key, value }: Operation): Uint8Array | undefined {
    const map = this.#columns[column];
    return value ? map.set(key, value) : map.delete(key);
  }

  #assertWritable(): void {
    if (this.#failed) throw new StorageFailure('the store failed at an earlier sync');
    if (this.diskFull) throw new DiskFull('the disk is full, as the test asked');
  }

  #assertOpen(): void {
    if (this.#closed) throw new Closed('the store is closed');
  }
}
