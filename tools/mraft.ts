#!/usr/bin/env node
/** The program `mraft`: one subcommand a file in `commands/`. */

import { Command, CommanderError } from 'commander';

import { asMraftError, InvalidArgument, InvalidConfig, MraftError } from '../rpc/wire/errors.ts';
import { ctlCommand } from './commands/ctl.ts';
import { kvCommand } from './commands/kv.ts';
import { serveCommand } from './commands/serve.ts';
import { VERSION } from './version.ts';

/** What was asked for failed or was refused. */
const EXIT_FAILURE = 1;
/** The command line or the configuration is wrong; nothing was done. */
const EXIT_USAGE = 2;

/** Flags that gather what they are given; every other one is given once. */
const MAY_REPEAT: ReadonlySet<string> = new Set(['label']);

const program = new Command('mraft')
  .description('A distributed, ordered key-value engine')
  .version(VERSION)
  .addCommand(serveCommand())
  .addCommand(kvCommand())
  .addCommand(ctlCommand());
strict(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = exitCodeOf(error);
}

/** Each complaint is one line, and is thrown rather than ending the process under open files. A flag is given once. */
function strict(command: Command): void {
  command
    .exitOverride()
    .showSuggestionAfterError(false)
    .configureOutput({ outputError: (text, write) => write(`mraft: ${text.replace(/^error: /, '').trim()}\n`) });
  for (const option of command.options) {
    if (MAY_REPEAT.has(option.name())) continue;
    let isGiven = false;
    command.on(`option:${option.name()}`, () => {
      if (isGiven) command.error(`error: option '${option.flags}' is given twice`);
      isGiven = true;
    });
  }
  for (const subcommand of command.commands) strict(subcommand as Command);
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  const failure = asMraftError(error);
  console.error(`mraft: ${oneLine(failure)}`);
  if (!(error instanceof MraftError) && error instanceof Error) console.error(error.stack);
  return failure instanceof InvalidConfig || failure instanceof InvalidArgument ? EXIT_USAGE : EXIT_FAILURE;
}

function oneLine(error: MraftError): string {
  const text = error instanceof InvalidConfig ? error.message : `${error.code}: ${error.message}`;
  return text.replace(/\s*\n\s*/g, ' ');
}
