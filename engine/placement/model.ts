/**
 * The cluster as its heartbeats tell it: nodes, regions, and which region has what on which node. Indexes for each node are
 * kept with every report, so that a round looks at what may change and never at everything.
 */

import { MalformedRequest } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { LAST_SYSTEM_REGION_ID, type Region } from '../../rpc/wire/region.ts';
import { NodeTable, type PlacementNode } from './node-table.ts';
import { RangeIndex } from './range-index.ts';
import { NO_NODE, RegionTable } from './region-table.ts';
import type { PlacementSettings } from './settings.ts';
import type { RegionReport, RegionView, SplitWish } from './types.ts';

/** What following a write costs in proportion to leading it. */
export const FOLLOWER_SHARE = 0.5;
/** How much of a new measurement counts: rates of one report are noisy. */
const SMOOTHING = 0.5;

/** Why a region needs a look. */
export interface Attention {
  readonly sinceMs: number;
}

export class Model {
  readonly nodes: NodeTable;
  readonly regions = new RegionTable();
  private readonly ranges = new RangeIndex((slot) => this.regions.startKey[slot] as string);
  /** Regions whose peers are not as they should be: by id, in the order in which they will be looked at. */
  readonly attention = new Map<number, Attention>();
  /** Regions that want to be split, by id. */
  readonly wishes = new Map<number, SplitWish>();
  /** Regions whose descriptors are not those that were last kept; gone ones too. */
  readonly changed = new Set<number>();
  /** Peers that learn for good, because somebody asked for observers. */
  readonly observers = new Set<number>();
  settings: PlacementSettings;

  constructor(settings: PlacementSettings) {
    this.settings = settings;
    this.nodes = new NodeTable(settings.spreadBy);
  }

  // --- reports ---------------------------------------------------------------------------------------------------------

  /**
   * Takes a leader's report in. Returns the region's slot, or undefined when the report is older than what is known.
   * `removed` gets the ids of regions whose range the reported one has taken.
   * @throws MalformedRequest when it is no possible region
   */
  ingest(report: RegionReport, leader: PlacementNode, nowMs: number, removed: number[]): number | undefined {
    const { region } = report;
    checkReport(report, leader.nodeId);
    const known = this.regions.slotOf(region.regionId);
    if (known !== undefined && this.isStale(known, report)) return undefined;
    if (known !== undefined && this.isSameShape(known, report, leader)) {
      this.refresh(known, report, nowMs);
      return known;
    }
    // Of the same version it has the same range, which nobody else has taken.
    const hasMoved = known === undefined || this.regions.version[known] !== region.epoch.version;
    if (hasMoved && !this.makeRoom(known, region, removed)) return undefined;
    const slot = known ?? this.regions.add(region.regionId);
    if (known !== undefined) this.detach(known);
    this.write(slot, report, leader, nowMs, hasMoved);
    this.attach(slot);
    if (hasMoved) this.setRange(slot, region);
    this.note(slot, report, nowMs);
    return slot;
  }

  /**
   * Takes in a region as an earlier leader of placement knew it: who leads it is not known until it is reported. `removed` as
   * with `ingest`. Of records that overlap the later version stays, in whatever order they come.
   */
  restore(region: Region, nowMs: number, removed: number[]): void {
    const { regions } = this;
    const { version, confVersion } = region.epoch;
    if (!this.makeRoom(undefined, region, removed)) {
      this.changed.add(region.regionId);
      return;
    }
    const slot = regions.add(region.regionId);
    regions.version[slot] = version;
    regions.confVersion[slot] = confVersion;
    regions.term[slot] = 0;
    regions.changedMs[slot] = nowMs;
    regions.setPhase(slot, 'normal');
    this.placePeers(slot, region, nowMs);
    this.attach(slot);
    this.setRange(slot, region);
  }

