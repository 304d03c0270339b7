/**
 * The disk of a virtual node: the in-memory store, whose writes and syncs take virtual time and go wrong when they are
 * told to. All workers of the node share it, each through a view of its own, as they share one database.
 */

import type { FenceKeeper } from '../../engine/store/fence.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import type {
  Column,
  ScanOptions,
  ScanPage,
  Store,
  StoreCursor,
  StoreStats,
  WriteBatch,
} from '../../engine/store/port.ts';
import { StorageFailure } from '../../rpc/wire/errors.ts';
import type { Random } from './random.ts';
import { VirtualFence } from './virtual-fence.ts';

/** One operation of a batch; `value` undefined: the key is deleted. */
export interface Mutation {
  readonly column: Column;
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

/**
 * Thrown out of a write in the middle of which the process dies. Nothing of that process runs any more, so the product must
 * not take it for an error of its own: it lets a failed disk through everywhere.
 */
export class ProcessDied extends StorageFailure {}

/** What the disk tells and asks its node. */
export interface DiskEvents {
  /** The write is in the store; `synced`: and durable, with all before it. */
  onWrite(mutations: readonly Mutation[], synced: boolean): void;
  onDeleteRange(column: Column, start: Uint8Array, end: Uint8Array | undefined): void;
  /** The process dies here; what is not durable is at risk. */
  onDeath(): void;
}

export interface DiskTimings {
  readonly syncMs: number;
  readonly crashInWrite: number;
}

class WatchedBatch implements WriteBatch {
  mutations: Mutation[] = [];
  readonly inner: WriteBatch;

  constructor(inner: WriteBatch) {
    this.inner = inner;
  }

  put(column: Column, key: Uint8Array, value: Uint8Array): void {
    this.inner.put(column, key, value);
    this.mutations.push({ column, key: Buffer.from(key), value: Buffer.from(value) });
  }

  delete(column: Column, key: Uint8Array): void {
    this.inner.delete(column, key);
    this.mutations.push({ column, key: Buffer.from(key), value: undefined });
  }

  clear(): void {
    this.inner.clear();
    this.mutations = [];
  }

  get count(): number {
    return this.inner.count;
  }

  get sizeBytes(): number {
    return this.inner.sizeBytes;
  }
}

export class VirtualDisk {
  store = new MemoryStore();
  readonly timings: DiskTimings;
  readonly #random: Random;
  events: DiskEvents | undefined;
  /** Until then syncs are slow. */
  slowUntilMs = 0;
  /** The next sync takes so much longer. */
  hangMs = 0;
  /** The next sync fails. */
  failNext = false;
  /** The disk is full after so many more writes. */
  fullAfter = Infinity;
  /** Syncs are claimed and not done, until the next crash: what was claimed can be lost (amnesia). */
  lies = false;
  readonly #fences = new Map<number, VirtualFence>();
  readonly #fenceRandom: Random;
  /** A sync has failed since the last crash. */
  hasFailed = false;
  syncs = 0;
  faultsOff = false;

  constructor(timings: DiskTimings, random: Random, fenceRandom: Random) {
    this.timings = timings;
    this.#random = random;
    this.#fenceRandom = fenceRandom;
  }

