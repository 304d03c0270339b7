/**
 * Checked at each step: the safety properties of Raft (thesis figure 3.2) and of the layers around it, from three
 * sources: every write of every disk, every frame that leaves a node, and each replica's status after each turn.
 * All checks are incremental: what a step did is held against what is known, never everything against everything.
 */

import { decode, mraft } from '../../rpc/wire/codec.ts';
import { sameEpoch, type Epoch, type Region } from '../../rpc/wire/region.ts';
import type { ReplicaStatus } from '../../engine/region/replica.ts';
import { decodeTerm } from '../../engine/store/entry-codec.ts';
import { logIndexOf, readU64, META_KIND } from '../../engine/store/keys.ts';
import type { Column } from '../../engine/store/port.ts';
import type { MemoryStore } from '../../engine/store/memory-store.ts';
import { describeVoters } from './configurations.ts';
import type { Mutation } from './disk.ts';
import { checkElectedUnderLease, checkOneLease, checkRangesOfLeases, type LocalClock } from './leases.ts';
import { findGap, NodeImage } from './node-image.ts';
import { checkPromises } from './promises.ts';
import { RegionFacts, type Report, type SeenStatus } from './region-facts.ts';
import type { ReplicaImage } from './replica-image.ts';
import { WriteCheck, type Cluster } from './write-check.ts';

export interface SafetyOptions {
  readonly regions: readonly Region[];
  readonly nodeIds: readonly number[];
  readonly checkLeases: boolean;
  readonly report: Report;
  readonly localMs: LocalClock;
}

export class Safety implements Cluster {
  readonly #options: SafetyOptions;
  readonly regions = new Map<number, RegionFacts>();
  readonly #nodes = new Map<number, NodeImage>();
  readonly report: Report;
  readonly #writes: WriteCheck;
  /** Some range has passed from one region to another. */
  rangesMoved = false;
  /** Entries that another took the place of. */
  overwrites = 0;

  constructor(options: SafetyOptions) {
    this.#options = options;
    this.report = options.report;
    for (const region of options.regions) {
      const facts = new RegionFacts(region, 0, this.report);
      facts.dataHashes.set(0, 0);
      this.regions.set(region.regionId, facts);
    }
    for (const nodeId of options.nodeIds) this.#nodes.set(nodeId, new NodeImage(nodeId));
    this.#writes = new WriteCheck(this);
  }

  // --- what others ask -----------------------------------------------------------------------------------------------

  /** Hash of a region's data on a node, and how far it is applied. */
  stateOf(regionId: number, nodeId: number): ReplicaImage | undefined {
    return this.regions.get(regionId)?.images.get(nodeId);
  }

  /** The highest index that anybody knows as committed. */
  committedIndex(regionId: number): number {
    return this.regions.get(regionId)?.committedTo ?? 0;
  }

  get committedCount(): number {
    let count = 0;
    for (const facts of this.regions.values()) count += facts.committedTo - facts.originIndex;
    return count;
  }

  /** The newest descriptors of the regions that exist. */
  newestRegions(): Region[] {
    return [...this.regions.values()].filter((facts) => !facts.isOver).map((facts) => facts.newest);
  }

  /** Every replica that a node's store has. */
  replicasOn(nodeId: number): Iterable<ReplicaImage> {
    return this.#nodes.get(nodeId)!.replicas.values();
  }

  // --- writes of disks -----------------------------------------------------------------------------------------------

  onWrite(nodeId: number, mutations: readonly Mutation[], synced: boolean): void {
    const node = this.#nodes.get(nodeId)!;
    this.#writes.onBatch(node, mutations, synced);
  }

  onDeleteRange(nodeId: number, column: Column, start: Uint8Array, end: Uint8Array | undefined): void {
    const node = this.#nodes.get(nodeId)!;
    if (column === 'log') this.#onLogRange(node, start, end);
    else if (column === 'meta') node.deleteRange('s', start, end);
    else if (column === 'data') this.#onDataRange(node, start, end);
  }

