/**
 * Placement: where replicas and leaders are, and where they should be. It runs on the node that leads region 1 and is pure:
 * the host brings heartbeats, time and randomness, keeps what must last, and carries the orders.
 *
 * The host's loop:
 *
 *     const placement = new Placement({ durable: records of region 1, random, nowMs });   // on becoming leader
 *     placement.nodeHeartbeat(…), placement.regionReports(…)                              // as they come
 *     placement.schedule(nowMs)                                                           // every second or so
 *     const orders = placement.takeOrders(nowMs);                                         // after each of these
 *     const writes = placement.takeWrites();
 *     await write them to region 1; only then send the orders and the answers.            // **
 *
 * ** An id or a decision that left the node before it lasted could be given twice. When the write fails, or the node leads
 * no more, the host drops this object with its orders, and the next leader builds its own from region 1 and the heartbeats.
 */

import { ChangeRefused, InvalidArgument, RegionNotFound } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { decodeDescriptor, takeDescriptors } from './descriptors.ts';
import { DurableWrites, RECORDS, parseRecord } from './durable.ts';
import { IdAllocator } from './id-allocator.ts';
import { proposalOf } from './manual.ts';
import { Model } from './model.ts';
import type { PlacementNode } from './node-table.ts';
import { decodeOperator, encodeOperator, type OperatorRecord } from './operator.ts';
import { OperatorLog, placeOf } from './operator-log.ts';
import { Operators } from './operators.ts';
import { Round } from './round.ts';
import { Roster, isReported, type NodeRecord } from './roster.ts';
import { countHotRounds } from './schedulers/hot-region.ts';
import { SCHEDULER_TABLE } from './schedulers/index.ts';
import { DEFAULT_SETTINGS, changeSettings, describeChange, type PlacementSettings } from './settings.ts';
import {
  OPERATOR_ENDS,
  OPERATOR_KINDS,
  SCHEDULERS,
  type DurableWrite,
  type HeartbeatAnswer,
  type JoinRequest,
  type NodeHeartbeat,
  type NodeView,
  type OperatorLogEntry,
  type OperatorRequest,
  type OperatorView,
  type PlacementCounts,
  type Order,
  type RegionReports,
  type RegionView,
  type RoundReport,
  type SchedulerName,
  type SchedulerView,
} from './types.ts';

/** A new leader of placement waits no longer than this for reports before it decides with what it knows. */
const WARM_UP_MS = 30_000;
/** A pause without end; JSON has no infinity. */
const FOREVER_MS = Number.MAX_SAFE_INTEGER;

export interface PlacementOptions {
  /** What an earlier leader gave to be kept (`takeWrites`), in any order; empty for a new cluster. */
  readonly durable: Iterable<readonly [key: string, value: string]>;
  /** Records of regions that an earlier leader gave (`takeDescriptors`), in any order. */
  readonly descriptors?: Iterable<string>;
  /** From [0, 1). */
  readonly random: () => number;
  readonly nowMs: number;
  /** Of a new cluster: ids of regions and peers up to this one are in use. Ids that reports show are avoided in any case. */
  readonly lastUsedId?: number;
  /** Of a new cluster: the regions of user keys that it begins with, and is not merged below. */
  readonly initialRegions?: number;
}

export class Placement {
  private readonly model: Model;
  private readonly roster: Roster;
  private readonly running: Operators;
  private readonly ids: IdAllocator;
  private readonly history = new OperatorLog();
  private readonly writes = new DurableWrites();
  private readonly pausedUntilMs = new Map<SchedulerName, number>();
  private readonly random: () => number;
  private readonly beganMs: number;
  private ready = false;
  /** Slot at which the next round goes on looking regions over. */
  private patrolAt = 0;
  /** Time of the call that is on: what is logged happens now. */
  private nowMs: number;

