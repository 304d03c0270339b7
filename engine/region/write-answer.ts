/** What the callers of one entry hear when it is applied. */

import type { mraft } from '../../rpc/wire/codec.ts';
import { toWireError } from '../../rpc/wire/error-codec.ts';
import { Internal, ServerBusy, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { CommandOutcome } from './applier.ts';
import type { Proposal } from './proposals.ts';

/** The outcome of each proposal of an entry, in their order; an entry that failed as a whole has one for all. */
export function outcomeOf(outcomes: readonly CommandOutcome[], position: number): CommandOutcome {
  return outcomes[position] ?? outcomes.at(-1) ?? new Internal('an entry lost its commands');
}

/** The answer to a write that was applied; of one that was not, its error is the answer. */
export function writeAnswer(
  { requestId: id }: Proposal,
  outcome: Exclude<CommandOutcome, MraftError>,
): mraft.IResponse {
  return { id, write: { results: fitToFrame(outcome) } };
}

/**
 * What calls found may not fit into one frame. Those beyond it are told to ask again: what they came to is remembered
 * under their sequence.
 */
function fitToFrame(results: readonly mraft.ICallResult[]): mraft.ICallResult[] {
  let sizeBytes = 0;
  return results.map((result) => {
    if (!result.current) return result;
    sizeBytes += result.current.length;
    if (sizeBytes <= LIMITS.readBytes || sizeBytes === result.current.length) return result;
    return { position: result.position ?? 0, error: toWireError(new ServerBusy('the answer did not fit, ask again')) };
  });
}