  /** Takes the region's range from whoever had it. False: it belongs to a later region. */
  private makeRoom(known: number | undefined, region: Region, removed: number[]): boolean {
    if (region.regionId <= LAST_SYSTEM_REGION_ID) return true;
    const startKey = keyString(region.startKey);
    const endKey = keyString(region.endKey);
    if (this.isOvertaken(region, startKey, endKey)) return false;
    if (known !== undefined) this.ranges.remove(known);
    this.dropOverlapping(startKey, endKey, removed);
    return true;
  }

  private setRange(slot: number, region: Region): void {
    this.regions.startKey[slot] = keyString(region.startKey);
    this.regions.endKey[slot] = keyString(region.endKey);
    if (region.regionId > LAST_SYSTEM_REGION_ID) this.ranges.insert(slot);
  }

  private isStale(slot: number, { region, term }: RegionReport): boolean {
    const { version, confVersion } = region.epoch;
    const knownVersion = this.regions.version[slot] as number;
    const knownConf = this.regions.confVersion[slot] as number;
    return term < (this.regions.term[slot] as number) || version < knownVersion || confVersion < knownConf;
  }

  /** Whether a region of a later version holds a part of this range: then this one has been split or merged away. */
  private isOvertaken(region: Region, startKey: string, endKey: string): boolean {
    let overtaken = false;
    this.forEachOverlapping(startKey, endKey, (slot) => {
      if (this.regions.regionId[slot] === region.regionId) return;
      if ((this.regions.version[slot] as number) > region.epoch.version) overtaken = true;
    });
    return overtaken;
  }

  private dropOverlapping(startKey: string, endKey: string, removed: number[]): void {
    const overlapping: number[] = [];
    this.forEachOverlapping(startKey, endKey, (slot) => overlapping.push(slot));
    for (const slot of overlapping) {
      const other = this.regions.regionId[slot] as number;
      removed.push(other);
      this.changed.add(other);
      this.ranges.remove(slot);
      this.detach(slot);
      this.regions.delete(slot);
      this.attention.delete(other);
      this.wishes.delete(other);
    }
  }

  private forEachOverlapping(startKey: string, endKey: string, visit: (slot: number) => void): void {
    const { endKey: ends, startKey: starts } = this.regions;
    let slot = this.ranges.floor(startKey) ?? this.ranges.first();
    while (slot !== undefined) {
      const end = ends[slot] as string;
      if (endKey !== '' && (starts[slot] as string) >= endKey) return;
      if (end === '' || end > startKey) visit(slot);
      slot = this.ranges.after(slot);
    }
  }

  /** Same range, peers and leader: then only measurements change. */
  private isSameShape(slot: number, { region }: RegionReport, leader: PlacementNode): boolean {
    const { regions } = this;
    return (
      regions.leader[slot] === leader.slot &&
      regions.version[slot] === region.epoch.version &&
      regions.confVersion[slot] === region.epoch.confVersion
    );
  }

  private refresh(slot: number, report: RegionReport, nowMs: number): void {
    this.account(slot, -1);
    this.measure(slot, report, SMOOTHING);
    this.regions.term[slot] = report.term;
    this.regions.reportedMs[slot] = nowMs;
    this.regions.setPhase(slot, report.phase);
    this.regions.setPeerHealth(slot, report.pendingPeers, report.downPeers);
    this.account(slot, 1);
    this.note(slot, report, nowMs);
  }

  private write(slot: number, report: RegionReport, leader: PlacementNode, nowMs: number, hasMoved: boolean): void {
    const { regions } = this;
    const { region } = report;
    const { version, confVersion } = region.epoch;
    if (hasMoved || regions.confVersion[slot] !== confVersion) {
      regions.changedMs[slot] = nowMs;
      this.changed.add(region.regionId);
    }
    regions.version[slot] = version;
    regions.confVersion[slot] = confVersion;
    regions.term[slot] = report.term;
    regions.reportedMs[slot] = nowMs;
    regions.leader[slot] = leader.slot;
    regions.setPhase(slot, report.phase);
    this.placePeers(slot, region, nowMs);
    regions.setPeerHealth(slot, report.pendingPeers, report.downPeers);
    // What was measured before a split says nothing about the half.
    this.measure(slot, report, hasMoved ? 1 : SMOOTHING);
  }

