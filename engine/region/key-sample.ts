/**
 * Where the traffic of a region halves: a reservoir of the keys that were asked for in one period (Vitter's algorithm R), so
 * that each request had the same chance to be in it, in bounded memory.
 */

import { LIMITS } from '../../rpc/wire/limits.ts';
import { compareKeys, type Region } from '../../rpc/wire/region.ts';

/** Fewer samples say nothing. */
const LEAST_SAMPLES = 24;
/** A half that gets less of the traffic than this is not worth a split: most of it goes to a few keys. */
const LEAST_SHARE = 0.25;

export class KeySample {
  readonly #random: () => number;
  #keys: Uint8Array[] = [];
  #seen = 0;
  /** Requests to be passed over before the next is kept: most cost a subtraction. */
  #skip = 0;

  /** @param random uniform in [0, 1) */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** Requests of this period. */
  get requests(): number {
    return this.#seen;
  }

  /** Whether the next request's key is wanted; call it once for each, and `add` where it says so. */
  wants(): boolean {
    this.#seen++;
    if (this.#keys.length < LIMITS.sampledKeys) return true;
    if (this.#skip > 0) {
      this.#skip--;
      return false;
    }
    return true;
  }

  /** The key is copied. */
  add(key: Uint8Array): void {
    const kept = Buffer.from(key);
    if (this.#keys.length < LIMITS.sampledKeys) this.#keys.push(kept);
    else this.#keys[Math.floor(this.#random() * this.#keys.length)] = kept;
    if (this.#keys.length >= LIMITS.sampledKeys) this.#skip = this.#drawSkip();
  }

  /** How many requests the reservoir would pass over: each is kept with the chance size / seen. */
  #drawSkip(): number {
    const chance = Math.min(1, LIMITS.sampledKeys / (this.#seen + 1));
    if (chance >= 1) return 0;
    return Math.floor(Math.log(1 - this.#random()) / Math.log(1 - chance));
  }

  /** Begins a new period. */
  clear(): void {
    this.#keys = [];
    this.#seen = 0;
    this.#skip = 0;
  }

  /**
   * The key from which on about half of the requests went; undefined where there were few, or where no key parts them
   * into halves that are worth having.
   */
  splitKey(region: Pick<Region, 'startKey' | 'endKey'>): Uint8Array | undefined {
    const keys = this.#keys.filter((key) => isInside(region, key)).sort(compareKeys);
    if (keys.length < LEAST_SAMPLES) return undefined;
    let best = 0;
    for (let at = 1; at < keys.length; at++) {
      const isFirstOfItsKey = compareKeys(keys[at - 1]!, keys[at]!) < 0;
      if (isFirstOfItsKey && Math.abs(2 * at - keys.length) < Math.abs(2 * best - keys.length)) best = at;
    }
    const share = Math.min(best, keys.length - best) / keys.length;
    const key = keys[best]!;
    return share >= LEAST_SHARE && compareKeys(key, region.startKey) > 0 ? key : undefined;
  }
}

function isInside({ startKey, endKey }: Pick<Region, 'startKey' | 'endKey'>, key: Uint8Array): boolean {
  return compareKeys(key, startKey) >= 0 && (endKey.length === 0 || compareKeys(key, endKey) < 0);
}
