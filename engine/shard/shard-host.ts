/**
 * A shard and its node: what the shard has to say becomes messages to the main thread, and what comes from there is done
 * to the shard. A thread (worker.ts) carries both, or the simulator.
 */

import type { Clock, Origin, Random } from '../region/ports.ts';
import { decodeCommitMerge } from '../region/commit-merge.ts';
import type { Fence } from '../store/fence.ts';
import type { Store } from '../store/port.ts';
import { DEFAULTS } from '../../rpc/wire/limits.ts';
import type { WorkerControl } from './control.ts';
import { MainThread } from './main-thread.ts';
import { PooledCodec } from './pooled-codec.ts';
import { isLocalOrigin, ownBytes, ownKeys, type FromWorker, type ToWorker, type WorkerTask } from './port-messages.ts';
import type { ShardEvents, ShardTransport } from './ports.ts';
import { Shard } from './shard.ts';
import { SlotTable } from './slot-table.ts';

export interface ShardHostParts {
  readonly store: Store;
  readonly fence: Fence;
  readonly clock: Clock;
  readonly random: Random;
  /** To other nodes, and to clients outside of this one. */
  readonly network: Pick<ShardTransport, 'sendPeerFrame' | 'respond' | 'flush'>;
  /** To the node's main thread; what is posted first is heard first. */
  readonly post: (message: FromWorker) => void;
  /** Something was done to the shard that its next turn takes up. */
  readonly wake: () => void;
}

export type ShardTask = Pick<WorkerTask, 'config' | 'movedSlots' | 'neighbours'>;

/** What of its control the shard can answer alone. */
export type ShardControl = Omit<WorkerControl, 'load' | 'stop'>;

export class ShardHost {
  readonly shard: Shard;
  readonly control: ShardControl;
  readonly #parts: ShardHostParts;
  readonly #main: MainThread;

  constructor({ config, movedSlots, neighbours }: ShardTask, parts: ShardHostParts) {
    this.#parts = parts;
    const { store, fence, clock, random } = parts;
    this.#main = new MainThread(parts.post);
    this.shard = new Shard(config, {
      store,
      fence,
      clock,
      random,
      transport: this.#transport(),
      events: eventsTo(parts.post),
      codec: new PooledCodec(
        (job, done) => this.#main.run(job, done),
        config.snapshotCompression ?? DEFAULTS.snapshotCompression,
      ),
      ranges: this.#main,
      slots: new SlotTable(config.workers, movedSlots),
    });
    for (const nodeId of neighbours) this.shard.noteNeighbour(nodeId, true);
    this.control = controlOf(this.shard, parts.wake);
  }

  #transport(): ShardTransport {
    const { network, post } = this.#parts;
    return {
      sendPeerFrame: (to, worker, frame, lane) => network.sendPeerFrame(to, worker, frame, lane),
      respond: (origin: Origin, frame) => {
        if (isLocalOrigin(origin)) post({ kind: 'responses', origin, frame: ownBytes(frame) });
        else network.respond(origin, frame);
      },
      forwardPeerFrame: (worker, frame, fromNode) =>
        post({ kind: 'forwardPeerFrame', worker, frame: ownBytes(frame), fromNode }),
      forwardRequests: (worker, origin, frame) =>
        post({ kind: 'forwardRequests', worker, origin, frame: ownBytes(frame) }),
      flush: () => network.flush(),
    };
  }

  /** Does what the main thread says, between two turns. */
  receive(message: ToWorker): void {
    const { shard } = this;
    const { post, wake } = this.#parts;
    const regionId = regionOf(message);
    if (regionId !== undefined && !shard.isHome(regionId)) return post({ kind: 'passOn', regionId, message });
    switch (message.kind) {
      case 'releaseSlot': {
        const { slot, to } = message;
        post({ kind: 'slotReleased', slot, regions: shard.releaseSlot(slot, to) });
        break;
      }
      case 'takeSlot':
        shard.takeSlot(message.slot, message.regions);
        break;
      case 'slotMoved':
        shard.noteSlot(message.slot, message.worker);
        break;
      case 'neighbour':
        shard.noteNeighbour(message.nodeId, message.isNeighbour);
        break;
      case 'requests':
        shard.receiveRequests(message.frame, message.origin);
        break;
      case 'peerFrame':
        shard.receivePeerFrame(message.frame, message.fromNode);
        break;
      case 'claimed':
        this.#main.onClaimed(message.id, message.isGranted);
        break;
      case 'jobDone':
        this.#main.onJobDone(message.id, message.result);
        break;
      case 'destroyRegion':
        shard.destroyRegion(message.regionId);
        break;
      case 'members':
        shard.noteMembers(message.nodeIds);
        break;
      case 'openRegion':
        shard.openStoredRegion(message.regionId, message);
        break;
      case 'finishRegion':
        shard.finishRegion(message.targetId, decodeCommitMerge(message.merge));
        break;
      case 'sourceReady':
        shard.noteSourceReady(message.sourceId, message.targetId);
        break;
      case 'absorbed':
        shard.noteAbsorbed(message.regionId, message.successor);
    }
    wake();
  }
}

