/**
 * The workers of a node: the only import of piscina. Each worker is one task that does not end, in a thread of its own;
 * a thread that dies is replaced by a new one that is given the task again, and the other workers do not notice.
 *
 * Each start has a Piscina of its own, with one thread, whose exit is watched here from its first moment: a pool of several
 * gives up replacing threads when one dies before it is ready, and forgets the task that it was to have. Nobody ends a thread
 * that has begun its task, because it may be inside RocksDB; only `stop` does, when a worker does not end by itself.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { asMraftError, InvalidArgument, Unavailable, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { SLOT_COUNT } from '../../rpc/wire/slots.ts';
import { controlClient, type WorkerControlClient } from './control.ts';
import type { Job, JobResult } from './job-worker.ts';
import type { FromWorker, ToWorker, WorkerTask } from './port-messages.ts';
import type { ShardConfig } from './ports.ts';
import { SlotMoves } from './slot-moves.ts';
import { SlotTable } from './slot-table.ts';

export interface PoolOptions {
  /** Of every worker; `worker` is set by the pool. */
  readonly config: Omit<ShardConfig, 'worker'>;
  readonly storeHandle: bigint;
  readonly dataDir: string;
  readonly servers: readonly string[];
  /** Nodes with peers of this node's regions, as of now. */
  readonly neighbours: () => readonly number[];
  readonly onMessage: (worker: number, message: FromWorker) => void;
  /** A worker serves: for the first time, or again after it died. */
  readonly onServing: () => void;
  /** A worker's thread died and is started again after `delayMs`. */
  readonly onCrash: (worker: number, error: MraftError, delayMs: number) => void;
  /** Default: LIMITS.workerStartMs. */
  readonly startTimeoutMs?: number;
}

interface Seat {
  readonly worker: number;
  dataPort: MessagePort | undefined;
  controlPort: MessagePort | undefined;
  control: WorkerControlClient | undefined;
  /** Of the latest start. */
  piscina: Piscina<WorkerTask, void> | undefined;
  /** Ends when the worker's task has. */
  running: Promise<void>;
  /** The thread runs its task. */
  started: boolean;
  serving: boolean;
  crashes: number;
  startedMs: number;
}

const FIRST_RESTART_DELAY_MS = 50;
const LONGEST_RESTART_DELAY_MS = 5_000;
/** A worker that ran this long before it crashed is started again without delay. */
const HEALTHY_AFTER_MS = 60_000;
const STOP_TIMEOUT_MS = 3_000;

/** Idle threads of the second pool end after so long. */
const JOB_THREAD_IDLE_MS = 30_000;

/** The second pool of a node: CPU-heavy jobs that no turn is to pay for. Its threads come when they are needed. */
export class JobPool {
  readonly #piscina: Piscina<Job, JobResult>;

  constructor(threads: number) {
    this.#piscina = new Piscina({
      filename: new URL('./job-worker.js', import.meta.url).href,
      minThreads: 0,
      maxThreads: threads,
      idleTimeout: JOB_THREAD_IDLE_MS,
      maxQueue: LIMITS.queuedJobs,
      recordTiming: false,
    });
  }

  /** `lost`: the pool is full or its thread died; whoever asked does it himself. */
  async run(job: Job): Promise<JobResult | 'lost'> {
    return this.#piscina.run(job).catch(() => 'lost' as const);
  }

  async stop(): Promise<void> {
    await this.#piscina.destroy();
  }
}

export class WorkerPool {
  readonly #options: PoolOptions;
  readonly #seats: Seat[] = [];
  readonly #slots: SlotTable;
  readonly #moves: SlotMoves;
  #stopping = false;
  #restarts = 0;
  #wakeServing: () => void = () => {};

