/**
 * Frames of other nodes: who may speak, to whom each message is, and what becomes of those for replicas that are not here.
 * Whatever is wrong with a frame, the sender is no client: it is dropped and counted.
 */

import type { mraft } from '../../rpc/wire/codec.ts';
import { asMraftError, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { fromWireRegion, isNewerEpoch, type Region } from '../../rpc/wire/region.ts';
import { answerOfNobody } from '../raft/index.ts';
import type { Replica } from '../region/replica.ts';
import type { Store } from '../store/port.ts';
import { loadMergedInto, loadRegionRecord, loadTombstone } from '../store/region-records.ts';
import type { Directory } from './directory.ts';
import type { Merges } from './merges.ts';
import { Misdirected } from './misdirected.ts';
import type { Outbox } from './outbox.ts';
import { decodePeerFrame, encodePeerFrame, type FrameHead, type PeerFrame, type RegionMessage } from './peer-frame.ts';
import type { ShardConfig, ShardTransport } from './ports.ts';
import type { Replicas } from './replicas.ts';
import type { SnapshotDesk } from './snapshot-desk.ts';
import type { ShardStats } from './stats.ts';
import { UnknownRegions } from './unknown-regions.ts';

export interface PeerFramesParts {
  readonly config: ShardConfig;
  readonly store: Store;
  readonly replicas: Replicas;
  readonly directory: Directory;
  readonly outbox: Outbox;
  readonly transport: ShardTransport;
  readonly snapshots: SnapshotDesk;
  readonly merges: Merges;
  readonly stats: ShardStats;
  /** The worker that has the region's slot; undefined: this one. */
  readonly workerOf: (regionId: number) => number | undefined;
  /** A node was heard; `isNews`: for the first time, after a restart, or with another number of workers. */
  readonly onHeard: (nodeId: number, head: FrameHead, isNews: boolean, nowMs: number) => void;
  /** This peer belongs to the region no longer, as others have applied. */
  readonly onRemoved: (regionId: number) => void;
  /** A message broke an invariant of the replica's core. */
  readonly onBroken: (replica: Replica, error: MraftError) => void;
}

export class PeerFrames {
  readonly #parts: PeerFramesParts;
  readonly #unknown: UnknownRegions;

  constructor(parts: PeerFramesParts) {
    this.#parts = parts;
    this.#unknown = new UnknownRegions(parts.config.timings.electionTimeoutMs);
  }

  /** A PeerFrame that came on the subject of node `fromNode`. */
  receive(bytes: Uint8Array, fromNode: number, nowMs: number): void {
    const frame = this.#admit(bytes, fromNode, nowMs);
    if (!frame) return;
    this.#parts.stats.peerFramesReceived++;
    if (frame.snapshot) return this.#onSnapshotStep(frame.snapshot, bytes, fromNode, nowMs);
    const { replicas, workerOf, stats, transport } = this.#parts;
    stats.dropped.malformed += frame.refused;
    const messages = new Misdirected<RegionMessage>();
    for (const message of frame.messages) {
      const replica = replicas.get(message.regionId);
      const worker = replica ? undefined : workerOf(message.regionId);
      if (replica) this.#step(replica, message, fromNode, nowMs);
      else if (worker === undefined) this.#onUnknownRegion(message, fromNode, nowMs);
      else messages.add(worker, message);
    }
    const notices = new Misdirected<mraft.IRegionNotice>();
    for (const notice of frame.notices) {
      const regionId = notice.region?.regionId ?? 0;
      const worker = replicas.get(regionId) ? undefined : workerOf(regionId);
      if (worker === undefined) this.#onNotice(notice, fromNode, nowMs);
      else notices.add(worker, notice);
    }
    stats.forwarded += messages.count + notices.count;
    for (const worker of new Set([...messages.workers, ...notices.workers])) {
      const theirs = messages.of(worker);
      const regionIds = theirs.map((message) => message.regionId);
      // Its head goes along: that worker learns from it who the sender is now, and how many workers it has.
      const forwarded = encodePeerFrame(frame.head, regionIds, theirs, notices.of(worker));
      transport.forwardPeerFrame(worker, forwarded, fromNode);
    }
  }

  /** The frame, if its sender may speak and says who it is. */
  #admit(bytes: Uint8Array, fromNode: number, nowMs: number): PeerFrame | undefined {
    let frame: PeerFrame;
    try {
      frame = decodePeerFrame(bytes);
    } catch {
      return this.#drop('malformed');
    }
    const { cluster, nodeId } = this.#parts.config;
    const { head } = frame;
    if (head.cluster !== cluster) return this.#drop('otherCluster');
    if (head.fromNode !== fromNode || fromNode === nodeId) return this.#drop('otherSender');
    if (head.workers < 1 || head.workers > LIMITS.workersPerNode) return this.#drop('malformed');
    const standing = this.#parts.directory.note(fromNode, head);
    if (standing !== 'current' && standing !== 'changed') return this.#drop(standing);
    this.#parts.onHeard(fromNode, head, standing === 'changed', nowMs);
    return frame;
  }

  #onSnapshotStep(step: mraft.SnapshotStep, frame: Uint8Array, fromNode: number, nowMs: number): void {
    const { merges, snapshots, stats, transport } = this.#parts;
    if (merges.isLeaving(step.regionId)) return this.#drop('removedPeer');
    const worker = this.#parts.workerOf(step.regionId);
    if (worker === undefined) return snapshots.onStep(step, fromNode, nowMs);
    stats.forwarded++;
    transport.forwardPeerFrame(worker, frame, fromNode);
  }

  #step(replica: Replica, message: RegionMessage, fromNode: number, nowMs: number): void {
    if (message.to !== replica.peerId) {
      // Whoever speaks to a newer peer of this node has applied that this one was removed: it makes room.
      if (message.to > replica.peerId) this.#parts.onRemoved(message.regionId);
      return this.#drop('otherPeer');
    }
    if (!replica.comesFrom(message.from, fromNode)) return this.#drop('otherPeer');
    try {
      replica.step(message, nowMs);
    } catch (error) {
      return this.#parts.onBroken(replica, asMraftError(error));
    }
    this.#parts.replicas.noteWork(replica);
  }

  /** A replica was opened: a vote that came for it before it was there is looked at now. */
  deliverHeld(replica: Replica, nowMs: number): void {
    const vote = this.#unknown.take(replica.regionId, nowMs);
    if (vote) this.#step(replica, vote.message, vote.fromNode, nowMs);
  }

  /**
   * A leader speaks to a peer that has nothing here yet: it is told so, and sends a snapshot. Who was removed does not
   * come back by a message that is late.
   */
  #onUnknownRegion(message: RegionMessage, fromNode: number, nowMs: number): void {
    const { store, merges, snapshots, outbox } = this.#parts;
    const { regionId, kind } = message;
    const isVote = kind === 'vote' || kind === 'preVote';
    if (isVote && this.#tellMerged(regionId, message.from, fromNode)) return this.#drop('removedPeer');
    if (merges.isLeaving(regionId)) return this.#drop('removedPeer');
    // What this peer promised before is in the store, and it cannot look there now.
    if (snapshots.isInstalling(regionId)) return this.#drop('installing');
    const tombstone = loadTombstone(store, regionId);
    if (tombstone !== undefined && message.to <= tombstone.peerId) return this.#drop('removedPeer');
    if (this.#unknown.holdsBack(message, fromNode, nowMs)) return this.#drop('unknownRegion');
    const answer = answerOfNobody(message);
    if (answer) outbox.add(regionId, fromNode, answer);
    else this.#drop('unknownRegion');
  }

  /** Somebody has applied that this peer was removed, or asks whether it was itself. */
  #onNotice({ toPeer, region: wire, mergedInto }: mraft.IRegionNotice, fromNode: number, nowMs: number): void {
    const { store, replicas, outbox } = this.#parts;
    const region = fromWireRegion(wire ?? {});
    const { regionId } = region;
    const replica = replicas.get(regionId);
    if (mergedInto) return this.#onMerged(replica, toPeer ?? 0, region, mergedInto);
    if (!replica && this.#tellMerged(regionId, peerOn(region, fromNode), fromNode)) return;
    const known = replica?.region ?? loadTombstone(store, regionId)?.region;
    if (known && isNewerEpoch(known.epoch, region.epoch)) {
      const asker = peerOn(region, fromNode);
      const isGone = asker !== 0 && !known.peers.some((peer) => peer.peerId === asker);
      if (isGone) outbox.addNotice(fromNode, asker, known);
      return;
    }
    if (!replica || replica.peerId !== toPeer) return;
    const isMember = region.peers.some((peer) => peer.peerId === toPeer);
    // Who asks and belongs to the region has not heard its leader, which may be asleep.
    if (isMember && replica.isLeader) {
      replica.wake(nowMs);
      replicas.noteWork(replica);
    }
    if (isMember || !isNewerEpoch(region.epoch, replica.region.epoch)) return;
    this.#parts.onRemoved(regionId);
  }

  /** A peer speaks for a region that was merged here: it may have been left behind. False: it was not. */
  #tellMerged(regionId: number, peerId: number, nodeId: number): boolean {
    const { store, outbox } = this.#parts;
    const mergedInto = loadMergedInto(store, regionId);
    const region = mergedInto === 0 ? undefined : loadTombstone(store, regionId)?.region;
    if (!region) return false;
    outbox.addNotice(nodeId, peerId, region, mergedInto);
    return true;
  }

  /**
   * The region was merged elsewhere. Its target takes its replica here over by its own log, but a target that was removed from
   * this node before it came so far never will.
   */
  #onMerged(replica: Replica | undefined, toPeer: number, region: Region, mergedInto: number): void {
    const { store, onRemoved } = this.#parts;
    if (replica?.peerId !== toPeer || isNewerEpoch(replica.region.epoch, region.epoch)) return;
    // It may have been removed before its region was merged.
    const isMember = region.peers.some((peer) => peer.peerId === toPeer);
    const isTargetGone = loadTombstone(store, mergedInto) && !loadRegionRecord(store, mergedInto);
    if (!isMember || isTargetGone) onRemoved(replica.regionId);
  }

  #drop(reason: keyof ShardStats['dropped']): undefined {
    this.#parts.stats.dropped[reason]++;
  }
}

/** 0: there is none. */
function peerOn(region: Region, nodeId: number): number {
  return region.peers.find((peer) => peer.nodeId === nodeId)?.peerId ?? 0;
}
