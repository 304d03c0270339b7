/**
 * The shard of one worker: all replicas that live there, and the turn that drives them.
 * It does no I/O of its own and knows no event loop: the worker, or the simulator, hands frames in and calls `turn`.
 */

import { DiskFull, RegionNotFound, ServerBusy, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Epoch, Region } from '../../rpc/wire/region.ts';
import type { CommitMerge } from '../region/commit-merge.ts';
import type { ChangeDone, RegionChange } from '../region/admin.ts';
import { recoveredRecord } from '../region/unsafe-recovery.ts';
import { Replica, type ReplicaStats, type ReplicaStatus } from '../region/replica.ts';
import type { Origin, ReplicaEnvironment } from '../region/ports.ts';
import {
  destroyReplica,
  listRegionRecords,
  loadRegionRecord,
  loadTombstone,
  putRegionRecord,
  type RegionRecord,
} from '../store/region-records.ts';
import { Directory } from './directory.ts';
import { ConsistencyChecks, differenceError } from './consistency-checks.ts';
import { Inbox } from './inbox.ts';
import { Merges } from './merges.ts';
import { NodeWatch } from './node-watch.ts';
import { Outbox } from './outbox.ts';
import type { FrameHead } from './peer-frame.ts';
import { PeerFrames } from './peer-frames.ts';
import { Replicas } from './replicas.ts';
import { RequestFrames } from './request-frames.ts';
import type { ShardConfig, ShardEnvironment } from './ports.ts';
import { RegionReports, type LedRegion } from './region-reports.ts';
import type { ReleasedRegion } from './port-messages.ts';
import { Responder } from './responder.ts';
import type { SlotWork } from './slot-balance.ts';
import { SlotTable } from './slot-table.ts';
import { SnapshotDesk } from './snapshot-desk.ts';
import type { SplitBounds } from '../region/traffic.ts';
import { TurnEnd } from './turn.ts';
import { WorkerSlots } from './worker-slots.ts';
import { emptyShardStats, type ShardStats } from './stats.ts';

/** Election time-outs for which a voter that was removed goes on answering those who have not heard so. */
const REMOVED_VOTER_ELECTIONS = 10;

