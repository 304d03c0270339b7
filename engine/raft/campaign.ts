/** One campaign of one candidate: what kind it is and which votes have come in. */

import type { RaftLog } from './raft-log.ts';
import type { RaftMessage } from './types.ts';
import type { Quorum, TallyResult } from './quorum.ts';

export type CampaignKind = 'preVote' | 'vote';

export class Campaign {
  readonly kind: CampaignKind;
  private readonly quorum: Quorum;
  /** By slot: 1 granted, -1 rejected, 0 not answered. */
  private readonly votes: Int8Array;

  constructor(kind: CampaignKind, quorum: Quorum) {
    this.kind = kind;
    this.quorum = quorum;
    this.votes = new Int8Array(quorum.size);
  }

  /** A peer's first answer counts, later ones do not change it. */
  record(slot: number, granted: boolean): TallyResult {
    if (this.votes[slot] === 0) this.votes[slot] = granted ? 1 : -1;
    return this.quorum.tally(this.votes);
  }
}

/**
 * Two peers that ask for pre-votes at the same time would get them both, and then share the votes. The one with the
 * longer log goes on, or the higher id; whether that is the other one, whose `message` this is.
 */
export function yieldsTo(message: RaftMessage, log: RaftLog, peerId: number): boolean {
  const { lastIndex, lastTerm } = log;
  const equal = message.index === lastIndex && message.logTerm === lastTerm;
  return equal ? message.from > peerId : log.isUpToDate(message.index, message.logTerm);
}
