/**
 * A worker's thread, modelled as Node runs it: a pass of the event loop first runs the timers that are due, then takes what
 * lies in the sockets, then runs what was put off behind the I/O; a turn takes as long as its syncs do, and what arrives
 * meanwhile waits.
 */

import { EventLoop, type LoopTimers } from '../../engine/shard/event-loop.ts';
import { isLocalOrigin, type FromWorker, type ToWorker } from '../../engine/shard/port-messages.ts';
import type { ShardTransport } from '../../engine/shard/ports.ts';
import { ShardHost, type ShardControl } from '../../engine/shard/shard-host.ts';
import type { Shard } from '../../engine/shard/shard.ts';
import { Fence } from '../../engine/store/fence.ts';
import { StorageFailure } from '../../rpc/wire/errors.ts';
import type { NodeClock } from './clock.ts';
import { CLUSTER } from './cluster.ts';
import { ProcessDied, type VirtualDisk } from './disk.ts';
import type { VirtualMainThread } from './main-thread.ts';
import type { Random } from './random.ts';
import type { NodeSurroundings, RunningWorker, Sender, Turn } from './surroundings.ts';

/** The process that a worker belongs to. */
export interface WorkerHost extends Sender {
  readonly node: {
    readonly nodeId: number;
    readonly incarnation: number;
    readonly world: NodeSurroundings;
    readonly disk: VirtualDisk;
    stopForFailedDisk(): void;
  };
  readonly bootEpoch: number;
  readonly workerCount: number;
  readonly clock: NodeClock;
  readonly random: Random;
  readonly main: VirtualMainThread;
  readonly pausedUntilMs: number;
  readonly isDead: boolean;
  /** Counts starts: a worker that is started again draws other numbers than the one before. */
  workerStarts: number;
}

interface Arrived {
  readonly atMs: number;
  readonly frame: Uint8Array;
  /** A peer's frame and the node it came from, or a client's and where its answers go. */
  readonly fromNode: number;
  readonly origin: string;
}

interface Timer {
  readonly dueLocalMs: number;
  readonly run: () => void;
}

export class VirtualWorker implements Turn, RunningWorker {
  readonly process: WorkerHost;
  readonly opening = {};
  readonly nodeId: number;
  readonly number: number;
  readonly #host: ShardHost;
  readonly #world: NodeSurroundings;
  readonly #loop: EventLoop;
  #socket: Arrived[] = [];
  /** From other threads; a look at the port brings all of them. */
  #words: (() => void)[] = [];
  #timers: Timer[] = [];
  #soon: (() => void)[] = [];
  #busyUntilMs = 0;
  #nextPassMs = Infinity;
  /** Into the pass that runs now. */
  #elapsedMs = 0;
  #inPass = false;
  /** Promises of the shard that somebody waits for. */
  #openAnswers = 0;
  #dead = false;

