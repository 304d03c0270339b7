/** Asks placement for a change, and waits until it is done. */

import { ChangeRefused, DeadlineExceeded, PlacementUnavailable } from '../../rpc/wire/errors.ts';
import type { Admin } from '../admin.ts';
import type { CtlFlags, Row } from './ctl-action.ts';

export interface ChangeFlags extends CtlFlags {
  /** `--no-wait` makes it false. */
  readonly wait?: boolean;
}

interface LogEntry {
  readonly event: string;
  readonly operatorId?: number;
  readonly text: string;
}

const POLL_MS = 200;

/**
 * Adds an operator; unless told not to, waits for its end.
 * @throws ChangeRefused when it ended otherwise than done, DeadlineExceeded when it runs on, and what placement answers
 */
export async function change(admin: Admin, request: object, flags: ChangeFlags): Promise<unknown> {
  const operator = (await admin.placement('operator.add', request)) as Row;
  if (flags.wait === false) return operator;
  const { operatorId } = operator;
  const deadlineMs = performance.now() + flags.waitMs;
  for (;;) {
    const { end } = ((await unlessLeaderless(admin.placement('operator.show', { operatorId }))) ?? {}) as Shown;
    if (end) return outcome(operator, end);
    if (performance.now() > deadlineMs) {
      throw new DeadlineExceeded(
        `operator ${String(operatorId)} still runs: see 'ctl operator list', or give it a longer --timeout-ms`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

interface Shown {
  readonly end?: LogEntry;
}

/** Undefined while nobody leads placement: what was begun goes on under its next leader. */
export async function unlessLeaderless(asked: Promise<unknown>): Promise<unknown> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof PlacementUnavailable) return undefined;
    throw error;
  }
}

function outcome(operator: Row, end: LogEntry): Row {
  if (end.event !== 'done') throw new ChangeRefused(end.text);
  return { operatorId: operator['operatorId'], regionId: operator['regionId'], outcome: end.event, text: end.text };
}

/** One line for people. */
export function showOutcome(answer: unknown): string {
  const { operatorId, regionId, outcome: event, text, reason } = answer as Row;
  return event === 'done'
    ? `done: ${String(text)}`
    : `operator ${String(operatorId)} of region ${String(regionId)} runs: ${String(reason)}`;
}