  constructor(options: PoolOptions) {
    this.#options = options;
    const { workers } = options.config;
    this.#slots = new SlotTable(workers);
    this.#moves = new SlotMoves(this.#slots, { workers, post: (worker, message) => this.post(worker, message) });
    for (let worker = 0; worker < workers; worker++) {
      this.#seats.push({
        worker,
        dataPort: undefined,
        controlPort: undefined,
        control: undefined,
        piscina: undefined,
        running: Promise.resolve(),
        started: false,
        serving: false,
        crashes: 0,
        startedMs: 0,
      });
    }
  }

  /** How often a worker was started again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Starts all workers and resolves when all serve. */
  async start(): Promise<void> {
    for (const seat of this.#seats) this.#launch(seat);
    while (!this.#stopping && !this.#seats.every((seat) => seat.serving)) {
      await new Promise<void>((resolve) => (this.#wakeServing = resolve));
    }
  }

  #launch(seat: Seat): void {
    const { config, storeHandle, dataDir, servers } = this.#options;
    const data = new MessageChannel();
    const control = new MessageChannel();
    seat.dataPort = data.port1;
    seat.controlPort = control.port1;
    seat.control = controlClient(control.port1, seat.worker);
    seat.startedMs = performance.now();
    data.port1.on('message', (message: FromWorker) => {
      // What a thread said before it died, and is heard only now, may be wrong already.
      if (seat.dataPort === data.port1) this.#onMessage(seat, message);
    });
    const task: WorkerTask = {
      config: { ...config, worker: seat.worker },
      movedSlots: this.#slots.moved,
      neighbours: this.#options.neighbours(),
      storeHandle,
      dataDir,
      servers,
      dataPort: data.port2,
      controlPort: control.port2,
    };
    const piscina = newPiscina();
    const done = piscina.run(task, { transferList: [data.port2, control.port2] });
    const thread = piscina.threads[0]!;
    const exited = new Promise<MraftError>((resolve) => {
      thread.once('exit', () => resolve(new Unavailable(`the thread of worker ${seat.worker} has ended`)));
    });
    seat.piscina = piscina;
    seat.running = Promise.race([done, exited.then((error) => Promise.reject(error))]).catch((error: unknown) =>
      this.#onExit(seat, asMraftError(error), exited),
    );
    this.#watchStart(seat, piscina);
  }

  /** A thread that does not come to its task has nothing open: it is ended, and its end is noticed like any other. */
  #watchStart(seat: Seat, piscina: Piscina<WorkerTask, void>): void {
    const timeoutMs = this.#options.startTimeoutMs ?? LIMITS.workerStartMs;
    seat.started = false;
    const end = (): void => {
      if (seat.piscina === piscina && !seat.started) void piscina.destroy();
    };
    // When this thread was held up, what the other one said meanwhile is heard first.
    setTimeout(() => setImmediate(end), timeoutMs).unref();
  }

  #onMessage(seat: Seat, message: FromWorker): void {
    switch (message.kind) {
      case 'started':
        seat.started = true;
        return;
      case 'serving':
        seat.serving = true;
        this.#wakeServing();
        this.#options.onServing();
        return;
      case 'slotReleased':
        this.#moves.onReleased(message.slot, message.regions);
        return;
      case 'passOn':
        this.post(this.workerOf(message.regionId), message.message);
        return;
      default:
        this.#options.onMessage(seat.worker, message);
    }
  }

  /** The worker that has a region of this node. */
  workerOf(regionId: number): number {
    return this.#slots.workerOf(regionId);
  }

  /** Slots that were moved since the start. */
  get slotsMoved(): number {
    return this.#moves.count;
  }

  /**
   * Gives a slot to another worker while it serves; resolves when that one was told.
   * @throws RegionChanging when it is being moved already or its regions cannot be let go of now; Unavailable while its
   *   worker is being started again; InvalidArgument
   */
  async moveSlot(slot: number, worker: number): Promise<void> {
    if (!(Number.isInteger(slot) && slot >= 0 && slot < SLOT_COUNT)) {
      throw new InvalidArgument(`slot must be a whole number below ${SLOT_COUNT}`, { field: 'slot' });
    }
    if (!this.#seats[worker]) throw new InvalidArgument(`there is no worker ${worker}`, { field: 'worker' });
    await new Promise<void>((resolve, reject) => {
      this.#moves.begin(slot, worker, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** The task has ended, as it never should; its thread ends, and only then does another have its regions. */
  #onExit(seat: Seat, error: MraftError, exited: Promise<unknown>): void {
    void seat.piscina?.destroy();
    seat.serving = false;
    seat.dataPort?.close();
    seat.controlPort?.close();
    seat.dataPort = undefined;
    seat.control = undefined;
    this.#moves.onWorkerDied(seat.worker);
    if (this.#stopping) return;
    if (performance.now() - seat.startedMs > HEALTHY_AFTER_MS) seat.crashes = 0;
    const delayMs = Math.min(FIRST_RESTART_DELAY_MS * 2 ** seat.crashes, LONGEST_RESTART_DELAY_MS);
    seat.crashes++;
    this.#restarts++;
    this.#options.onCrash(seat.worker, error, delayMs);
    void exited.then(() => setTimeout(() => this.#stopping || this.#launch(seat), delayMs));
  }

  /** Hands data to a worker; false while it is being started again. */
  post(worker: number, message: ToWorker): boolean {
    const port = this.#seats[worker]?.dataPort;
    if (!port) return false;
    port.postMessage(message);
    return true;
  }

  /** Hands it to all workers that run. */
  postAll(message: ToWorker): void {
    for (const { worker } of this.#seats) this.post(worker, message);
  }

  isServing(worker: number): boolean {
    return this.#seats[worker]?.serving ?? false;
  }

  /** Asks one worker. @throws Unavailable while it is being started again, or when it does not answer in time */
  async ask<T>(worker: number, question: (control: WorkerControlClient) => Promise<T>): Promise<T> {
    const control = this.#seats[worker]?.control;
    if (!control) throw new Unavailable(`worker ${worker} is being started again`);
    return question(control);
  }

  /** Asks all workers; those that do not answer are left out. */
  async askAll<T>(question: (control: WorkerControlClient) => Promise<T>): Promise<T[]> {
    const answers = await Promise.allSettled(this.#seats.map((seat) => this.ask(seat.worker, question)));
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  }

  /** Ends all workers after their current turn; those that do not end in time are terminated. */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    await this.askAll((control) => control.stop());
    await Promise.race([
      Promise.all(this.#seats.map((seat) => seat.running)),
      new Promise((resolve) => setTimeout(resolve, STOP_TIMEOUT_MS).unref()),
    ]);
    await Promise.all(this.#seats.map(async (seat) => seat.piscina?.destroy()));
    for (const seat of this.#seats) {
      seat.dataPort?.close();
      seat.controlPort?.close();
    }
  }
}

/** For one start of one worker. */
function newPiscina(): Piscina<WorkerTask, void> {
  const piscina = new Piscina<WorkerTask, void>({
    filename: new URL('./worker.js', import.meta.url).href,
    minThreads: 0,
    maxThreads: 1,
    concurrentTasksPerWorker: 1,
    idleTimeout: Infinity,
    recordTiming: false,
    atomics: 'disabled',
  });
  // What ends a thread is told by its task, or by its exit.
  piscina.on('error', () => {});
  return piscina;
}
