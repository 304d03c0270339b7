/**
 * A virtual node: one process after the other on one disk, each with a clock, a few worker threads and what production
 * runs on them. A worker's thread is modelled as Node runs it: a pass of the event loop first runs the timers that are
 * due, then takes what lies in the sockets, then runs what was put off behind the I/O; a turn takes as long as its
 * syncs do, and what arrives meanwhile waits.
 */

import { EventLoop, type LoopTimers } from '../../engine/shard/event-loop.ts';
import type { RouteTable } from '../../engine/node/route-table.ts';
import type { RegionChange } from '../../engine/region/admin.ts';
import type { ShardEnvironment } from '../../engine/shard/ports.ts';
import { Shard } from '../../engine/shard/shard.ts';
import { loadIncarnation } from '../../engine/store/node-records.ts';
import { checkFences, Fence } from '../../engine/store/fence.ts';
import { logIndexOf, META_KIND, readU64 } from '../../engine/store/keys.ts';
import { putRegion, type RegionRecord } from '../../engine/store/region-records.ts';
import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { Amnesia, DiskFull, StorageFailure } from '../../rpc/wire/errors.ts';
import type { Epoch, Region } from '../../rpc/wire/region.ts';
import { homeWorker, slotOfRegion } from '../../rpc/wire/slots.ts';
import { NodeClock } from './clock.ts';
import type { SimConfig } from './config.ts';
import { ProcessDied, VirtualDisk, type Mutation } from './disk.ts';
import { THREAD_HOP_MS, VirtualMainThread } from './main-thread.ts';
import { findRecord } from './merge-carrier.ts';
import type { Random } from './random.ts';
import type { NodeSurroundings, ReachableNode, RunningProcess, Sender, Turn } from './surroundings.ts';

export const CLUSTER = 'simulated';

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

export class VirtualWorker implements Turn {
  readonly process: VirtualProcess;
  readonly shard: Shard;
  readonly opening = {};
  readonly nodeId: number;
  readonly #world: NodeSurroundings;
  readonly #loop: EventLoop;
  readonly #number: number;
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
  #dead = false;

  constructor(process: VirtualProcess, number: number) {
    this.process = process;
    this.#number = number;
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
    const random = process.random.stream(`worker ${process.bootEpoch} ${number} ${process.workerStarts++}`);
    this.shard = new Shard(shardConfig, {
      store,
      fence: new Fence(
        store,
        number,
        node.disk.fenceKeeper(number, () => this.#nowMs),
      ),
      clock,
      random: () => random.next(),
      transport: this.#transport(),
      ...process.main.portsFor(
        number,
        () => this.#nowMs,
        () => this.isDead,
      ),
    });
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
      word();
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

  #transport(): ShardEnvironment['transport'] {
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
      forwardPeerFrame: (worker, frame, fromNode) => this.#hop(worker, frame, fromNode, ''),
      forwardRequests: (worker, origin, frame) => this.#hop(worker, frame, 0, origin),
      flush: () => {},
    };
  }

  #hop(worker: number, frame: Uint8Array, fromNode: number, origin: string): void {
    if (this.isDead) return;
    this.#world.at(this.#nowMs + THREAD_HOP_MS, () => this.process.worker(worker)?.receive(frame, fromNode, origin));
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
    this.#world.report('a turn does not throw', `node ${nodeId}, worker ${this.#number}: ${text}`);
  }
}

/** One run of a node's program. */
export class VirtualProcess implements RunningProcess {
  readonly node: VirtualNode;
  readonly nodeId: number;
  readonly bootEpoch: number;
  readonly clock: NodeClock;
  readonly random: Random;
  readonly workerCount: number;
  readonly main: VirtualMainThread;
  /** A worker that is started again draws other numbers than the one before. */
  workerStarts = 0;
  readonly #workers: (VirtualWorker | undefined)[] = [];
  pausedUntilMs = 0;
  diedAtMs = Infinity;

  constructor(node: VirtualNode, bootEpoch: number, clock: NodeClock, workerCount: number) {
    this.node = node;
    this.nodeId = node.nodeId;
    this.bootEpoch = bootEpoch;
    this.clock = clock;
    this.random = node.random;
    this.workerCount = workerCount;
    this.main = new VirtualMainThread(this);
  }

  /** Opens what the disk has. @throws ProcessDied, DiskFull, StorageFailure */
  open(): void {
    this.main.open();
    for (let worker = 0; worker < this.workerCount; worker++) this.#workers[worker] = new VirtualWorker(this, worker);
  }

  get isDead(): boolean {
    return this.diedAtMs < Infinity;
  }

  get routes(): RouteTable {
    return this.main.routes;
  }

