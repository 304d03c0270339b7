/**
 * What a run has written under each of its keys, so that it can be held against what is there. Every write of a key has the
 * next version in its value, and a key has one write under way at most. A key whose write failed is not written again: that
 * write may still take effect.
 */

import type { Random } from '../random.ts';

const HEADER_BYTES = 8;

export interface PlannedWrite {
  readonly key: number;
  readonly value: Buffer;
}

/**
 * - `sound`: an acknowledged value or a later one that was written
 * - `lost`: an older one, or none
 * - `foreign`: what nobody wrote there
 */
export type Finding = 'sound' | 'lost' | 'foreign';

export class Versions {
  readonly keys: number;
  private readonly written: Uint32Array;
  private readonly acked: Uint32Array;
  /** 1: a write is under way, 2: one failed. */
  private readonly taken: Uint8Array;
  private readonly filler: Buffer;
  private acknowledgedCount = 0;

  constructor(keys: number, valueBytes: number, random: Random) {
    this.keys = keys;
    this.written = new Uint32Array(keys);
    this.acked = new Uint32Array(keys);
    this.taken = new Uint8Array(keys);
    this.filler = random.bytes(Math.max(HEADER_BYTES, valueBytes));
  }

  /** Writes that were acknowledged. */
  get acknowledged(): number {
    return this.acknowledgedCount;
  }

  /** The next version of the key, or of the next one behind it that is free; undefined: none is. */
  begin(from: number): PlannedWrite | undefined {
    for (let step = 0; step < this.keys; step += 1) {
      const key = (from + step) % this.keys;
      if (this.taken[key] !== 0) continue;
      this.taken[key] = 1;
      const version = (this.written[key] as number) + 1;
      this.written[key] = version;
      const value = Buffer.from(this.filler);
      value.writeUInt32BE(key, 0);
      value.writeUInt32BE(version, 4);
      return { key, value };
    }
    return undefined;
  }

  end({ key }: PlannedWrite, wasAcknowledged: boolean): void {
    this.taken[key] = wasAcknowledged ? 0 : 2;
    if (!wasAcknowledged) return;
    this.acked[key] = this.written[key] as number;
    this.acknowledgedCount += 1;
  }

  /** What a read that begins now must find of the key, at least. */
  acknowledgedVersion(key: number): number {
    return this.acked[key] as number;
  }

  /** @param atLeast the version that had been acknowledged when the read began */
  judge(key: number, value: Uint8Array | undefined, atLeast = this.acknowledgedVersion(key)): Finding {
    if (value === undefined) return atLeast === 0 ? 'sound' : 'lost';
    if (value.length !== this.filler.length) return 'foreign';
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    const version = view.getUint32(4);
    if (view.getUint32(0) !== key || version === 0 || version > (this.written[key] as number)) return 'foreign';
    return version < atLeast ? 'lost' : 'sound';
  }
}