  private placePeers(slot: number, { peers }: Region, nowMs: number): void {
    const nodeSlots = peers.map((peer) => this.nodes.ensure(peer.nodeId, nowMs).slot);
    this.regions.setPeers(slot, peers, nodeSlots);
  }

  private measure(slot: number, report: RegionReport, smoothing: number): void {
    const { regions } = this;
    regions.sizeBytes[slot] = report.sizeBytes;
    const smooth = (old: number, now: number): number => old + smoothing * (now - old);
    regions.reads[slot] =
      smoothing === 1 ? report.readsPerSecond : smooth(regions.reads[slot] ?? 0, report.readsPerSecond);
    regions.writes[slot] =
      smoothing === 1 ? report.writesPerSecond : smooth(regions.writes[slot] ?? 0, report.writesPerSecond);
  }

  // --- indexes ---------------------------------------------------------------------------------------------------------

  private attach(slot: number): void {
    const { regions } = this;
    for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
      regions.peerPosition[at] = this.nodes.at(regions.nodeOf(at)).replicas.push(slot);
    }
    const leader = regions.leader[slot] as number;
    if (leader !== NO_NODE) regions.leaderPosition[slot] = this.nodes.at(leader).leaders.push(slot);
    this.account(slot, 1);
  }

  private detach(slot: number): void {
    const { regions } = this;
    this.account(slot, -1);
    for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
      const node = this.nodes.at(regions.nodeOf(at));
      const position = regions.peerPosition[at] as number;
      const moved = node.replicas.removeAt(position);
      if (moved === undefined) continue;
      const movedPeer = regions.peerOnNode(moved, node.slot);
      if (movedPeer !== undefined) regions.peerPosition[movedPeer] = position;
    }
    const leader = regions.leader[slot] as number;
    if (leader === NO_NODE) return;
    const position = regions.leaderPosition[slot] as number;
    const moved = this.nodes.at(leader).leaders.removeAt(position);
    if (moved !== undefined) regions.leaderPosition[moved] = position;
    regions.leader[slot] = NO_NODE;
  }

  /** Adds the region to, or takes it from, what its nodes carry. */
  private account(slot: number, sign: 1 | -1): void {
    const { regions } = this;
    const leader = regions.leader[slot] as number;
    const size = regions.sizeBytes[slot] as number;
    for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
      const node = this.nodes.at(regions.nodeOf(at));
      node.sizeBytes += sign * size;
      node.load += sign * this.loadOf(slot, node.slot === leader);
    }
  }

  /** What the region costs a node that leads or follows it, in leading reads and writes a second. */
  loadOf(slot: number, leading: boolean): number {
    const writes = this.regions.writes[slot] as number;
    return leading ? (this.regions.reads[slot] as number) + writes : writes * FOLLOWER_SHARE;
  }

  /** Remembers what has to be looked at. */
  private note(slot: number, { splitWish, downPeers }: RegionReport, nowMs: number): void {
    const regionId = this.regions.regionId[slot] as number;
    if (downPeers.length > 0 || !this.isComplete(slot)) {
      if (!this.attention.has(regionId)) this.attention.set(regionId, { sinceMs: nowMs });
    } else this.attention.delete(regionId);
    if (splitWish && this.wishes.size < LIMITS.patrolledRegions) this.wishes.set(regionId, splitWish);
    else if (!splitWish) this.wishes.delete(regionId);
  }

  /** As many voters as there should be, and no learner but observers. */
  isComplete(slot: number): boolean {
    const { regions } = this;
    let voters = 0;
    for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
      if (regions.isVoter(at)) voters += 1;
      else if (!this.observers.has(regions.peerId[at] as number)) return false;
    }
    return voters === this.settings.replicas;
  }

  /** Regions of user keys that are known. */
  get userRegions(): number {
    return this.ranges.size;
  }

  // --- looking ---------------------------------------------------------------------------------------------------------

  /** Whether a leader has reported a region for every key. Looks at all regions. */
  isReported(): boolean {
    let expected = '';
    let slot = this.ranges.first();
    for (let last = false; !last; slot = this.ranges.after(slot)) {
      if (slot === undefined || this.regions.startKey[slot] !== expected) return false;
      if (!this.regions.isReported(slot)) return false;
      expected = this.regions.endKey[slot] as string;
      last = expected === '';
    }
    return true;
  }

  before(slot: number): number | undefined {
    const other = this.ranges.before(slot);
    return other !== undefined && this.regions.endKey[other] === this.regions.startKey[slot] ? other : undefined;
  }

  after(slot: number): number | undefined {
    const other = this.ranges.after(slot);
    return other !== undefined && this.regions.startKey[other] === this.regions.endKey[slot] ? other : undefined;
  }

  /** In the order of keys, from the region that holds `fromKey` on, or the first behind it. */
  regionsFrom(fromKey: Uint8Array, limit: number): readonly RegionView[] {
    const key = keyString(fromKey);
    const views: RegionView[] = [];
    let slot = this.ranges.floor(key) ?? this.ranges.first();
    while (slot !== undefined && views.length < limit) {
      const end = this.regions.endKey[slot] as string;
      if (end === '' || end > key) views.push(this.view(slot));
      slot = this.ranges.after(slot);
    }
    return views;
  }

  descriptor(slot: number): Region {
    return this.regions.descriptor(slot, (nodeSlot) => this.nodes.at(nodeSlot).nodeId);
  }

  view(slot: number): RegionView {
    const { regions } = this;
    const leader = regions.leader[slot] as number;
    const peersThat = (holds: (at: number) => boolean): number[] => {
      const peers: number[] = [];
      for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
        if (holds(at)) peers.push(regions.peerId[at] as number);
      }
      return peers;
    };
    return {
      region: this.descriptor(slot),
      term: regions.term[slot] as number,
      leaderNodeId: leader === NO_NODE ? 0 : this.nodes.at(leader).nodeId,
      sizeBytes: regions.sizeBytes[slot] as number,
      readsPerSecond: regions.reads[slot] as number,
      writesPerSecond: regions.writes[slot] as number,
      pendingPeers: peersThat((at) => regions.isPending(at)),
      downPeers: peersThat((at) => regions.isDown(at)),
      phase: regions.phaseOf(slot),
      reportedMs: regions.reportedMs[slot] as number,
    };
  }
}