  get workers(): readonly VirtualWorker[] {
    return this.#workers.filter((worker) => worker !== undefined && !worker.isDead) as VirtualWorker[];
  }

  worker(number: number): VirtualWorker | undefined {
    const worker = this.isDead ? undefined : this.#workers[number];
    return worker?.isDead ? undefined : worker;
  }

  workerOf(regionId: number): VirtualWorker | undefined {
    return this.worker(homeWorker(slotOfRegion(regionId), this.workerCount));
  }

  startWorker(number: number): void {
    if (this.isDead || this.worker(number)) return;
    try {
      this.#workers[number] = new VirtualWorker(this, number);
    } catch (error) {
      if (error instanceof ProcessDied) return;
      if (!this.node.isOfDisk(error)) throw error;
      const { world } = this.node;
      world.at(world.nowMs + world.config.electionTimeoutMs, () => this.startWorker(number));
    }
  }

  crashWorker(number: number): void {
    this.worker(number)?.die();
    this.main.onWorkerDied(number);
  }

  changeRegion(regionId: number, epoch: Epoch, change: RegionChange, end: (outcome: string) => void): void {
    const worker = this.workerOf(regionId);
    worker?.post(() => worker.shard.changeRegion(regionId, epoch, change, (error) => end(error?.code ?? 'done')));
  }

  recordOf(regionId: number, key: Uint8Array): RegionRecord | undefined {
    return findRecord(this.node.disk.store, regionId, key);
  }

  die(nowMs: number): void {
    this.diedAtMs = nowMs;
    for (const worker of this.#workers) worker?.die();
  }
}

export class VirtualNode implements ReachableNode {
  readonly nodeId: number;
  readonly world: NodeSurroundings;
  readonly disk: VirtualDisk;
  readonly random: Random;
  /** Those that the cluster begins with. */
  readonly #regions: readonly Region[];
  process: VirtualProcess | undefined;
  bootEpoch = 0;
  /** Of its data directory. */
  incarnation: number;
  /** Its disk has lost something that was durable once, and it has not been started since. */
  hasForgotten = false;
  /** It is down for good, or back as somebody whom nobody knows. */
  isLost = false;
  /** It is not to be started again for now. */
  stayDown = false;
  /** How long after its next crash it is started again; undefined: by chance. */
  restartsAfterMs: number | undefined;

  constructor(world: NodeSurroundings, nodeId: number, regions: readonly Region[], random: Random) {
    this.world = world;
    this.nodeId = nodeId;
    this.random = random;
    this.incarnation = nodeId * 1_000;
    const { config } = world;
    const timings = {
      syncMs: config.syncMs,
      crashInWrite: config.faults.crashInWrite,
    };
    this.disk = new VirtualDisk(timings, random.stream(`disk ${nodeId}`), random.stream(`fences ${nodeId}`));
    this.#regions = regions;
    this.#writeFirstRegions();
    this.disk.events = {
      onWrite: (mutations, synced) => {
        world.trace(() => `  disk ${nodeId}: ${describeMutations(mutations)}${synced ? ', synced' : ''}`);
        this.world.safety.onWrite(nodeId, mutations, synced);
      },
      onDeleteRange: (column, start, end) => {
        world.trace(() => `  disk ${nodeId}: delete of ${column} [${String(start)}, ${String(end)})`);
        this.world.safety.onDeleteRange(nodeId, column, start, end);
      },
      onDeath: () => this.crash(),
    };
  }

  get isUp(): boolean {
    return this.process !== undefined;
  }

  /** As node.ts does at the first start. */
  #writeFirstRegions(): void {
    const batch = this.disk.store.createBatch();
    for (const region of this.#regions) putRegion(batch, region);
    this.disk.store.write(batch, { sync: true });
  }

  start(): void {
    if (this.process || this.stayDown || !this.#remembers()) return;
    this.bootEpoch++;
    const { config, nowMs } = this.world;
    const rate = this.#rate(config);
    const clock = new NodeClock(nowMs, this.random.between(0, 1_000_000), rate);
    const workerCount = this.random.chance(0.9) ? config.workers : 1 + this.random.below(2);
    this.world.trace(() => `node ${this.nodeId} starts, boot ${this.bootEpoch}, ${workerCount} workers, clock ${rate}`);
    this.process = new VirtualProcess(this, this.bootEpoch, clock, workerCount);
    try {
      this.process.open();
    } catch (error) {
      if (error instanceof ProcessDied) return;
      if (!this.isOfDisk(error)) throw error;
      this.crash();
    }
  }

  /** Whether a start failed because of a fault of the disk, and will be tried again. */
  isOfDisk(error: unknown): boolean {
    return error instanceof DiskFull || (error instanceof StorageFailure && this.disk.hasFailed);
  }

  #rate({ clockSpread }: SimConfig): number {
    return this.random.pick([
      1,
      1 - clockSpread,
      1 + clockSpread,
      this.random.between(1 - clockSpread, 1 + clockSpread),
    ]);
  }