  /** @throws StorageFailure when a durable record cannot be read */
  constructor({ durable, descriptors = [], random, nowMs, lastUsedId = 0, initialRegions = 1 }: PlacementOptions) {
    this.random = random;
    this.nowMs = nowMs;
    this.beganMs = nowMs;
    const records = new Map(durable);
    const settings = read<PlacementSettings>(records, RECORDS.settings);
    this.model = new Model({ ...DEFAULT_SETTINGS, ...settings });
    this.ids = new IdAllocator(read<number>(records, RECORDS.ids) ?? lastUsedId);
    this.roster = new Roster(this.model, (record) => this.writes.put(RECORDS.node + record.nodeId, () => record));
    this.running = new Operators(this.model, {
      newId: () => this.newId(),
      observe: (peerId) => this.observe(peerId),
      log: (entry) => this.record(entry),
      keep: (operatorId, record) => this.keepOperator(operatorId, record),
    });
    this.restore(records, descriptors);
    if (records.size === 0 && initialRegions > 1) this.changeSettings({ minimumRegions: initialRegions }, nowMs);
  }

  private restore(records: ReadonlyMap<string, string>, descriptors: Iterable<string>): void {
    for (const [name, until] of Object.entries(read<Record<string, number>>(records, RECORDS.schedulers) ?? {})) {
      this.pausedUntilMs.set(name as SchedulerName, until);
    }
    for (const [key, value] of records) {
      if (key.startsWith(RECORDS.node)) this.roster.restore(parseRecord<NodeRecord>(key, value), this.nowMs);
      else if (key.startsWith(RECORDS.log)) this.history.restore(parseRecord<OperatorLogEntry>(key, value));
      else if (key.startsWith(RECORDS.observer)) this.model.observers.add(Number(key.slice(RECORDS.observer.length)));
    }
    for (const text of descriptors) {
      const region = decodeDescriptor(text);
      this.observeIds(region);
      this.model.restore(region, this.nowMs, []);
    }
    for (const [key, value] of records) {
      if (!key.startsWith(RECORDS.operator)) continue;
      parseRecord(key, value);
      this.running.resume(decodeOperator(value), this.nowMs);
    }
  }

  // --- nodes -----------------------------------------------------------------------------------------------------------

  /**
   * Takes a node in, or greets it again.
   * @throws NodeIdInUse when the id belongs to another data directory, or to a node that has left
   * @throws InvalidArgument
   */
  join(request: JoinRequest, nowMs: number): NodeView {
    this.nowMs = nowMs;
    const isNew = this.roster.join(request, nowMs);
    if (isNew) this.logNode(request.nodeId, 'joined');
    return this.node(request.nodeId);
  }

  /** @throws NodeNotFound when it never joined, NodeIdInUse when the id is another's or was removed, InvalidArgument */
  nodeHeartbeat(heartbeat: NodeHeartbeat, nowMs: number): HeartbeatAnswer {
    this.nowMs = nowMs;
    return this.roster.heartbeat(heartbeat, nowMs);
  }

  /**
   * Takes in what a node says of the regions it leads. Reports that are older than what is known are ignored, one by one.
   * @throws NodeNotFound, NodeIdInUse; MalformedRequest for an impossible report, those before it have been taken in
   */
  regionReports({ nodeId, incarnation, regions }: RegionReports, nowMs: number): void {
    this.nowMs = nowMs;
    const node = this.roster.check(nodeId, incarnation);
    const gone: number[] = [];
    for (const report of regions) {
      const slot = this.model.ingest(report, node, nowMs, gone);
      if (slot === undefined) continue;
      this.observeIds(report.region);
      while (gone.length > 0) this.running.onGone(gone.pop() as number, nowMs);
      this.running.onReport(report.region.regionId, nowMs);
    }
  }

  /**
   * Moves its leaders, then its replicas away; with `leave` the node is removed once it is empty.
   * @throws NodeNotFound; ChangeRefused when too few nodes would be left for the replicas
   */
  drainNode(nodeId: number, { leave }: { readonly leave: boolean }, nowMs: number): void {
    this.nowMs = nowMs;
    this.roster.drain(nodeId, leave, nowMs);
    this.logNode(nodeId, leave ? 'draining, to leave' : 'draining');
  }

