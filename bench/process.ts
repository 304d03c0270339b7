/** Server processes on loopback: free ports, start, stop, and what they cost. */

import { spawn, type ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';

/** Linux counts a process's time in hundredths of a second for every program (USER_HZ). */
const TICKS_PER_SECOND = 100;
const STOP_GRACE_MS = 5_000;
/** Of a server's output, what is kept for the message when it dies. */
const OUTPUT_TAIL_CHARS = 4_000;

/** Ports that were free a moment ago. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, '127.0.0.1', resolve);
      });
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** CPU seconds that a process has used; 0 when it is gone. */
export async function cpuSecondsOf(pid: number): Promise<number> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The second field is the program's name in brackets and may hold anything; utime and stime are fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

/** One server process of a peer. */
export class ServerProcess {
  readonly name: string;
  private readonly child: ChildProcess;
  private output = '';
  private readonly ended: Promise<void>;

  constructor(name: string, program: string, args: readonly string[]) {
    this.name = name;
    // In a process group of its own, so that a Ctrl-C in the terminal reaches only us, who then stop it in order.
    this.child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    const killWithUs = (): void => void this.child.kill('SIGKILL');
    process.once('exit', killWithUs);
    const keep = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-OUTPUT_TAIL_CHARS);
    };
    this.child.stdout?.on('data', keep);
    this.child.stderr?.on('data', keep);
    this.ended = new Promise((resolve) => {
      this.child.once('error', (error) => {
        this.output += `\n${error.message}`;
        resolve();
      });
      this.child.once('exit', () => {
        process.off('exit', killWithUs);
        resolve();
      });
    });
  }

  get isRunning(): boolean {
    return this.child.pid !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  /** The last it said, for an error message. */
  get lastOutput(): string {
    return this.output.trim();
  }

  async cpuSeconds(): Promise<number> {
    return this.isRunning ? cpuSecondsOf(this.child.pid as number) : 0;
  }

  /** SIGTERM, and SIGKILL when that is not enough. */
  async stop(): Promise<void> {
    if (!this.isRunning) return;
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_GRACE_MS);
    await this.ended;
    clearTimeout(timer);
  }
}

/** Asks until `probe` says yes. Fails at once when a process has died, and with what they said after the deadline. */
export async function untilReady(
  what: string,
  processes: readonly ServerProcess[],
  timeoutMs: number,
  probe: () => Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const dead = processes.find((process) => !process.isRunning);
    if (dead) throw new Error(`${dead.name} stopped while it was started:\n${dead.lastOutput}`);
    if (await probe().catch(() => false)) return;
    if (performance.now() > deadline) {
      const said = processes.map((process) => `${process.name}: ${process.lastOutput.slice(-500)}`).join('\n');
      throw new Error(`${what} was not ready within ${timeoutMs} ms\n${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
