/**
 * The workers of a virtual process as its main thread has them: engine/shard's pool without threads. Which worker has which
 * slot, and how slots move, is decided by the code that production runs; words travel through queues and so come a little
 * later, in order.
 */

import { CHANGE_TIMEOUT_MS, CONTROL_TIMEOUT_MS, type WorkerControlClient } from '../../engine/shard/control.ts';
import type { WorkerPool } from '../../engine/shard/pool.ts';
import type { FromWorker, ToWorker } from '../../engine/shard/port-messages.ts';
import type { ShardControl } from '../../engine/shard/shard-host.ts';
import { SlotMoves } from '../../engine/shard/slot-moves.ts';
import { SlotTable, type MovedSlot } from '../../engine/shard/slot-table.ts';
import { Unavailable, type MraftError } from '../../rpc/wire/errors.ts';
import type { RunningWorker } from './surroundings.ts';

/** From one thread of a process to another. */
export const THREAD_HOP_MS = 0.05;

/** What the pool has of its process. */
export interface PoolHost {
  readonly nodeId: number;
  readonly workerCount: number;
  readonly nowMs: number;
  /** Runs on the main thread, then or when it runs again. */
  at(ms: number, run: () => void): void;
  /** A word that is for the node itself. */
  receive(worker: number, message: FromWorker): void;
  /** A worker runs, for the first time or again. */
  onServing(): void;
  report(check: string, message: string): void;
}

export class VirtualPool implements Pick<WorkerPool, 'post' | 'postAll' | 'ask' | 'askAll' | 'workerOf' | 'restarts'> {
  readonly #host: PoolHost;
  /** Undefined: it died, and the main thread knows. */
  readonly #seats: (RunningWorker | undefined)[] = [];
  readonly #slots: SlotTable;
  readonly #moves: SlotMoves;
  /** The regions that each worker had open when it was last looked at. */
  readonly #open = new Map<RunningWorker, ReadonlySet<number>>();
  restarts = 0;

  constructor(host: PoolHost) {
    this.#host = host;
    const { workerCount: workers } = host;
    this.#slots = new SlotTable(workers);
    this.#moves = new SlotMoves(this.#slots, { workers, post: (worker, message) => this.post(worker, message) });
  }

  get movedSlots(): MovedSlot[] {
    return this.#slots.moved;
  }

  get slotsMoved(): number {
    return this.#moves.count;
  }

  // --- workers come and go -------------------------------------------------------------------------------------------

  seat(number: number, worker: RunningWorker): void {
    if (this.#seats.length > number) this.restarts++;
    this.#seats[number] = worker;
    this.hear(number, worker, { kind: 'serving' }, this.#host.nowMs);
  }

  /** The main thread learns that a worker is dead. */
  unseat(number: number, worker: RunningWorker): boolean {
    if (this.#seats[number] !== worker) return false;
    this.#seats[number] = undefined;
    this.#open.delete(worker);
    this.#moves.onWorkerDied(number);
    return true;
  }

  /** Behind a turn: a region is open at one worker of the node, wherever its slot is on its way. */
  noteOpen(worker: RunningWorker, regionIds: ReadonlySet<number>): void {
    this.#open.set(worker, regionIds);
    for (const [other, open] of this.#open) {
      if (other === worker || other.isDead) continue;
      for (const regionId of regionIds) {
        if (!open.has(regionId)) continue;
        const where = `node ${this.#host.nodeId}, region ${regionId}`;
        this.#host.report('one worker has a region open', `${where}: workers ${worker.number} and ${other.number}`);
      }
    }
  }

  // --- slots ---------------------------------------------------------------------------------------------------------

  workerOf(regionId: number): number {
    return this.#slots.workerOf(regionId);
  }

  workerOfSlot(slot: number): number {
    return this.#slots.workerOfSlot(slot);
  }

  beginMove(slot: number, to: number, done: (error?: MraftError) => void): void {
    this.#moves.begin(slot, to, done);
  }

  // --- words ---------------------------------------------------------------------------------------------------------

  /** A worker says something, `nowMs` into the pass that it runs; what it said before it died may still be heard. */
  hear(number: number, worker: RunningWorker, message: FromWorker, nowMs: number): void {
    this.#host.at(nowMs + THREAD_HOP_MS, () => {
      if (this.#seats[number] !== worker) return;
      switch (message.kind) {
        case 'serving':
          return this.#host.onServing();
        case 'slotReleased':
          return this.#moves.onReleased(message.slot, message.regions);
        case 'passOn':
          return void this.post(this.workerOf(message.regionId), message.message);
        default:
          this.#host.receive(number, message);
      }
    });
  }

  post(number: number, message: ToWorker): boolean {
    const worker = this.#seats[number];
    if (!worker) return false;
    this.#host.at(this.#host.nowMs + THREAD_HOP_MS, () => worker.post(() => worker.receiveWord(message)));
    return true;
  }

  postAll(message: ToWorker): void {
    for (const number of this.#seats.keys()) this.post(number, message);
  }

  async ask<T>(number: number, question: (control: WorkerControlClient) => Promise<T>): Promise<T> {
    const worker = this.#seats[number];
    if (!worker) throw new Unavailable(`worker ${number} is being started again`);
    return question(this.#controlOf(worker));
  }

  async askAll<T>(question: (control: WorkerControlClient) => Promise<T>): Promise<T[]> {
    const answers = await Promise.allSettled([...this.#seats.keys()].map((number) => this.ask(number, question)));
    return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  }

  #controlOf(worker: RunningWorker): WorkerControlClient {
    const call =
      (method: keyof ShardControl) =>
      (...args: unknown[]): Promise<unknown> =>
        this.#call(worker, method, args);
    const methods = Object.keys(worker.control) as (keyof ShardControl)[];
    return Object.fromEntries(methods.map((method) => [method, call(method)])) as unknown as WorkerControlClient;
  }

  #call(worker: RunningWorker, method: keyof ShardControl, args: unknown[]): Promise<unknown> {
    const host = this.#host;
    return new Promise((resolve, reject) => {
      const timeoutMs = method === 'changeRegion' ? CHANGE_TIMEOUT_MS : CONTROL_TIMEOUT_MS;
      host.at(host.nowMs + timeoutMs, () =>
        reject(new Unavailable(`worker ${worker.number} does not answer ${method}`)),
      );
      host.at(host.nowMs + THREAD_HOP_MS, () => {
        worker.answer(
          () => (worker.control[method] as (...args: unknown[]) => unknown)(...args),
          (value, nowMs) => host.at(nowMs + THREAD_HOP_MS, () => resolve(value)),
          (error, nowMs) => host.at(nowMs + THREAD_HOP_MS, () => reject(error as Error)),
        );
      });
    });
  }
}
