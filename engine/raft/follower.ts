/** How a follower's log takes what its leader sends. */

import * as messages from './message.ts';
import type { RaftLog } from './raft-log.ts';
import type { RaftMessage } from './types.ts';

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
export function acceptAppend(log: RaftLog, message: RaftMessage): RaftMessage | undefined {
  const { from, to, term, index, logTerm, entries, context } = message;
  if (!isContiguous(message)) return undefined;
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