function eventsTo(post: (message: FromWorker) => void): ShardEvents {
  const notice = (level: 'info' | 'warn' | 'error', message: string, fields: object): void =>
    post({ kind: 'notice', level, message, fields });
  return {
    onLeader: (regionId, leaderNodeId, term) => post({ kind: 'leader', regionId, leaderNodeId, term }),
    onNode: (nodeId, workers, bootEpoch) => post({ kind: 'node', nodeId, workers, bootEpoch }),
    onRegions: (regions, absorbed = []) => post({ kind: 'regions', regions: regions.map(ownKeys), absorbed }),
    onMergeStep: (target, merge) => post({ kind: 'mergeStep', target: ownKeys(target), merge: ownBytes(merge) }),
    onSourceNeeded: (sourceId, targetId, merge) =>
      post({ kind: 'sourceNeeded', sourceId, targetId, merge: ownBytes(merge) }),
    onSourceReady: (sourceId, targetId) => post({ kind: 'sourceReady', sourceId, targetId }),
    onNewborn: (regionId, campaigns) => post({ kind: 'newborn', regionId, campaigns }),
    onRegionGone: (regionId) => post({ kind: 'regionGone', regionId }),
    onNodeLost: (lostNodeId) => notice('warn', `node ${lostNodeId} is not heard any more`, { lostNodeId }),
    onSnapshot: (installed) => notice('info', 'a snapshot was installed', installed),
    onAnomaly: (what, error, regionId) =>
      notice('error', error?.message ?? what, { what, regionId, code: error?.code }),
  };
}

function controlOf(shard: Shard, wake: () => void): ShardControl {
  return {
    stats: () => shard.stats(),
    listRegions: () => shard.listRegions(),
    regionStatus: (regionId) => shard.regionStatus(regionId),
    ledRegions: (all, bounds) => shard.ledRegions(all, bounds),
    unmeasuredRegions: (most) => shard.unmeasuredRegions(most).map(ownKeys),
    noteSize: (regionId, version, sizeBytes) => shard.noteSize(regionId, version, sizeBytes),
    handOver: () => {
      shard.handOver();
      wake();
      return shard.leaderCount;
    },
    transferLeader: (regionId, nodeId) => {
      const started = shard.transferLeader(regionId, nodeId);
      wake();
      return started;
    },
    changeRegion: (regionId, epoch, change) =>
      new Promise((resolve, reject) => {
        shard.changeRegion(regionId, epoch, change, (error) => (error ? reject(error) : resolve()));
        wake();
      }),
    unsafeRecover: (regionId, lostNodes) => {
      shard.unsafeRecover(regionId, lostNodes);
      wake();
    },
    checkConsistency: (regionId) => {
      const begun = shard.checkConsistency(regionId);
      wake();
      return begun;
    },
  };
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