  constructor(process: WorkerHost, number: number) {
    this.process = process;
    this.number = number;
    this.nodeId = process.nodeId;
    this.#world = process.node.world;
    const { node } = process;
    const { config } = this.#world;
    const clock = { nowMs: () => process.clock.localAt(this.#nowMs) };
    const shardConfig = {
      cluster: CLUSTER,
      nodeId: node.nodeId,
      worker: number,
      workers: process.workerCount,
      bootEpoch: process.bootEpoch,
      incarnation: node.incarnation,
      tickMs: config.tickMs,
      timings: {
        electionTimeoutMs: config.electionTimeoutMs,
        heartbeatMs: config.heartbeatMs,
        maxClockDrift: config.maxClockDrift,
        hibernateAfterMs: config.hibernateAfterMs,
      },
    };
    const store = node.disk.view(
      () => this.#nowMs,
      (ms) => (this.#elapsedMs += ms),
    );
    const random = process.random.stream(
      `worker ${node.nodeId} ${process.bootEpoch} ${number} ${process.workerStarts++}`,
    );
    this.#host = new ShardHost(
      { config: shardConfig, movedSlots: process.main.pool.movedSlots, neighbours: process.main.neighbours },
      {
        store,
        fence: new Fence(
          store,
          number,
          node.disk.fenceKeeper(number, () => this.#nowMs),
        ),
        clock,
        random: () => random.next(),
        network: this.#network(),
        post: (message) => this.#say(message),
        wake: () => this.#loop.wake(),
      },
    );
    this.#loop = new EventLoop(
      this.shard,
      clock,
      config.tickMs,
      () => {},
      (error) => this.#onFailure(error),
      this.#loopTimers(),
    );
    this.shard.openOwnRegions();
    this.#loop.start();
  }

  get shard(): Shard {
    return this.#host.shard;
  }

  get control(): ShardControl {
    return this.#host.control;
  }

  get isDead(): boolean {
    return this.#dead || this.process.isDead;
  }

  get #nowMs(): number {
    return this.#world.nowMs + this.#elapsedMs;
  }

  /** The thread ends without a word. */
  die(): void {
    this.#dead = true;
    this.#loop.stop();
  }

  // --- the thread ----------------------------------------------------------------------------------------------------

  receive(frame: Uint8Array, fromNode: number, origin: string): void {
    if (this.isDead) return;
    this.#socket.push({ atMs: this.#world.nowMs, frame, fromNode, origin });
    this.#passAt(this.#world.nowMs);
  }

  post(run: () => void): void {
    if (this.isDead) return;
    this.#words.push(run);
    this.#passAt(this.#world.nowMs);
  }

  /** Clients inside the node have the same name in each of its processes. */
  #localOrigin(origin: string): string {
    return `${origin} ${this.process.bootEpoch}`;
  }

  receiveWord(message: ToWorker): void {
    if (message.kind === 'requests') {
      const origin = isLocalOrigin(message.origin) ? this.#localOrigin(message.origin) : message.origin;
      this.#world.freshReads.onRequests(this.nodeId, origin, message.frame);
    }
    this.#host.receive(message);
  }

