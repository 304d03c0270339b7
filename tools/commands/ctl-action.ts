/** What every command of `mraft ctl` does alike: connects, asks, and prints a table, lines or JSON. */

import type { Command } from 'commander';

import { Admin } from '../admin.ts';
import { withClusterFlags, type ClusterFlags } from './flags.ts';
import { formatTable } from './table.ts';

export interface CtlFlags extends ClusterFlags {
  readonly json?: boolean;
  /** How long a change may take that is waited for: `--timeout-ms` where it is given. */
  readonly waitMs: number;
}

/** Replicas move as fast as data does. */
const DEFAULT_WAIT_MS = 10 * 60_000;

export type Row = Record<string, unknown>;

/** What was typed behind the command, as its parsers made it. */
export type Arguments = readonly unknown[];

export interface Output {
  /** For people, in place of all that is known: what fits a line; --json says all. */
  readonly row?: (row: Row) => Row;
  /** In place of a table, for people. */
  readonly text?: (answer: unknown) => string;
}

/** A command whose answer is printed: rows as a table, anything else as indented JSON; `--json` prints one line of it. */
export function ctlAction<F extends CtlFlags>(
  command: Command,
  ask: (admin: Admin, args: Arguments, flags: F) => Promise<unknown>,
  output: Output = {},
): Command {
  return withClusterFlags(command)
    .option('--json', 'answer in JSON')
    .action(async (...given: unknown[]) => {
      const isTimeoutGiven = (given.at(-1) as Command).getOptionValueSource('timeoutMs') !== 'default';
      const typed = given.at(-2) as F;
      const flags = { ...typed, waitMs: isTimeoutGiven ? typed.timeoutMs : DEFAULT_WAIT_MS };
      const admin = await Admin.connect(flags);
      try {
        print(await ask(admin, given.slice(0, -2), flags), flags.json === true, output);
      } finally {
        await admin.close();
      }
    });
}

function print(answer: unknown, json: boolean, { row = (whole) => whole, text }: Output): void {
  if (json) console.log(JSON.stringify(answer ?? null));
  else if (text) console.log(text(answer));
  else if (Array.isArray(answer)) process.stdout.write(formatTable((answer as Row[]).map(row)));
  else console.log(JSON.stringify(answer ?? null, null, 2));
}
