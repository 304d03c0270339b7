/** How command lines are read: strictly, so that a typing error is a complaint and never a default. */

import { InvalidArgumentError, Option, type Command } from 'commander';

/** @throws InvalidArgumentError, which names the flag, for anything but decimal digits */
export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

/** `1,2,3` */
export function wholeNumbers(text: string): number[] {
  return text.split(',').map((part) => {
    if (!/^\d{1,15}$/.test(part)) throw new InvalidArgumentError('It must be whole numbers with commas between.');
    return Number(part);
  });
}

/** Where the cluster is, for commands that talk to one. */
export interface ClusterFlags {
  readonly cluster: string;
  readonly nats: string;
  readonly timeoutMs: number;
}

const DEFAULT_TIMEOUT_MS = 10_000;

/** `mraft kv scan | head`: whoever reads has enough, and so have we. */
function leaveWithReader(): void {
  process.stdout.once('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
}

export function withClusterFlags(command: Command): Command {
  return command
    .hook('preAction', leaveWithReader)
    .addOption(new Option('--cluster <name>', 'name of the cluster').env('MRAFT_CLUSTER').default('local'))
    .addOption(new Option('--nats <url>', 'broker').env('MRAFT_NATS').default('nats://127.0.0.1:4222'))
    .addOption(
      new Option('--timeout-ms <ms>', 'how long it may take, retries included')
        .argParser(wholeNumber)
        .default(DEFAULT_TIMEOUT_MS),
    );
}
