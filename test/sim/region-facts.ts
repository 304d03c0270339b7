/**
 * What is true of one region, wherever its replicas are: its entries, what of them is committed, who led which term, its
 * descriptors one after the other, and what its data is at each index.
 */

import type { RegionRecord } from '../../engine/store/region-records.ts';
import { isNewerEpoch, sameEpoch, type Epoch, type Peer, type Region } from '../../rpc/wire/region.ts';
import { isQuorum, quorumsMeet } from './configurations.ts';
import type { LogMark, ReplicaImage } from './replica-image.ts';

export type Report = (check: string, message: string) => void;

/** One entry of a log, anywhere: its bytes, and the term of the entry before it. */
interface KnownEntry {
  readonly bytes: Uint8Array;
  readonly previousTerm: number | undefined;
}

export interface CommittedEntry extends LogMark {
  /** The term of the peer that was first seen to know it as committed. */
  readonly knownInTerm: number;
}

/** A replica as its shard described it after its last turn. */
export interface SeenStatus {
  role: string;
  term: number;
  commit: number;
  applied: number;
  leaseUntilMs: number;
  phase: RegionRecord['phase'];
  region: Region;
  /** The descriptor when it last followed: by it, or by one since, it was elected. */
  followed: Epoch;
  /** The turn is not done: it waits for room on the disk, and answers nothing. */
  finished: boolean;
  opening: object;
}

export class RegionFacts {
  readonly regionId: number;
  /** The last entry that no log of it has: where its first replicas began. */
  readonly originIndex: number;
  readonly leaders = new Map<number, number>();
  /** By applied index: the hash of the data there. */
  readonly dataHashes = new Map<number, number>();
  /** By node. */
  readonly images = new Map<number, ReplicaImage>();
  readonly seen = new Map<number, SeenStatus>();
  /** Replicas that were destroyed, by peer. */
  readonly buried = new Map<number, ReplicaImage>();
  /** What a peer had promised before its node forgot, by peer; it counts as long as that node does not speak again. */
  readonly promised = new Map<number, ReplicaImage>();
  /** It was merged into another one. */
  isOver = false;
  /** The highest index that anybody knows as committed. */
  committedTo: number;
  readonly #entries = new Map<number, KnownEntry>();
  readonly #committed = new Map<number, CommittedEntry>();
  /** By applied index: the record there, as text. */
  readonly #records = new Map<number, string>();
  /** In the order of their epochs. */
  readonly #descriptors: Region[];
  #newestPhase: RegionRecord['phase'] = 'normal';
  readonly #report: Report;

  constructor(region: Region, originIndex: number, report: Report) {
    this.regionId = region.regionId;
    this.originIndex = originIndex;
    this.committedTo = originIndex;
    this.#descriptors = [region];
    this.#report = report;
  }

  /** The newest descriptor that any replica has applied. */
  get newest(): Region {
    return this.#descriptors.at(-1)!;
  }