  /** How many writes that were not durable are kept, and lost; `forgot`: one that a fence had been passed for. */
  crash(): { readonly kept: number; readonly lost: number; readonly forgot: boolean } {
    const { unsyncedWrites } = this.store;
    let keepWrites = this.#random.below(unsyncedWrites + 1);
    if (this.#fenceRandom.chance(0.5)) keepWrites = this.#cutPower(keepWrites);
    const fences = [...this.#fences.values()];
    const forgot = fences.some((fence) => keepWrites < fence.covered);
    for (const fence of fences) fence.settle();
    this.store.crash({ keepWrites });
    this.lies = false;
    this.failNext = false;
    this.hasFailed = false;
    this.hangMs = 0;
    this.fullAfter = Infinity;
    return { kept: keepWrites, lost: unsyncedWrites - keepWrites, forgot };
  }

  /**
   * Fences fall back to what was synced of them. What is lost behind that alone nobody could notice, so if anything that
   * was claimed is lost, then also something that a synced fence covers.
   */
  #cutPower(keepWrites: number): number {
    const fences = [...this.#fences.values()];
    const covered = Math.max(0, ...fences.map((fence) => fence.syncedCovered));
    if (covered === 0 && fences.some((fence) => fence.covered > 0)) return keepWrites;
    for (const fence of fences) fence.fallBack();
    return covered === 0 ? keepWrites : Math.min(keepWrites, this.#fenceRandom.below(covered));
  }

  /** Nothing is left of the database; fences are files beside it. */
  wipe({ fences }: { readonly fences: boolean }): void {
    this.store = new MemoryStore();
    if (fences) this.#fences.clear();
  }

  /** What a start reads of the fences, by worker. */
  get fences(): Map<number, number> {
    return new Map([...this.#fences].map(([worker, { passed }]) => [worker, passed]));
  }

  /** A worker's fence; it outlives the worker. */
  fenceKeeper(worker: number, nowMs: () => number): FenceKeeper {
    const fence = this.#fences.get(worker) ?? new VirtualFence();
    this.#fences.set(worker, fence);
    return {
      get passed() {
        return fence.passed;
      },
      keep: (mark) => fence.keep(mark, this.store.unsyncedWrites, nowMs()),
    };
  }

  /** How long a sync takes that begins now. */
  syncTakesMs(nowMs: number): number {
    let takesMs = this.#random.wait(this.timings.syncMs);
    if (nowMs < this.slowUntilMs) takesMs += this.#random.between(10, 120);
    takesMs += this.hangMs;
    this.hangMs = 0;
    return takesMs;
  }

  view(nowMs: () => number, spend: (ms: number) => void): Store {
    return new DiskView(this, nowMs, spend);
  }

  write(batch: WatchedBatch, sync: boolean): void {
    const dies = !this.faultsOff && this.#random.chance(this.timings.crashInWrite);
    const when = dies ? this.#random.pick(['before', 'unsynced', 'after'] as const) : 'never';
    if (when === 'before') this.#die();
    this.#fill();
    const { mutations } = batch;
    if (sync && !this.lies && this.failNext) {
      this.failNext = false;
      this.hasFailed = true;
      this.store.failNextSync();
    }
    const isDone = sync && !this.lies && when !== 'unsynced';
    this.store.write(batch.inner, { sync: isDone });
    batch.clear();
    if (isDone) for (const fence of this.#fences.values()) fence.settle();
    const synced = sync && when !== 'unsynced';
    if (synced) this.syncs++;
    this.events?.onWrite(mutations, synced);
    if (when !== 'never') this.#die();
  }

  deleteRange(column: Column, start: Uint8Array, end: Uint8Array | undefined): void {
    this.#fill();
    this.store.deleteRange(column, start, end);
    this.events?.onDeleteRange(column, start, end);
  }

  #fill(): void {
    if (--this.fullAfter < 0) this.store.diskFull = true;
  }

  #die(): never {
    this.events?.onDeath();
    throw new ProcessDied('the process died in the middle of a write');
  }
}

class DiskView implements Store {
  readonly #disk: VirtualDisk;
  readonly #nowMs: () => number;
  readonly #spend: (ms: number) => void;

  constructor(disk: VirtualDisk, nowMs: () => number, spend: (ms: number) => void) {
    this.#disk = disk;
    this.#nowMs = nowMs;
    this.#spend = spend;
  }

  createBatch(): WriteBatch {
    return new WatchedBatch(this.#disk.store.createBatch());
  }

  get(column: Column, key: Uint8Array): Uint8Array | undefined {
    return this.#disk.store.get(column, key);
  }

  getMany(column: Column, keys: readonly Uint8Array[]): (Uint8Array | undefined)[] {
    return this.#disk.store.getMany(column, keys);
  }

  scan(column: Column, options: ScanOptions): ScanPage {
    return this.#disk.store.scan(column, options);
  }

  openCursor(column: Column, options: ScanOptions): StoreCursor {
    return this.#disk.store.openCursor(column, options);
  }

  write(batch: WriteBatch, { sync }: { readonly sync: boolean }): void {
    if (sync) this.#spend(this.#disk.syncTakesMs(this.#nowMs()));
    this.#disk.write(batch as WatchedBatch, sync);
  }

  deleteRange(column: Column, start: Uint8Array, end: Uint8Array | undefined): void {
    this.#disk.deleteRange(column, start, end);
  }

  get stats(): StoreStats {
    return this.#disk.store.stats;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
