/**
 * One snapshot on its way out: a window of chunks that are read, sent and not acknowledged. What the receiver lacks it
 * says itself, so a lost, repeated or reordered frame costs a resend and nothing else. No I/O, no clock: its desk asks for
 * the next chunk and hands in acknowledgements.
 */

import { mraft } from '../../rpc/wire/codec.ts';
import { DeadlineExceeded, SnapshotRefused, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { PLAIN_CODEC, checksumOf, type BodyCodec, type SnapshotChunk } from './snapshot-chunk.ts';
import type { SnapshotSource } from './snapshot-source.ts';

export interface SnapshotAck {
  readonly next: number;
  readonly resend: boolean;
  readonly stage: mraft.SnapshotStage;
}

interface Slot {
  /** Undefined while it is being sealed. */
  chunk: SnapshotChunk | undefined;
}

/** How soon a gap that was reported is believed again: reports of one gap come with every chunk behind it. */
const GAP_PATIENCE_MS = 100;

export class SnapshotSender {
  readonly snapshotId: number;
  readonly #source: SnapshotSource;
  readonly #codec: BodyCodec;
  /** Chunks from `#base` on: read, and not acknowledged. */
  readonly #slots: Slot[] = [];
  #base = 0;
  #nextToSend = 0;
  /** The tail has been read. */
  #isRead = false;
  #outcome: 'installed' | MraftError | undefined;
  #movedMs: number;
  #sentMs: number;
  #rewoundMs = -Infinity;
  /** Chunks that were sent more than once. */
  resent = 0;
  #highestSent = -1;

  constructor(snapshotId: number, source: SnapshotSource, codec: BodyCodec, nowMs: number) {
    this.snapshotId = snapshotId;
    this.#source = source;
    this.#codec = codec;
    this.#movedMs = nowMs;
    this.#sentMs = nowMs;
  }

  /** What became of it; undefined: it is on its way. */
  get outcome(): 'installed' | MraftError | undefined {
    return this.#outcome;
  }

  get sentBytes(): number {
    return this.#source.readBytes;
  }

  /** Whether `read` would do something, with a window of so many chunks. */
  wantsRead(window: number = LIMITS.snapshotWindowChunks): boolean {
    return this.#outcome === undefined && !this.#isRead && this.#slots.length < window;
  }

  /** Reads one chunk of the region. Answers its size; 0: the window is full, or all is read. */
  read(window?: number): number {
    if (!this.wantsRead(window)) return 0;
    const body = this.#source.next();
    if (body === undefined) {
      this.#isRead = true;
      return 0;
    }
    const sequence = this.#base + this.#slots.length;
    const slot: Slot = { chunk: undefined };
    this.#slots.push(slot);
    // The head is read before anything of the snapshot is set up, so it waits for nobody.
    const codec = sequence === 0 ? PLAIN_CODEC : this.#codec;
    const sizeBytes = body.length;
    codec.seal(body, (sealed) => {
      slot.chunk = { ...sealed, sequence, checksum: checksumOf(this.snapshotId, sequence, sealed) };
    });
    return sizeBytes;
  }

  /** The chunk that is to be sent next, if it is ready. It stays the next one until `sent` is called. */
  peek(): SnapshotChunk | undefined {
    if (this.#outcome !== undefined) return undefined;
    return this.#slots[this.#nextToSend - this.#base]?.chunk;
  }

  /** The chunk that `peek` showed has left. */
  sent(nowMs: number): void {
    if (this.#nextToSend <= this.#highestSent) this.resent++;
    else this.#highestSent = this.#nextToSend;
    this.#nextToSend++;
    this.#sentMs = nowMs;
  }

  onAck({ next, resend, stage }: SnapshotAck, nowMs: number): void {
    if (this.#outcome !== undefined) return;
    if (next > this.#highestSent + 1) return; // nothing that was sent can be meant
    if (stage === mraft.SnapshotStage.INSTALLED) return this.#end('installed');
    if (next < this.#base) {
      // Overtaken by a later one; or the receiver has nothing of what it had, as after a restart.
      if (next === 0 && resend) this.fail(new SnapshotRefused('the receiver of a snapshot has lost what it had'));
      return;
    }
    if (next > this.#base) {
      this.#slots.splice(0, next - this.#base);
      this.#base = next;
      this.#nextToSend = Math.max(this.#nextToSend, next);
      this.#movedMs = nowMs;
    }
    if (stage === mraft.SnapshotStage.INSTALLING) this.#movedMs = nowMs;
    if (resend && nowMs - this.#rewoundMs >= GAP_PATIENCE_MS) this.#rewind(nowMs);
  }

  /** Looks at the time: sends again what is not acknowledged, gives up what stands still. */
  tick(nowMs: number): void {
    if (this.#outcome !== undefined) return;
    if (nowMs - this.#movedMs >= LIMITS.snapshotIdleMs) {
      this.fail(new DeadlineExceeded('the receiver of a snapshot does not answer'));
      return;
    }
    const waits = this.#nextToSend > this.#base;
    if (waits && nowMs - Math.max(this.#sentMs, this.#rewoundMs) >= LIMITS.snapshotResendMs) this.#rewind(nowMs);
  }

  #rewind(nowMs: number): void {
    this.#nextToSend = this.#base;
    this.#rewoundMs = nowMs;
  }

  fail(error: MraftError): void {
    if (this.#outcome === undefined) this.#end(error);
  }

  /** The region is not led or not held here any more. */
  abandon(): void {
    this.fail(new SnapshotRefused('the sender of a snapshot does not lead its region any more'));
  }

  #end(outcome: 'installed' | MraftError): void {
    this.#outcome = outcome;
    this.#slots.length = 0;
    this.#source.close();
  }
}
