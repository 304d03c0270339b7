/** Many seeds over a few processes: a run is one thread, and a bug that never returns must not stop the others. */

import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PROFILES, type Profile } from './config.ts';
import type { Violation } from './violation.ts';

const SEED_PROCESS = fileURLToPath(new URL('./seed-process.js', import.meta.url));
/** A run takes a fraction of a second of CPU; the real time is for one that waits for something that never comes. */
const SEED_CPU_MS = 60_000;
const SEED_TIMEOUT_MS = 900_000;
const WATCH_EVERY_MS = 5_000;
const SEEDS_AT_ONCE = 4;

export type ProfileChoice = Profile | 'mixed';
export const PROFILE_CHOICES: readonly ProfileChoice[] = [...PROFILES, 'mixed'];
/** Some of the seeds with every fault, some with one kind, the others with regions that change. */
const MIXED: readonly Profile[] = [
  'default',
  'network',
  'changes',
  'disk',
  'regions',
  'default',
  'process',
  'regions',
  'default',
  'calm',
  'changes',
  'regions',
];

/** A run with placement takes as long as several others. */
const PLACEMENT_EVERY = 25;

export function profileOf(choice: ProfileChoice, seed: number): Profile {
  if (choice !== 'mixed') return choice;
  return seed % PLACEMENT_EVERY === 0 ? 'placement' : MIXED[seed % MIXED.length]!;
}

export interface SeedTask {
  readonly seed: number;
  readonly profile: Profile;
}

/** What a seed came to, small enough to be sent. */
export interface SeedReport extends SeedTask {
  readonly violation: Violation | undefined;
  readonly traceHash: string;
  readonly events: number;
  readonly turns: number;
  readonly calls: number;
  readonly failedCalls: number;
  readonly crashes: number;
  readonly committed: number;
  readonly overwrites: number;
  readonly undecided: boolean;
}

export interface BatchOptions {
  readonly tasks: Iterable<SeedTask>;
  readonly jobs: number;
  /** Of the processes: how a mutant gets in. */
  readonly execArgv?: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly onReport: (report: SeedReport) => void;
  /** No further seed is begun when it answers true. */
  readonly isEnough?: () => boolean;
}

export function* seedTasks(from: number, count: number, choice: ProfileChoice): Generator<SeedTask> {
  for (let seed = from; seed < from + count; seed++) yield { seed, profile: profileOf(choice, seed) };
}

/** Resolves when all seeds ran. @throws when a process cannot be started at all */
export async function runBatch(options: BatchOptions): Promise<void> {
  const tasks = options.tasks[Symbol.iterator]();
  const lanes = Array.from({ length: options.jobs }, () => new Lane(tasks, options).run());
  await Promise.all(lanes);
}

class Lane {
  readonly #tasks: Iterator<SeedTask>;
  readonly #options: BatchOptions;
  #given: SeedTask[] = [];
  /** Processes in a row that died before they reported anything. */
  #stillborn = 0;
  /** Seeds that were lost once with a process that said nothing; a machine that stood still is no finding. */
  readonly #lostOnce = new Set<number>();

  constructor(tasks: Iterator<SeedTask>, options: BatchOptions) {
    this.#tasks = tasks;
    this.#options = options;
  }

  async run(): Promise<void> {
    while (this.#take() && !this.#options.isEnough?.()) await this.#runProcess();
  }

  /** Fills up what the process has to do; false: nothing is left. */
  #take(): boolean {
    while (this.#given.length < SEEDS_AT_ONCE && !this.#options.isEnough?.()) {
      const next = this.#tasks.next();
      if (next.done) break;
      this.#given.push(next.value);
    }
    return this.#given.length > 0 && !this.#options.isEnough?.();
  }

  /** One process until it has no more to do, or dies, or hangs. */
  #runProcess(): Promise<void> {
    const { env, execArgv = [], onReport } = this.#options;
    const child = fork(SEED_PROCESS, {
      stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
      env: env ?? process.env,
      execArgv: [...execArgv],
    });
    let errors = '';
    child.stderr!.on('data', (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-4_000)));
    return new Promise((resolve, reject) => {
      let timer = this.#watch(child);
      const startedMs = performance.now();
      child.send(this.#given);
      child.on('message', (report: SeedReport) => {
        clearInterval(timer);
        this.#stillborn = 0;
        this.#given = this.#given.filter((task) => task.seed !== report.seed);
        onReport(report);
        const before = this.#given.length;
        if (!this.#take()) return void child.kill('SIGKILL');
        child.send(this.#given.slice(before));
        timer = this.#watch(child);
      });
      child.on('error', reject);
      child.on('close', (code, signal) => {
        clearInterval(timer);
        const lost = this.#given.shift();
        if (lost && errors.length === 0 && !this.#lostOnce.has(lost.seed)) {
          this.#lostOnce.add(lost.seed);
          this.#given.unshift(lost);
        } else if (lost && !this.#options.isEnough?.()) {
          if (errors.length > 0 && ++this.#stillborn > 2) return reject(new Error(errors));
          const ranMs = Math.round(performance.now() - startedMs);
          onReport(diedOf(lost, errors, `its process ended by ${signal ?? code} after ${ranMs} ms`));
        }
        resolve();
      });
    });
  }

  /** Ends a process whose seed has had more than any needs; on a busy machine that is a matter of CPU, not of time. */
  #watch(child: ChildProcess): NodeJS.Timeout {
    const startedMs = performance.now();
    const cpuBeforeMs = cpuMsOf(child);
    return setInterval(() => {
      const tookMs = performance.now() - startedMs;
      if (cpuMsOf(child) - cpuBeforeMs > SEED_CPU_MS || tookMs > SEED_TIMEOUT_MS) child.kill('SIGKILL');
    }, WATCH_EVERY_MS);
  }
}

/** User and system time, as Linux counts it, in ticks of 10 ms; elsewhere 0. */
function cpuMsOf({ pid }: ChildProcess): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  } catch {
    return 0;
  }
}

function diedOf(task: SeedTask, errors: string, end: string): SeedReport {
  const violation = errors
    ? { check: 'the process goes on', message: `${end}: ${errors}`, atMs: 0 }
    : { check: 'a run ends', message: `${end}; a seed may take ${SEED_CPU_MS} of CPU`, atMs: 0 };
  const nothing = {
    traceHash: '',
    events: 0,
    turns: 0,
    calls: 0,
    failedCalls: 0,
    crashes: 0,
    committed: 0,
    overwrites: 0,
    undecided: false,
  };
  return { ...task, ...nothing, violation };
}