  /** Ends the draining. @throws NodeNotFound, ChangeRefused when it is not draining */
  undrainNode(nodeId: number, nowMs: number): void {
    this.nowMs = nowMs;
    this.roster.undrain(nodeId, nowMs);
    this.logNode(nodeId, 'no longer draining');
  }

  /** Its id is never used again. @throws NodeNotFound; ChangeRefused while it has replicas, or is alive and not drained */
  removeNode(nodeId: number, nowMs: number): void {
    this.nowMs = nowMs;
    this.roster.remove(nodeId, nowMs);
    this.logNode(nodeId, 'removed');
  }

  /** Those that belong to the cluster, and those that have left it. */
  nodes(): readonly NodeView[] {
    return this.model.nodes.all.filter((node) => node.joined).map((node) => node.view());
  }

  /** @throws NodeNotFound */
  node(nodeId: number): NodeView {
    return this.model.nodes.get(nodeId).view();
  }

  // --- regions ---------------------------------------------------------------------------------------------------------

  /** How many placement knows. */
  get regionCount(): number {
    return this.model.regions.count;
  }

  /** User regions in the order of their keys, from the one that holds `fromKey` on. */
  regions(fromKey: Uint8Array, limit: number): readonly RegionView[] {
    return this.model.regionsFrom(fromKey, limit);
  }

  /** @throws RegionNotFound */
  region(regionId: number): RegionView {
    const slot = this.model.regions.slotOf(regionId);
    if (slot === undefined) throw new RegionNotFound(`placement knows no region ${regionId}`, { regionId });
    return this.model.view(slot);
  }

  // --- work ------------------------------------------------------------------------------------------------------------

  /** One round: states of nodes, time-outs of operators, schedulers. */
  schedule(nowMs: number): RoundReport {
    this.nowMs = nowMs;
    for (const node of this.model.nodes.refreshStates(this.model.settings, nowMs))
      this.logNode(node.nodeId, node.state);
    for (const node of this.roster.removeEmptied(nowMs)) this.logNode(node.nodeId, 'empty, and removed');
    this.running.sweep(nowMs);
    this.ready ||= this.isReady(nowMs);
    const started = this.ready ? this.runSchedulers(nowMs) : 0;
    return { ready: this.ready, started, ended: this.running.takeEnded(), running: this.running.size };
  }

  private runSchedulers(nowMs: number): number {
    const round = new Round(this.model, this.running, this.patrol(), nowMs, this.random);
    countHotRounds(round.up, this.model.settings);
    let started = 0;
    for (const name of SCHEDULERS) {
      if (this.isPaused(name, nowMs)) continue;
      for (const proposal of SCHEDULER_TABLE[name](round)) {
        this.running.start(proposal, nowMs);
        started += 1;
        if (started === LIMITS.placementStartsPerRound) return started;
      }
    }
    return started;
  }

  /**
   * Whether the cluster is known well enough: all nodes that are alive have been heard of and have reported what they
   * lead. Decisions about what is known only in part would move what need not move.
   */
  private isReady(nowMs: number): boolean {
    if (nowMs - this.beganMs > WARM_UP_MS) return true;
    const isKnown = (node: PlacementNode): boolean =>
      !node.joined || node.membership === 'removed' || (node.heard ? isReported(node) : node.state !== 'up');
    return this.model.nodes.all.every(isKnown);
  }

  /** The regions whose turn it is; those that are not as they should be are noted for repair. */
  private patrol(): readonly number[] {
    const { regions, attention } = this.model;
    const { slotEnd } = regions;
    const turn: number[] = [];
    for (let step = 0; step < Math.min(slotEnd, LIMITS.patrolledRegions); step += 1) {
      if (this.patrolAt >= slotEnd) this.patrolAt = 0;
      const slot = this.patrolAt++;
      if (!regions.isTaken(slot)) continue;
      turn.push(slot);
      const regionId = regions.regionId[slot] as number;
      if (!this.model.isComplete(slot) && !attention.has(regionId)) attention.set(regionId, { sinceMs: this.nowMs });
    }
    return turn;
  }

