/**
 * The entry of a worker thread: puts a shard on real parts (the shared database, a NATS connection of its own, the
 * clock) and runs its turns until it is told to stop. Piscina runs it as one task that does not end.
 */

import { Fence } from '../store/fence.ts';
import { FenceFile } from '../store/fence-file.ts';
import { attachRocks, type RocksStore } from '../store/rocks-store.ts';
import { connectLink, type Link } from '../../rpc/nats/index.ts';
import { StorageFailure } from '../../rpc/wire/errors.ts';
import { subjects } from '../../rpc/wire/subjects.ts';
import { offerControl } from './control.ts';
import { EventLoop } from './event-loop.ts';
import type { FromWorker, ToWorker, WorkerTask } from './port-messages.ts';
import type { ShardTransport } from './ports.ts';
import { ShardHost } from './shard-host.ts';
import type { WorkerLoad } from './slot-balance.ts';
import { watchIdleMemory } from './idle-memory.ts';

/** Slots that a worker names when it is asked for its load. */
const HOT_SLOTS = 32;

/** Runs one worker. Resolves when it was told to stop; rejects when it must not go on. */
export default async function runWorker(task: WorkerTask): Promise<void> {
  task.dataPort.postMessage({ kind: 'started' } satisfies FromWorker);
  const worker = new WorkerThread(task);
  const stopWatchingMemory = watchIdleMemory();
  await worker.run().finally(stopWatchingMemory);
}

class WorkerThread {
  readonly #task: WorkerTask;
  readonly #store: RocksStore;
  readonly #fence: FenceFile;
  readonly #host: ShardHost;
  readonly #loop: EventLoop;
  #link: Link | undefined;
  #busyBefore = performance.eventLoopUtilization();
  #stop: () => void = () => {};
  #stoppedByCall: Promise<void>;

  constructor(task: WorkerTask) {
    this.#task = task;
    this.#stoppedByCall = new Promise((resolve) => (this.#stop = resolve));
    this.#store = attachRocks(task.storeHandle);
    this.#fence = new FenceFile(task.dataDir, task.config.worker);
    const clock = { nowMs: () => performance.now() };
    this.#host = new ShardHost(task, {
      store: this.#store,
      fence: new Fence(this.#store, task.config.worker, this.#fence),
      clock,
      random: Math.random,
      network: this.#network(),
      post: (message) => this.#post(message),
      wake: () => this.#loop.wake(),
    });
    this.#loop = new EventLoop(
      this.#host.shard,
      clock,
      task.config.tickMs,
      (error) => this.#notice('error', error.message, { code: error.code }),
      (error) => this.#die(error),
    );
  }

  async run(): Promise<void> {
    const { dataPort, controlPort } = this.#task;
    dataPort.on('message', (message: ToWorker) => this.#host.receive(message));
    offerControl({ ...this.#host.control, load: () => this.#load(), stop: () => this.#stop() }, controlPort);
    this.#host.shard.openOwnRegions();
    await this.#connect();
    this.#loop.start();
    this.#post({ kind: 'serving' });
    await this.#stoppedByCall;
    await this.#close();
  }

  async #connect(): Promise<void> {
    const { servers, config } = this.#task;
    if (servers.length === 0) return;
    const { cluster, nodeId, worker } = config;
    const link = await connectLink({
      servers,
      name: `mraft ${cluster} node ${nodeId} worker ${worker}`,
      keepTrying: true,
      onUnreachable: (error, attempt) => {
        if (isRoundNumber(attempt)) this.#notice('warn', `${error.message}; trying on`, { attempt });
      },
      onPermissionError: (operation, subject) =>
        this.#notice('error', `the broker refuses ${operation} of ${subject}`, { subject }),
      onHandlerError: (error) => this.#die(error),
    });
    this.#link = link;
    link.subscribe(subjects.peers(cluster, nodeId, worker), (data, subject) => {
      this.#host.shard.receivePeerFrame(data, senderOf(subject));
      this.#loop.wake();
    });
    link.subscribe(subjects.client(cluster, nodeId, worker), (data, _subject, replyTo) => {
      if (replyTo === undefined) return;
      this.#host.shard.receiveRequests(data, replyTo);
      this.#loop.wake();
    });
    link.flushNow();
  }

  #load(): WorkerLoad {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#busyBefore);
    this.#busyBefore = now;
    return { worker: this.#task.config.worker, busyShare: utilization, ...this.#host.shard.takeWork(HOT_SLOTS) };
  }

  #network(): Pick<ShardTransport, 'sendPeerFrame' | 'respond' | 'flush'> {
    const { cluster, nodeId } = this.#task.config;
    return {
      sendPeerFrame: (to, worker, frame, lane) =>
        this.#link?.publish(subjects.peer(cluster, to, worker, lane, nodeId), frame) ?? false,
      respond: (origin, frame) => void this.#link?.publish(origin, frame),
      flush: () => this.#link?.flushNow(),
    };
  }

  #post(message: FromWorker): void {
    this.#task.dataPort.postMessage(message);
  }

  #notice(level: 'info' | 'warn' | 'error', message: string, fields: object): void {
    this.#post({ kind: 'notice', level, message, fields });
  }

  /** Ends the thread; what it had not persisted is gone, as after a crash of the process. */
  #die(error: unknown): void {
    if (error instanceof StorageFailure) this.#post({ kind: 'fatal', code: error.code, message: error.message });
    setImmediate(() => {
      throw error;
    });
  }

  async #close(): Promise<void> {
    this.#loop.stop();
    await this.#link?.close();
    await this.#store.close();
    this.#fence.close();
    this.#task.dataPort.close();
    this.#task.controlPort.close();
  }
}

/** The last token of a peer subject is the sender. */
function senderOf(subject: string): number {
  return Number(subject.slice(subject.lastIndexOf('.') + 1));
}

/** 1, 10, 100 …: how often something that repeats is worth a line. */
function isRoundNumber(attempt: number): boolean {
  return Number.isInteger(Math.log10(attempt));
}
