/** A virtual node: one process after the other on one disk, each with a clock, a main thread and a few workers. */

import type { Member } from '../../engine/node/member.ts';
import type { RouteTable } from '../../engine/node/route-table.ts';
import type { ReplicaStatus } from '../../engine/region/replica.ts';
import { checkFences } from '../../engine/store/fence.ts';
import { logIndexOf, META_KIND, readU64 } from '../../engine/store/keys.ts';
import { loadIncarnation } from '../../engine/store/node-records.ts';
import { putRegion } from '../../engine/store/region-records.ts';
import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { Amnesia, DiskFull, StorageFailure, type MraftError } from '../../rpc/wire/errors.ts';
import type { Region } from '../../rpc/wire/region.ts';
import type { VirtualCalls } from './calls.ts';
import { NodeClock } from './clock.ts';
import type { SimConfig } from './config.ts';
import { ProcessDied, VirtualDisk, type Mutation } from './disk.ts';
import { VirtualMainThread } from './main-thread.ts';
import type { Random } from './random.ts';
import type { NodeSurroundings, ReachableNode, RunningProcess, RunningWorker, Sender } from './surroundings.ts';
import { VirtualWorker, type WorkerHost } from './worker.ts';

/** How soon the main thread learns that a thread has died; what that one said before may be heard until then. */
const NOTICED_MS = 0.2;

/** One run of a node's program. */
export class VirtualProcess implements RunningProcess, WorkerHost {
  readonly node: VirtualNode;
  readonly nodeId: number;
  readonly bootEpoch: number;
  readonly isNew: boolean;
  readonly clock: NodeClock;
  readonly random: Random;
  readonly workerCount: number;
  readonly main: VirtualMainThread;
  workerStarts = 0;
  readonly #workers: (VirtualWorker | undefined)[] = [];
  pausedUntilMs = 0;
  diedAtMs = Infinity;
  readonly died: Promise<void>;
  #noteDeath: () => void = () => {};

  constructor(node: VirtualNode, bootEpoch: number, clock: NodeClock, workerCount: number) {
    this.node = node;
    this.nodeId = node.nodeId;
    this.bootEpoch = bootEpoch;
    this.isNew = node.isNew;
    this.clock = clock;
    this.random = node.random;
    this.workerCount = workerCount;
    this.died = new Promise((resolve) => (this.#noteDeath = resolve));
    this.main = new VirtualMainThread(this, node.random.stream(`main ${this.nodeId} ${bootEpoch}`));
  }

  /** Opens what the disk has. @throws ProcessDied, DiskFull */
  open(): void {
    this.main.open();
    this.main.serve(() => {
      for (let worker = 0; worker < this.workerCount; worker++) this.startWorker(worker);
    });
  }

  #seat(number: number, worker: VirtualWorker): void {
    this.#workers[number] = worker;
    this.main.pool.seat(number, worker);
  }

  get isDead(): boolean {
    return this.diedAtMs < Infinity;
  }

  /** Undefined: this run has no placement. */
  get member(): Member | undefined {
    return this.main.member?.member;
  }

  onGossip(subject: string, data: Uint8Array): void {
    this.main.at(this.node.world.nowMs, () => this.main.member?.onGossip(subject, data));
  }

  get calls(): VirtualCalls {
    return this.main.calls;
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
    return this.worker(this.main.pool.workerOf(regionId));
  }

  startWorker(number: number): void {
    if (this.isDead || this.worker(number)) return;
    const before = this.#workers[number];
    if (before) this.noteDead(number, before);
    try {
      this.#seat(number, new VirtualWorker(this, number));
    } catch (error) {
      if (error instanceof ProcessDied) return;
      if (!this.node.isOfDisk(error)) throw error;
      const { world } = this.node;
      world.at(world.nowMs + world.config.electionTimeoutMs, () => this.startWorker(number));
    }
  }

  /** The thread ends without a word; the main thread learns of it, and starts another `afterMs` later. */
  crashWorker(number: number, afterMs: number): void {
    const worker = this.worker(number);
    if (!worker) return;
    worker.die();
    const { world } = this.node;
    this.main.at(world.nowMs + this.random.between(0, NOTICED_MS), () => {
      this.noteDead(number, worker);
      world.at(world.nowMs + afterMs, () => this.startWorker(number));
    });
  }

  /** Behind a turn of a worker. */
  noteOpen(worker: RunningWorker, statuses: readonly ReplicaStatus[]): void {
    if (this.workerCount < 2) return;
    this.main.pool.noteOpen(worker, new Set(statuses.map((status) => status.region.regionId)));
  }

  noteDead(number: number, worker: VirtualWorker): void {
    if (this.main.pool.unseat(number, worker)) this.main.onWorkerDied(number);
  }

  die(nowMs: number): void {
    this.diedAtMs = nowMs;
    for (const worker of this.#workers) worker?.die();
    this.node.world.promisesMoved = true;
    this.#noteDeath();
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
  /** Its data directory has not been opened yet. */
  isNew = true;
  readonly home: { clusterId: string | undefined } = { clusterId: undefined };
  /** It has lost its data and its name with it, or was asked to leave: its cluster may refuse it. */
  mayBeRefused = false;
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
    this.isNew = false;
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

  /** Its cluster says that it has no place there: it stops for good, as production does. */
  refuse(error: MraftError): void {
    this.world.trace(() => `node ${this.nodeId} is refused: ${error.message}`);
    if (!this.mayBeRefused) this.world.report('a member is not refused', `node ${this.nodeId}: ${error.message}`);
    this.isLost = true;
    this.stayDown = true;
    this.crash();
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
      this.isNew = true;
      this.home.clusterId = undefined;
      this.mayBeRefused = true;
    }
    this.#writeFirstRegions();
    this.world.safety.onCrash(this.nodeId, this.disk.store);
  }

  /** All whom it shares a region with have heard it, and will know it from one who has lost its data. */
  isKnownTo(others: readonly VirtualNode[]): boolean {
    // Where placement runs, anybody may come to share a region with it.
    const isNear = (other: VirtualNode): boolean =>
      this.world.config.placement ||
      other.#regions.some((region) => region.peers.some((peer) => peer.nodeId === this.nodeId));
    // One that placement has not heard either is a member only when it comes back.
    if (this.world.config.placement && this.home.clusterId === undefined) return false;
    return others.every(
      (other) =>
        other === this || !isNear(other) || loadIncarnation(other.disk.store, this.nodeId) === this.incarnation,
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
