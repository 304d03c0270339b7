/**
 * Messages for regions that are not here, or not yet. After a split the new half is led before every node has applied it: a
 * vote that is asked for meanwhile is kept, so that it is answered as soon as this node has its part, and a leader's append is
 * not answered at once, because the answer would bring a snapshot of what is here already. Nothing is created by it.
 */

import { LIMITS } from '../../rpc/wire/limits.ts';
import type { RegionMessage } from './peer-frame.ts';

interface HeldVote {
  readonly message: RegionMessage;
  readonly fromNode: number;
}

interface Stranger {
  readonly sinceMs: number;
  heardMs: number;
  vote: HeldVote | undefined;
}

export class UnknownRegions {
  /** How long a region must have been heard of before its leader is told that nothing of it is here. */
  readonly #patienceMs: number;
  /** Those heard of longest ago first. */
  readonly #strangers = new Map<number, Stranger>();

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  /** True: the message is not to be answered now. */
  holdsBack(message: RegionMessage, fromNode: number, nowMs: number): boolean {
    const stranger = this.#hear(message.regionId, nowMs);
    if (message.kind === 'vote' || message.kind === 'preVote') {
      if (stranger) stranger.vote = { message, fromNode };
      return stranger !== undefined;
    }
    return stranger !== undefined && nowMs < stranger.sinceMs + this.#patienceMs;
  }

  /** Undefined: there are too many to wait for. */
  #hear(regionId: number, nowMs: number): Stranger | undefined {
    const known = this.#strangers.get(regionId);
    // Who has not been heard of for long begins anew.
    if (known && nowMs < known.heardMs + 4 * this.#patienceMs) {
      known.heardMs = nowMs;
      return known;
    }
    this.#strangers.delete(regionId);
    this.#forgetOld(nowMs);
    if (this.#strangers.size >= LIMITS.unknownRegions) return undefined;
    const stranger = { sinceMs: nowMs, heardMs: nowMs, vote: undefined };
    this.#strangers.set(regionId, stranger);
    return stranger;
  }

  #forgetOld(nowMs: number): void {
    for (const [regionId, { heardMs }] of this.#strangers) {
      if (nowMs < heardMs + 4 * this.#patienceMs) return;
      this.#strangers.delete(regionId);
    }
  }

  /** The region is here now: the vote that was asked for last, unless its campaign is over. */
  take(regionId: number, nowMs: number): HeldVote | undefined {
    const stranger = this.#strangers.get(regionId);
    this.#strangers.delete(regionId);
    return stranger && nowMs < stranger.heardMs + this.#patienceMs ? stranger.vote : undefined;
  }
}
