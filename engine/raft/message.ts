/** Builders of messages. Every message has the same shape, so that the engine sees one hidden class on the hot path. */

import type { LogPosition } from './raft-log.ts';
import type { Entry, MessageKind, RaftMessage, Snapshot } from './types.ts';

/** Shared by all messages without entries. */
export const NO_ENTRIES: readonly Entry[] = Object.freeze([]) as readonly Entry[];

function message(
  kind: MessageKind,
  from: number,
  to: number,
  term: number,
  index: number,
  logTerm: number,
  commit: number,
  entries: readonly Entry[],
  reject: boolean,
  hintIndex: number,
  hintTerm: number,
  context: number,
  transfer: boolean,
  hibernate = false,
  membership?: RaftMessage['membership'],
): RaftMessage {
  return {
    kind,
    from,
    to,
    term,
    index,
    logTerm,
    commit,
    entries,
    reject,
    hintIndex,
    hintTerm,
    context,
    transfer,
    hibernate,
    membership,
  };
}

/** Entries that follow (`index`, `logTerm`); without entries it asks whether the logs agree up to there. */
export function append(
  from: number,
  to: number,
  term: number,
  index: number,
  logTerm: number,
  commit: number,
  entries: readonly Entry[],
  round: number,
): RaftMessage {
  return message('append', from, to, term, index, logTerm, commit, entries, false, 0, 0, round, false);
}

/** The log agrees with the leader's up to `index`, durably once this message may leave. */
export function appendAccepted(from: number, to: number, term: number, index: number, round: number): RaftMessage {
  return message('appendResponse', from, to, term, index, 0, 0, NO_ENTRIES, false, 0, 0, round, false);
}

/** There is no entry (`index`, the append's logTerm) here; the logs may agree at (`hintIndex`, `hintTerm`) at best. */
export function appendRejected(
  from: number,
  to: number,
  term: number,
  index: number,
  hintIndex: number,
  hintTerm: number,
  round: number,
): RaftMessage {
  return message('appendResponse', from, to, term, index, 0, 0, NO_ENTRIES, true, hintIndex, hintTerm, round, false);
}

export function heartbeat(
  from: number,
  to: number,
  term: number,
  commit: number,
  round: number,
  hibernate: boolean,
): RaftMessage {
  return message('heartbeat', from, to, term, 0, 0, commit, NO_ENTRIES, false, 0, 0, round, false, hibernate);
}

export function heartbeatResponse(
  from: number,
  to: number,
  term: number,
  round: number,
  hibernate: boolean,
): RaftMessage {
  return message('heartbeatResponse', from, to, term, 0, 0, 0, NO_ENTRIES, false, 0, 0, round, false, hibernate);
}

/** Asks the driver to send its data as of `snapshot.index`; the receiver's driver steps it once the data is there. */
export function snapshotOf(from: number, to: number, term: number, snapshot: Snapshot, round: number): RaftMessage {
  const { index, term: logTerm, membership } = snapshot;
  return message(
    'snapshot',
    from,
    to,
    term,
    index,
    logTerm,
    0,
    NO_ENTRIES,
    false,
    0,
    0,
    round,
    false,
    false,
    membership,
  );
}

/** A vote or pre-vote for `term`, by a candidate whose log ends at `last`, and who knows that `commit` is committed. */
export function voteRequest(
  kind: 'vote' | 'preVote',
  from: number,
  to: number,
  term: number,
  last: LogPosition,
  commit: LogPosition,
  transfer: boolean,
): RaftMessage {
  const { index, term: logTerm } = last;
  return message(kind, from, to, term, index, logTerm, commit.index, NO_ENTRIES, false, 0, commit.term, 0, transfer);
}

export function voteResponse(
  kind: 'voteResponse' | 'preVoteResponse',
  from: number,
  to: number,
  term: number,
  commit: LogPosition,
  reject: boolean,
): RaftMessage {
  return message(kind, from, to, term, 0, 0, commit.index, NO_ENTRIES, reject, 0, commit.term, 0, false);
}

/** Asks `to` to campaign at once, because the leader hands over to it. */
export function timeoutNow(from: number, to: number, term: number): RaftMessage {
  return message('timeoutNow', from, to, term, 0, 0, 0, NO_ENTRIES, false, 0, 0, 0, false);
}
