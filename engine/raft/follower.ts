/** How a log takes what others send: appends and snapshots of the leader, and what votes say about the commit. */

import { isMember } from './membership.ts';
import * as messages from './message.ts';
import type { RaftLog } from './raft-log.ts';
import type { Membership, RaftMessage, Snapshot } from './types.ts';

/** Whether the entries follow the message's position without a gap, and no term falls or passes the leader's. */
function isContiguous(message: RaftMessage): boolean {
  let { index, logTerm: term } = message;
  for (const entry of message.entries) {
    index++;
    if (entry.index !== index || entry.term < term || entry.term > message.term) return false;
    term = entry.term;
  }
  return true;
}

/**
 * Takes an append of the current leader into the log (thesis figure 3.1, AppendEntries) and returns the answer, which
 * must wait until the log is durable. Undefined: no correct leader sends this.
 */
export function acceptAppend(log: RaftLog, membership: Membership, message: RaftMessage): RaftMessage | undefined {
  const { from, to, term, index, logTerm, entries, context } = message;
  if (!isContiguous(message)) return undefined;
  // The changes in a log mean nothing without the configuration that they begin with: only a snapshot brings that. Everyone
  // else has the position before the first entry, so the leader knows who rejects it.
  if (index === 0 && membership.voters.length === 0) return messages.appendRejected(to, from, term, 0, 0, 0, context);
  // What is committed agrees with every leader.
  if (index < log.commit) return messages.appendAccepted(to, from, term, log.commit, context);
  if (log.term(index) !== logTerm) {
    const hint = log.agreement(index, logTerm);
    return messages.appendRejected(to, from, term, index, hint.index, hint.term, context);
  }
  log.replace(entries, log.firstNew(entries));
  const last = index + entries.length;
  log.commitTo(Math.min(message.commit, last));
  return messages.appendAccepted(to, from, term, last, context);
}

/**
 * What is answered for a peer that has nothing yet, not even a term: that it lacks everything, so that the leader sends a
 * snapshot. It promises nothing: the round that it names proves no read and carries no lease. Undefined: no answer.
 */
export function answerOfNobody({ kind, from, to, term, index }: RaftMessage): RaftMessage | undefined {
  if (kind === 'append') return messages.appendRejected(to, from, term, index, 0, 0, 0);
  if (kind === 'heartbeat') return messages.heartbeatResponse(to, from, term, 0, false);
  return undefined;
}

/**
 * Takes a snapshot of the current leader, whose data the driver has received, for what it says about the log (thesis figure
 * 5.3). Returns it if it takes the log's place and is to be installed; not if the log has passed it, or has its last
 * entry and only did not know that it is committed.
 */
export function acceptSnapshot(log: RaftLog, membership: Membership, message: RaftMessage): Snapshot | undefined {
  const { index, logTerm: term, to } = message;
  if (index <= log.commit) return undefined;
  if (log.term(index) === term) {
    log.commitTo(index);
    return undefined;
  }
  if (!isMember(membership, to)) return undefined;
  log.restore(index, term);
  return { index, term, membership };
}

/**
 * What is committed anywhere is so here, if this log has it. Without a leader votes are the only way to hear of it, and it
 * may be what a new leader needs: the peer with the longest log may have stopped to vote, and refuse a candidate that does
 * not know so (raft-rs: commit by vote).
 */
export function learnCommit(log: RaftLog, { commit, hintTerm }: RaftMessage): void {
  if (commit > log.commit && log.term(commit) === hintTerm) log.commitTo(commit);
}