export class Shard {
  readonly #config: ShardConfig;
  readonly #env: ShardEnvironment;
  readonly #replicas = new Replicas();
  readonly #replicaEnv: ReplicaEnvironment;
  readonly #directory: Directory;
  readonly #slots: WorkerSlots;
  readonly #inbox = new Inbox();
  readonly #outbox: Outbox;
  readonly #responder: Responder;
  readonly #replicaStats: ReplicaStats = {
    proposals: 0,
    entriesProposed: 0,
    entriesApplied: 0,
    pointReads: 0,
    scans: 0,
  };
  readonly #stats: ShardStats = emptyShardStats();
  readonly #watch: NodeWatch;
  #tickDue = false;
  /** A replica that was removed goes in the next turn. No tick is asked for: a timer may be late. */
  #mustDestroy = false;
  /** Replicas that were removed from their region, and when their data goes: voters answer a while longer. */
  readonly #removed = new Map<Replica, number>();
  readonly #reports = new RegionReports();
  readonly #snapshots: SnapshotDesk;
  readonly #merges: Merges;
  readonly #peerFrames: PeerFrames;
  readonly #requestFrames: RequestFrames;
  readonly #checks: ConsistencyChecks;
  readonly #turnEnd: TurnEnd;

  constructor(config: ShardConfig, env: ShardEnvironment) {
    this.#config = config;
    this.#env = env;
    this.#directory = new Directory(env.store, {
      isSilent: (nodeId) => this.#watch.lostNodes.has(nodeId),
      isNeighbour: (nodeId) => this.#watch.neighbours.has(nodeId),
    });
    this.#slots = new WorkerSlots({
      worker: config.worker,
      table: env.slots ?? new SlotTable(config.workers),
      replicas: this.#replicas,
      isHeld: (replica) => replica.state.phase !== 'normal' || this.#removed.has(replica),
      isUnderWay: (isOfSlot) => this.#snapshots.isReceiving(isOfSlot) || this.#merges.isFinishing(isOfSlot),
      open: (regionId) => this.openStoredRegion(regionId, { isNewborn: false, campaigns: false }),
      close: (regionId) => this.closeRegion(regionId),
    });
    this.#outbox = new Outbox(config, env.transport, this.#directory);
    this.#watch = new NodeWatch(
      {
        nodeId: config.nodeId,
        electionTimeoutMs: config.timings.electionTimeoutMs,
        outbox: this.#outbox,
        replicas: this.#replicas,
        onLost: (nodeId) => {
          this.#stats.nodesLost++;
          env.events.onNodeLost(nodeId);
        },
      },
      env.clock.nowMs(),
    );
    this.#responder = new Responder(env.transport);
    this.#replicaEnv = {
      nodeId: config.nodeId,
      store: env.store,
      clock: env.clock,
      random: env.random,
      timings: config.timings,
      lostNodes: this.#watch.lostNodes,
      respond: (origin, response) => this.#responder.add(origin, response),
      send: (regionId, nodeId, message) => this.#outbox.add(regionId, nodeId, message),
      askSnapshot: (regionId, message) => this.#snapshots.ask(regionId, message),
      onLeader: (regionId, leaderNodeId, term) => {
        this.#replicas.noteLeader(regionId, leaderNodeId === config.nodeId);
        env.events.onLeader(regionId, leaderNodeId, term);
      },
      onRegionChanged: (region) => this.#noteChanged([region]),
      onSplit: (parent, child, isBorn, campaigns) => {
        if (campaigns) this.#stats.splits++;
        this.#noteChanged(isBorn ? [parent, child] : [parent]);
        if (isBorn) env.events.onNewborn(child.regionId, campaigns);
      },
      hasSource: (targetId, merge) => this.#merges.hasSource(targetId, merge, env.clock.nowMs()),
      onAbsorbed: (target, source) => {
        this.#merges.onAbsorbed(source.regionId);
        if (this.#replicas.led.has(target.regionId)) this.#stats.merges++;
        this.#noteChanged([target], [source.regionId]);
        if (this.isHome(source.regionId)) this.noteAbsorbed(source.regionId, target);
      },
      onHashing: (regionId) => {
        const replica = this.#replicas.get(regionId);
        if (replica) this.#checks.note(replica);
      },
      onDifference: (regionId, difference, index) => {
        this.#stats.differences++;
        this.#anomaly('difference', differenceError(regionId, difference, index), regionId);
      },
      onRemoved: (regionId, wasVoter) => this.#noteRemoved(regionId, wasVoter),
      sendNotice: (nodeId, toPeer, region) => this.#outbox.addNotice(nodeId, toPeer, region),
      onAnomaly: (regionId, error) => this.#anomaly('region', error, regionId),
    };
    this.#merges = new Merges({
      store: env.store,
      events: env.events,
      isHome: (regionId) => this.isHome(regionId),
      detach: (regionId) => this.#detach(regionId),
      reopen: (regionId) => {
        if (this.#snapshots.isInstalling(regionId)) return;
        this.openStoredRegion(regionId, { isNewborn: false, campaigns: false });
      },
      touch: (replica) => this.#turnEnd.noteLagging(replica),
      replicaOf: (regionId) => this.#replicas.get(regionId),
      dropSnapshot: (regionId) => this.#snapshots.forget(regionId),
      onAnomaly: (regionId, error) => this.#anomaly('merge', error, regionId),
    });
    this.#checks = new ConsistencyChecks(config.consistencyCheckMs ?? 0, {
      led: () => this.#replicas.led,
      replicaOf: (regionId) => this.#replicas.get(regionId),
      touch: (replica) => this.#replicas.noteWork(replica),
    });
    this.#snapshots = new SnapshotDesk(config, env, {
      replicaOf: (regionId) => this.#replicas.get(regionId),
      isLeaving: (replica) => this.#removed.has(replica),
      open: (record) => this.openRegion(record),
      close: (regionId) => this.closeRegion(regionId),
      touched: (replica) => this.#replicas.noteWork(replica),
      send: (nodeId, step) => this.#outbox.sendSnapshotStep(nodeId, step),
      writeSynced: (batch) => this.#turnEnd.writeDurable(batch, true),
      onAnomaly: (regionId, error) => this.#anomaly('snapshot', error, regionId),
    });
    const parts = {
      replicas: this.#replicas,
      outbox: this.#outbox,
      responder: this.#responder,
      transport: env.transport,
      merges: this.#merges,
      stats: this.#stats,
      workerOf: (regionId: number) => this.#slots.otherWorkerOf(regionId),
    };
    this.#turnEnd = new TurnEnd({ ...parts, store: env.store, fence: env.fence, clock: env.clock });
    this.#requestFrames = new RequestFrames({
      ...parts,
      cluster: config.cluster,
      errorFor: (regionId) => this.#regionNotFound(regionId),
    });
    this.#peerFrames = new PeerFrames({
      ...parts,
      config,
      store: env.store,
      directory: this.#directory,
      snapshots: this.#snapshots,
      onHeard: (nodeId, head, isNews, nowMs) => this.#onHeard(nodeId, head, isNews, nowMs),
      onRemoved: (regionId) => this.#noteRemoved(regionId, false),
      onBroken: (replica, error) => this.#reopen(replica, error),
    });
  }

  // --- replicas come and go ----------------------------------------------------------------------------------------

  /**
   * Opens the replica of a region whose slot is this worker's, from the store. `isNewborn`: the region came into being
   * with this record. `campaigns`: at once, because its parent is led here.
   */
  openRegion(record: RegionRecord, { isNewborn = false, campaigns = false } = {}): void {
    const { region } = record;
    const replica = new Replica(record, this.#replicaEnv, this.#replicaStats, isNewborn);
    if (campaigns) replica.campaign(this.#env.clock.nowMs());
    this.#replicas.add(replica);
    this.#watch.neighbours.note(region);
    this.#merges.note(replica);
    this.#env.events.onRegions([region]);
  }

  /** Opens all replicas of the store whose slots are this worker's, and goes on with installs that were cut off. */
  openOwnRegions(): void {
    this.#snapshots.sweep((regionId) => this.isHome(regionId));
    for (const record of listRegionRecords(this.#env.store)) {
      if (!this.isHome(record.region.regionId)) continue;
      if (record.phase === 'applying') this.#snapshots.resume(record);
      else if (record.region.peers.some((peer) => peer.nodeId === this.#config.nodeId)) this.openRegion(record);
      else this.#destroyLeft(record);
    }
  }

  /** The node stopped when this replica had been removed and was not destroyed yet. */
  #destroyLeft({ region }: RegionRecord): void {
    this.#erase(loadTombstone(this.#env.store, region.regionId)?.peerId ?? 0, region);
  }

  /** Opens a replica that another worker has put into the store, unless it is open or gone again. */
  openStoredRegion(regionId: number, options: { readonly isNewborn: boolean; readonly campaigns: boolean }): void {
    const record = this.#replicas.get(regionId) ? undefined : loadRegionRecord(this.#env.store, regionId);
    if (!record) return;
    this.openRegion(record, options);
    this.#peerFrames.deliverHeld(this.#replicas.get(regionId)!, this.#env.clock.nowMs());
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
    const replica = this.#replicas.remove(regionId);
    if (!replica) return undefined;
    this.#watch.neighbours.forget(regionId);
    this.#removed.delete(replica);
    this.#merges.forget(replica);
    this.#checks.forget(replica);
    this.#reports.forget(regionId);
    return replica;
  }

  // --- slots move between the workers of a node (slot-moves.ts) ----------------------------------------------------

  /** Whether another node has peers of regions that some worker here has. */
  noteNeighbour(nodeId: number, isNeighbour: boolean): void {
    this.#watch.noteNeighbour(nodeId, isNeighbour);
  }

  /** The nodes of the cluster, as placement has them: what others send is dropped. */
  noteMembers(nodeIds: readonly number[]): void {
    this.#directory.noteMembers(nodeIds);
  }

  /** Whether the slot of a region is this worker's. */
  isHome(regionId: number): boolean {
    return this.#slots.isHome(regionId);
  }

  /** Another worker has the slot now: what comes for it is forwarded there. */
  noteSlot(slot: number, worker: number): void {
    this.#slots.note(slot, worker);
  }

  /**
   * Between turns: closes all replicas of a slot, which is another worker's from now on. Undefined, and nothing is closed,
   * while the disk is full or one of them is being installed, merged or removed.
   */
  releaseSlot(slot: number, to: number): ReleasedRegion[] | undefined {
    const released = this.isStalled ? undefined : this.#slots.release(slot, to);
    if (released) this.#flushAnswers();
    return released;
  }

  /** Opens the replicas of a slot that another worker has closed; what that one led leads on. */
  takeSlot(slot: number, regions: readonly ReleasedRegion[]): void {
    this.#slots.take(slot, regions, this.#env.clock.nowMs());
  }

  /** What the slots did since this was last asked: the hottest, and all together. */
  takeWork(most: number): { readonly slots: SlotWork[]; readonly work: number } {
    return this.#slots.takeWork(most);
  }

  /** Told behind the write. */
  #noteChanged(regions: readonly Region[], absorbed: readonly number[] = []): void {
    for (const region of regions) {
      const replica = this.#replicas.get(region.regionId);
      if (!replica) continue;
      this.#watch.neighbours.note(region);
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
    const finishing = this.#merges.noteAbsorbed(regionId, successor);
    if (finishing) this.#replicas.lagging.delete(finishing);
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
    this.#mustDestroy ||= graceMs === 0;
  }

  /** Between turns: the data goes, and a tombstone stays. */
  #destroyRemoved(nowMs: number): void {
    this.#mustDestroy = false;
    for (const [replica, dueMs] of this.#removed) {
      if (nowMs < dueMs) continue;
      this.#destroy(replica);
    }
  }

  #destroy({ peerId, region }: Replica): void {
    this.closeRegion(region.regionId);
    this.#snapshots.forget(region.regionId);
    this.#erase(peerId, region);
  }

  #erase(peerId: number, region: Region): void {
    destroyReplica(this.#env.store, { peerId, region });
    this.#env.events.onRegionGone(region.regionId);
  }

  /** Between turns: a region that is part of another one now goes, and with it its data. */
  destroyRegion(regionId: number): void {
    const replica = this.#replicas.get(regionId);
    if (replica) return this.#destroy(replica);
    if (!this.#merges.isLeaving(regionId)) return;
    const finishing = this.#merges.drop(regionId);
    if (finishing) this.#replicas.lagging.delete(finishing);
    const region = loadRegionRecord(this.#env.store, regionId)?.region;
    const own = region?.peers.find((peer) => peer.nodeId === this.#config.nodeId);
    if (region && own) this.#erase(own.peerId, region);
  }

  /**
   * The replica here goes on alone, because the other voters are lost for good. Between turns.
   * @throws RegionNotFound, ChangeRefused (recoveredRecord), DiskFull, StorageFailure
   */
  unsafeRecover(regionId: number, lostNodes: readonly number[]): void {
    const replica = this.#replicas.get(regionId);
    if (!replica) throw this.#regionNotFound(regionId);
    if (this.isStalled) throw this.#diskFull();
    const silentNodes = this.#watch.lostNodes;
    const { isLeader, leaderNodeId, state } = replica;
    const view = { record: state.record, nodeId: this.#config.nodeId, isLeader, leaderNodeId, silentNodes };
    const record = recoveredRecord(view, lostNodes);
    const batch = this.#env.store.createBatch();
    putRegionRecord(batch, record);
    this.#turnEnd.writeDurable(batch, true);
    this.closeRegion(regionId);
    this.openRegion(record);
  }

  /** Changes a region that is led here; `done` as for Replica.change, and DiskFull. */
  changeRegion(regionId: number, epoch: Epoch, change: RegionChange, done: ChangeDone): void {
    // In the middle of a turn the logs are ahead of the store.
    if (this.isStalled) return done(this.#diskFull());
    const replica = this.#replicas.get(regionId);
    if (!replica) return done(this.#regionNotFound(regionId));
    replica.change(epoch, change, this.#env.clock.nowMs(), done);
    this.#replicas.noteWork(replica);
  }

  #regionNotFound(regionId: number): MraftError {
    const message = `node ${this.#config.nodeId} has no region ${regionId}`;
    return this.#merges.errorFor(regionId) ?? new RegionNotFound(message, { regionId });
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
    this.#requestFrames.refuse(frame, origin, new ServerBusy('this worker has too many requests waiting'));
    this.#flushAnswers();
  }

  /** How often that is to be. */
  get tickPeriodMs(): number {
    const { awake, lagging } = this.#replicas;
    const hasNone = awake.size === 0 && this.#removed.size === 0 && lagging.size === 0;
    if (!hasNone || this.#snapshots.hasWork || this.isStalled) return this.#config.tickMs;
    return Math.max(this.#config.tickMs, this.#watch.periodMs);
  }

  /** Marks that the replicas' clocks are to be looked at in the next turn. */
  requestTick(): void {
    this.#tickDue = true;
  }

  get hasWork(): boolean {
    const isAwaited = this.#tickDue || this.#inbox.length > 0 || this.#replicas.hasBusy || this.#turnEnd.hasWork;
    return isAwaited || this.#mustDestroy || this.#snapshots.hasWork || this.#merges.hasWork;
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
    if (this.isStalled) {
      this.#refuseWhileFull();
      this.#turnEnd.resume();
    }
    this.#takeFrames(nowMs);
    if (this.#removed.size > 0) this.#destroyRemoved(nowMs);
    if (this.#merges.hasWork) this.#merges.begin();
    if (this.#tickDue) this.#tick(nowMs);
    const busy = this.#replicas.takeBusy();
    const collected = busy.filter((replica) => replica.proposeAndCollect(nowMs));
    if (this.#outbox.send()) this.#env.transport.flush();
    this.#turnEnd.run(nowMs, busy, collected);
    if (this.#snapshots.afterTurn(nowMs)) this.#env.transport.flush();
    this.#stats.turnMs += this.#env.clock.nowMs() - nowMs;
  }

  /** Waiting for room on the disk. */
  get isStalled(): boolean {
    return this.#turnEnd.isStalled;
  }

  #flushAnswers(): void {
    if (this.#responder.send()) this.#env.transport.flush();
  }

  /** While there is no room, clients hear so at once; what peers send is lost, as it would be on a node that is down. */
  #refuseWhileFull(): void {
    const error = this.#diskFull();
    for (let inbound = this.#inbox.take(); inbound; inbound = this.#inbox.take()) {
      if (inbound.kind === 'client') this.#requestFrames.refuse(inbound.frame, inbound.origin, error);
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
      if (inbound.kind === 'peer') this.#peerFrames.receive(inbound.frame, inbound.fromNode, nowMs);
      else this.#requestFrames.receive(inbound.frame, inbound.origin);
    }
  }

  #tick(nowMs: number): void {
    this.#tickDue = false;
    this.#merges.tick(nowMs);
    this.#checks.tick(nowMs);
    this.#replicas.tick(nowMs);
    this.#watch.tick(nowMs);
    this.#snapshots.tick(nowMs, this.#outbox.stats.peerBytesSent);
  }

  /** A node is there; `isNews`: for the first time, after a restart, or with another number of workers. */
  #onHeard(nodeId: number, head: FrameHead, isNews: boolean, nowMs: number): void {
    if (isNews) {
      this.#env.events.onNode(nodeId, head.workers, head.bootEpoch);
      this.#snapshots.onNodeStarted(nodeId, nowMs);
    }
    this.#watch.heard(nodeId, head.unheard, nowMs);
  }

  /**
   * A message broke an invariant of the core: no honest peer sends such. The replica starts again from what it
   * persisted, as after a crash, and the others do not notice.
   */
  #reopen(replica: Replica, error: MraftError): void {
    this.#anomaly('step', error, replica.regionId);
    replica.abandon();
    this.#replicas.remove(replica.regionId);
    const record = loadRegionRecord(this.#env.store, replica.regionId) ?? replica.state.record;
    this.#replicas.add(new Replica(record, this.#replicaEnv, this.#replicaStats));
  }

  // --- leadership --------------------------------------------------------------------------------------------------

  /** Regions that are led here. */
  get leaderCount(): number {
    return this.#replicas.led.size;
  }

  /** Hands every leadership to the peer that is furthest along; call it again until `leaderCount` is 0 or time is up. */
  handOver(): void {
    this.#stats.transfers += this.#replicas.handOver(this.#env.clock.nowMs());
  }

  /** Hands one region over. False: it is not led here, or the target is no voter of it. */
  transferLeader(regionId: number, nodeId: number): boolean {
    const replica = this.#replicas.get(regionId);
    const started = replica !== undefined && this.#replicas.transfer(replica, nodeId, this.#env.clock.nowMs());
    if (started) this.#stats.transfers++;
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
    const replicas = all ? this.#replicas.values() : this.#replicas.awake;
    return this.#reports.take(replicas, all, bounds, this.#env.clock.nowMs());
  }

  /** Regions that are led here and whose size is not known, or not any more; at most so many. */
  unmeasuredRegions(most: number): Region[] {
    return this.#reports.unmeasured(this.#replicas, most);
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
      ...this.#snapshots.counts(),
      merging: this.#merges.preparing,
      responses: this.#responder.responsesSent,
      errorResponses: this.#responder.errorsSent,
      storeWrites: store.stats.writes,
      storeSyncs: store.stats.syncs,
      storeWrittenBytes: store.stats.writtenBytes,
      regions: this.#replicas.size,
      awake: this.#replicas.awake.size,
      wakeUps: this.#replicas.wakeUps,
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
