/** What a client has done, readable at any time; the counters only grow. */

export interface ClientStats {
  calls: number;
  frames: number;
  requests: number;
  /** Frames that the transport did not take: no connection, or its backlog is full. */
  framesRefused: number;
  /** Failed attempts that were tried again, by the error's code. */
  retries: Record<string, number>;
  /** Attempts that nobody answered in time. */
  attemptTimeouts: number;
  /** Good answers to attempts that had been given up. */
  lateAnswers: number;
  /** Answers to nothing that is known: duplicates, or older than what is kept. */
  unknownAnswers: number;
  malformedFrames: number;
  /** Workers found to be gone. */
  unreachable: number;
  routeFetches: number;
  sessions: number;
}

export function newClientStats(): ClientStats {
  return {
    calls: 0,
    frames: 0,
    requests: 0,
    framesRefused: 0,
    retries: {},
    attemptTimeouts: 0,
    lateAnswers: 0,
    unknownAnswers: 0,
    malformedFrames: 0,
    unreachable: 0,
    routeFetches: 0,
    sessions: 1,
  };
}
