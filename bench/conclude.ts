/** How a program of this folder ends: with 0, or with one line that says what was wrong. */

import { MraftError } from '../rpc/wire/errors.ts';
import { ProgramMissing } from '../tools/program.ts';
import { Interrupted } from './interrupt.ts';

/** Waits for the work and sets the exit code. Everything has been stopped when it is done. */
export async function conclude(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    process.exitCode = error instanceof Interrupted ? error.exitCode : 1;
    process.stderr.write(`error: ${describe(error)}\n`);
  }
}

/** Mistakes of the caller in one line; anything else with its stack, since it is a bug. */
function describe(error: unknown): string {
  if (error instanceof MraftError || error instanceof ProgramMissing || error instanceof Interrupted) {
    return error.message;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