  deliver(worker: number, frame: Uint8Array, origin: string): boolean {
    const target = this.process?.worker(worker);
    if (target) this.world.freshReads.onRequests(this.nodeId, origin, frame);
    target?.receive(frame, 0, origin);
    return target !== undefined;
  }

  answerRoutes(answer: (bytes: Uint8Array, from: Sender) => void): void {
    const { process } = this;
    if (!process) return;
    this.world.at(process.pausedUntilMs, () => {
      if (!process.isDead) answer(encode(mraft.RoutesResponse, process.routes.toWire()), process);
    });
  }

  /** The process dies; of what it had not synced some is lost. */
  crash(): void {
    const { process } = this;
    if (!process) return;
    process.die(this.world.nowMs);
    this.process = undefined;
    const { kept, lost, forgot } = this.disk.crash();
    const what = forgot ? ', some of which it had acknowledged' : '';
    this.world.trace(() => `node ${this.nodeId} crashes: ${kept} writes at risk are kept, ${lost} lost${what}`);
    if (forgot) this.#forget();
    this.world.safety.onCrash(this.nodeId, this.disk.store);
    this.world.onDown(this);
  }

  /** Whether it may start; a node that has forgotten something says so instead, and stays down. */
  #remembers(): boolean {
    try {
      checkFences(this.disk.store, this.disk.fences);
    } catch (error) {
      if (!(error instanceof Amnesia)) throw error;
      if (!this.hasForgotten) this.world.report('an honest disk is believed', `node ${this.nodeId}: ${error.message}`);
      this.world.trace(() => `node ${this.nodeId} does not start: ${error.message}`);
      this.isLost = true;
      this.stayDown = true;
      return false;
    }
    if (this.hasForgotten) this.world.report('amnesia is noticed', `node ${this.nodeId} starts although it forgot`);
    return true;
  }

  #forget(): void {
    this.hasForgotten = true;
    this.world.safety.onLoss(this.nodeId);
  }

  /** Its database is gone, and with `everything` also what lies beside it, so that it comes back as another. */
  wipe(what: 'database' | 'everything'): void {
    this.crash();
    this.world.trace(() => `node ${this.nodeId} loses its ${what}`);
    const hadPassed = [...this.disk.fences.values()].some((mark) => mark > 0);
    this.disk.wipe({ fences: what === 'everything' });
    if (what === 'database' && hadPassed) this.#forget();
    if (what === 'everything') {
      // Nothing is left by which it could notice what it forgot; it is for the others to notice.
      this.hasForgotten = false;
      this.world.safety.onLoss(this.nodeId);
      this.incarnation++;
      this.isLost = true;
    }
    this.#writeFirstRegions();
    this.world.safety.onCrash(this.nodeId, this.disk.store);
  }

  /** All whom it shares a region with have heard it, and will know it from one who has lost its data. */
  isKnownTo(others: readonly VirtualNode[]): boolean {
    return others.every(
      (other) =>
        other === this ||
        !other.#regions.some((region) => region.peers.some((peer) => peer.nodeId === this.nodeId)) ||
        loadIncarnation(other.disk.store, this.nodeId) === this.incarnation,
    );
  }

  /** The disk failed a sync: the program stops itself, and other workers may still run for a moment. */
  stopForFailedDisk(): void {
    const { process } = this;
    this.world.trace(() => `node ${this.nodeId} stops: its disk failed`);
    this.world.at(this.world.nowMs + this.random.between(0, 20), () => {
      if (this.process === process) this.crash();
    });
  }
}

function describeMutations(mutations: readonly Mutation[]): string {
  return mutations
    .map(({ column, key, value }) => {
      if (column === 'data') return `${String(key)}=${value ? String(value) : 'none'}`;
      if (column === 'log') return `r${readU64(key, 0)}[${logIndexOf(key)}]${value ? '' : ' removed'}`;
      const regionId = readU64(key, 1);
      if (value && key[0] === META_KIND.appliedState)
        return `r${regionId} applied ${decode(mraft.AppliedState, value).index}`;
      if (value && key[0] === META_KIND.hardState)
        return `r${regionId} ${JSON.stringify(decode(mraft.HardState, value))}`;
      return `r${regionId} record ${key[0]}`;
    })
    .join(', ');
}
