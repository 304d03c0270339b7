/** Messages to peers, gathered into frames a (node, worker): a frame a turn and destination, more where it grows too big. */

import { encode, mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { toWireRegion, type Region } from '../../rpc/wire/region.ts';
import type { RaftMessage } from '../raft/index.ts';
import type { Directory } from './directory.ts';
import { encodePeerFrame, type FrameHead } from './peer-frame.ts';
import type { ShardConfig, ShardTransport } from './ports.ts';
import { messageBytes } from './raft-wire.ts';

/** Every node has it. */
const FIRST_WORKER = 0;
const NOBODY: ReadonlySet<number> = new Set();

interface Destination {
  readonly nodeId: number;
  readonly worker: number;
  messages: RaftMessage[];
  /** Of the messages, by position. */
  regionIds: number[];
  notices: mraft.IRegionNotice[];
  sizeBytes: number;
  sequence: number;
  /** Of the last frame that the last beacon found sent. */
  beaconSequence: number;
}

export interface OutboxStats {
  peerFramesSent: number;
  peerBytesSent: number;
  peerMessagesSent: number;
  peerFramesRefused: number;
}

export class Outbox {
  readonly #config: ShardConfig;
  readonly #transport: ShardTransport;
  readonly #directory: Directory;
  readonly #destinations = new Map<number, Destination>();
  readonly #waiting: Destination[] = [];
  readonly stats: OutboxStats = { peerFramesSent: 0, peerBytesSent: 0, peerMessagesSent: 0, peerFramesRefused: 0 };

  constructor(config: ShardConfig, transport: ShardTransport, directory: Directory) {
    this.#config = config;
    this.#transport = transport;
    this.#directory = directory;
  }

  add(regionId: number, nodeId: number, message: RaftMessage): void {
    const destination = this.#destination(nodeId, this.#directory.workerOf(nodeId, regionId));
    const sizeBytes = messageBytes(message);
    if (destination.sizeBytes > 0 && destination.sizeBytes + sizeBytes > LIMITS.frameTargetBytes) {
      this.#sendFrame(destination);
    }
    if (destination.messages.length === 0 && destination.notices.length === 0) this.#waiting.push(destination);
    destination.messages.push(message);
    destination.regionIds.push(regionId);
    destination.sizeBytes += sizeBytes;
  }

  /**
   * Tells a peer what became of a region that it takes itself for a part of, or asks. Who does so may not have heard the
   * other node for long, and not know how many workers it has by now: the first one hands it over.
   */
  addNotice(nodeId: number, toPeer: number, region: Region, mergedInto = 0): void {
    const destination = this.#destination(nodeId, FIRST_WORKER);
    if (destination.notices.length >= LIMITS.noticesPerFrame) return;
    if (destination.messages.length === 0 && destination.notices.length === 0) this.#waiting.push(destination);
    destination.notices.push({ toPeer, region: toWireRegion(region), mergedInto });
  }

  #destination(nodeId: number, worker: number): Destination {
    const key = nodeId * LIMITS.workersPerNode + worker;
    let destination = this.#destinations.get(key);
    if (!destination) {
      destination = {
        nodeId,
        worker,
        messages: [],
        regionIds: [],
        notices: [],
        sizeBytes: 0,
        sequence: 0,
        beaconSequence: 0,
      };
      this.#destinations.set(key, destination);
    }
    return destination;
  }

  /**
   * Tells these nodes that this one is there, except where a frame since the last call, or one that waits, says so. Those that
   * are lost are asked to answer: a node that came back without a replica does not know who waits for it.
   */
  beacon(nodeIds: Iterable<number>, lostNodes: ReadonlySet<number> = NOBODY): void {
    const { worker: own, workers } = this.#config;
    for (const nodeId of nodeIds) {
      for (const worker of this.#directory.counterparts(nodeId, own, workers)) {
        const destination = this.#destination(nodeId, worker);
        const isSilent = destination.sequence === destination.beaconSequence && destination.messages.length === 0;
        const unheard = lostNodes.has(nodeId);
        if (isSilent || unheard) this.#sendFrame(destination, unheard);
        destination.beaconSequence = destination.sequence;
      }
    }
  }

  /** Sends what was gathered. False: there was nothing. */
  send(): boolean {
    if (this.#waiting.length === 0) return false;
    for (const destination of this.#waiting) {
      if (destination.messages.length > 0 || destination.notices.length > 0) this.#sendFrame(destination);
    }
    this.#waiting.length = 0;
    return true;
  }

  /** A step of a snapshot, at once, in a frame and a lane of its own. False: it was not sent. */
  sendSnapshotStep(nodeId: number, step: mraft.ISnapshotStep): boolean {
    const destination = this.#destination(nodeId, this.#directory.workerOf(nodeId, step.regionId ?? 0));
    const frame = encode(mraft.PeerFrame, { ...this.#head(destination), snapshot: step });
    return this.#transport.sendPeerFrame(nodeId, destination.worker, frame, 'snap');
  }

  #head(destination: Destination, unheard = false): FrameHead {
    const { cluster, nodeId, bootEpoch, incarnation = 0, worker, workers } = this.#config;
    const sequence = ++destination.sequence;
    return { cluster, fromNode: nodeId, bootEpoch, incarnation, sequence, fromWorker: worker, workers, unheard };
  }

  #sendFrame(destination: Destination, unheard = false): void {
    const { messages, regionIds, notices } = destination;
    const frame = encodePeerFrame(this.#head(destination, unheard), regionIds, messages, notices);
    destination.messages = [];
    destination.regionIds = [];
    destination.notices = [];
    destination.sizeBytes = 0;
    if (this.#transport.sendPeerFrame(destination.nodeId, destination.worker, frame, 'raft')) {
      this.stats.peerFramesSent++;
      this.stats.peerBytesSent += frame.length;
      this.stats.peerMessagesSent += messages.length;
    } else {
      this.stats.peerFramesRefused++;
    }
  }
}
