/** What one write to a node's store means, and what it must hold to: the half of the safety checks that looks at disks. */

import { decode, mraft } from '../../rpc/wire/codec.ts';
import { isNewerEpoch, sameEpoch } from '../../rpc/wire/region.ts';
import { decodeTerm } from '../../engine/store/entry-codec.ts';
import { logIndexOf, readU64, META_KIND } from '../../engine/store/keys.ts';
import { fromWireRecord, type RegionRecord } from '../../engine/store/region-records.ts';
import type { Mutation } from './disk.ts';
import { latin1, type NodeImage } from './node-image.ts';
import { describeRegion, isSame, RegionFacts, type Report } from './region-facts.ts';
import { ReplicaImage } from './replica-image.ts';

/** What is known beyond the node that writes. */
export interface Cluster {
  readonly regions: Map<number, RegionFacts>;
  readonly report: Report;
  overwrites: number;
  /** A range has passed from one replica of the node to another, come or gone. */
  onRangesMoved(node: NodeImage): void;
}

/** What a batch has done so far. */
interface Batch {
  readonly node: NodeImage;
  readonly mutations: readonly Mutation[];
  /** By replica: how far it was applied before, and the term of the last entry that it has applied now. */
  readonly applied: Map<ReplicaImage, { readonly from: number; term: number }>;
  /** Replicas that came into being, or got a snapshot. */
  readonly placed: Set<ReplicaImage>;
  readonly destroyed: ReplicaImage[];
  readonly tombstones: Set<number>;
  rangesMoved: boolean;
}

/** Where a value that is written once may have been applied. */
interface AppliedRange {
  readonly regionId: number;
  from: number;
  to: number;
}