export function keyString(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1');
}

function checkReport({ region, term, sizeBytes, readsPerSecond, writesPerSecond }: RegionReport, from: number): void {
  const refuse = (why: string): never => {
    throw new MalformedRequest(`node ${from} reports region ${region.regionId} wrongly: ${why}`, {
      regionId: region.regionId,
    });
  };
  const { peers, epoch } = region;
  if (!isId(region.regionId) || !isId(epoch.version) || !isId(epoch.confVersion) || !isCount(term)) {
    refuse('ids, epochs and terms are whole numbers');
  }
  if (peers.length === 0 || peers.length > LIMITS.peersPerRegion) refuse(`${peers.length} peers`);
  for (const [position, { peerId, nodeId }] of peers.entries()) {
    if (!isId(peerId) || !isId(nodeId)) refuse('ids of peers and nodes are positive whole numbers');
    for (let other = 0; other < position; other += 1) {
      if (peers[other]?.nodeId === nodeId) refuse(`two peers on node ${nodeId}`);
      if (peers[other]?.peerId === peerId) refuse(`peer ${peerId} twice`);
    }
  }
  if (!peers.some(({ nodeId, role }) => nodeId === from && role !== 'learner')) refuse('the sender has no vote in it');
  if (!isMeasure(sizeBytes) || !isMeasure(readsPerSecond) || !isMeasure(writesPerSecond)) {
    refuse('sizes and rates are numbers from 0');
  }
}

function isId(value: number): boolean {
  return Number.isSafeInteger(value) && value > 0;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function isMeasure(value: number): boolean {
  return Number.isFinite(value) && value >= 0;
}
