/** Reads one region's data from the store: point reads and pages of scans, as much as an answer may hold. */

import type { mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { compareKeys } from '../../rpc/wire/region.ts';
import type { ScanPage, Store } from '../store/port.ts';
import type { ReadRequest, ScanRange } from './reads.ts';
import type { RegionState } from './region-state.ts';

/** Most values that are looked up together; bounds what is in memory beyond one answer. */
const KEYS_PER_LOOKUP = 64;
const NO_VALUE: mraft.IValue = {};

export interface ReadStats {
  pointReads: number;
  scans: number;
}

export class RegionReader {
  readonly #store: Store;
  readonly #state: RegionState;
  readonly #stats: ReadStats;
  #keysPerLookup = KEYS_PER_LOOKUP;

  constructor(store: Store, state: RegionState, stats: ReadStats) {
    this.#store = store;
    this.#state = state;
    this.#stats = stats;
  }

  /** The answer to a read, from what is applied and written now. */
  answer(request: ReadRequest): mraft.IResponse {
    const { requestId: id, keys, scan } = request;
    if (keys) {
      this.#stats.pointReads += keys.length;
      return { id, read: { values: this.#readValues(keys) } };
    }
    this.#stats.scans++;
    const page = this.#scanPage(scan!);
    return { id, scan: { entries: page.entries as mraft.IKeyValue[], more: page.more } };
  }

  /** The values of the keys, in their order, up to what fits a frame: at least one, perhaps not all. */
  #readValues(keys: readonly Uint8Array[]): mraft.IValue[] {
    const values: mraft.IValue[] = [];
    let sizeBytes = 0;
    while (values.length < keys.length) {
      const to = values.length + this.#keysPerLookup;
      const part = keys.length <= to && values.length === 0 ? keys : keys.slice(values.length, to);
      for (const value of this.#store.getMany(this.#state.column, part)) {
        sizeBytes += value?.length ?? 0;
        if (sizeBytes > LIMITS.readBytes && values.length > 0) {
          // The rest was read for nothing, and will be again: large values are looked up by the few.
          this.#keysPerLookup = Math.min(this.#keysPerLookup, values.length);
          return values;
        }
        values.push(value === undefined ? NO_VALUE : { value });
      }
      if (part.length >= this.#keysPerLookup) this.#keysPerLookup = Math.min(KEYS_PER_LOOKUP, 2 * this.#keysPerLookup);
    }
    return values;
  }

  #scanPage(scan: ScanRange): ScanPage {
    const { startKey, endKey } = this.#state.region;
    const gte = compareKeys(scan.start, startKey) > 0 ? scan.start : startKey;
    const inner = scan.end.length > 0 && (endKey.length === 0 || compareKeys(scan.end, endKey) < 0);
    const lt = inner ? scan.end : endKey;
    if (lt.length > 0 && compareKeys(gte, lt) >= 0) return { entries: [], more: false };
    return this.#store.scan(this.#state.column, {
      gte,
      ...(lt.length > 0 ? { lt } : {}),
      reverse: scan.reverse,
      limit: scan.limit,
      maxBytes: LIMITS.scanPageBytes,
    });
  }
}

/** Keys and values in the answer to a read. */
export function answerBytes({ read, scan }: mraft.IResponse): number {
  let sizeBytes = 0;
  for (const { value } of read?.values ?? []) sizeBytes += value?.length ?? 0;
  for (const { key, value } of scan?.entries ?? []) sizeBytes += (key?.length ?? 0) + (value?.length ?? 0);
  return sizeBytes;
}
