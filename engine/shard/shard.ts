/**
 * The shard of one worker: all replicas that live there, and the turn that drives them.
 * It does no I/O of its own and knows no event loop: the worker, or the simulator, hands frames in and calls `turn`.
 */

import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { toWireError } from '../../rpc/wire/error-codec.ts';
import {
  ClusterMismatch,
  DiskFull,
  Internal,
  InvalidArgument,
  MalformedRequest,
  RegionNotFound,
  ServerBusy,
  StorageFailure,
  asMraftError,
  type MraftError,
} from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { fromWireRegion, isNewerEpoch, type Epoch, type Region } from '../../rpc/wire/region.ts';
import { slotOfRegion } from '../../rpc/wire/slots.ts';
import { answerOfNobody } from '../raft/index.ts';
import type { CommitMerge } from '../region/commit-merge.ts';
import type { ChangeDone, RegionChange } from '../region/admin.ts';
import { Replica, type ReplicaStats, type ReplicaStatus } from '../region/replica.ts';
import type { Origin, ReplicaEnvironment, TurnBatches } from '../region/ports.ts';
import type { WriteBatch } from '../store/port.ts';
import {
  destroyReplica,
  listRegionRecords,
  loadRegionRecord,
  loadTombstone,
  type RegionRecord,
} from '../store/region-records.ts';
import { Directory } from './directory.ts';
import { ConsistencyChecks } from './consistency-checks.ts';
import { Inbox } from './inbox.ts';
import { Liveness, livenessOf } from './liveness.ts';
import { Merges } from './merges.ts';
import { Neighbours } from './neighbours.ts';
import { OrphanSearch } from './orphans.ts';
import { Outbox } from './outbox.ts';
import type { ShardConfig, ShardEnvironment } from './ports.ts';
import { RegionReports, type LedRegion } from './region-reports.ts';
import type { ReleasedRegion } from './port-messages.ts';
import { fromWireMessage } from './raft-wire.ts';
import { Responder } from './responder.ts';
import type { SlotWork } from './slot-balance.ts';
import { SlotTable } from './slot-table.ts';
import { SnapshotDesk } from './snapshot-desk.ts';
import type { SplitBounds } from '../region/traffic.ts';
import { UnknownRegions } from './unknown-regions.ts';
import { emptyShardStats, type ShardStats } from './stats.ts';

/** Election time-outs for which a voter that was removed goes on answering those who have not heard so. */
const REMOVED_VOTER_ELECTIONS = 10;

/** The second half of a turn: what was collected and how far it came. It ends, or it waits for room on the disk. */
interface OpenTurn {
  readonly nowMs: number;
  readonly busy: ReadonlySet<Replica>;
  readonly collected: readonly Replica[];
  readonly answers: (() => void)[];
  sync: boolean;
  stage: 'gather' | 'persist' | 'apply' | 'lag' | 'writeApplied';
  /** Of `collected`: how many have applied what they had. */
  applied: number;
}

