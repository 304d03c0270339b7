/** Regions in the order of their keys: a sorted list in chunks, so that an insertion moves few slots. */

import { invariant } from '../../rpc/wire/errors.ts';

/** A chunk is cut in two when it passes this. */
const CHUNK_SLOTS = 512;

export class RangeIndex {
  /** Never empty chunks, except that one remains when there is nothing. */
  private readonly chunks: number[][] = [[]];
  private readonly startOf: (slot: number) => string;
  private count = 0;

  constructor(startOf: (slot: number) => string) {
    this.startOf = startOf;
  }

  /** Regions in it. */
  get size(): number {
    return this.count;
  }

  insert(slot: number): void {
    this.count += 1;
    const start = this.startOf(slot);
    const at = this.chunkOf(start);
    const chunk = this.chunkAt(at);
    const position = this.upperBound(chunk, start);
    chunk.splice(position, 0, slot);
    if (chunk.length > CHUNK_SLOTS) this.chunks.splice(at + 1, 0, chunk.splice(CHUNK_SLOTS / 2));
  }

  remove(slot: number): void {
    this.count -= 1;
    const [at, position] = this.locate(slot);
    const chunk = this.chunkAt(at);
    chunk.splice(position, 1);
    if (chunk.length === 0 && this.chunks.length > 1) this.chunks.splice(at, 1);
  }

  /** The last region that starts at or before `key`. */
  floor(key: string): number | undefined {
    const chunk = this.chunkAt(this.chunkOf(key));
    return chunk[this.upperBound(chunk, key) - 1];
  }

  after(slot: number): number | undefined {
    const [at, position] = this.locate(slot);
    return this.chunkAt(at)[position + 1] ?? this.chunks[at + 1]?.[0];
  }

  before(slot: number): number | undefined {
    const [at, position] = this.locate(slot);
    return position > 0 ? this.chunkAt(at)[position - 1] : this.chunks[at - 1]?.at(-1);
  }

  first(): number | undefined {
    return this.chunkAt(0)[0];
  }

  private locate(slot: number): [at: number, position: number] {
    const start = this.startOf(slot);
    const at = this.chunkOf(start);
    const position = this.upperBound(this.chunkAt(at), start) - 1;
    invariant(this.chunkAt(at)[position] === slot, 'a region is where its start key is');
    return [at, position];
  }

  /** The last chunk whose first region starts at or before `key`; the first chunk if none does. */
  private chunkOf(key: string): number {
    let low = 0;
    let high = this.chunks.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      const first = this.chunkAt(middle)[0];
      if (first !== undefined && this.startOf(first) <= key) low = middle;
      else high = middle;
    }
    return low;
  }

  private upperBound(chunk: readonly number[], key: string): number {
    let low = 0;
    let high = chunk.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.startOf(chunk[middle] as number) <= key) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private chunkAt(at: number): number[] {
    const chunk = this.chunks[at];
    invariant(chunk !== undefined, 'a chunk is in the list');
    return chunk;
  }
}
