/**
 * The entry of a worker thread: puts a shard on real parts (the shared database, a NATS connection of its own, the
 * clock) and runs its turns until it is told to stop. Piscina runs it as one task that does not end.
 */

import { Fence } from '../store/fence.ts';
import { FenceFile } from '../store/fence-file.ts';
import { attachRocks, type RocksStore } from '../store/rocks-store.ts';
import { connectLink, type Link } from '../../rpc/nats/index.ts';
import { StorageFailure } from '../../rpc/wire/errors.ts';
import { DEFAULTS } from '../../rpc/wire/limits.ts';
import { subjects } from '../../rpc/wire/subjects.ts';
import { decodeCommitMerge } from '../region/commit-merge.ts';
import { offerControl } from './control.ts';
import { EventLoop } from './event-loop.ts';
import { MainThread } from './main-thread.ts';
import { PooledCodec } from './pooled-codec.ts';
import { isLocalOrigin, ownBytes, ownKeys, type FromWorker, type ToWorker, type WorkerTask } from './port-messages.ts';
import type { ShardEvents, ShardTransport } from './ports.ts';
import { Shard } from './shard.ts';
import type { WorkerLoad } from './slot-balance.ts';
import { SlotTable } from './slot-table.ts';
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
  readonly #main: MainThread;
  readonly #shard: Shard;
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
    this.#main = new MainThread((message) => this.#post(message));
    this.#shard = new Shard(task.config, {
      store: this.#store,
      fence: new Fence(this.#store, task.config.worker, this.#fence),
      clock,
      random: Math.random,
      transport: this.#transport(),
      events: this.#events(),
      codec: new PooledCodec(
        (job, done) => this.#main.run(job, done),
        task.config.snapshotCompression ?? DEFAULTS.snapshotCompression,
      ),
      ranges: this.#main,
      slots: new SlotTable(task.config.workers, task.movedSlots),
    });
    this.#loop = new EventLoop(
      this.#shard,
      clock,
      task.config.tickMs,
      (error) => this.#notice('error', error.message, { code: error.code }),
      (error) => this.#die(error),
    );
  }

  async run(): Promise<void> {
    const { dataPort, controlPort } = this.#task;
    dataPort.on('message', (message: ToWorker) => this.#onMessage(message));
    offerControl(
      {
        stats: () => this.#shard.stats(),
        listRegions: () => this.#shard.listRegions(),
        regionStatus: (regionId) => this.#shard.regionStatus(regionId),
        ledRegions: (all, bounds) => this.#shard.ledRegions(all, bounds),
        unmeasuredRegions: (most) => this.#shard.unmeasuredRegions(most).map(ownKeys),
        noteSize: (regionId, version, sizeBytes) => this.#shard.noteSize(regionId, version, sizeBytes),
        handOver: () => {
          this.#shard.handOver();
          this.#loop.wake();
          return this.#shard.leaderCount;
        },
        transferLeader: (regionId, nodeId) => {
          const started = this.#shard.transferLeader(regionId, nodeId);
          this.#loop.wake();
          return started;
        },
        changeRegion: (regionId, epoch, change) =>
          new Promise((resolve, reject) => {
            this.#shard.changeRegion(regionId, epoch, change, (error) => (error ? reject(error) : resolve()));
            this.#loop.wake();
          }),
        unsafeRecover: (regionId, lostNodes) => {
          this.#shard.unsafeRecover(regionId, lostNodes);
          this.#loop.wake();
        },
        checkConsistency: (regionId) => {
          const begun = this.#shard.checkConsistency(regionId);
          this.#loop.wake();
          return begun;
        },
        load: () => this.#load(),
        stop: () => this.#stop(),
      },
      controlPort,
    );
    for (const nodeId of this.#task.neighbours) this.#shard.noteNeighbour(nodeId, true);
    this.#shard.openOwnRegions();
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
      this.#shard.receivePeerFrame(data, senderOf(subject));
      this.#loop.wake();
    });
    link.subscribe(subjects.client(cluster, nodeId, worker), (data, _subject, replyTo) => {
      if (replyTo === undefined) return;
      this.#shard.receiveRequests(data, replyTo);
      this.#loop.wake();
    });
    link.flushNow();
  }

  #onMessage(message: ToWorker): void {
    const regionId = regionOf(message);
    if (regionId !== undefined && !this.#shard.isHome(regionId)) {
      return this.#post({ kind: 'passOn', regionId, message });
    }
    switch (message.kind) {
      case 'releaseSlot': {
        const { slot, to } = message;
        this.#post({ kind: 'slotReleased', slot, regions: this.#shard.releaseSlot(slot, to) });
        break;
      }
      case 'takeSlot':
        this.#shard.takeSlot(message.slot, message.regions);
        break;
      case 'slotMoved':
        this.#shard.noteSlot(message.slot, message.worker);
        break;
      case 'neighbour':
        this.#shard.noteNeighbour(message.nodeId, message.isNeighbour);
        break;
      case 'requests':
        this.#shard.receiveRequests(message.frame, message.origin);
        break;
      case 'peerFrame':
        this.#shard.receivePeerFrame(message.frame, message.fromNode);
        break;
      case 'claimed':
        this.#main.onClaimed(message.id, message.isGranted);
        break;
      case 'jobDone':
        this.#main.onJobDone(message.id, message.result);
        break;
      case 'destroyRegion':
        this.#shard.destroyRegion(message.regionId);
        break;
      case 'members':
        this.#shard.noteMembers(message.nodeIds);
        break;
      case 'openRegion':
        this.#shard.openStoredRegion(message.regionId, message);
        break;
      case 'finishRegion':
        this.#shard.finishRegion(message.targetId, decodeCommitMerge(message.merge));
        break;
      case 'sourceReady':
        this.#shard.noteSourceReady(message.sourceId, message.targetId);
        break;
      case 'absorbed':
        this.#shard.noteAbsorbed(message.regionId, message.successor);
    }
    this.#loop.wake();
  }

  #load(): WorkerLoad {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#busyBefore);
    this.#busyBefore = now;
    return { worker: this.#task.config.worker, busyShare: utilization, ...this.#shard.takeWork(HOT_SLOTS) };
  }

  #transport(): ShardTransport {
    const { cluster, nodeId } = this.#task.config;
    return {
      sendPeerFrame: (to, worker, frame, lane) =>
        this.#link?.publish(subjects.peer(cluster, to, worker, lane, nodeId), frame) ?? false,
      respond: (origin, frame) => {
        if (isLocalOrigin(origin)) this.#post({ kind: 'responses', origin, frame: ownBytes(frame) });
        else this.#link?.publish(origin, frame);
      },
      forwardPeerFrame: (worker, frame, fromNode) =>
        this.#post({ kind: 'forwardPeerFrame', worker, frame: ownBytes(frame), fromNode }),
      forwardRequests: (worker, origin, frame) =>
        this.#post({ kind: 'forwardRequests', worker, origin, frame: ownBytes(frame) }),
      flush: () => this.#link?.flushNow(),
    };
  }

  #events(): ShardEvents {
    return {
      onLeader: (regionId, leaderNodeId, term) => this.#post({ kind: 'leader', regionId, leaderNodeId, term }),
      onNode: (nodeId, workers, bootEpoch) => this.#post({ kind: 'node', nodeId, workers, bootEpoch }),
      onRegions: (regions, absorbed = []) => this.#post({ kind: 'regions', regions: regions.map(ownKeys), absorbed }),
      onMergeStep: (target, merge) =>
        this.#post({ kind: 'mergeStep', target: ownKeys(target), merge: ownBytes(merge) }),
      onSourceNeeded: (sourceId, targetId, merge) =>
        this.#post({ kind: 'sourceNeeded', sourceId, targetId, merge: ownBytes(merge) }),
      onSourceReady: (sourceId, targetId) => this.#post({ kind: 'sourceReady', sourceId, targetId }),
      onNewborn: (regionId, campaigns) => this.#post({ kind: 'newborn', regionId, campaigns }),
      onRegionGone: (regionId) => this.#post({ kind: 'regionGone', regionId }),
      onNodeLost: (lostNodeId) => this.#notice('warn', `node ${lostNodeId} is not heard any more`, { lostNodeId }),
      onSnapshot: (installed) => this.#notice('info', 'a snapshot was installed', installed),
      onAnomaly: (what, error, regionId) =>
        this.#notice('error', error?.message ?? what, { what, regionId, code: error?.code }),
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

/** The region whose worker the message is for. */
function regionOf(message: ToWorker): number | undefined {
  switch (message.kind) {
    case 'openRegion':
    case 'destroyRegion':
    case 'absorbed':
      return message.regionId;
    case 'sourceReady':
      return message.targetId;
    default:
      return undefined;
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
