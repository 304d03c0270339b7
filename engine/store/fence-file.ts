/**
 * The fences of a node as files of its data directory, `fence.<worker>`, beside the database and not in it.
 *
 * A file has two places that are written in turn, so that a write that is torn leaves the one before it. Writing is a
 * `pwrite` of a few bytes into the page cache, which a crash of the process leaves alone; `fdatasync` follows off the
 * thread, at most every 100 ms. Behind a power cut a fence may therefore lag: what was lost of the last moments is not
 * noticed then, everything older is.
 */

import fs from 'node:fs';
import path from 'node:path';

import { StorageFailure, invariant } from '../../rpc/wire/errors.ts';
import { guarded } from './data-dir.ts';
import type { FenceKeeper } from './fence.ts';
import { readU64, writeU64 } from './keys.ts';

const SYNC_EVERY_MS = 100;
/** A mark and its complement. */
const PLACE_BYTES = 16;
/** In sectors of their own. */
const PLACES = [0, 512] as const;
const FILE_BYTES = 1_024;
const NAME = /^fence\.(\d+)$/;

/** The fences that lie in a data directory, by worker; undefined: it cannot be read. @throws DataDirUnusable */
export function readFences(dir: string): Map<number, number | undefined> {
  return guarded(dir, () => {
    const fences = new Map<number, number | undefined>();
    for (const name of fs.readdirSync(dir)) {
      const worker = NAME.exec(name)?.[1];
      if (worker === undefined) continue;
      const marks = placesOf(fs.readFileSync(path.join(dir, name)));
      fences.set(Number(worker), highest(marks));
    }
    return fences;
  });
}

/** Makes the fences that are missing, durably, before any worker can pass one. @throws DataDirUnusable, DiskFull */
export function prepareFences(dir: string, workers: number): void {
  guarded(dir, () => {
    const present = readFences(dir);
    for (let worker = 0; worker < workers; worker++) {
      if (present.get(worker) === undefined) makeFence(dir, worker);
    }
    withFile(dir, 'r', (handle) => fs.fsyncSync(handle));
  });
}

function makeFence(dir: string, worker: number): void {
  const content = Buffer.alloc(FILE_BYTES);
  for (const place of PLACES) encode(content, place, 0);
  withFile(fenceFile(dir, worker), 'w', (file) => {
    fs.writeSync(file, content);
    fs.fsyncSync(file);
  });
}

function withFile(name: string, flags: string, use: (file: number) => void): void {
  const file = fs.openSync(name, flags);
  try {
    use(file);
  } finally {
    fs.closeSync(file);
  }
}

/** One worker's fence, open. */
export class FenceFile implements FenceKeeper {
  readonly #file: number;
  readonly #name: string;
  readonly #place = Buffer.alloc(PLACE_BYTES);
  #passed: number;
  /** Of the two places the one that is written next: not the highest. */
  #turn: number;
  #timer: NodeJS.Timeout | undefined;
  #syncing = false;
  #failure: Error | undefined;
  #closed = false;

  /** @throws StorageFailure where `prepareFences` has not made it */
  constructor(dir: string, worker: number) {
    this.#name = fenceFile(dir, worker);
    try {
      const marks = placesOf(fs.readFileSync(this.#name));
      const passed = highest(marks);
      invariant(passed !== undefined, `${this.#name} was checked before`);
      this.#passed = passed;
      this.#turn = marks[0] === passed ? 1 : 0;
      this.#file = fs.openSync(this.#name, 'r+');
    } catch (cause) {
      throw this.#failed(cause);
    }
  }

  get passed(): number {
    return this.#passed;
  }

  keep(mark: number): void {
    if (this.#failure) throw this.#failed(this.#failure);
    encode(this.#place, 0, mark);
    try {
      fs.writeSync(this.#file, this.#place, 0, PLACE_BYTES, PLACES[this.#turn]!);
    } catch (cause) {
      // On file systems that copy what they write. The fence lags until there is room.
      if (isNoRoom(cause)) return;
      throw this.#failed(cause);
    }
    this.#turn ^= 1;
    this.#passed = mark;
    this.#timer ??= setTimeout(() => this.#sync(), SYNC_EVERY_MS).unref();
  }

  /** Off this thread. A disk that fails here fails the next `keep`. */
  #sync(): void {
    this.#syncing = true;
    fs.fdatasync(this.#file, (error) => {
      this.#syncing = false;
      this.#timer = undefined;
      if (error && !isNoRoom(error)) this.#failure = error;
      if (this.#closed) fs.closeSync(this.#file);
    });
  }

  /** Lets go of the file when what was written is on its way. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timer);
    if (!this.#syncing) this.#sync();
  }

  #failed(cause: unknown): StorageFailure {
    return new StorageFailure(`the fence ${this.#name} cannot be kept: look at the disk, then start the node again`, {
      cause,
    });
  }
}

function fenceFile(dir: string, worker: number): string {
  return path.join(dir, `fence.${worker}`);
}

function encode(target: Buffer, at: number, mark: number): void {
  writeU64(target, at, mark);
  for (let i = 0; i < PLACE_BYTES / 2; i++) target[at + PLACE_BYTES / 2 + i] = ~target[at + i]!;
}

/** The mark of each place; undefined: it is not whole. */
function placesOf(content: Buffer): (number | undefined)[] {
  return PLACES.map((place) => {
    const isThere = content.length >= place + PLACE_BYTES && isWhole(content, place);
    return isThere ? readU64(content, place) : undefined;
  });
}

function highest(marks: readonly (number | undefined)[]): number | undefined {
  const whole = marks.filter((mark) => mark !== undefined);
  return whole.length > 0 ? Math.max(...whole) : undefined;
}

function isNoRoom(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOSPC' || code === 'EDQUOT';
}

function isWhole(content: Buffer, at: number): boolean {
  for (let i = 0; i < PLACE_BYTES / 2; i++) {
    if (content[at + i] !== (~content[at + PLACE_BYTES / 2 + i]! & 0xff)) return false;
  }
  return true;
}
