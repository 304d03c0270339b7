/** A server process that we started: its output in a file, its end awaited, and gone when we are gone. */

import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';

export interface ChildOptions {
  /** Where standard error goes, and standard output unless `onLine` is given. Appended to. */
  readonly logPath: string;
  /** Receives standard output, line by line. */
  readonly onLine?: (line: string) => void;
  /** In a process group of its own, so that a Ctrl-C in the terminal reaches only us, who then stop it in order. */
  readonly detached?: boolean;
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const running = new Set<ChildProcess>();
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class Child {
  /** Resolves when the process has ended, also when it could not be started. */
  readonly ended: Promise<Ended>;
  readonly #process: ChildProcess;

  constructor(file: string, args: readonly string[], options: ChildOptions) {
    const log = openSync(options.logPath, 'a');
    const child = spawn(file, args, {
      stdio: ['ignore', options.onLine ? 'pipe' : log, log],
      detached: options.detached ?? false,
    });
    closeSync(log);
    running.add(child);
    this.#process = child;
    this.ended = new Promise((resolve) => {
      const end = (code: number | null, signal: NodeJS.Signals | null): void => {
        running.delete(child);
        resolve({ code, signal });
      };
      child.once('exit', end);
      child.once('error', () => end(null, null));
    });
    if (options.onLine) readLines(child, options.onLine);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get isRunning(): boolean {
    return running.has(this.#process);
  }

  /** SIGSTOP: connections stay open and nothing moves. */
  freeze(): void {
    this.#process.kill('SIGSTOP');
  }

  /** SIGCONT. */
  resume(): void {
    this.#process.kill('SIGCONT');
  }

  /** SIGKILL, and waits. */
  async kill(): Promise<Ended> {
    this.#process.kill('SIGKILL');
    return this.ended;
  }

  /** SIGTERM, waits, and kills what has not ended by itself within the grace. */
  async stop(graceMs: number): Promise<Ended> {
    this.#process.kill('SIGTERM');
    // A frozen process takes a SIGTERM only once it runs again.
    this.resume();
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), graceMs);
    const ended = await this.ended;
    clearTimeout(timer);
    return ended;
  }
}

function readLines(child: ChildProcess, onLine: (line: string) => void): void {
  let rest = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) onLine(line);
  });
}
