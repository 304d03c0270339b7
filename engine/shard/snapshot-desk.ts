/** The snapshots of one worker, both ways, and what ties them to its replicas. */

import type { mraft } from '../../rpc/wire/codec.ts';
import { RegionNotFound, SnapshotCorrupt, SnapshotRefused, type MraftError } from '../../rpc/wire/errors.ts';
import { DEFAULTS, LIMITS } from '../../rpc/wire/limits.ts';
import type { Region } from '../../rpc/wire/region.ts';
import type { RaftMessage } from '../raft/index.ts';
import type { Replica } from '../region/replica.ts';
import { PLAIN_CODEC } from '../region/snapshot-chunk.ts';
import type { ReceivedHead } from '../region/snapshot-receiver.ts';
import type { WriteBatch } from '../store/port.ts';
import { loadTombstone, type RegionRecord } from '../store/region-records.ts';
import { IncomingSnapshots } from './incoming-snapshots.ts';
import { OutgoingSnapshots } from './outgoing-snapshots.ts';
import type { ShardConfig, ShardEnvironment } from './ports.ts';
import { fromWireMessage, toWireMessage } from './raft-wire.ts';
import type { ShardStats } from './stats.ts';
import {
  emptySnapshotStats,
  type Admission,
  type RangeClaims,
  type SnapshotLimits,
  type SnapshotStats,
} from './snapshot-ports.ts';

/** What the shard lends its desk. */
export interface DeskHost {
  replicaOf(regionId: number): Replica | undefined;
  /** The replica was removed from its region and waits for its end. */
  isLeaving(replica: Replica): boolean;
  open(record: RegionRecord): void;
  close(regionId: number): void;
  /** A replica was told something outside of a turn. */
  touched(replica: Replica): void;
  send(nodeId: number, step: mraft.ISnapshotStep): boolean;
  writeSynced(batch: WriteBatch): void;
  onAnomaly(regionId: number, error: MraftError): void;
}

/** A node without a ledger: whoever asks may have the range. */
const NO_LEDGER: RangeClaims = { claim: (_record, done) => done(true), release: () => {} };

export class SnapshotDesk {
  readonly stats: SnapshotStats = emptySnapshotStats();
  readonly #config: ShardConfig;
  readonly #env: ShardEnvironment;
  readonly #host: DeskHost;
  readonly #outgoing: OutgoingSnapshots;
  readonly #incoming: IncomingSnapshots;
  /** Asked for by cores in this turn, by region. */
  #asked: { readonly regionId: number; readonly message: RaftMessage }[] = [];
  #hasSent = false;
  #sentBytesBefore = 0;

