/** What came in and waits for the turn. Bounded: peers' frames beyond it are lost (Raft sends again), clients' refused. */

import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Origin } from '../region/ports.ts';

export type Inbound =
  | { readonly kind: 'peer'; readonly frame: Uint8Array; readonly fromNode: number }
  | { readonly kind: 'client'; readonly frame: Uint8Array; readonly origin: Origin };

export class Inbox {
  #frames: Inbound[] = [];
  #taken = 0;
  #sizeBytes = 0;
  /** Everything that was ever accepted; an event loop compares it to see whether a pass brought something. */
  accepted = 0;
  refused = 0;

  get length(): number {
    return this.#frames.length - this.#taken;
  }

  /** False when it is full. */
  offer(inbound: Inbound): boolean {
    const sizeBytes = inbound.frame.length;
    if (this.length >= LIMITS.inboxFrames || this.#sizeBytes + sizeBytes > LIMITS.inboxBytes) {
      this.refused++;
      return false;
    }
    this.#frames.push(inbound);
    this.#sizeBytes += sizeBytes;
    this.accepted++;
    return true;
  }

  take(): Inbound | undefined {
    const inbound = this.#frames[this.#taken];
    if (!inbound) {
      this.#frames = [];
      this.#taken = 0;
      return undefined;
    }
    this.#taken++;
    this.#sizeBytes -= inbound.frame.length;
    return inbound;
  }
}