  /** Runs something for the main thread between two turns, and tells what it came to, perhaps turns later. */
  answer(
    run: () => unknown,
    done: (value: unknown, nowMs: number) => void,
    failed: (error: unknown, nowMs: number) => void,
  ): void {
    this.post(() => {
      try {
        const value = run();
        if (!(value instanceof Promise)) return done(value, this.#nowMs);
        this.#openAnswers++;
        // It is settled in the middle of a pass, and is told when that is over.
        const end = (tell: () => void): void => {
          this.#openAnswers--;
          if (!this.isDead) tell();
        };
        value.then(
          (result) => end(() => done(result, this.#idleAtMs)),
          (error: unknown) => end(() => failed(error, this.#idleAtMs)),
        );
      } catch (error) {
        failed(error, this.#nowMs);
      }
    });
  }

  get #idleAtMs(): number {
    return Math.max(this.#busyUntilMs, this.#world.nowMs);
  }

  /** Something of this thread's own was asked for between two passes. */
  wake(): void {
    this.#loop.wake();
  }

  #passAt(ms: number): void {
    if (this.#inPass) return;
    const atMs = Math.max(ms, this.#busyUntilMs, this.process.pausedUntilMs, this.#world.nowMs);
    if (atMs >= this.#nextPassMs) return;
    this.#nextPassMs = atMs;
    this.#world.at(atMs, () => {
      if (this.#nextPassMs !== atMs || this.isDead) return;
      this.#nextPassMs = Infinity;
      this.#pass();
    });
  }

  #pass(): void {
    const { nowMs } = this.#world;
    const readyMs = Math.max(this.#busyUntilMs, this.process.pausedUntilMs);
    if (readyMs > nowMs) return this.#passAt(readyMs);
    const due = this.#takeDue();
    const stallMs = due.length > 0 ? this.#world.stallMs() : 0;
    if (stallMs > 0) {
      this.#timers.push(...due);
      this.#busyUntilMs = nowMs + stallMs;
      return this.#passAt(this.#busyUntilMs);
    }
    this.#inPass = true;
    this.#elapsedMs = 0;
    for (const timer of due) timer.run();
    this.#read();
    const soon = this.#soon;
    this.#soon = [];
    for (const run of soon) run();
    this.#inPass = false;
    this.#busyUntilMs = nowMs + this.#elapsedMs + this.#world.config.passMs;
    this.#elapsedMs = 0;
    if (this.#openAnswers > 0) this.#world.promisesMoved = true;
    if (this.isDead) return;
    if (soon.length > 0) this.#world.afterTurn(this);
    this.#planNextPass();
  }

  #takeDue(): Timer[] {
    const localMs = this.process.clock.localAt(this.#world.nowMs) + 1e-6;
    const due = this.#timers.filter((timer) => timer.dueLocalMs <= localMs);
    if (due.length === 0) return due;
    this.#timers = this.#timers.filter((timer) => timer.dueLocalMs > localMs);
    return due.sort((a, b) => a.dueLocalMs - b.dueLocalMs);
  }

  /** One look at the sockets brings a part of what lies there. */
  #read(): void {
    for (const word of this.#words.splice(0)) {
      try {
        word();
      } catch (error) {
        return this.#onFailure(error);
      }
      this.#loop.wake();
    }
    const arrived = this.#socket.splice(0, this.#world.framesPerRead());
    for (const { frame, fromNode, origin } of arrived) {
      if (origin === '') this.shard.receivePeerFrame(frame, fromNode);
      else this.shard.receiveRequests(frame, origin);
      this.#loop.wake();
    }
  }

  #planNextPass(): void {
    if (this.#socket.length > 0 || this.#words.length > 0 || this.#soon.length > 0)
      return this.#passAt(this.#busyUntilMs);
    let dueLocalMs = Infinity;
    for (const timer of this.#timers) dueLocalMs = Math.min(dueLocalMs, timer.dueLocalMs);
    if (dueLocalMs < Infinity) this.#passAt(this.process.clock.trueAt(dueLocalMs));
  }

  /** Plans anew after the clock was changed. */
  replan(): void {
    if (!this.isDead) this.#planNextPass();
  }

  #loopTimers(): LoopTimers {
    return {
      soon: (run) => {
        this.#soon.push(run);
        this.#passAt(this.#world.nowMs);
      },
      after: (ms, run) => this.#after(ms, run),
    };
  }

  #after(ms: number, run: () => void): () => void {
    const timer = { dueLocalMs: this.process.clock.localAt(this.#nowMs) + ms, run };
    this.#timers.push(timer);
    this.#passAt(this.process.clock.trueAt(timer.dueLocalMs));
    return () => void (this.#timers = this.#timers.filter((other) => other !== timer));
  }

  *unread(beforeMs: number): Generator<Uint8Array> {
    for (const { atMs, frame, origin } of this.#socket) if (origin === '' && atMs < beforeMs) yield frame;
  }

  // --- what it is connected to ---------------------------------------------------------------------------------------

  #network(): Pick<ShardTransport, 'sendPeerFrame' | 'respond' | 'flush'> {
    const { process } = this;
    const { nodeId } = process.node;
    return {
      sendPeerFrame: (to, worker, frame, lane) => {
        if (this.isDead) return false;
        this.#world.safety.onPeerFrame(nodeId, frame);
        if (lane === 'snap') this.#world.keepSnapshotFrame(process, to, worker, frame);
        return this.#world.sendPeerFrame(process, this.#nowMs, to, worker, frame);
      },
      respond: (origin, frame) => {
        if (!this.isDead) this.#world.sendResponse(process, this.#nowMs, origin, frame);
      },
      flush: () => {},
    };
  }

  #say(message: FromWorker): void {
    if (this.isDead) return;
    if (message.kind === 'notice' && message.level === 'error') {
      const fields = JSON.stringify(message.fields);
      this.#world.report('no anomalies', `node ${this.nodeId}, worker ${this.number}: ${message.message} ${fields}`);
    }
    if (message.kind === 'responses') {
      this.#world.freshReads.onResponses(this.nodeId, this.#localOrigin(message.origin), message.frame);
    }
    this.process.main.pool.hear(this.number, this, message, this.#nowMs);
  }

  /** A turn broke off: in production the thread dies, and with a failed disk the whole node. */
  #onFailure(error: unknown): void {
    this.die();
    if (this.process.isDead || error instanceof ProcessDied) return;
    if (error instanceof StorageFailure && this.process.node.disk.hasFailed) {
      this.process.node.stopForFailedDisk();
      return;
    }
    const { nodeId } = this.process.node;
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#world.report('a turn does not throw', `node ${nodeId}, worker ${this.number}: ${text}`);
  }
}