  /** Orders that are due: first ones, next steps after the reports that came, and repetitions. Cheap when nothing is. */
  takeOrders(nowMs: number): readonly Order[] {
    this.nowMs = nowMs;
    return this.running.takeOrders();
  }

  /** Records to be kept before any order or answer that was made before leaves the node. */
  takeWrites(): readonly DurableWrite[] {
    return this.writes.take();
  }

  /**
   * Records of regions whose descriptors changed, at most so many; null where there is none any more. Nothing waits for them,
   * but those of one call are to be written before those of the next.
   */
  takeDescriptors(limit: number): readonly DurableWrite[] {
    return takeDescriptors(this.model, limit);
  }

  /** A leader could not do the step; a permanent refusal ends the operator, another is tried again. */
  orderRefused(
    refusal: {
      readonly operatorId: number;
      readonly regionId: number;
      readonly code: string;
      readonly message: string;
      readonly retryable: boolean;
    },
    nowMs: number,
  ): void {
    this.nowMs = nowMs;
    const { operatorId, regionId, code, message, retryable } = refusal;
    if (this.running.find(operatorId)?.record.regionId !== regionId) return;
    this.running.refused(operatorId, `${code}: ${message}`, retryable, nowMs);
  }

  // --- by hand ---------------------------------------------------------------------------------------------------------

  /**
   * Begins what somebody asks for, also while schedulers are paused and beyond the limits.
   * @throws RegionNotFound, NodeNotFound, InvalidArgument; RegionChanging while another operator runs there;
   *   ChangeRefused: the last voter, a node that has a peer already or takes none, no neighbours, a key on a boundary or outside
   */
  addOperator(request: OperatorRequest, nowMs: number): OperatorView {
    this.nowMs = nowMs;
    return this.running.start(proposalOf(this.model, this.running, request), nowMs).view();
  }

  /** What is done stays done. @throws ChangeRefused when no such operator runs, or it can no longer be stopped (a merge) */
  cancelOperator(operatorId: number, nowMs: number): void {
    this.nowMs = nowMs;
    this.running.cancel(operatorId, nowMs);
  }

  /** Those that run. */
  operators(): readonly OperatorView[] {
    return this.running.list().map((operator) => operator.view());
  }

  /** One that runs, or how it ended. @throws ChangeRefused when neither is known */
  operator(operatorId: number): { readonly view?: OperatorView; readonly end?: OperatorLogEntry } {
    const running = this.running.find(operatorId);
    if (running) return { view: running.view() };
    const end = this.history.endOf(operatorId);
    if (end) return { end };
    throw new ChangeRefused(`no operator ${operatorId} runs, and the log does not say how one ended`);
  }

  /** Numbers for whoever watches: of operators by kind, and of regions. */
  counts(): PlacementCounts {
    const { limits, endings } = this.running;
    const running = OPERATOR_KINDS.map((kind) => ({ kind, count: limits.runningOf(kind) }));
    const ended = OPERATOR_KINDS.flatMap((kind) =>
      OPERATOR_ENDS.map((outcome) => ({ kind, outcome, count: endings.get(`${kind} ${outcome}`) ?? 0 })),
    );
    return { running, ended, regions: this.regionCount };
  }

  /** Oldest first, the first `limit` of those behind `afterSequence`; the log keeps the latest `LIMITS.operatorLogEntries`. */
  log(afterSequence = 0, limit: number = LIMITS.operatorLogEntries): readonly OperatorLogEntry[] {
    return this.history.after(afterSequence, limit);
  }

  /** Oldest first, the latest `count`. */
  lastLog(count: number): readonly OperatorLogEntry[] {
    return this.history.last(count);
  }

  schedulers(): readonly SchedulerView[] {
    return SCHEDULERS.map((name) => {
      const untilMs = this.pausedUntilMs.get(name) ?? 0;
      return { name, pausedUntilMs: untilMs > this.nowMs ? untilMs : 0 };
    });
  }

