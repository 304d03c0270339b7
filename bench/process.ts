/** Server processes of the peers: their ports, when they are ready, and what they cost. */

import { readFile } from 'node:fs/promises';

import { freePort } from '../tools/broker.ts';
import { Child } from '../tools/child.ts';

/** Linux counts a process's time in hundredths of a second for every program (USER_HZ). */
const TICKS_PER_SECOND = 100;
const STOP_GRACE_MS = 5_000;
/** Of a server's log, what an error message shows. */
const LOG_TAIL_CHARS = 2_000;
const POLL_MS = 50;

/** Different ports of 127.0.0.1 that nobody listens on at this moment. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort());
  return [...ports];
}

/** CPU seconds, user and system, that a process has used; 0 when it is gone. */
export async function cpuSecondsOf(pid: number | undefined): Promise<number> {
  if (pid === undefined) return 0;
  try {
    return parseCpuSeconds(await readFile(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return 0;
  }
}

/** From the text of /proc/<pid>/stat. */
export function parseCpuSeconds(stat: string): number {
  // The second field is the program's name in brackets and may hold anything; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** The processes of one peer: started together, stopped together. */
export class ServerGroup {
  private readonly servers: { readonly name: string; readonly logPath: string; readonly child: Child }[] = [];

  launch(name: string, program: string, args: readonly string[], logPath: string): void {
    this.servers.push({ name, logPath, child: new Child(program, args, { logPath, detached: true }) });
  }

  /** Asks until `probe` says yes. @throws when a process has died, or after `timeoutMs`, with what the logs say */
  async untilReady(what: string, timeoutMs: number, probe: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const dead = this.servers.find(({ child }) => !child.isRunning);
      if (dead) throw new Error(`${dead.name} stopped while it was started:\n${await logTail(dead.logPath)}`);
      if (await probe().catch(() => false)) return;
      if (performance.now() > deadline) {
        const tails = await Promise.all(this.servers.map(async ({ logPath }) => logTail(logPath)));
        throw new Error(`${what} was not ready within ${timeoutMs} ms\n${tails.join('\n')}`);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async cpuSeconds(): Promise<number> {
    const each = await Promise.all(this.servers.map(({ child }) => cpuSecondsOf(child.pid)));
    return each.reduce((sum, seconds) => sum + seconds, 0);
  }

  async stop(): Promise<void> {
    await Promise.all(this.servers.map(({ child }) => child.stop(STOP_GRACE_MS)));
  }
}

async function logTail(path: string): Promise<string> {
  return (await readFile(path, 'utf8').catch(() => '')).slice(-LOG_TAIL_CHARS);
}
