/** Ctrl-C and SIGTERM: what was started is stopped in order; at the second one, at once. */

const EXIT_CODES: Readonly<Record<string, number>> = { SIGINT: 130, SIGTERM: 143 };

/** The reason of the signal; `exitCode` is 128 + the number of what came, as shells say it. */
export class Interrupted extends Error {
  readonly exitCode: number;

  constructor(name: NodeJS.Signals) {
    super(`interrupted by ${name}`);
    this.exitCode = EXIT_CODES[name] ?? 1;
  }
}

export function listenForInterrupt(): AbortSignal {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    const reason = new Interrupted(name);
    // What still runs is killed with us by tools/child.ts and tools/broker.ts.
    if (controller.signal.aborted) process.exit(reason.exitCode);
    process.stderr.write('\nstopping …\n');
    controller.abort(reason);
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return controller.signal;
}