  /** For so long; Infinity: until it is resumed. @throws InvalidArgument for an unknown name or no duration */
  pauseScheduler(name: string, durationMs: number, nowMs: number): void {
    this.nowMs = nowMs;
    const known = checkScheduler(name);
    if (!(durationMs > 0)) throw new InvalidArgument('durationMs must be positive', { field: 'durationMs' });
    this.pausedUntilMs.set(known, Math.min(nowMs + durationMs, FOREVER_MS));
    this.keepSchedulers();
    const length = durationMs === Number.POSITIVE_INFINITY ? 'until it is resumed' : `for ${durationMs} ms`;
    this.record({ event: 'scheduler', text: `${known}: paused ${length}` });
  }

  /** @throws InvalidArgument for an unknown name */
  resumeScheduler(name: string, nowMs: number): void {
    this.nowMs = nowMs;
    const known = checkScheduler(name);
    if (!this.pausedUntilMs.delete(known)) return;
    this.keepSchedulers();
    this.record({ event: 'scheduler', text: `${known}: resumed` });
  }

  settings(): PlacementSettings {
    return this.model.settings;
  }

  /** @throws InvalidArgument naming the field; nothing is changed then */
  changeSettings(patch: Readonly<Record<string, unknown>>, nowMs: number): PlacementSettings {
    this.nowMs = nowMs;
    const before = this.model.settings;
    const settings = changeSettings(before, patch);
    this.model.settings = settings;
    this.model.nodes.setSpreadBy(settings.spreadBy);
    this.writes.put(RECORDS.settings, () => settings);
    this.record({ event: 'settings', text: describeChange(before, patch) });
    return settings;
  }

  // --- what lasts ------------------------------------------------------------------------------------------------------

  private newId(): number {
    const bound = this.ids.durableBound;
    const id = this.ids.allocate();
    if (this.ids.durableBound !== bound) this.keepIds();
    return id;
  }

  /** Ids that are in use, whoever gave them. */
  private observeIds({ regionId, peers }: Region): void {
    let moved = this.ids.observe(regionId);
    for (const { peerId } of peers) moved = this.ids.observe(peerId) || moved;
    if (moved) this.keepIds();
  }

  private keepIds(): void {
    this.writes.put(RECORDS.ids, () => this.ids.durableBound);
  }

  private keepOperator(operatorId: number, record: OperatorRecord | null): void {
    const key = RECORDS.operator + operatorId;
    if (record) this.writes.putText(key, () => encodeOperator(record));
    else this.writes.forget(key);
  }

  private keepSchedulers(): void {
    this.writes.put(RECORDS.schedulers, () => Object.fromEntries(this.pausedUntilMs));
  }

  private observe(peerId: number): void {
    this.model.observers.add(peerId);
    this.writes.put(RECORDS.observer + peerId, () => peerId);
  }

  private isPaused(name: SchedulerName, nowMs: number): boolean {
    return (this.pausedUntilMs.get(name) ?? 0) > nowMs;
  }

  private logNode(nodeId: number, what: string): void {
    this.record({ event: 'node', nodeId, text: `node ${nodeId}: ${what}` });
  }

  private record(entry: Omit<OperatorLogEntry, 'sequence' | 'atMs'>): void {
    const added = this.history.add({ atMs: this.nowMs, ...entry });
    this.writes.put(RECORDS.log + placeOf(added.sequence), () => added);
  }
}

function read<T>(records: ReadonlyMap<string, string>, key: string): T | undefined {
  const value = records.get(key);
  return value === undefined ? undefined : parseRecord<T>(key, value);
}

function checkScheduler(name: string): SchedulerName {
  const known = SCHEDULERS.find((scheduler) => scheduler === name);
  if (known) return known;
  throw new InvalidArgument(`there is no scheduler '${name}'; there are ${SCHEDULERS.join(', ')}`, { field: 'name' });
}
