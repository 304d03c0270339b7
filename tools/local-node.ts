/** One `mraft serve` process on this machine, as tests and the launcher handle it. */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { Child, type Ended } from './child.ts';

export interface LocalNodeOptions {
  readonly id: number;
  /** Arguments of `mraft serve`. */
  readonly args: readonly string[];
  /** Further arguments of Node itself, before the program. Default: none. */
  readonly nodeArgs?: readonly string[];
  readonly dataDir: string;
  readonly logPath: string;
  readonly detached: boolean;
}

/** What `mraft serve` says when it serves. */
export interface ReadyLine {
  readonly cluster: string;
  readonly node: number;
  readonly pid: number;
  /** The port of its metrics, where it has them. */
  readonly metrics?: number;
}

const MRAFT = fileURLToPath(new URL('./mraft.js', import.meta.url));
const READY_TIMEOUT_MS = 30_000;
/** A node stops within 10 s; what takes longer is a bug, and is killed. */
const STOP_GRACE_MS = 12_000;
const LOG_TAIL_CHARS = 2_000;

export class LocalNode {
  readonly id: number;
  readonly dataDir: string;
  readonly logPath: string;
  readonly #options: LocalNodeOptions;
  #child: Child | undefined;
  #ready: Promise<void> = Promise.resolve();
  #readyLine: ReadyLine | undefined;

  constructor(options: LocalNodeOptions) {
    this.id = options.id;
    this.dataDir = options.dataDir;
    this.logPath = options.logPath;
    this.#options = options;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  get isRunning(): boolean {
    return this.#child?.isRunning ?? false;
  }

  /** Starts the process; see `ready`. */
  launch(): void {
    if (this.isRunning) throw new Error(`node ${this.id} is running already`);
    let served = (): void => {};
    const ready = new Promise<void>((resolve) => (served = resolve));
    const nodeArgs = ['--enable-source-maps', ...(this.#options.nodeArgs ?? [])];
    const child = new Child(process.execPath, [...nodeArgs, MRAFT, 'serve', ...this.#options.args], {
      logPath: this.logPath,
      onLine: (line) => {
        if (!line.startsWith('{"ready"')) return;
        this.#readyLine = (JSON.parse(line) as { ready: ReadyLine }).ready;
        served();
      },
      detached: this.#options.detached,
    });
    this.#child = child;
    this.#ready = this.#readyInTime(child, ready);
    // Whoever waits for it hears of it; a node that nobody waits for may die unheard.
    this.#ready.catch(() => {});
  }

  /** Of the last start that served. */
  get readyLine(): ReadyLine {
    if (!this.#readyLine) throw new Error(`node ${this.id} has not served yet`);
    return this.#readyLine;
  }

  /** Resolves when the process serves. */
  ready(): Promise<void> {
    return this.#ready;
  }

  /** Starts the process, and waits until it serves. */
  async start(): Promise<void> {
    this.launch();
    await this.ready();
  }

  /** SIGKILL, and waits until it is gone. */
  async kill9(): Promise<void> {
    await this.#child?.kill();
  }

  /** SIGTERM, and waits; how it ended. */
  async term(): Promise<Ended> {
    return (await this.#child?.stop(STOP_GRACE_MS)) ?? { code: null, signal: null };
  }

  sigstop(): void {
    this.#child?.freeze();
  }

  sigcont(): void {
    this.#child?.resume();
  }

  /** The end of its log, for messages. */
  get logTail(): string {
    return readFileSync(this.logPath, 'utf8').slice(-LOG_TAIL_CHARS);
  }

  async #readyInTime(child: Child, ready: Promise<void>): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<string>((resolve) => {
      timer = setTimeout(() => resolve(`did not serve within ${READY_TIMEOUT_MS} ms`), READY_TIMEOUT_MS);
    });
    const died = child.ended.then(({ code, signal }) => `ended with ${signal ?? code} before it served`);
    const problem = await Promise.race([ready, late, died]);
    clearTimeout(timer);
    if (typeof problem === 'string') throw new Error(`node ${this.id} ${problem}; ${this.logPath}:\n${this.logTail}`);
  }
}