  constructor(config: ShardConfig, env: ShardEnvironment, host: DeskHost) {
    this.#config = config;
    this.#env = env;
    this.#host = host;
    const around = {
      store: env.store,
      clock: env.clock,
      codec: env.codec ?? PLAIN_CODEC,
      bootEpoch: config.bootEpoch,
      firstSnapshotId: 1 + Math.floor(env.random() * 2 ** 30) * 2 ** 20,
      limits: limitsOf(config),
      stats: this.stats,
      writeSynced: (batch: WriteBatch) => host.writeSynced(batch),
      send: (nodeId: number, step: mraft.ISnapshotStep) => {
        this.#hasSent = true;
        return host.send(nodeId, step);
      },
    };
    this.#outgoing = new OutgoingSnapshots(around, {
      isAwaited: (regionId, toPeer) => host.replicaOf(regionId)?.awaitsSnapshot(toPeer) ?? false,
      report: (regionId, toPeer, arrived) => this.#report(regionId, toPeer, arrived),
    });
    this.#incoming = new IncomingSnapshots(around, {
      admit: (head, fromNode) => this.#admit(head, fromNode),
      acknowledge: (head) => this.#acknowledge(head.record.region.regionId, head.message),
      regionOf: (regionId): Region | undefined => host.replicaOf(regionId)?.region,
      keepsLog: ({ message: { regionId, to, index, logTerm } }) => {
        const replica = host.replicaOf(regionId);
        return replica?.peerId === to && replica.hasInLog(index, logTerm);
      },
      close: (regionId) => host.close(regionId),
      open: (record, message) => {
        host.open(record);
        this.#acknowledge(record.region.regionId, message);
      },
      ranges: env.ranges ?? NO_LEDGER,
      onAnomaly: (regionId, error) => host.onAnomaly(regionId, error),
      onInstalled: (installed) => env.events.onSnapshot?.(installed),
    });
  }

  /** At a start, before replicas are opened. */
  sweep(isHome: (regionId: number) => boolean): void {
    this.#incoming.sweep(isHome);
  }

  /** Goes on with the install of a region whose record says that one was under way. */
  resume(record: RegionRecord): void {
    this.#incoming.resume(record);
  }

  /** Whether snapshots of such regions are coming in, or are being installed. */
  isReceiving(matches: (regionId: number) => boolean): boolean {
    return this.#incoming.some(matches);
  }

  /** What was counted so far; the snapshots on their way now, and the regions that are being put in their place. */
  counts(): SnapshotStats & Pick<ShardStats, 'snapshotsSending' | 'snapshotsReceiving' | 'applying'> {
    return {
      ...this.stats,
      snapshotsSending: this.#outgoing.count,
      snapshotsReceiving: this.#incoming.count,
      applying: this.#incoming.installing,
    };
  }

  isInstalling(regionId: number): boolean {
    return this.#incoming.isInstalling(regionId);
  }

  /** A core wants its data sent along with a message; it is read at the end of the turn. */
  ask(regionId: number, message: RaftMessage): void {
    this.#asked.push({ regionId, message });
  }

  onStep(step: mraft.SnapshotStep, fromNode: number, nowMs: number): void {
    if (step.chunk || step.cancel) this.#incoming.onStep(step, fromNode, nowMs);
    else this.#outgoing.onStep(step, fromNode, nowMs);
  }

  onNodeStarted(nodeId: number, nowMs: number): void {
    this.#outgoing.onNodeStarted(nodeId, nowMs);
  }

  /** The region is gone from this node. */
  forget(regionId: number): void {
    this.#incoming.forget(regionId);
  }

  get hasWork(): boolean {
    return this.#outgoing.hasWork || this.#incoming.hasWork;
  }

  /** Behind a turn whose applied batch is written. True: something was sent. */
  afterTurn(nowMs: number): boolean {
    this.#hasSent = false;
    for (const { regionId, message } of this.#asked.splice(0)) this.#start(regionId, message, nowMs);
    this.#incoming.pump(nowMs);
    this.#outgoing.pump(nowMs);
    return this.#hasSent;
  }

  /** `sentBytes`: what this worker has sent to peers so far, beside snapshots. */
  tick(nowMs: number, sentBytes: number): void {
    this.#outgoing.tick(nowMs, sentBytes - this.#sentBytesBefore >= LIMITS.snapshotBusyBytes);
    this.#sentBytesBefore = sentBytes;
    this.#incoming.tick(nowMs);
  }

  #start(regionId: number, message: RaftMessage, nowMs: number): void {
    const order = this.#host.replicaOf(regionId)?.snapshotFor(message);
    if (!order) return this.#report(regionId, message.to, false);
    const wire = toWireMessage(regionId, order.message);
    this.#outgoing.start({ toNode: order.toNode, toPeer: message.to, record: order.record, message: wire }, nowMs);
  }

  #report(regionId: number, toPeer: number, arrived: boolean): void {
    const replica = this.#host.replicaOf(regionId);
    if (!replica) return;
    replica.raft.reportSnapshot(toPeer, arrived);
    this.#host.touched(replica);
  }

  #admit({ message, record }: ReceivedHead, fromNode: number): Admission {
    const { region } = record;
    const { regionId } = region;
    const own = region.peers.find((peer) => peer.nodeId === this.#config.nodeId);
    if (own?.peerId !== message.to) {
      return new SnapshotCorrupt(`a snapshot of region ${regionId} is for a peer that it does not name`, { regionId });
    }
    const tombstone = loadTombstone(this.#env.store, regionId);
    if (tombstone && message.to <= tombstone.peerId) {
      return new RegionNotFound(`peer ${message.to} of region ${regionId} was removed from this node`, { regionId });
    }
    const replica = this.#host.replicaOf(regionId);
    if (!replica) return 'wanted';
    if (replica.peerId > message.to || this.#host.isLeaving(replica) || !replica.comesFrom(message.from, fromNode)) {
      return new SnapshotRefused(`region ${regionId} has another replica on this node`, { regionId });
    }
    const isSame = replica.peerId === message.to;
    if (isSame && replica.lacksDataOf(message.index)) return 'wanted';
    return isSame && replica.hasEntry(message.index, message.logTerm) ? 'needless' : 'wanted';
  }

  /** The core hears of the snapshot whose data is here, and answers its leader. */
  #acknowledge(regionId: number, message: mraft.RaftMessage): void {
    const replica = this.#host.replicaOf(regionId);
    if (!replica) return;
    replica.stepSnapshot(fromWireMessage(message), this.#env.clock.nowMs());
    this.#host.touched(replica);
  }

  close(): void {
    this.#outgoing.close();
  }
}

/** This worker's part of what the node may have under way. */
function limitsOf({ workers, snapshotBytesPerSecond }: ShardConfig): SnapshotLimits {
  const part = (ofNode: number): number => Math.max(1, Math.floor(ofNode / workers));
  return {
    bytesPerSecond: (snapshotBytesPerSecond ?? DEFAULTS.snapshotBytesPerSecond) / workers,
    sent: part(LIMITS.snapshotsSent),
    received: part(LIMITS.snapshotsReceived),
  };
}
