/** What the store's tests share. */

import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import type { Column, Store } from '../../engine/store/port.ts';

export function bytes(string: string): Buffer {
  return Buffer.from(string);
}

export function text(value: Uint8Array): string;
export function text(value: Uint8Array | undefined): string | undefined;
export function text(value: Uint8Array | undefined): string | undefined {
  return value && Buffer.from(value).toString();
}

/** Puts all in one batch. */
export function writeAll(store: Store, puts: readonly (readonly [Column, string, string])[], sync = false): void {
  const batch = store.createBatch();
  for (const [column, key, value] of puts) batch.put(column, bytes(key), bytes(value));
  store.write(batch, { sync });
}

export function scratchDir(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'mraft-store-'));
}

export function removeDir(dir: string): void {
  fs.rmSync(dir, { recursive: true, force: true });
}

export function thrownBy(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return undefined;
}

/** Uniform numbers in [0, 1), the same for the same seed (mulberry32). */
export function pseudoRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