  #onLogRange(node: NodeImage, start: Uint8Array, end: Uint8Array | undefined): void {
    const image = node.replicas.get(readU64(start, 0));
    if (!image || image.isInstalling) return;
    const to = end && readU64(end, 0) === image.regionId ? logIndexOf(end) - 1 : image.log.last;
    if (to >= image.log.first && logIndexOf(start) <= image.log.last) {
      this.report('committed entry lost', `${image.where}: the log is removed from ${logIndexOf(start)} to ${to}`);
    }
  }

  #onDataRange(node: NodeImage, start: Uint8Array, end: Uint8Array | undefined): void {
    const own = node.ownerOf(start);
    own?.aheadAt.add(own.applied);
    const owners = node.deleteRange('d', start, end);
    if (owners.size > 1) {
      const whose = [...owners].map((image) => image.regionId).join(' ');
      this.report('a range delete stays in its region', `node ${node.nodeId} deleted keys of regions ${whose} at once`);
    }
  }

  /** The node lost what it had promised, and must not come back as if it had not. */
  onLoss(nodeId: number): void {
    // Tombstones too: that it starts all the same is what is reported then.
    this.#nodes.get(nodeId)!.buriedForGood.clear();
    for (const image of this.replicasOn(nodeId)) this.regions.get(image.regionId)!.promised.set(image.peerId, image);
  }

  /** The node crashed: what its disk has now must fit what is known elsewhere. */
  onCrash(nodeId: number, store: MemoryStore): void {
    this.reload(nodeId, store);
    for (const image of this.replicasOn(nodeId)) this.#checkRecovered(image);
  }

  /** What a disk has now is all that is known there. */
  reload(nodeId: number, store: MemoryStore): void {
    const node = this.#nodes.get(nodeId)!;
    const aheadAt = new Map<number, ReadonlySet<number>>();
    for (const image of node.replicas.values()) aheadAt.set(image.peerId, image.aheadAt);
    node.forget();
    for (const facts of this.regions.values()) {
      facts.images.delete(nodeId);
      facts.seen.delete(nodeId);
    }
    const scan = (column: Column): readonly { readonly key: Uint8Array; readonly value: Uint8Array }[] =>
      store.scan(column, { limit: 1_000_000, maxBytes: 1e9 }).entries;
    const meta = scan('meta');
    for (const { key, value } of meta) this.#reloadReplica(node, key, value);
    for (const { key, value } of meta) {
      if (key[0] !== META_KIND.tombstone) continue;
      const { peerId } = decode(mraft.Tombstone, value);
      if (node.replicas.get(readU64(key, 1))?.peerId !== peerId) node.buried.add(peerId);
    }
    for (const { key, value } of meta) this.#reloadState(node, key, value);
    for (const { key, value } of scan('log')) this.#reloadEntry(node, key, value);
    for (const { key, value } of scan('data')) node.putData(key, value);
    for (const image of node.replicas.values()) {
      if (aheadAt.get(image.peerId)?.has(image.applied)) image.aheadAt.add(image.applied);
    }
  }

  #reloadReplica(node: NodeImage, key: Uint8Array, value: Uint8Array): void {
    if (key[0] !== META_KIND.regionState) return;
    const image = this.#writes.imageOfRecord(node, readU64(key, 1), value);
    if (!image) return;
    if (node.buriedForGood.has(image.peerId)) {
      this.report('no revived tombstone', `${image.where}: peer ${image.peerId} is back after a crash`);
    }
    image.replaced = undefined;
  }

  #reloadState(node: NodeImage, key: Uint8Array, value: Uint8Array): void {
    const image = key.length >= 9 ? node.replicas.get(readU64(key, 1)) : undefined;
    if (!image) return;
    if (key[0] === META_KIND.session) node.putSession(key, value);
    if (key[0] === META_KIND.appliedState && !image.isInstalling)
      image.applied = decode(mraft.AppliedState, value).index;
    if (key[0] === META_KIND.hardState) {
      image.hardState = decode(mraft.HardState, value);
      image.durableHardState = image.hardState;
    }
    if (key[0] !== META_KIND.truncatedState || image.isInstalling) return;
    const { index, term } = decode(mraft.AppliedState, value);
    image.log.truncate(index, term);
    image.durableLog.truncate(index, term);
  }

  #reloadEntry(node: NodeImage, key: Uint8Array, value: Uint8Array): void {
    const image = node.replicas.get(readU64(key, 0));
    const index = logIndexOf(key);
    // Below its truncated state, and of regions that are gone, lies rubbish.
    if (!image || image.isInstalling || index < image.log.first) return;
    const mark = { term: decodeTerm(index, value), bytes: value };
    for (const log of [image.log, image.durableLog]) {
      if (!log.put(index, mark)) this.report('log has no holes', `${image.where}, entry ${index}, after a crash`);
    }
    this.regions.get(image.regionId)!.onEntry(image, index, mark);
  }

  /** Applied index and data were written in one batch, so they are never apart, whatever the crash kept. */
  #checkRecovered(image: ReplicaImage): void {
    if (image.isInstalling) return;
    const facts = this.regions.get(image.regionId)!;
    const known = facts.dataHashes.get(image.applied);
    const where = `${image.where} after a crash`;
    if (known !== undefined && known !== image.dataHash && !image.aheadAt.has(image.applied)) {
      this.report('applied index is atomic with data', `${where}: the data is not that of index ${image.applied}`);
    }
    facts.checkRecord(image);
    if (image.applied > image.log.last) {
      const text = `${where}: applied ${image.applied}, log ends at ${image.log.last}`;
      this.report('applied entries are durable here', text);
    }
    if (image.applied < image.log.first - 1) {
      const text = `${where}: applied ${image.applied}, log begins at ${image.log.first}`;
      this.report('the log is not cut beyond what is applied', text);
    }
  }

  /** Behind every write that moved a range: nobody has the same key twice, and no key has nobody. */
  onRangesMoved(node: NodeImage): void {
    this.rangesMoved = true;
    const overlap = node.findOverlap();
    if (overlap) {
      const [a, b] = overlap;
      this.report('ranges of a node do not overlap', `${a.where} and region ${b.regionId}`);
    }
    this.checkTiling(this.newestRegions());
  }

  checkTiling(regions: readonly Region[]): void {
    const gap = findGap(regions);
    if (gap) this.report('regions tile the key space', gap);
  }

  // --- status after each turn ----------------------------------------------------------------------------------------

  /** A worker's replicas after a turn: those that it had open before and has no more say nothing any longer. */
  onOpen(nodeId: number, opening: object, statuses: readonly ReplicaStatus[]): void {
    for (const facts of this.regions.values()) {
      if (facts.seen.get(nodeId)?.opening !== opening) continue;
      if (!statuses.some((status) => status.region.regionId === facts.regionId)) facts.seen.delete(nodeId);
    }
  }

  /**
   * What a replica says of itself after a turn; `opening` changes when it is opened anew. A turn that is not `finished`
   * waits for room on its disk: what it holds and what it has written are apart. True: the replica has begun to campaign.
   */
  onStatus(nodeId: number, status: ReplicaStatus, opening: object, finished: boolean): boolean {
    const { raft, region } = status;
    const facts = this.regions.get(region.regionId);
    const image = facts?.images.get(nodeId);
    if (!facts || !image || image.peerId !== raft.peerId || image.isInstalling) {
      const what = `node ${nodeId} runs peer ${raft.peerId} of region ${region.regionId}`;
      this.report('open replicas are in the store', `${what}, its store has ${image?.peerId ?? 'none'}`);
      return false;
    }
    let seen = facts.seen.get(nodeId);
    if (!seen || seen.opening !== opening) {
      seen = newlyOpened(image, opening);
      facts.seen.set(nodeId, seen);
    }
    if (raft.term < seen.term) this.report('term is monotonic', `${image.where}: ${seen.term} became ${raft.term}`);
    if (finished) this.#checkProgress(facts, seen, image, status);
    if (finished) image.since = region.epoch;
    // The only voter of a region leads at once, but has not written its vote before the turn is done.
    const isPending = raft.role === 'leader' && !finished;
    if (raft.role === 'leader' && finished && (seen.role !== 'leader' || seen.term !== raft.term)) {
      this.#onLeader(facts, image, raft.term, seen.followed);
    }
    if (raft.role === 'follower') seen.followed = region.epoch;
    const campaigns = seen.role === 'follower' && raft.role === 'preCandidate';
    if (!isPending) seen.role = raft.role;
    seen.term = raft.term;
    seen.leaseUntilMs = raft.leaseUntilMs;
    seen.region = region;
    seen.finished = finished;
    seen.phase = status.phase;
    if (this.#options.checkLeases && raft.leaseUntilMs > -Infinity) this.#checkLeases(facts, seen, nodeId);
    return campaigns;
  }

  #checkProgress(facts: RegionFacts, seen: SeenStatus, image: ReplicaImage, { raft, region }: ReplicaStatus): void {
    const { commit, applied } = raft;
    const { where } = image;
    if (commit < seen.commit) this.report('commit is monotonic', `${where}: ${seen.commit} became ${commit}`);
    if (applied < seen.applied) this.report('applied is monotonic', `${where}: ${seen.applied} became ${applied}`);
    if (applied > commit) this.report('applied is committed', `${where}: ${applied} of ${commit}`);
    const leads = raft.role === 'leader';
    const known = facts.committedTo;
    const from = Math.max(seen.commit, image.log.first - 1);
    for (let index = from + 1; index <= commit; index++) facts.noteCommitted(image, index, raft.term, leads);
    // Whoever is the first to know has counted, and may count entries of its own term alone (thesis 3.6.2).
    const last = commit > known ? image.log.at(commit) : undefined;
    if (last && leads && last.term !== raft.term) {
      const text = `${where}: entry ${commit} of term ${last.term} in term ${raft.term}`;
      this.report('a leader commits by its own term', text);
    }
    if (region !== seen.region || applied !== seen.applied) this.#checkMembership(image, raft.membership, region);
    seen.commit = commit;
    seen.applied = applied;
  }

  /** A configuration takes effect when it is applied, neither before nor later, and so does a descriptor. */
  #checkMembership(image: ReplicaImage, membership: ReplicaStatus['raft']['membership'], region: Region): void {
    const halves =
      membership.votersOutgoing.length > 0 ? [membership.voters, membership.votersOutgoing] : [membership.voters];
    const core = halves.map((half) => [...half].sort((a, b) => a - b).join(',')).join(' & ');
    if (core !== describeVoters(region)) {
      const text = `${image.where}: the core counts by ${core}, the descriptor says ${describeVoters(region)}`;
      this.report('a configuration takes effect when it is applied', text);
    }
    if (!sameEpoch(region.epoch, image.record.region.epoch)) {
      const { version, confVersion } = image.record.region.epoch;
      const text = `${image.where}: at ${region.epoch.version}.${region.epoch.confVersion}, written ${version}.${confVersion}`;
      this.report('a descriptor is written when it is applied', text);
    }
  }

  #onLeader(facts: RegionFacts, image: ReplicaImage, term: number, since: Epoch): void {
    facts.onLeader(image, term, since);
    if (!this.#options.checkLeases) return;
    checkElectedUnderLease(facts, image.nodeId, term, this.#options.localMs, this.report);
  }

  #checkLeases(facts: RegionFacts, seen: SeenStatus, nodeId: number): void {
    const { localMs } = this.#options;
    checkOneLease(facts, localMs, this.report);
    if (this.rangesMoved) checkRangesOfLeases(facts, seen, nodeId, this.regions.values(), localMs, this.report);
  }

  // --- frames that leave ---------------------------------------------------------------------------------------------

  onPeerFrame(nodeId: number, bytes: Uint8Array): void {
    checkPromises(nodeId, bytes, (regionId) => this.stateOf(regionId, nodeId), this.report);
  }
}

function newlyOpened(image: ReplicaImage, opening: object): SeenStatus {
  return {
    role: 'follower',
    term: image.durableHardState.term,
    commit: 0,
    applied: 0,
    leaseUntilMs: -Infinity,
    phase: image.record.phase,
    region: image.record.region,
    followed: image.record.region.epoch,
    finished: true,
    opening,
  };
}
