/** What follows a failed attempt: a pure decision. The deadline is not judged here; a call that passes it is ended. */

import { NotLeader, RetryableError, type MraftError } from '../wire/errors.ts';

export interface RetryDecision {
  readonly retry: boolean;
  /** 0: at once. */
  readonly delayMs: number;
  /** Ask another peer than the one that was asked. */
  readonly turn: boolean;
  /** The route itself is doubtful: ask for the routes. */
  readonly refresh: boolean;
}

const FIRST_DELAY_MS = 8;
const LONGEST_DELAY_MS = 250;
/** An election is short: without a leader the peers are asked more often than a busy server is. */
const LONGEST_ELECTION_DELAY_MS = 60;
const LONGEST_MERGE_DELAY_MS = 40;
/** Redirects that are followed without a pause; more of them mean that two peers point at each other. */
const FREE_REDIRECTS = 3;

const FAIL: RetryDecision = { retry: false, delayMs: 0, turn: false, refresh: false };

/**
 * @param attempts made so far, this one included
 * @param random in [0, 1)
 */
export function decideRetry(error: MraftError, attempts: number, random: number): RetryDecision {
  const redirect =
    attempts <= FREE_REDIRECTS ? 0 : backoffMs(attempts - FREE_REDIRECTS, random, LONGEST_ELECTION_DELAY_MS);
  switch (error.code) {
    case 'NotLeader':
      if (knowsLeader(error)) return { retry: true, delayMs: redirect, turn: false, refresh: false };
      return {
        retry: true,
        delayMs: backoffMs(attempts, random, LONGEST_ELECTION_DELAY_MS),
        turn: true,
        refresh: attempts > FREE_REDIRECTS,
      };
    case 'EpochNotMatch': {
      const healed = (error.details.regions?.length ?? 0) > 0;
      return {
        retry: true,
        delayMs: healed ? redirect : backoffMs(attempts, random),
        turn: false,
        refresh: !healed || attempts > FREE_REDIRECTS,
      };
    }
    case 'RegionMerging':
    case 'RegionChanging':
      // Over in a few turns of two regions: whoever waits long waits for nothing.
      return {
        retry: true,
        delayMs: backoffMs(attempts, random, LONGEST_MERGE_DELAY_MS),
        turn: false,
        refresh: attempts > FREE_REDIRECTS,
      };
    case 'RegionNotFound':
    case 'KeyNotInRegion':
      return { retry: true, delayMs: backoffMs(attempts, random), turn: true, refresh: true };
    case 'Unavailable':
      return { retry: true, delayMs: redirect, turn: true, refresh: attempts > FREE_REDIRECTS };
    case 'DeadlineExceeded':
      // A leader that cannot reach its majority: another peer may know a newer one.
      return { retry: true, delayMs: backoffMs(attempts, random), turn: true, refresh: false };
    default:
      if (!(error instanceof RetryableError)) return FAIL;
      return { retry: true, delayMs: backoffMs(attempts, random), turn: false, refresh: false };
  }
}

function knowsLeader(error: MraftError): boolean {
  return error instanceof NotLeader && (error.details.leaderNodeId ?? 0) > 0;
}

/** Exponential, between half and all of its step ("equal jitter"), so that callers that failed together part. */
export function backoffMs(attempts: number, random: number, longestMs = LONGEST_DELAY_MS): number {
  const step = Math.min(longestMs, FIRST_DELAY_MS * 2 ** Math.min(attempts - 1, 16));
  return step / 2 + (step / 2) * random;
}

/** After an attempt that did not leave this process: nothing is known about any peer. */
export function decideUnsent(attempts: number, random: number): RetryDecision {
  return { retry: true, delayMs: backoffMs(attempts, random), turn: false, refresh: false };
}