export class WriteCheck {
  readonly #cluster: Cluster;
  readonly #appliedValues = new Map<string, AppliedRange>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  #report(check: string, message: string): void {
    this.#cluster.report(check, message);
  }

  onBatch(node: NodeImage, mutations: readonly Mutation[], synced: boolean): void {
    const batch: Batch = {
      node,
      mutations,
      applied: new Map(),
      placed: new Set(),
      destroyed: [],
      tombstones: new Set(),
      rangesMoved: false,
    };
    const ownersBefore = mutations.map(({ column, key }) => (column === 'data' ? node.ownerOf(key) : undefined));
    // Whose the other writes of the batch are is known when its replicas are.
    for (const mutation of mutations) if (mutation.column === 'meta') this.#onReplica(batch, mutation);
    for (const mutation of mutations) if (mutation.column === 'meta') this.#onState(batch, mutation);
    for (const { column, key, value } of mutations) {
      if (column === 'log') this.#onEntry(batch, key, value);
      else if (column === 'data') node.putData(key, value);
    }
    for (const { column, key } of mutations) if (column === 'log') this.#checkTail(node, readU64(key, 0));
    for (const mutation of mutations) {
      if (mutation.column === 'log' || mutation.column === 'meta') node.pending.push(mutation);
    }
    if (synced) this.#settlePending(node);
    if (batch.rangesMoved) {
      node.addUp();
      this.#checkDestroyed(batch);
      this.#cluster.onRangesMoved(node);
    }
    for (const image of batch.applied.keys()) this.#onApplied(batch, image);
    this.#checkData(batch, ownersBefore);
  }

  // --- replicas come, change and go ----------------------------------------------------------------------------------

  #onReplica(batch: Batch, { key, value }: Mutation): void {
    const { node } = batch;
    if (key[0] === META_KIND.tombstone && value) {
      batch.tombstones.add(readU64(key, 1));
      return;
    }
    if (key[0] !== META_KIND.regionState) return;
    const regionId = readU64(key, 1);
    const before = node.replicas.get(regionId);
    if (value === undefined) {
      if (before) this.#bury(batch, before);
      return;
    }
    const record = before?.record;
    if (!this.#cluster.regions.has(regionId)) this.#begin(batch, regionId, value);
    const image = this.imageOfRecord(node, regionId, value);
    if (!image) return;
    if (image !== before) this.#onNewReplica(batch, image, before);
    else this.#onRecord(batch, image, record!);
  }

  /** A region that nobody knew: the new half of a split. */
  #begin(batch: Batch, regionId: number, value: Uint8Array): void {
    const { region } = fromWireRecord(decode(mraft.RegionRecord, value));
    let originIndex = 0;
    for (const { column, key, value: state } of batch.mutations) {
      if (column !== 'meta' || key[0] !== META_KIND.appliedState || !state || readU64(key, 1) !== regionId) continue;
      originIndex = decode(mraft.AppliedState, state).index;
    }
    this.#cluster.regions.set(regionId, new RegionFacts(region, originIndex, this.#cluster.report));
  }

  /** The replica that a record is of, with this record; undefined: of a region that nobody knows. */
  imageOfRecord(node: NodeImage, regionId: number, value: Uint8Array): ReplicaImage | undefined {
    const facts = this.#cluster.regions.get(regionId);
    if (!facts) return undefined;
    const record = fromWireRecord(decode(mraft.RegionRecord, value));
    const before = node.replicas.get(regionId);
    const own = record.region.peers.find((peer) => peer.nodeId === node.nodeId)?.peerId;
    if (before && (own === undefined || own === before.peerId)) {
      if (record.phase === 'applying' && !before.isInstalling) before.beginInstall();
      before.record = record;
      return before;
    }
    const image = new ReplicaImage(node.nodeId, own ?? facts.lastPeerOn(node.nodeId, record.region.epoch), record);
    if (before) {
      // By a snapshot for a newer peer: what the older one has promised is kept.
      image.hardState = before.hardState;
      image.durableHardState = before.durableHardState;
      facts.buried.set(before.peerId, before);
      node.buried.add(before.peerId);
    }
    node.replicas.set(regionId, image);
    facts.images.set(node.nodeId, image);
    facts.buried.delete(image.peerId);
    return image;
  }

  #onNewReplica(batch: Batch, image: ReplicaImage, before: ReplicaImage | undefined): void {
    const { node } = batch;
    batch.placed.add(image);
    batch.rangesMoved = true;
    this.#cluster.regions.get(image.regionId)!.seen.delete(node.nodeId);
    if (before && !(image.isInstalling && before.peerId < image.peerId)) {
      const who = `${image.where}: peer ${image.peerId} takes the place of ${before.peerId}`;
      this.#report('a replica is destroyed before another one comes', who);
    }
    if (node.buried.has(image.peerId)) {
      this.#report('no revived tombstone', `${image.where}: peer ${image.peerId} was removed and is back`);
    }
    if (!image.isInstalling) this.#learn(image);
  }

  #onRecord(batch: Batch, image: ReplicaImage, before: RegionRecord): void {
    const { region, phase } = image.record;
    const facts = this.#cluster.regions.get(image.regionId)!;
    if (describeRange(region) !== describeRange(before.region) || phase !== before.phase) batch.rangesMoved = true;
    if (before.phase === 'applying' && phase !== 'applying') batch.placed.add(image);
    if (phase === 'applying') {
      facts.seen.delete(image.nodeId);
      return;
    }
    const from = before.region.epoch;
    const grows = region.epoch.version >= from.version && region.epoch.confVersion >= from.confVersion;
    if (!grows && isNewerEpoch(from, region.epoch)) {
      this.#report(
        'epoch is monotonic',
        `${image.where}: ${describeRegion(before.region)} → ${describeRegion(region)}`,
      );
    }
    if (!sameEpoch(from, region.epoch) || batch.placed.has(image)) this.#learn(image);
    if (!batch.applied.has(image)) batch.applied.set(image, { from: image.applied, term: 0 });
  }

  #learn(image: ReplicaImage): void {
    const { regions } = this.#cluster;
    regions.get(image.regionId)!.learn(image.record, image.where);
    for (const { regionId } of image.record.absorbed) {
      regions.get(regionId)?.endBy(image.where);
    }
  }

  #bury(batch: Batch, image: ReplicaImage): void {
    const { node } = batch;
    const facts = this.#cluster.regions.get(image.regionId)!;
    facts.images.delete(node.nodeId);
    facts.seen.delete(node.nodeId);
    facts.buried.set(image.peerId, image);
    node.replicas.delete(image.regionId);
    node.buried.add(image.peerId);
    batch.destroyed.push(image);
    batch.rangesMoved = true;
  }

  #checkDestroyed({ destroyed, tombstones }: Batch): void {
    for (const image of destroyed) {
      const facts = this.#cluster.regions.get(image.regionId)!;
      const isMember = facts.newest.peers.some((peer) => peer.peerId === image.peerId);
      if (isMember && !facts.isOver) {
        const text = `${image.where}: peer ${image.peerId} of ${describeRegion(facts.newest)}`;
        this.#report('only who was removed is destroyed', text);
      }
      if (!tombstones.has(image.regionId)) this.#report('who is destroyed leaves a tombstone', image.where);
    }
  }

  // --- small records -------------------------------------------------------------------------------------------------

  #onState(batch: Batch, { key, value }: Mutation): void {
    if (key.length < 9) return;
    if (key[0] === META_KIND.session) return batch.node.putSession(key, value);
    const image = batch.node.replicas.get(readU64(key, 1));
    if (!image || !value) return;
    if (key[0] === META_KIND.hardState) this.#onHardState(image, value);
    if (key[0] === META_KIND.appliedState) this.#onAppliedState(batch, image, value);
    if (key[0] === META_KIND.truncatedState) {
      const { index, term } = decode(mraft.AppliedState, value);
      image.log.truncate(index, term);
      // Looked at with what is applied behind the whole batch.
      if (!batch.applied.has(image)) batch.applied.set(image, { from: image.applied, term: 0 });
    }
  }

  #onHardState(image: ReplicaImage, value: Uint8Array): void {
    const { term, vote } = decode(mraft.HardState, value);
    const { term: oldTerm, vote: oldVote } = image.hardState;
    if (term < oldTerm) this.#report('term is monotonic', `${image.where}: ${oldTerm} became ${term} on disk`);
    if (term === oldTerm && oldVote !== 0 && vote !== oldVote) {
      const text = `${image.where}: the vote of term ${term} for ${oldVote} became one for ${vote}`;
      this.#report('one vote a term', text);
    }
    image.hardState = { term, vote };
  }

  #onAppliedState(batch: Batch, image: ReplicaImage, value: Uint8Array): void {
    const { index, term } = decode(mraft.AppliedState, value);
    if (index < image.applied) this.#report('applied is monotonic', `${image.where}: ${image.applied} became ${index}`);
    const known = batch.applied.get(image);
    if (known) known.term = term;
    else batch.applied.set(image, { from: image.applied, term });
    image.applied = index;
  }

  // --- logs ----------------------------------------------------------------------------------------------------------

  #onEntry({ node }: Batch, key: Uint8Array, value: Uint8Array | undefined): void {
    const image = node.replicas.get(readU64(key, 0));
    const index = logIndexOf(key);
    if (!image || image.isInstalling || index < image.log.first) return;
    const facts = this.#cluster.regions.get(image.regionId)!;
    const where = `${image.where}, entry ${index}`;
    const committed = facts.committedAt(index);
    const before = image.log.at(index);
    const term = value && decodeTerm(index, value);
    if (committed && before && isSame(before, committed) && (term !== committed.term || !value)) {
      this.#report('committed entry lost', `${where}: ${value ? `overwritten by term ${term}` : 'removed'}`);
    }
    if (before && before.term !== term) this.#cluster.overwrites++;
    if (value === undefined || term === undefined) return image.log.delete(index);
    if (!image.log.put(index, { term, bytes: value })) {
      this.#report('log has no holes', `${where}: the log is [${image.log.first}, ${image.log.last}]`);
    }
    facts.onEntry(image, index, { term, bytes: value });
  }

  /** What another leader's entries overwrote goes with them in one write: it must not come back after a crash. */
  #checkTail(node: NodeImage, regionId: number): void {
    const image = node.replicas.get(regionId);
    if (!image || image.log.leftBehind.size === 0) return;
    const left = [...image.log.leftBehind].join(' ');
    this.#report('no overwritten tail stays', `${image.where}: entries ${left} behind ${image.log.last}`);
  }

  #settlePending(node: NodeImage): void {
    for (const { column, key, value } of node.pending) {
      const isLog = column === 'log';
      if (!isLog && key.length < 9) continue;
      const image = node.replicas.get(readU64(key, isLog ? 0 : 1));
      if (isLog) {
        if (!image || image.isInstalling) continue;
        const index = logIndexOf(key);
        if (value) image.durableLog.put(index, { term: decodeTerm(index, value), bytes: value });
        else image.durableLog.delete(index);
      } else if (value && key[0] === META_KIND.tombstone) {
        // It is put when the peer is removed, and again when the rest goes.
        const { peerId } = decode(mraft.Tombstone, value);
        if (image?.peerId !== peerId) node.buriedForGood.add(peerId);
      } else if (value && image && key[0] === META_KIND.hardState) {
        image.durableHardState = decode(mraft.HardState, value);
      } else if (value && image && key[0] === META_KIND.truncatedState && !image.isInstalling) {
        const { index, term } = decode(mraft.AppliedState, value);
        image.durableLog.truncate(index, term);
      }
    }
    node.pending = [];
  }

  // --- what was applied ----------------------------------------------------------------------------------------------

  /** A batch moved a replica's applied index: what it applied is what everyone applies there. */
  #onApplied(batch: Batch, image: ReplicaImage): void {
    if (image.isInstalling || !batch.node.replicas.has(image.regionId)) return;
    const facts = this.#cluster.regions.get(image.regionId)!;
    const { from, term } = batch.applied.get(image)!;
    const isPlaced = batch.placed.has(image);
    if (isPlaced) this.#checkPlaced(facts, image);
    if (image.log.first - 1 > image.applied) {
      const text = `${image.where}: cut behind ${image.log.first - 1}, applied ${image.applied}`;
      this.#report('the log is not cut beyond what is applied', text);
    }
    if (image.applied > from) {
      const termThere = image.log.termAt(image.applied);
      if (termThere !== term && image.applied >= image.log.first - 1) {
        this.#report('applied names its entry', `${image.where}: ${image.applied} of term ${term} is not in the log`);
      }
      for (let index = from + 1; index <= image.applied && !isPlaced; index++) {
        if (index >= image.durableLog.first && image.durableLog.at(index) === undefined) {
          this.#report('applied entries are durable here', `${image.where}: entry ${index}`);
        }
        facts.noteCommitted(image, index, image.hardState.term, false);
      }
    }
    facts.checkData(image);
    facts.checkRecord(image);
  }

  /** A snapshot, or the new half of a split, stands for entries that are committed and that this log lacks. */
  #checkPlaced(facts: RegionFacts, image: ReplicaImage): void {
    const { applied, replaced } = image;
    if (applied > facts.committedTo) {
      this.#report('a snapshot is of what is committed', `${image.where}: ${applied} of ${facts.committedTo}`);
    }
    // A range delete that is ahead of its index at the sender is so here, until it is done again.
    for (const other of facts.images.values()) if (other.aheadAt.has(applied)) image.aheadAt.add(applied);
    image.replaced = undefined;
    if (!replaced) return;
    if (applied < replaced.applied) {
      this.#report('applied is monotonic', `${image.where}: ${replaced.applied} became ${applied} by a snapshot`);
    }
    const own = replaced.log.at(applied);
    const committed = facts.committedAt(applied);
    if (own && committed && isSame(own, committed) && replaced.log.last > applied) {
      const text = `${image.where}: at ${applied} over a log that goes on to ${replaced.log.last}`;
      this.#report('a snapshot takes no entries away', text);
    }
  }

  /** Data is written with the index that it is of, and every call's value at one index of one region. */
  #checkData({ node, mutations, applied, placed }: Batch, ownersBefore: readonly (ReplicaImage | undefined)[]): void {
    for (const [i, { column, key, value }] of mutations.entries()) {
      if (column !== 'data') continue;
      const before = ownersBefore[i];
      const after = node.ownerOf(key);
      if (after?.isInstalling || (after && placed.has(after) && after === before)) continue;
      const owner = [before, after].find((image) => image && applied.has(image) && !placed.has(image));
      if (!owner) {
        const whose = before || after ? 'whose index did not move' : 'that it does not have';
        this.#report('data lies in a region', `node ${node.nodeId} wrote a key of a region ${whose}`);
      } else if (value) {
        this.#checkAppliedOnce(latin1(value), owner, applied.get(owner)!.from + 1);
      }
    }
  }

  /** Every value is written by one call, so it is applied at one index, however often the call was sent. */
  #checkAppliedOnce(value: string, { regionId, applied: to, where }: ReplicaImage, from: number): void {
    const known = this.#appliedValues.get(value);
    if (!known) {
      this.#appliedValues.set(value, { regionId, from, to });
    } else if (known.regionId !== regionId || from > known.to || to < known.from) {
      const elsewhere = `in [${known.from}, ${known.to}] of region ${known.regionId}`;
      this.#report('applied once', `${where}: ${value} is applied in [${from}, ${to}] and ${elsewhere}`);
    } else {
      known.from = Math.max(known.from, from);
      known.to = Math.min(known.to, to);
    }
  }
}

function describeRange({ startKey, endKey }: RegionRecord['region']): string {
  return `${latin1(startKey)} ${latin1(endKey)}`;
}
