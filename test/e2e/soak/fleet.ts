/** The processes of a soak: which nodes there are, what each is meant to do, and what happened to them that nobody did. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { startLocalCluster, type LocalCluster } from '../../../tools/local-cluster.ts';
import type { LocalNode } from '../../../tools/local-node.ts';

/**
 * `up`: runs, and must not end by itself. `away`: does not run, or stands still, because of us. `leaving`: empties itself,
 * and ends by itself. `gone`: left, or was wiped, for good.
 */
export type Duty = 'up' | 'away' | 'leaving' | 'gone';

export interface Member {
  readonly node: LocalNode;
  duty: Duty;
  /** A fault has it in hand; one at a time. */
  busy: boolean;
}

const FIRST_NODES = 3;
/** The node whose disk is a small one, where the system lets us make one. */
const SMALL_DISK_NODE = 2;
const SMALL_DISK_MIB = 768;
const WATCH_MS = 250;
const THROW_ON_SIGNAL = fileURLToPath(new URL('../throw-on-signal.js', import.meta.url));
const SERVE_ARGS = ['--consistency-check-ms', '3000', '--snapshot-bytes-per-second', String(8 * 1024 * 1024)];

export class Fleet {
  readonly local: LocalCluster;
  readonly hasSmallDisk: boolean;
  readonly members = new Map<number, Member>();
  /** What must not have happened. */
  readonly violations: string[] = [];
  /** The largest resident size of any process. */
  peakResidentMib = 0;
  /** A fault has the broker in hand. */
  isBrokerBusy = false;
  /** Threads that we threw an exception in. */
  thrown = 0;
  readonly #timer: NodeJS.Timeout;
  #nextId = FIRST_NODES + 1;
  #isStopped = false;

  private constructor(local: LocalCluster, hasSmallDisk: boolean) {
    this.local = local;
    this.hasSmallDisk = hasSmallDisk;
    for (const node of local.nodes) this.members.set(node.id, { node, duty: 'up', busy: false });
    this.#timer = setInterval(() => this.#watch(), WATCH_MS);
  }

  static async start(): Promise<Fleet> {
    const dir = mkdtempSync(join(tmpdir(), 'mraft-soak-'));
    const hasSmallDisk = mountSmall(join(dir, `node-${SMALL_DISK_NODE}`));
    const local = await startLocalCluster({
      dir,
      nodes: FIRST_NODES,
      cluster: 'soak',
      regions: 1,
      workers: 2,
      hibernateAfterMs: 1_500,
      nodeArgs: ['--import', THROW_ON_SIGNAL],
      serveArgs: () => SERVE_ARGS,
    });
    return new Fleet(local, hasSmallDisk);
  }

  /** Members that nothing is done to at the moment. */
  idle(duty: Duty = 'up'): Member[] {
    return [...this.members.values()].filter((member) => member.duty === duty && !member.busy);
  }

  /** Ids of the nodes that belong to the cluster for good. */
  get staying(): number[] {
    return [...this.members.values()]
      .filter(({ duty }) => duty === 'up' || duty === 'away')
      .map(({ node }) => node.id)
      .sort((a, b) => a - b);
  }

  /** A node under an id that was never used; it is not started yet. */
  add(): Member {
    const node = this.local.addNode(this.#nextId++, SERVE_ARGS);
    const member: Member = { node, duty: 'away', busy: false };
    this.members.set(node.id, member);
    return member;
  }

  violation(text: string): void {
    this.violations.push(text);
  }

  /** Until the process serves; that it does not is a violation. */
  async launch(member: Member): Promise<void> {
    const { node } = member;
    try {
      await node.start();
      member.duty = 'up';
    } catch (error) {
      if (member.duty !== 'gone') this.violation(`node ${node.id} does not start: ${(error as Error).message}`);
    }
  }

  async kill(member: Member): Promise<void> {
    member.duty = 'away';
    await member.node.kill9();
  }

  /** By SIGTERM, which must end it in time and in order. */
  async term(member: Member): Promise<void> {
    if (member.duty === 'up') member.duty = 'away';
    const startedMs = performance.now();
    const { code, signal } = await member.node.term();
    const tookMs = Math.round(performance.now() - startedMs);
    if (code === 0) return;
    this.violation(`node ${member.node.id} ended with ${signal ?? code} ${tookMs} ms after SIGTERM`);
  }

  /** In one of its worker threads. */
  throwInThread({ node }: Member): void {
    this.thrown++;
    if (node.pid !== undefined) process.kill(node.pid, 'SIGUSR2');
  }

  /** The member whose disk can be filled, when nothing else is done to it. */
  smallDisk(): Member | undefined {
    if (!this.hasSmallDisk) return undefined;
    return this.idle().find(({ node }) => node.id === SMALL_DISK_NODE);
  }

  /** Nothing is left of the disk. */
  fillDisk({ node }: Member): void {
    const { bavail, bsize } = statfsSync(node.dataDir);
    execFileSync('fallocate', ['-l', String(bavail * bsize), join(node.dataDir, BALLAST)]);
  }

  freeDisk({ node }: Member): void {
    rmSync(join(node.dataDir, BALLAST), { force: true });
  }

  /** Its data is gone, and it is out of the cluster. */
  async wipe(member: Member): Promise<void> {
    member.duty = 'gone';
    await member.node.kill9();
    rmSync(member.node.dataDir, { recursive: true, force: true });
  }

  /** Ends every process, in order; a second call does nothing. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    clearInterval(this.#timer);
    const running = [...this.members.values()].filter(({ node }) => node.isRunning);
    await Promise.all(running.map((member) => this.term(member)));
    await this.local.stop();
  }

  /** After `stop`. */
  removeData(): void {
    if (this.hasSmallDisk) execFileSync('umount', [this.local.node(SMALL_DISK_NODE).dataDir]);
    rmSync(this.local.dir, { recursive: true, force: true });
  }

  #watch(): void {
    for (const member of this.members.values()) {
      const { node, duty, busy } = member;
      if (node.isRunning) this.peakResidentMib = Math.max(this.peakResidentMib, residentMib(node.pid));
      else if (duty === 'up' && !busy) {
        member.duty = 'gone';
        this.violation(`node ${node.id} ended by itself:\n${node.logTail}`);
      }
    }
  }
}

const BALLAST = 'ballast';

/** A small file system of its own, in the mount namespace that main.ts begins with. */
function mountSmall(dir: string): boolean {
  if (process.env[OWN_NAMESPACE] === undefined) return false;
  mkdirSync(dir, { recursive: true });
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SMALL_DISK_MIB}m`, 'tmpfs', dir]);
  return true;
}

/** Set where mounts are seen by nobody else. */
export const OWN_NAMESPACE = 'MRAFT_SOAK_NAMESPACE';

export function residentMib(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024);
  } catch {
    return 0; // it has just ended
  }
}
