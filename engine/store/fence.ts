/**
 * Amnesia: a node whose disk lost writes that it had acknowledged must not come back as the peer it was, because its votes
 * and acknowledgements are gone, and others count on them (thesis 3.8). RocksDB does not tell: it drops whatever follows
 * a damaged record of its log, and opens.
 *
 * So each worker counts its synced batches. The count is in the batch itself, the mark; when the batch is durable, and
 * before anything is acknowledged, the count also goes to a place beside the database, the fence. What is in the fence was
 * durable once: a database whose mark is below its fence has forgotten.
 */

import { Amnesia, invariant } from '../../rpc/wire/errors.ts';
import { META_KIND, metaKey, metaRange, readU64, regionIdOf, writeU64 } from './keys.ts';
import type { Store, WriteBatch } from './port.ts';

const MARK_BYTES = 8;
/** Marks are a few bytes each, and one for every worker there ever was. */
const MARKS_BYTES = 1 << 20;
const MOST_MARKS = 10_000;

/** Where a worker's fence is kept (fence-file.ts, or the simulator). */
export interface FenceKeeper {
  /** What was kept last; 0: nothing ever was. */
  readonly passed: number;
  /** Keeps a higher mark; it outlives the process at once, and soon also a power cut. @throws StorageFailure */
  keep(mark: number): void;
}

/** One worker's fence: `addMark` to each batch that will be synced, `pass` when it is. */
export class Fence {
  readonly #keeper: FenceKeeper;
  readonly #key: Buffer;
  readonly #value = Buffer.alloc(MARK_BYTES);
  #mark: number;

  constructor(store: Store, worker: number, keeper: FenceKeeper) {
    this.#keeper = keeper;
    this.#key = metaKey(META_KIND.fenceMark, worker);
    const mark = store.get('meta', this.#key);
    this.#mark = mark ? readU64(mark, 0) : 0;
    invariant(this.#mark >= keeper.passed, 'a database that has forgotten something is not opened');
  }

  /** A batch that is written in a second attempt may hold the mark of the first, too. */
  addMark(batch: WriteBatch): void {
    this.#mark++;
    writeU64(this.#value, 0, this.#mark);
    batch.put('meta', this.#key, this.#value);
  }

  /** The batch with the last mark is durable. @throws StorageFailure */
  pass(): void {
    this.#keeper.keep(this.#mark);
  }
}

/**
 * Compares what a database holds with what was durable once, before any worker runs.
 * @param fences by worker; undefined: there is one that cannot be read
 * @throws Amnesia
 */
export function checkFences(store: Store, fences: ReadonlyMap<number, number | undefined>): void {
  const marks = loadMarks(store);
  for (const worker of new Set([...marks.keys(), ...fences.keys()])) {
    const mark = marks.get(worker) ?? 0;
    const fence = fences.get(worker);
    if (fence === undefined ? mark > 0 : mark < fence) throw forgotten(worker, mark, fence);
  }
}

function forgotten(worker: number, mark: number, fence: number | undefined): Amnesia {
  const what =
    fence === undefined
      ? `the fence of worker ${worker} is gone or damaged, so that nobody can tell what the database has forgotten`
      : `the database has forgotten acknowledged writes: worker ${worker} had synced ${fence} batches, ${mark} are there`;
  return new Amnesia(`${what}: remove the data directory and let the node join under a new id`, { field: 'dataDir' });
}

function loadMarks(store: Store): Map<number, number> {
  const { start, end } = metaRange(META_KIND.fenceMark);
  const page = store.scan('meta', { gte: start, lt: end, limit: MOST_MARKS, maxBytes: MARKS_BYTES });
  return new Map(page.entries.map(({ key, value }) => [regionIdOf(key), readU64(value, 0)]));
}