  /** The last peer that a node had up to an epoch, also if it was removed then; 0: it never had one. */
  lastPeerOn(nodeId: number, until: Epoch): number {
    const isThere = (peer: Peer): boolean => peer.nodeId === nodeId;
    const last = this.#descriptors.findLast(
      (region) => !isNewerEpoch(region.epoch, until) && region.peers.some(isThere),
    );
    return last?.peers.find(isThere)?.peerId ?? 0;
  }

  hadPeer(peerId: number): boolean {
    return this.#descriptors.some((region) => region.peers.some((peer) => peer.peerId === peerId));
  }

  // --- descriptors ---------------------------------------------------------------------------------------------------

  /** Another region has taken its range over: only who stopped for it can be taken over, and nobody goes on behind it. */
  endBy(where: string): void {
    if (!this.isOver && this.#newestPhase !== 'merging') {
      this.#report('only who prepared is merged', `${where}: ${describeRegion(this.newest)} is ${this.#newestPhase}`);
    }
    this.isOver = true;
  }

  /** A replica has applied up to a record. */
  learn({ region, phase }: RegionRecord, where: string): void {
    const at = this.#descriptors.findIndex((known) => !isNewerEpoch(region.epoch, known.epoch));
    const known = this.#descriptors[at];
    if (known && sameEpoch(known.epoch, region.epoch)) {
      if (describeRegion(known) !== describeRegion(region)) {
        this.#report(
          'one descriptor an epoch',
          `${where}: ${describeRegion(region)} here, ${describeRegion(known)} elsewhere`,
        );
      }
      return;
    }
    if (at !== -1) {
      this.#report('one descriptor an epoch', `${where}: ${describeRegion(region)} was passed over elsewhere`);
      return;
    }
    const before = this.newest;
    if (region.epoch.version < before.epoch.version || region.epoch.confVersion < before.epoch.confVersion) {
      this.#report('epoch is monotonic', `${where}: ${describeRegion(before)} became ${describeRegion(region)}`);
    }
    if (!quorumsMeet(before, region)) {
      this.#report(
        'quorums of consecutive configurations meet',
        `${where}: ${describeRegion(before)} became ${describeRegion(region)}`,
      );
    }
    if (this.isOver) this.#report('a region that was merged goes on', `${where}: ${describeRegion(region)}`);
    this.#descriptors.push(region);
    this.#newestPhase = phase;
  }

  /** Every replica has the same record at the same index. */
  checkRecord(image: ReplicaImage): void {
    const known = this.#records.get(image.applied);
    let text = recordTexts.get(image.record);
    if (text === undefined) recordTexts.set(image.record, (text = describeRecord(image.record)));
    if (known === undefined) this.#records.set(image.applied, text);
    else if (known !== text) {
      this.#report(
        'same descriptor at each index',
        `${image.where}: ${text} at ${image.applied}, elsewhere it is ${known}`,
      );
    }
  }

  /** Descriptors that were in force between two epochs, both included; `to` undefined: up to the newest. */
  *#between(from: Epoch, to: Epoch | undefined): Generator<Region> {
    for (const region of this.#descriptors) {
      if (isNewerEpoch(from, region.epoch) || (to && isNewerEpoch(region.epoch, to))) continue;
      yield region;
    }
  }

  // --- data ----------------------------------------------------------------------------------------------------------

  checkData(image: ReplicaImage): void {
    if (image.aheadAt.has(image.applied)) return;
    const known = this.dataHashes.get(image.applied);
    if (known === undefined) this.dataHashes.set(image.applied, image.dataHash);
    else if (known !== image.dataHash) {
      this.#report(
        'same data at each index',
        `${image.where}: the data at ${image.applied} differs from another replica's`,
      );
    }
  }

  // --- entries -------------------------------------------------------------------------------------------------------

  /** Log matching, by induction: an index and a term stand for one entry, behind one predecessor. */
  onEntry(image: ReplicaImage, index: number, mark: LogMark): void {
    const previousTerm = image.log.termAt(index - 1);
    const key = index * 65_536 + mark.term;
    const known = this.#entries.get(key);
    const where = `${image.where}, entry ${index} of term ${mark.term}`;
    if (!known) {
      this.#entries.set(key, { bytes: mark.bytes, previousTerm });
    } else if (Buffer.compare(known.bytes, mark.bytes) !== 0) {
      this.#report('log matching', `${where} differs from another log's`);
    } else if (previousTerm !== undefined && known.previousTerm !== undefined && known.previousTerm !== previousTerm) {
      this.#report('log matching', `${where} follows ${previousTerm} here, ${known.previousTerm} elsewhere`);
    }
  }

  committedAt(index: number): CommittedEntry | undefined {
    return this.#committed.get(index);
  }

  /** Some peer takes an entry of its log for committed. */
  noteCommitted(image: ReplicaImage, index: number, knownInTerm: number, isLeader: boolean): void {
    const mark = image.log.at(index);
    const where = `${image.where}, entry ${index}`;
    if (!mark) {
      if (index >= image.log.first) this.#report('committed entries are in the log', where);
      return;
    }
    const committed = this.#committed.get(index);
    if (committed) {
      if (isSame(committed, mark)) return;
      const terms = `committed as term ${mark.term} here, as ${committed.term} elsewhere`;
      this.#report('state machine safety', `${where}: ${terms}`);
      return;
    }
    // Whoever leads has counted by a configuration that it had applied; who only heard of it knows less than its leader.
    const until = isLeader ? image.record.region.epoch : undefined;
    if (!this.#isAgreed(image.since, until, (peerId) => this.#holds(peerId, index, mark))) {
      const holders = [...this.images.values(), ...this.buried.values()]
        .filter((other) => this.#holds(other.peerId, index, mark))
        .map((other) => other.peerId);
      this.#report(
        'committed entries are durable on a majority',
        `${where} of term ${mark.term} is durable on [${holders.join(' ')}] in ${describeRegion(this.newest)}`,
      );
    }
    this.#committed.set(index, { ...mark, knownInTerm });
    this.committedTo = Math.max(this.committedTo, index);
  }

  /** Whether those peers are a quorum of some configuration of that time. */
  #isAgreed(since: Epoch, until: Epoch | undefined, agrees: (peerId: number) => boolean): boolean {
    for (const region of this.#between(since, until)) if (isQuorum(region, agrees)) return true;
    return false;
  }

  /** A peer as it is and as it was, where it is gone or has forgotten. */
  *#imagesOf(peerId: number): Generator<ReplicaImage> {
    for (const image of this.images.values()) if (image.peerId === peerId) yield image;
    for (const gone of [this.buried.get(peerId), this.promised.get(peerId)]) if (gone) yield gone;
  }

  #holds(peerId: number, index: number, mark: LogMark): boolean {
    for (const { durableLog } of this.#imagesOf(peerId)) {
      if (index < durableLog.first) return true;
      const own = durableLog.at(index);
      if (own && isSame(own, mark)) return true;
    }
    return false;
  }

  // --- leaders -------------------------------------------------------------------------------------------------------

  onLeader(image: ReplicaImage, term: number, since: Epoch): void {
    const { peerId } = image;
    const leader = this.leaders.get(term);
    if (leader !== undefined && leader !== peerId) {
      this.#report('election safety', `region ${this.regionId}: peers ${leader} and ${peerId} both lead term ${term}`);
    }
    this.leaders.set(term, peerId);
    const voted = (voter: number): boolean => {
      for (const { durableHardState: state } of this.#imagesOf(voter)) {
        if (state.term > term || (state.term === term && state.vote === peerId)) return true;
      }
      return false;
    };
    if (!this.#isAgreed(since, undefined, voted)) {
      this.#report(
        'leaders are elected by a majority',
        `${image.where}: peer ${peerId} leads term ${term} of ${describeRegion(image.record.region)}`,
      );
    }
    this.#checkComplete(image, term);
  }

  /** Logs match, so the last entry that was committed before this term stands for all before it. */
  #checkComplete({ log, nodeId }: ReplicaImage, term: number): void {
    for (let index = this.committedTo; index > this.originIndex; index--) {
      const committed = this.#committed.get(index);
      if (!committed || committed.knownInTerm > term) continue;
      if (index < log.first) return;
      const own = log.at(index);
      if (!own || !isSame(own, committed)) {
        this.#report(
          'leader completeness',
          `region ${this.regionId}: the leader of term ${term} on node ${nodeId} lacks entry ${index}`,
        );
      }
      return;
    }
  }
}

/** Records are long and are looked at with each applied index. */
const recordTexts = new WeakMap<RegionRecord, string>();

export function isSame(a: LogMark, b: LogMark): boolean {
  return a.term === b.term && (a.bytes === b.bytes || Buffer.compare(a.bytes, b.bytes) === 0);
}

export function describeRegion({ regionId, epoch, startKey, endKey, peers }: Region): string {
  const who = peers.map(({ peerId, nodeId, role }) => `${peerId}@${nodeId}${role === 'voter' ? '' : `:${role}`}`);
  const range = `${String(startKey)}..${String(endKey)}`;
  return `r${regionId} ${epoch.version}.${epoch.confVersion} [${range}) ${who.join(' ')}`;
}

function describeRecord({ region, phase, merge, absorbed }: RegionRecord): string {
  const into = merge ? ` into ${describeRegion(merge.target)} from ${merge.minIndex} at ${merge.index}` : '';
  const ate = absorbed.map(({ regionId, version }) => `${regionId}@${version}`).join(' ');
  return `${describeRegion(region)} ${phase}${into}${ate ? ` absorbed ${ate}` : ''}`;
}
