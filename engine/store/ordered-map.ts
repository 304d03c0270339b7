/** A sorted map of byte keys in memory: chunks of sorted arrays, found by binary search. For the in-memory store. */

import type { KeyRange, StoreEntry } from './port.ts';

interface Chunk {
  readonly keys: Uint8Array[];
  readonly values: Uint8Array[];
}

interface Place {
  readonly chunk: number;
  readonly offset: number;
}

/** A chunk that grows beyond this is halved; a splice in one moves at most so many pointers. */
const CHUNK_ENTRIES = 512;

export class OrderedMap {
  /** None is empty, but the only one may be. */
  readonly #chunks: Chunk[] = [{ keys: [], values: [] }];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const { chunk, offset } = this.#lowerBound(key);
    const found = this.#chunks[chunk];
    return found && isKey(found.keys[offset], key) ? found.values[offset] : undefined;
  }

  /** Returns the value it replaced. */
  set(key: Uint8Array, value: Uint8Array): Uint8Array | undefined {
    const place = this.#lowerBound(key);
    const at = place.chunk < this.#chunks.length ? place : this.#end();
    const chunk = this.#chunks[at.chunk]!;
    if (isKey(chunk.keys[at.offset], key)) {
      const before = chunk.values[at.offset];
      chunk.values[at.offset] = value;
      return before;
    }
    chunk.keys.splice(at.offset, 0, key);
    chunk.values.splice(at.offset, 0, value);
    this.#size++;
    if (chunk.keys.length > CHUNK_ENTRIES) this.#halve(at.chunk);
    return undefined;
  }

  /** Returns the value it removed. */
  delete(key: Uint8Array): Uint8Array | undefined {
    const { chunk: at, offset } = this.#lowerBound(key);
    const chunk = this.#chunks[at];
    if (!chunk || !isKey(chunk.keys[offset], key)) return undefined;
    const before = chunk.values[offset];
    chunk.keys.splice(offset, 1);
    chunk.values.splice(offset, 1);
    this.#size--;
    if (chunk.keys.length === 0 && this.#chunks.length > 1) this.#chunks.splice(at, 1);
    return before;
  }

  /** The entries of a range, in order or against it. The map must not change while they are read. */
  *entries(range: KeyRange, reverse = false): Generator<StoreEntry> {
    const from = this.#lowerEnd(range);
    const to = this.#upperEnd(range);
    if (reverse) {
      for (let place = this.#before(to); place && !isBefore(place, from); place = this.#before(place)) {
        yield this.#at(place);
      }
    } else {
      for (let place = this.#settled(from); place && isBefore(place, to);) {
        yield this.#at(place);
        place = this.#settled({ chunk: place.chunk, offset: place.offset + 1 });
      }
    }
  }

  /** Where the range begins. */
  #lowerEnd(range: KeyRange): Place {
    if (range.gte) return this.#lowerBound(range.gte);
    if (range.gt) return this.#lowerBound(range.gt, true);
    return { chunk: 0, offset: 0 };
  }

  /** Behind the last of the range. */
  #upperEnd(range: KeyRange): Place {
    if (range.lte) return this.#lowerBound(range.lte, true);
    if (range.lt) return this.#lowerBound(range.lt);
    return { chunk: this.#chunks.length, offset: 0 };
  }

  /** The first place whose key is not below `key`, or with `beyond` the first whose key is above it. */
  #lowerBound(key: Uint8Array, beyond = false): Place {
    const below = (other: Uint8Array): boolean => {
      const order = Buffer.compare(other, key);
      return order < 0 || (beyond && order === 0);
    };
    const chunk = partitionPoint(this.#chunks.length, (at) => {
      const last = this.#chunks[at]!.keys.at(-1);
      return last !== undefined && below(last);
    });
    const keys = this.#chunks[chunk]?.keys ?? [];
    return { chunk, offset: partitionPoint(keys.length, (at) => below(keys[at]!)) };
  }

  #end(): Place {
    const chunk = this.#chunks.length - 1;
    return { chunk, offset: this.#chunks[chunk]!.keys.length };
  }

  #at({ chunk, offset }: Place): StoreEntry {
    return { key: this.#chunks[chunk]!.keys[offset]!, value: this.#chunks[chunk]!.values[offset]! };
  }

  /** The place itself, or the start of the next chunk when it is behind the last of its own; undefined at the end. */
  #settled({ chunk, offset }: Place): Place | undefined {
    const keys = this.#chunks[chunk]?.keys;
    if (!keys) return undefined;
    return offset < keys.length ? { chunk, offset } : this.#settled({ chunk: chunk + 1, offset: 0 });
  }

  #before({ chunk, offset }: Place): Place | undefined {
    if (offset > 0) return { chunk, offset: offset - 1 };
    const keys = this.#chunks[chunk - 1]?.keys;
    return keys && keys.length > 0 ? { chunk: chunk - 1, offset: keys.length - 1 } : undefined;
  }

  #halve(at: number): void {
    const chunk = this.#chunks[at]!;
    const half = chunk.keys.length >>> 1;
    this.#chunks.splice(at + 1, 0, { keys: chunk.keys.splice(half), values: chunk.values.splice(half) });
  }
}

function isKey(candidate: Uint8Array | undefined, key: Uint8Array): boolean {
  return candidate !== undefined && Buffer.compare(candidate, key) === 0;
}

function isBefore(a: Place, b: Place): boolean {
  return a.chunk < b.chunk || (a.chunk === b.chunk && a.offset < b.offset);
}

/** The first of `length` positions that is not in the part where `inFirstPart` holds. */
function partitionPoint(length: number, inFirstPart: (at: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (inFirstPart(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
