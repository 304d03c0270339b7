/**
 * What a region's leader knows of its load and size, for whoever decides where it should be and whether it should be two.
 * Cheap: a few additions a request, and now and then a key.
 */

import { CommandCursor } from '../../rpc/wire/command.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { KeySample } from './key-sample.ts';
import type { ReadRequest } from './reads.ts';

/** A region that is larger, or has more reads and writes a second, would rather be two. 0: no such bound. */
export interface SplitBounds {
  readonly sizeBytes: number;
  readonly loadPerSecond: number;
}

export interface SplitWish {
  readonly reason: 'size' | 'load';
  /** Where traffic halves; a region that is too large finds its middle when it is split. */
  readonly splitKey?: Uint8Array;
}

/** How long keys are gathered before they say where the traffic halves. */
const PERIOD_MS = 5_000;
/** Rates over less than this are noise. */
const SHORTEST_RATE_MS = 500;
/** A measured size is believed until so much was written, at least, or this part of it. */
const LEAST_NEWS_BYTES = 1024 * 1024;
const NEWS_SHARE = 0.25;

export class Traffic {
  readonly #sample: KeySample;
  readonly #random: () => number;
  #reads = 0;
  #writes = 0;
  #ratesSinceMs: number;
  #rates = { readsPerSecond: 0, writesPerSecond: 0 };
  #periodSinceMs: number;
  /** Keys and values that were measured; undefined: not yet, or the range was another. */
  #measuredBytes: number | undefined;
  #measuredVersion = 0;
  #writtenBytes = 0;
  #hotKey: Uint8Array | undefined;

  /** @param random uniform in [0, 1) */
  constructor(random: () => number, nowMs: number) {
    this.#random = random;
    this.#sample = new KeySample(random);
    this.#ratesSinceMs = nowMs;
    this.#periodSinceMs = nowMs;
  }

  noteWrite(command: Uint8Array, calls: number): void {
    this.#writes += calls;
    if (this.#sample.wants()) this.#sample.add(this.#someKeyOf(command, calls));
  }

  noteRead({ keys, scan }: ReadRequest): void {
    this.#reads += keys?.length ?? 1;
    if (!this.#sample.wants()) return;
    const key = keys ? keys[Math.floor(this.#random() * keys.length)] : scan?.start;
    if (key) this.#sample.add(key);
  }

  /** Bytes of entries that were applied. */
  noteApplied(sizeBytes: number): void {
    this.#writtenBytes += sizeBytes;
  }

  #someKeyOf(command: Uint8Array, calls: number): Uint8Array {
    const cursor = new CommandCursor(command);
    for (let left = Math.floor(this.#random() * calls); left >= 0; left--) cursor.next();
    if (cursor.kind === 'batch') cursor.nextMutation();
    return cursor.key.of(cursor.bytes);
  }

  /** Requests a second since this was last asked. */
  rates(nowMs: number): { readonly readsPerSecond: number; readonly writesPerSecond: number } {
    const sinceMs = nowMs - this.#ratesSinceMs;
    if (sinceMs < SHORTEST_RATE_MS) return this.#rates;
    const perSecond = (count: number): number => Math.round((count * 1_000) / sinceMs);
    this.#rates = { readsPerSecond: perSecond(this.#reads), writesPerSecond: perSecond(this.#writes) };
    this.#reads = 0;
    this.#writes = 0;
    this.#ratesSinceMs = nowMs;
    return this.#rates;
  }

  /** Nobody asks this replica any more: what was remembered of the traffic goes. */
  rest(): void {
    this.#sample.clear();
    this.#hotKey = undefined;
    this.#reads = 0;
    this.#writes = 0;
  }

  // --- size --------------------------------------------------------------------------------------------------------

  /** About how much data the region has. */
  get sizeBytes(): number {
    // What was measured of another range says more than nothing until this one is measured.
    return (this.#measuredBytes ?? 0) + this.#writtenBytes;
  }

  /** Whether the size should be measured: never was, of this range, or too much was written since. */
  wantsMeasure(region: Region): boolean {
    if (this.#measuredBytes === undefined || this.#measuredVersion !== region.epoch.version) return true;
    return this.#writtenBytes > Math.max(LEAST_NEWS_BYTES, NEWS_SHARE * this.#measuredBytes);
  }

  /** A range was deleted: nobody knows how much is left. */
  noteRangeDelete(): void {
    this.#measuredVersion = 0;
  }

  /** The size that the region of that version was found to have. */
  noteMeasured(sizeBytes: number, version: number): void {
    this.#measuredBytes = sizeBytes;
    this.#measuredVersion = version;
    this.#writtenBytes = 0;
  }

  // --- wishes ------------------------------------------------------------------------------------------------------

  /** Whether the region would rather be two; to be asked every second or so. */
  splitWish(region: Region, bounds: SplitBounds, nowMs: number): SplitWish | undefined {
    this.#lookAtPeriod(region, bounds, nowMs);
    const isMeasured = this.#measuredBytes !== undefined && this.#measuredVersion === region.epoch.version;
    if (bounds.sizeBytes > 0 && isMeasured && this.sizeBytes > bounds.sizeBytes) return { reason: 'size' };
    return this.#hotKey && { reason: 'load', splitKey: this.#hotKey };
  }

  #lookAtPeriod(region: Region, { loadPerSecond }: SplitBounds, nowMs: number): void {
    if (nowMs - this.#periodSinceMs < PERIOD_MS) return;
    const { readsPerSecond, writesPerSecond } = this.#rates;
    const isHot = loadPerSecond > 0 && readsPerSecond + writesPerSecond > loadPerSecond;
    this.#hotKey = isHot ? this.#sample.splitKey(region) : undefined;
    this.#sample.clear();
    this.#periodSinceMs = nowMs;
  }
}