export class Shard {
  readonly #config: ShardConfig;
  readonly #env: ShardEnvironment;
  readonly #replicas = new Map<number, Replica>();
  readonly #replicaEnv: ReplicaEnvironment;
  readonly #directory: Directory;
  readonly #slots: SlotTable;
  readonly #inbox = new Inbox();
  readonly #outbox: Outbox;
  readonly #responder: Responder;
  readonly #batches: TurnBatches;
  readonly #replicaStats: ReplicaStats = {
    proposals: 0,
    entriesProposed: 0,
    entriesApplied: 0,
    pointReads: 0,
    scans: 0,
  };
  readonly #stats: ShardStats = emptyShardStats();
  /** Replicas that are ticked. All others sleep, and cost nothing. */
  readonly #awake = new Set<Replica>();
  /** Regions that are led here. */
  readonly #led = new Set<number>();
  readonly #liveness: Liveness;
  readonly #neighbours: Neighbours;
  /** Those of the whole node: each of their workers hears from one of ours, whose regions may have no peers there. */
  readonly #neighboursOfNode = new Set<number>();
  readonly #orphans = new OrphanSearch(() => this.#replicas.values());
  /** Replicas that this turn, or a step before it, gave something to do. */
  #busy = new Set<Replica>();
  /** Followers with committed entries that they have not applied, those that lag longest first. */
  readonly #lagging = new Set<Replica>();
  /** Some of them had to wait for the next turn. */
  #runsAreLeft = false;
  #tickDue = false;
  /** Handing leaderships over before the worker stops: none is given back. */
  #draining = false;
  /** Replicas that were removed from their region, and when their data goes: voters answer a while longer. */
  readonly #removed = new Map<Replica, number>();
  readonly #reports = new RegionReports();
  readonly #snapshots: SnapshotDesk;
  readonly #merges: Merges;
  readonly #unknown: UnknownRegions;
  readonly #checks: ConsistencyChecks;
  /** A turn that stopped in the middle because the disk is full. */
  #stalled: OpenTurn | undefined;

  constructor(config: ShardConfig, env: ShardEnvironment) {
    this.#config = config;
    this.#env = env;
    this.#directory = new Directory(env.store);
    this.#slots = env.slots ?? new SlotTable(config.workers);
    this.#liveness = new Liveness(livenessOf(config.timings.electionTimeoutMs), env.clock.nowMs());
    this.#neighbours = new Neighbours(config.nodeId, (nodeId, isNeighbour) => {
      if (isNeighbour) this.#liveness.watch(nodeId);
      else this.#liveness.unwatch(nodeId);
    });
    this.#unknown = new UnknownRegions(config.timings.electionTimeoutMs);
    this.#outbox = new Outbox(config, env.transport, this.#directory);
    this.#responder = new Responder(env.transport);
    this.#batches = { durable: env.store.createBatch(), applied: env.store.createBatch(), written: [] };
    this.#replicaEnv = {
      nodeId: config.nodeId,
      store: env.store,
      clock: env.clock,
      random: env.random,
      timings: config.timings,
      respond: (origin, response) => this.#responder.add(origin, response),
      send: (regionId, nodeId, message) => this.#outbox.add(regionId, nodeId, message),
      askSnapshot: (regionId, message) => this.#snapshots.ask(regionId, message),
      onLeader: (regionId, leaderNodeId, term) => {
        if (leaderNodeId === config.nodeId) this.#led.add(regionId);
        else this.#led.delete(regionId);
        env.events.onLeader(regionId, leaderNodeId, term);
      },
      onRegionChanged: (region) => this.#noteChanged([region]),
      onSplit: (parent, child, isBorn, campaigns) => {
        this.#noteChanged(isBorn ? [parent, child] : [parent]);
        if (isBorn) env.events.onNewborn(child.regionId, campaigns);
      },
      hasSource: (targetId, merge) => this.#merges.hasSource(targetId, merge, env.clock.nowMs()),
      onAbsorbed: (target, source) => {
        this.#merges.onAbsorbed(source.regionId);
        this.#noteChanged([target], [source.regionId]);
        if (this.#isHome(source.regionId)) this.noteAbsorbed(source.regionId, target);
      },
      onHashing: (regionId) => {
        const replica = this.#replicas.get(regionId);
        if (replica) this.#checks.note(replica);
      },
      onDifference: (regionId, { what, after, upTo }, index) => {
        this.#stats.differences++;
        const where = what === 'state' ? 'its descriptor or sessions' : `keys behind ${hex(after)} up to ${hex(upTo)}`;
        const message = `region ${regionId} differs from its leader at entry ${index}: ${where}`;
        this.#anomaly('difference', new StorageFailure(message, { regionId }), regionId);
      },
      onRemoved: (regionId, wasVoter) => this.#noteRemoved(regionId, wasVoter),
      sendNotice: (nodeId, toPeer, region) => this.#outbox.addNotice(nodeId, toPeer, region),
      onAnomaly: (regionId, error) => this.#anomaly('region', error, regionId),
    };
    this.#merges = new Merges({
      store: env.store,
      events: env.events,
      isHome: (regionId) => this.#isHome(regionId),
      detach: (regionId) => this.#detach(regionId),
      reopen: (regionId) => {
        if (this.#snapshots.isInstalling(regionId)) return;
        this.openStoredRegion(regionId, { isNewborn: false, campaigns: false });
      },
      touch: (replica) => {
        this.#lagging.add(replica);
        this.#runsAreLeft = true;
      },
      replicaOf: (regionId) => this.#replicas.get(regionId),
      dropSnapshot: (regionId) => this.#snapshots.forget(regionId),
      onAnomaly: (regionId, error) => this.#anomaly('merge', error, regionId),
    });
    this.#checks = new ConsistencyChecks(config.consistencyCheckMs ?? 0, {
      led: () => this.#led,
      replicaOf: (regionId) => this.#replicas.get(regionId),
      touch: (replica) => this.#noteWork(replica),
    });
    this.#snapshots = new SnapshotDesk(config, env, {
      replicaOf: (regionId) => this.#replicas.get(regionId),
      isLeaving: (replica) => this.#removed.has(replica),
      open: (record) => this.openRegion(record),
      close: (regionId) => this.closeRegion(regionId),
      touched: (replica) => this.#noteWork(replica),
      send: (nodeId, step) => this.#outbox.sendSnapshotStep(nodeId, step),
      writeSynced: (batch) => this.#writeDurable(batch, true),
      onAnomaly: (regionId, error) => this.#anomaly('snapshot', error, regionId),
    });
  }

  // --- replicas come and go ----------------------------------------------------------------------------------------

  /**
   * Opens the replica of a region whose slot is this worker's, from the store. `isNewborn`: the region came into being
   * with this record. `campaigns`: at once, because its parent is led here.
   */
  openRegion(record: RegionRecord, { isNewborn = false, campaigns = false } = {}): void {
    const { region } = record;
    if (this.#replicas.has(region.regionId)) throw new Internal(`region ${region.regionId} is open already`);
    const replica = new Replica(record, this.#replicaEnv, this.#replicaStats, isNewborn);
    this.#replicas.set(region.regionId, replica);
    this.#awake.add(replica);
    this.#neighbours.note(region);
    this.#merges.note(replica);
    if (campaigns) replica.campaign(this.#env.clock.nowMs());
    if (replica.hasWork) this.#busy.add(replica);
    this.#env.events.onRegions([region]);
  }

  /** Opens all replicas of the store whose slots are this worker's, and goes on with installs that were cut off. */
  openOwnRegions(): void {
    this.#snapshots.sweep((regionId) => this.#isHome(regionId));
    for (const record of listRegionRecords(this.#env.store)) {
      if (!this.#isHome(record.region.regionId)) continue;
      if (record.phase === 'applying') this.#snapshots.resume(record);
      else if (record.region.peers.some((peer) => peer.nodeId === this.#config.nodeId)) this.openRegion(record);
      else this.#destroyLeft(record);
    }
  }

  /** The node stopped when this replica had been removed and was not destroyed yet. */
  #destroyLeft({ region }: RegionRecord): void {
    const { store, events } = this.#env;
    destroyReplica(store, { peerId: loadTombstone(store, region.regionId)?.peerId ?? 0, region });
    events.onRegionGone(region.regionId);
  }

  /** Opens a replica that another worker has put into the store, unless it is open or gone again. */
  openStoredRegion(regionId: number, options: { readonly isNewborn: boolean; readonly campaigns: boolean }): void {
    const record = this.#replicas.has(regionId) ? undefined : loadRegionRecord(this.#env.store, regionId);
    if (!record) return;
    this.openRegion(record, options);
    const replica = this.#replicas.get(regionId)!;
    const nowMs = this.#env.clock.nowMs();
    const vote = this.#unknown.take(regionId, nowMs);
    if (vote) this.#step(replica, vote.wire, vote.fromNode, nowMs);
  }

  /**
   * Closes a replica where it stands; the store keeps it. Whoever waits tries again. Between turns, or at the end of one.
   * False: it is not open here.
   */
  closeRegion(regionId: number): boolean {
    const replica = this.#detach(regionId);
    replica?.abandon();
    return replica !== undefined;
  }

  #detach(regionId: number): Replica | undefined {
    const replica = this.#replicas.get(regionId);
    if (!replica) return undefined;
    this.#busy.delete(replica);
    this.#lagging.delete(replica);
    this.#awake.delete(replica);
    this.#led.delete(regionId);
    this.#neighbours.forget(regionId);
    this.#removed.delete(replica);
    this.#merges.forget(replica);
    this.#checks.forget(replica);
    this.#replicas.delete(regionId);
    this.#reports.forget(regionId);
    return replica;
  }

  // --- slots move between the workers of a node (slot-moves.ts) ----------------------------------------------------

  /** Whether another node has peers of regions that some worker here has. */
  noteNeighbour(nodeId: number, isNeighbour: boolean): void {
    if (isNeighbour) this.#neighboursOfNode.add(nodeId);
    else this.#neighboursOfNode.delete(nodeId);
  }

  /** Whether the slot of a region is this worker's. */
  isHome(regionId: number): boolean {
    return this.#isHome(regionId);
  }

  /** Another worker has the slot now: what comes for it is forwarded there. */
  noteSlot(slot: number, worker: number): void {
    this.#slots.move(slot, worker);
  }

  /**
   * Between turns: closes all replicas of a slot, which is another worker's from now on. Undefined, and nothing is closed,
   * while the disk is full or one of them is being installed, merged or removed.
   */
  releaseSlot(slot: number, to: number): ReleasedRegion[] | undefined {
    const isOfSlot = (regionId: number): boolean => slotOfRegion(regionId) === slot;
    const replicas = [...this.#replicas.values()].filter(({ regionId }) => isOfSlot(regionId));
    const canGo = (replica: Replica): boolean => replica.state.phase === 'normal' && !this.#removed.has(replica);
    if (this.#stalled || !replicas.every(canGo)) return undefined;
    if (this.#snapshots.isReceiving(isOfSlot) || this.#merges.isFinishing(isOfSlot)) return undefined;
    const released = replicas.map(({ regionId, isLeader }) => ({ regionId, wasLed: isLeader }));
    this.#slots.move(slot, to);
    for (const { regionId } of released) this.closeRegion(regionId);
    this.#flushAnswers();
    return released;
  }

  /** Opens the replicas of a slot that another worker has closed; what that one led leads on. */
  takeSlot(slot: number, regions: readonly ReleasedRegion[]): void {
    this.#slots.move(slot, this.#config.worker);
    const nowMs = this.#env.clock.nowMs();
    for (const { regionId, wasLed } of regions) {
      if (this.#replicas.has(regionId)) continue;
      this.openStoredRegion(regionId, { isNewborn: false, campaigns: false });
      const replica = this.#replicas.get(regionId);
      if (!wasLed || !replica) continue;
      replica.resumeLeading(nowMs);
      this.#noteWork(replica);
    }
  }

  /** What the slots did since this was last asked: the hottest, and all together. */
  takeWork(most: number): { readonly slots: SlotWork[]; readonly work: number } {
    const bySlot = new Map<number, number>();
    let work = 0;
    // Who slept all the time did nothing.
    for (const replica of this.#awake) {
      const slot = slotOfRegion(replica.regionId);
      bySlot.set(slot, (bySlot.get(slot) ?? 0) + replica.work);
      work += replica.work;
      replica.work = 0;
    }
    const slots = [...bySlot].map(([slot, slotWork]) => ({ slot, work: slotWork }));
    return { slots: slots.sort((a, b) => b.work - a.work).slice(0, most), work };
  }

  /** Told behind the write. */
  #noteChanged(regions: readonly Region[], absorbed: readonly number[] = []): void {
    for (const region of regions) {
      const replica = this.#replicas.get(region.regionId);
      if (!replica) continue;
      this.#neighbours.note(region);
      this.#merges.note(replica);
    }
    this.#env.events.onRegions(regions, absorbed);
  }

  // --- merges: between the workers of a node -----------------------------------------------------------------------

  /** A target on this node waits for its source, which lives here. */
  finishRegion(targetId: number, merge: CommitMerge): void {
    this.#merges.requestFinish(targetId, merge);
  }

  /** The source of a target that lives here has come to its end. */
  noteSourceReady(sourceId: number, targetId: number): void {
    this.#merges.noteSourceReady(sourceId, targetId);
  }

  /** A region that lived here is part of another one. */
  noteAbsorbed(regionId: number, successor: Region): void {
    this.closeRegion(regionId);
    this.#merges.noteAbsorbed(regionId, successor);
  }

  /** Lets the replicas of a region that is led here compare their data. False: it is not. */
  checkConsistency(regionId: number): boolean {
    const replica = this.#replicas.get(regionId);
    if (!replica?.isLeader) return false;
    this.#checks.begin(replica, this.#env.clock.nowMs());
    return true;
  }

  #noteRemoved(regionId: number, wasVoter: boolean): void {
    const replica = this.#replicas.get(regionId);
    if (!replica || this.#removed.has(replica)) return;
    const graceMs = wasVoter ? REMOVED_VOTER_ELECTIONS * this.#config.timings.electionTimeoutMs : 0;
    this.#removed.set(replica, this.#env.clock.nowMs() + graceMs);
    this.#tickDue ||= graceMs === 0;
  }

  /** Between turns: the data goes, and a tombstone stays. */
  #destroyRemoved(nowMs: number): void {
    for (const [replica, dueMs] of this.#removed) {
      if (nowMs < dueMs) continue;
      this.#destroy(replica);
    }
  }

  #destroy({ peerId, region }: Replica): void {
    this.closeRegion(region.regionId);
    this.#snapshots.forget(region.regionId);
    destroyReplica(this.#env.store, { peerId, region });
    this.#env.events.onRegionGone(region.regionId);
  }

  /** Between turns: a region that is part of another one now goes, and with it its data. */
  destroyRegion(regionId: number): void {
    const replica = this.#replicas.get(regionId);
    if (replica) return this.#destroy(replica);
    if (!this.#merges.isLeaving(regionId)) return;
    const finishing = this.#merges.drop(regionId);
    if (finishing) this.#lagging.delete(finishing);
    const region = loadRegionRecord(this.#env.store, regionId)?.region;
    const own = region?.peers.find((peer) => peer.nodeId === this.#config.nodeId);
    if (!region || !own) return;
    destroyReplica(this.#env.store, { peerId: own.peerId, region });
    this.#env.events.onRegionGone(regionId);
  }

  /** Changes a region that is led here; `done` as for Replica.change, and DiskFull. */
  changeRegion(regionId: number, epoch: Epoch, change: RegionChange, done: ChangeDone): void {
    // In the middle of a turn the logs are ahead of the store.
    if (this.#stalled) return done(this.#diskFull());
    const replica = this.#replicas.get(regionId);
    if (!replica) return done(this.#regionNotFound(regionId));
    replica.change(epoch, change, this.#env.clock.nowMs(), done);
    this.#noteWork(replica);
  }

  #regionNotFound(regionId: number): MraftError {
    const merged = this.#merges.errorFor(regionId);
    if (merged) return merged;
    return new RegionNotFound(`node ${this.#config.nodeId} has no region ${regionId}`, { regionId });
  }

  get regionCount(): number {
    return this.#replicas.size;
  }

  // --- what comes in -----------------------------------------------------------------------------------------------

  /** A PeerFrame that came on the subject of node `fromNode`. */
  receivePeerFrame(frame: Uint8Array, fromNode: number): void {
    if (!this.#inbox.offer({ kind: 'peer', frame, fromNode })) this.#drop('inboxFull');
  }

  /** A RequestFrame; its answers go to `origin`. */
  receiveRequests(frame: Uint8Array, origin: Origin): void {
    if (this.#inbox.offer({ kind: 'client', frame, origin })) return;
    this.#drop('inboxFull');
    this.#refuse(frame, origin, new ServerBusy('this worker has too many requests waiting'));
    this.#flushAnswers();
  }

  /** How often that is to be. */
  get tickPeriodMs(): number {
    const hasNone = this.#awake.size === 0 && this.#removed.size === 0 && this.#lagging.size === 0;
    if (!hasNone || this.#snapshots.hasWork || this.#stalled) return this.#config.tickMs;
    return Math.max(this.#config.tickMs, this.#liveness.periodMs);
  }

  /** Marks that the replicas' clocks are to be looked at in the next turn. */
  requestTick(): void {
    this.#tickDue = true;
  }

  get hasWork(): boolean {
    const isAwaited = this.#tickDue || this.#inbox.length > 0 || this.#busy.size > 0 || this.#runsAreLeft;
    return isAwaited || this.#snapshots.hasWork || this.#merges.hasWork;
  }

  /** Grows with every accepted frame. */
  get acceptedFrames(): number {
    return this.#inbox.accepted;
  }

  // --- the turn ----------------------------------------------------------------------------------------------------

  /**
   * One turn: take, step, tick, propose, send, persist, send, apply, answer, write what was applied, read.
   * @throws StorageFailure when the disk failed: the worker must stop and must not send anything more.
   *   DiskFull when there is no room: call `turn` again later, it goes on where this one stopped. Until then requests
   *   are refused, and peers hear nothing, so that others take over what is led here.
   */
  turn(): void {
    const nowMs = this.#env.clock.nowMs();
    this.#stats.turns++;
    if (this.#stalled) {
      this.#refuseWhileFull();
      this.#complete(this.#stalled);
      this.#stalled = undefined;
    }
    this.#takeFrames(nowMs);
    if (this.#removed.size > 0) this.#destroyRemoved(nowMs);
    if (this.#merges.hasWork) this.#merges.begin();
    if (this.#tickDue) this.#tick(nowMs);
    const busy = this.#busy;
    this.#busy = new Set();
    const collected: Replica[] = [];
    for (const replica of busy) {
      replica.propose(nowMs);
      if (replica.collect(nowMs)) collected.push(replica);
    }
    if (this.#outbox.send()) this.#env.transport.flush();
    const open: OpenTurn = { nowMs, busy, collected, answers: [], sync: false, stage: 'gather', applied: 0 };
    try {
      this.#complete(open);
    } catch (error) {
      if (error instanceof DiskFull) this.#stalled = open;
      throw error;
    }
    if (this.#snapshots.afterTurn(nowMs)) this.#env.transport.flush();
    this.#stats.turnMs += this.#env.clock.nowMs() - nowMs;
  }

  /** Waiting for room on the disk. */
  get isStalled(): boolean {
    return this.#stalled !== undefined;
  }

  /** Persists, applies and answers, from the stage that the turn has reached. */
  #complete(open: OpenTurn): void {
    const { durable, applied } = this.#batches;
    if (open.stage === 'gather') {
      for (const replica of open.collected) if (replica.persist(this.#batches)) open.sync = true;
      open.stage = 'persist';
    }
    if (open.stage === 'persist') {
      if (durable.count > 0) this.#writeDurable(durable, open.sync);
      for (const replica of open.collected) replica.persisted();
      this.#outbox.send();
      open.stage = 'apply';
    }
    if (open.stage === 'apply') {
      for (; open.applied < open.collected.length; open.applied++) {
        const replica = open.collected[open.applied]!;
        replica.apply(this.#batches, open.answers);
        if (replica.isLagging) this.#lagging.add(replica);
      }
      // What is answered is committed: a crash before the write below only means that the log is replayed. No read of
      // this worker comes before that write.
      for (const answer of open.answers.splice(0)) answer();
      this.#responder.send();
      this.#env.transport.flush();
      open.stage = 'lag';
    }
    if (open.stage === 'lag') {
      this.#applyLagging(open);
      open.stage = 'writeApplied';
    }
    if (applied.count > 0) this.#writeApplied(applied);
    for (const tell of this.#batches.written.splice(0)) tell();
    for (const answer of open.answers.splice(0)) answer();
    this.#merges.end();
    for (const replica of open.busy) {
      replica.serveReads();
      if (replica.hasWork) this.#busy.add(replica);
    }
    this.#flushAnswers();
  }

  /**
   * Followers apply behind everything that somebody waits for, so that acknowledgements are not late; in runs, because
   * one run of several entries costs less than several of one; and not much in a turn, so that no turn is long.
   */
  #applyLagging({ nowMs, answers }: OpenTurn): void {
    this.#runsAreLeft = false;
    let sizeBytes = 0;
    for (const replica of this.#lagging) {
      if (!replica.isRunDue(nowMs)) continue;
      if (sizeBytes >= LIMITS.laggingBytesPerTurn) {
        this.#runsAreLeft = true;
        return;
      }
      sizeBytes += replica.applyLagging(this.#batches, LIMITS.laggingBytesPerTurn - sizeBytes, answers);
      if (!replica.isLagging) this.#lagging.delete(replica);
      if (replica.hasWork) this.#busy.add(replica);
    }
  }

  #flushAnswers(): void {
    if (this.#responder.send()) this.#env.transport.flush();
  }

  /** While there is no room, clients hear so at once; what peers send is lost, as it would be on a node that is down. */
  #refuseWhileFull(): void {
    const error = this.#diskFull();
    for (let inbound = this.#inbox.take(); inbound; inbound = this.#inbox.take()) {
      if (inbound.kind === 'client') this.#refuse(inbound.frame, inbound.origin, error);
    }
    this.#flushAnswers();
  }

  #diskFull(): DiskFull {
    return new DiskFull(`the disk of node ${this.#config.nodeId} is full: make room, the node goes on by itself`);
  }

  #takeFrames(nowMs: number): void {
    let sizeBytes = 0;
    for (let taken = 0; taken < LIMITS.framesPerTurn && sizeBytes < LIMITS.bytesPerTurn; taken++) {
      const inbound = this.#inbox.take();
      if (!inbound) return;
      sizeBytes += inbound.frame.length;
      if (inbound.kind === 'peer') this.#onPeerFrame(inbound.frame, inbound.fromNode, nowMs);
      else this.#onRequestFrame(inbound.frame, inbound.origin);
    }
  }

  #tick(nowMs: number): void {
    this.#tickDue = false;
    this.#merges.tick(nowMs);
    this.#checks.tick(nowMs);
    for (const replica of this.#awake) {
      replica.tick(nowMs);
      if (replica.hasWork) this.#busy.add(replica);
      if (!replica.needsTicks) this.#awake.delete(replica);
    }
    this.#watchNodes(nowMs);
    this.#snapshots.tick(nowMs, this.#outbox.stats.peerBytesSent);
  }

  /** Says that this node is there, and wakes whose leader's node is not. */
  #watchNodes(nowMs: number): void {
    if (this.#liveness.isBeaconDue(nowMs)) {
      this.#outbox.beacon(new Set([...this.#liveness.nodes, ...this.#neighboursOfNode]));
    }
    for (const nodeId of this.#liveness.look(nowMs)) {
      this.#stats.nodesLost++;
      this.#env.events.onNodeLost(nodeId);
      this.#orphans.begin(nowMs);
    }
    for (const replica of this.#orphans.step(nowMs, this.#liveness.lostNodes)) {
      replica.leaderNodeLost(nowMs);
      this.#noteWork(replica);
    }
  }

  /** Something was done to a replica that may give it work, or have woken it. */
  #noteWork(replica: Replica): void {
    replica.work++;
    if (replica.hasWork) this.#busy.add(replica);
    if (this.#awake.has(replica) || !replica.needsTicks) return;
    this.#awake.add(replica);
    this.#stats.wakeUps++;
  }

  #writeDurable(batch: WriteBatch, sync: boolean): void {
    const startMs = this.#env.clock.nowMs();
    if (sync) this.#env.fence?.addMark(batch);
    this.#env.store.write(batch, { sync });
    if (sync) this.#env.fence?.pass();
    const tookMs = this.#env.clock.nowMs() - startMs;
    this.#stats.persistMs += tookMs;
    if (tookMs > this.#stats.slowestPersistMs) this.#stats.slowestPersistMs = tookMs;
  }

  #writeApplied(batch: WriteBatch): void {
    const startMs = this.#env.clock.nowMs();
    this.#env.store.write(batch, { sync: false });
    this.#stats.applyMs += this.#env.clock.nowMs() - startMs;
  }

  // --- frames of peers ---------------------------------------------------------------------------------------------

  /** Whatever is wrong with a frame, the sender is no client: it is dropped and counted. */
  #onPeerFrame(bytes: Uint8Array, fromNode: number, nowMs: number): void {
    let frame: mraft.PeerFrame;
    try {
      frame = decode(mraft.PeerFrame, bytes) as mraft.PeerFrame;
    } catch {
      return this.#drop('malformed');
    }
    const { cluster, nodeId } = this.#config;
    if (frame.cluster !== cluster) return this.#drop('otherCluster');
    if (frame.fromNode !== fromNode || fromNode === nodeId) return this.#drop('otherSender');
    if (frame.workers < 1 || frame.workers > LIMITS.workersPerNode) return this.#drop('malformed');
    const standing = this.#directory.note(fromNode, frame);
    if (standing !== 'current' && standing !== 'changed') return this.#drop(standing);
    if (standing === 'changed') {
      this.#env.events.onNode(fromNode, frame.workers, frame.bootEpoch);
      this.#snapshots.onNodeStarted(fromNode, nowMs);
    }
    // When several nodes come back, they do not in one moment: what one of them leads is not orphaned.
    if (this.#liveness.heard(fromNode)) this.#orphans.begin(nowMs + this.#config.timings.electionTimeoutMs);
    this.#stats.peerFramesReceived++;
    if (frame.snapshot) return this.#onSnapshotStep(frame.snapshot as mraft.SnapshotStep, bytes, fromNode, nowMs);
    let misdirected: Map<number, mraft.IRaftMessage[]> | undefined;
    for (const message of frame.messages as mraft.RaftMessage[]) {
      const replica = this.#replicas.get(message.regionId);
      if (replica) this.#step(replica, message, fromNode, nowMs);
      else if (this.#isHome(message.regionId)) this.#onUnknownRegion(message, fromNode);
      else misdirected = this.#misdirect(misdirected, message.regionId, message);
    }
    let notices: Map<number, mraft.IRegionNotice[]> | undefined;
    for (const notice of frame.notices) {
      const regionId = notice.region?.regionId ?? 0;
      if (this.#replicas.has(regionId) || this.#isHome(regionId)) this.#onNotice(notice, fromNode);
      else notices = this.#misdirect(notices, regionId, notice);
    }
    for (const worker of new Set([...(misdirected?.keys() ?? []), ...(notices?.keys() ?? [])])) {
      const theirs = { messages: misdirected?.get(worker) ?? [], notices: notices?.get(worker) ?? [] };
      // Its head goes along: that worker learns from it who the sender is now, and how many workers it has.
      this.#env.transport.forwardPeerFrame(worker, encode(mraft.PeerFrame, Object.assign(frame, theirs)), fromNode);
    }
  }

  #onSnapshotStep(step: mraft.SnapshotStep, frame: Uint8Array, fromNode: number, nowMs: number): void {
    if (this.#merges.isLeaving(step.regionId)) return this.#drop('removedPeer');
    if (this.#isHome(step.regionId)) return this.#snapshots.onStep(step, fromNode, nowMs);
    this.#stats.forwarded++;
    this.#env.transport.forwardPeerFrame(this.#slots.workerOf(step.regionId), frame, fromNode);
  }

  #step(replica: Replica, wire: mraft.RaftMessage, fromNode: number, nowMs: number): void {
    if (wire.to !== replica.peerId) {
      // Whoever speaks to a newer peer of this node has applied that this one was removed: it makes room.
      if (wire.to > replica.peerId) this.#noteRemoved(wire.regionId, false);
      return this.#drop('otherPeer');
    }
    if (!replica.comesFrom(wire.from, fromNode)) return this.#drop('otherPeer');
    try {
      replica.step(fromWireMessage(wire), nowMs);
    } catch (error) {
      if (error instanceof MalformedRequest) return this.#drop('malformed');
      return this.#reopen(replica, asMraftError(error));
    }
    this.#noteWork(replica);
  }

  #isHome(regionId: number): boolean {
    return this.#slots.workerOf(regionId) === this.#config.worker;
  }

  /**
   * A leader speaks to a peer that has nothing here yet: it is told so, and sends a snapshot. Who was removed does not
   * come back by a message that is late.
   */
  #onUnknownRegion(wire: mraft.RaftMessage, fromNode: number): void {
    const { regionId } = wire;
    if (this.#merges.isLeaving(regionId)) return this.#drop('removedPeer');
    // What this peer promised before is in the store, and it cannot look there now.
    if (this.#snapshots.isInstalling(regionId)) return this.#drop('installing');
    const tombstone = loadTombstone(this.#env.store, regionId);
    if (tombstone !== undefined && wire.to <= tombstone.peerId) return this.#drop('removedPeer');
    if (this.#unknown.holdsBack(wire, fromNode, this.#env.clock.nowMs())) return this.#drop('unknownRegion');
    try {
      const answer = answerOfNobody(fromWireMessage(wire));
      if (answer) this.#outbox.add(regionId, fromNode, answer);
      else this.#drop('unknownRegion');
    } catch (error) {
      if (!(error instanceof MalformedRequest)) throw error;
      this.#drop('malformed');
    }
  }

  /** Somebody has applied that this peer was removed, or asks whether it was itself. */
  #onNotice({ toPeer, region: wire }: mraft.IRegionNotice, fromNode: number): void {
    const region = fromWireRegion(wire ?? {});
    const { regionId } = region;
    const replica = this.#replicas.get(regionId);
    const known = replica?.region ?? loadTombstone(this.#env.store, regionId)?.region;
    if (known && isNewerEpoch(known.epoch, region.epoch)) {
      const asker = region.peers.find((peer) => peer.nodeId === fromNode);
      const isGone = asker !== undefined && !known.peers.some((peer) => peer.peerId === asker.peerId);
      if (isGone) this.#outbox.addNotice(fromNode, asker.peerId, known);
      return;
    }
    if (!replica || replica.peerId !== toPeer) return;
    const isMember = region.peers.some((peer) => peer.peerId === toPeer);
    // Who asks and belongs to the region has not heard its leader, which may be asleep.
    if (isMember && replica.isLeader) this.#wake(replica);
    if (isMember || !isNewerEpoch(region.epoch, replica.region.epoch)) return;
    this.#noteRemoved(regionId, false);
  }

  #wake(replica: Replica): void {
    replica.wake(this.#env.clock.nowMs());
    this.#noteWork(replica);
  }

  /**
   * A message broke an invariant of the core: no honest peer sends such. The replica starts again from what it
   * persisted, as after a crash, and the others do not notice.
   */
  #reopen(replica: Replica, error: MraftError): void {
    this.#anomaly('step', error, replica.regionId);
    replica.abandon();
    this.#busy.delete(replica);
    this.#lagging.delete(replica);
    this.#awake.delete(replica);
    this.#led.delete(replica.regionId);
    const record = loadRegionRecord(this.#env.store, replica.regionId) ?? replica.state.record;
    const reopened = new Replica(record, this.#replicaEnv, this.#replicaStats);
    this.#replicas.set(replica.regionId, reopened);
    this.#awake.add(reopened);
  }

  /** Gathers what belongs to another worker of this node. */
  #misdirect<T>(gathered: Map<number, T[]> | undefined, regionId: number, item: T): Map<number, T[]> | undefined {
    const home = this.#slots.workerOf(regionId);
    gathered ??= new Map();
    const items = gathered.get(home);
    if (items) items.push(item);
    else gathered.set(home, [item]);
    this.#stats.forwarded++;
    return gathered;
  }

  // --- frames of clients -------------------------------------------------------------------------------------------

  #onRequestFrame(bytes: Uint8Array, origin: Origin): void {
    let frame: mraft.RequestFrame;
    try {
      frame = decode(mraft.RequestFrame, bytes) as mraft.RequestFrame;
      this.#checkRequestFrame(frame);
    } catch (error) {
      this.#drop('malformed');
      return this.#refuse(bytes, origin, asMraftError(error));
    }
    this.#stats.requestFrames++;
    this.#stats.requests += frame.requests.length;
    let misdirected: Map<number, mraft.IRequest[]> | undefined;
    for (const request of frame.requests) {
      const regionId = request.regionId ?? 0;
      const replica = this.#replicas.get(regionId);
      if (replica) {
        replica.request(origin, request);
        this.#noteWork(replica);
      } else if (!this.#isHome(regionId)) {
        misdirected = this.#misdirect(misdirected, regionId, request);
      } else {
        const error = this.#regionNotFound(regionId);
        this.#responder.add(origin, { id: request.id ?? 0, error: toWireError(error) });
      }
    }
    for (const [worker, requests] of misdirected ?? []) {
      const { cluster } = this.#config;
      this.#env.transport.forwardRequests(worker, origin, encode(mraft.RequestFrame, { cluster, requests }));
    }
  }

  #checkRequestFrame(frame: mraft.RequestFrame): void {
    const { cluster } = this.#config;
    if (frame.cluster !== cluster) {
      throw new ClusterMismatch(`this is cluster ${cluster}, the request is for "${frame.cluster.slice(0, 64)}"`, {
        field: 'cluster',
      });
    }
    if (frame.requests.length > LIMITS.requestsPerFrame) {
      throw new InvalidArgument(`a frame has at most ${LIMITS.requestsPerFrame} requests`, { field: 'requests' });
    }
  }

  /** Answers every request of a frame that is not taken; one that cannot be read is answered as request 0. */
  #refuse(bytes: Uint8Array, origin: Origin, error: MraftError): void {
    const wire = toWireError(error);
    let ids: number[];
    try {
      ids = decode(mraft.RequestFrame, bytes).requests.map((request) => request.id ?? 0);
    } catch {
      ids = [];
    }
    if (ids.length === 0 || ids.length > LIMITS.requestsPerFrame) ids = [0];
    for (const id of ids) this.#responder.add(origin, { id, error: wire });
  }

  // --- leadership --------------------------------------------------------------------------------------------------

  /** Regions that are led here. */
  get leaderCount(): number {
    return this.#led.size;
  }

  /** Hands every leadership to the peer that is furthest along; call it again until `leaderCount` is 0 or time is up. */
  handOver(): void {
    this.#draining = true;
    const nowMs = this.#env.clock.nowMs();
    for (const regionId of this.#led) {
      const replica = this.#replicas.get(regionId);
      if (!replica?.isLeader) continue;
      // It has not heard its peers while it slept, and does not know whom it can trust with it.
      replica.wake(nowMs);
      this.#noteWork(replica);
      const target = replica.handoverCandidates()[0];
      if (target !== undefined) this.#transfer(replica, target);
    }
  }

  /**
   * Gives regions back to the node that their descriptor names first, a few at a time: peers are laid out so that this
   * spreads leaders evenly. Placement takes this over.
   */
  giveBackLeaders(most: number): void {
    if (this.#draining) return;
    let given = 0;
    for (const replica of this.#awake) {
      if (given >= most) return;
      if (!replica.isLeader) continue;
      const preferred = replica.region.peers[0]?.nodeId;
      if (preferred === undefined || preferred === this.#config.nodeId) continue;
      if (replica.isInStep(preferred) && this.#transfer(replica, preferred)) given++;
    }
  }

  /** Hands one region over. False: it is not led here, or the target is no voter of it. */
  transferLeader(regionId: number, nodeId: number): boolean {
    const replica = this.#replicas.get(regionId);
    return replica !== undefined && this.#transfer(replica, nodeId);
  }

  #transfer(replica: Replica, nodeId: number): boolean {
    const started = replica.transferTo(nodeId, this.#env.clock.nowMs());
    if (started) {
      this.#noteWork(replica);
      this.#stats.transfers++;
    }
    return started;
  }

  // --- what it says of itself --------------------------------------------------------------------------------------

  regionStatus(regionId: number): ReplicaStatus | undefined {
    return this.#replicas.get(regionId)?.status();
  }

  listRegions(): ReplicaStatus[] {
    return [...this.#replicas.values()].map((replica) => replica.status());
  }

  /** The regions that are led here: those that changed since they were last told, or all. */
  ledRegions(all: boolean, bounds: SplitBounds): LedRegion[] {
    // Whoever sleeps has been told.
    const replicas = all ? this.#replicas.values() : this.#awake;
    return this.#reports.take(replicas, all, bounds, this.#env.clock.nowMs());
  }

  /** Regions that are led here and whose size is not known, or not any more; at most so many. */
  unmeasuredRegions(most: number): Region[] {
    const found: Region[] = [];
    for (const regionId of this.#led) {
      const replica = this.#replicas.get(regionId);
      if (!replica?.traffic.wantsMeasure(replica.region)) continue;
      found.push(replica.region);
      if (found.length >= most) break;
    }
    return found;
  }

  /** How large a region was found to be, as of a version of it. */
  noteSize(regionId: number, version: number, sizeBytes: number): void {
    this.#replicas.get(regionId)?.traffic.noteMeasured(sizeBytes, version);
  }

  stats(): ShardStats {
    const { store } = this.#env;
    return {
      ...this.#stats,
      ...this.#replicaStats,
      ...this.#outbox.stats,
      ...this.#snapshots.stats,
      responses: this.#responder.responsesSent,
      errorResponses: this.#responder.errorsSent,
      storeWrites: store.stats.writes,
      storeSyncs: store.stats.syncs,
      storeWrittenBytes: store.stats.writtenBytes,
      regions: this.#replicas.size,
      awake: this.#awake.size,
      leaders: this.leaderCount,
      inboxFrames: this.#inbox.length,
    };
  }

  #drop(reason: keyof ShardStats['dropped']): void {
    this.#stats.dropped[reason]++;
  }

  #anomaly(what: string, error: MraftError | undefined, regionId: number): void {
    this.#stats.anomalies++;
    this.#env.events.onAnomaly(what, error, regionId);
  }
}

/** A key as people can read it in a report. */
function hex(key: Uint8Array): string {
  return key.length === 0 ? '(its end)' : Buffer.from(key).toString('hex');
}
