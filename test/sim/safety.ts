/**
 * Checked at each step: the safety properties of Raft (thesis figure 3.2) and of the layers around it, from three
 * sources: every write of every disk, every frame that leaves a node, and each replica's status after each turn.
 * All checks are incremental: what a step did is held against what is known, never everything against everything.
 */

import { decode, mraft } from '../../rpc/wire/codec.ts';
import { containsKey, type Region } from '../../rpc/wire/region.ts';
import type { ReplicaStatus } from '../../engine/region/replica.ts';
import type { RaftStatus } from '../../engine/raft/index.ts';
import { decodeTerm } from '../../engine/store/entry-codec.ts';
import { logIndexOf, readU64, META_KIND } from '../../engine/store/keys.ts';
import type { Column } from '../../engine/store/port.ts';
import type { MemoryStore } from '../../engine/store/memory-store.ts';
import type { Mutation } from './disk.ts';
import { hashBytes } from './random.ts';
import { checkPromises } from './promises.ts';
import { ReplicaImage, type LogMark } from './replica-image.ts';

/** One entry of a log, anywhere: its bytes, and the term of the entry before it. */
interface KnownEntry {
  readonly bytes: Uint8Array;
  readonly previousTerm: number;
}

interface CommittedEntry extends LogMark {
  /** The term of the peer that was first seen to know it as committed. */
  readonly knownInTerm: number;
}

interface SeenStatus {
  role: string;
  term: number;
  commit: number;
  applied: number;
  leaseUntilMs: number;
  readonly opening: object;
}

interface RegionFacts {
  readonly region: Region;
  readonly majority: number;
  /** By index and term. */
  readonly entries: Map<number, KnownEntry>;
  /** By index, from 1. */
  readonly committed: CommittedEntry[];
  /** By term: the peer that leads it. */
  readonly leaders: Map<number, number>;
  /** By applied index: the hash of the data there. */
  readonly dataHashes: Map<number, number>;
  readonly images: Map<number, ReplicaImage>;
  /** What a node had promised before it forgot; it counts as long as that node does not speak again. */
  readonly promised: Map<number, ReplicaImage>;
  readonly seen: Map<number, SeenStatus>;
}

interface NodeFacts {
  readonly nodeId: number;
  /** Writes that no sync has covered yet. */
  pending: Mutation[];
  /** Hash of each key's current value, data and sessions. */
  readonly values: Map<string, number>;
}

/** Indexes in which a value that is written once may have been applied. */
interface AppliedRange {
  from: number;
  to: number;
}

export interface SafetyOptions {
  readonly regions: readonly Region[];
  readonly nodeIds: readonly number[];
  readonly checkLeases: boolean;
  readonly report: (check: string, message: string) => void;
  /** A node's clock at this moment of true time; undefined while it is down. */
  readonly localMs: (nodeId: number) => number | undefined;
}

export class Safety {
  readonly #options: SafetyOptions;
  readonly #regions = new Map<number, RegionFacts>();
  readonly #nodes = new Map<number, NodeFacts>();
  readonly #applied = new Map<string, AppliedRange>();
  /** Entries that another took the place of. */
  overwrites = 0;

  constructor(options: SafetyOptions) {
    this.#options = options;
    for (const region of options.regions) {
      this.#regions.set(region.regionId, {
        region,
        majority: Math.floor(region.peers.length / 2) + 1,
        entries: new Map(),
        committed: [],
        leaders: new Map(),
        dataHashes: new Map([[0, 0]]),
        images: new Map(region.peers.map((peer) => [peer.nodeId, new ReplicaImage()])),
        promised: new Map(),
        seen: new Map(),
      });
    }
    for (const nodeId of options.nodeIds) this.#nodes.set(nodeId, { nodeId, pending: [], values: new Map() });
  }

  #report(check: string, message: string): void {
    this.#options.report(check, message);
  }

  /** Hash of a region's data on a node, and how far it is applied. */
  stateOf(regionId: number, nodeId: number): { readonly applied: number; readonly dataHash: number } {
    return this.#regions.get(regionId)!.images.get(nodeId)!;
  }

  committedIndex(regionId: number): number {
    return this.#regions.get(regionId)!.committed.length;
  }

  // --- writes of disks -----------------------------------------------------------------------------------------------

  onWrite(nodeId: number, mutations: readonly Mutation[], synced: boolean): void {
    const node = this.#nodes.get(nodeId)!;
    const appliedFrom = new Map<RegionFacts, number>();
    for (const mutation of mutations) {
      if (mutation.column === 'log') this.#onLogWrite(node, mutation);
      else if (mutation.column === 'data') this.#onDataWrite(node, mutation);
      else this.#onMetaWrite(node, mutation, appliedFrom);
    }
    for (const mutation of mutations) {
      if (mutation.column === 'data') continue;
      node.pending.push(mutation);
      if (mutation.column === 'log') this.#checkTail(nodeId, readU64(mutation.key, 0));
    }
    if (synced) this.#settlePending(node);
    for (const [facts, from] of appliedFrom) this.#onApplied(node, facts, from, mutations);
  }

  #onLogWrite({ nodeId }: NodeFacts, { key, value }: Mutation): void {
    const facts = this.#regions.get(readU64(key, 0));
    const image = facts?.images.get(nodeId);
    if (!facts || !image) return;
    const index = logIndexOf(key);
    const where = `node ${nodeId}, region ${facts.region.regionId}, entry ${index}`;
    const committed = facts.committed[index - 1];
    const before = image.log.at(index);
    const term = value && decodeTerm(index, value);
    if (committed && before && isSame(before, committed) && (term !== committed.term || !value)) {
      this.#report('committed entry lost', `${where}: ${value ? `overwritten by term ${term}` : 'removed'}`);
    }
    if (before && before.term !== term) this.overwrites++;
    if (value === undefined || term === undefined) return image.log.delete(index);
    if (!image.log.put(index, { term, bytes: value })) {
      this.#report('log has no holes', `${where}: the log is [${image.log.first}, ${image.log.last}]`);
    }
    this.#onEntry(facts, image, index, { term, bytes: value }, where);
  }

  /** What another leader's entries overwrote goes with them in one write: it must not come back after a crash. */
  #checkTail(nodeId: number, regionId: number): void {
    const log = this.#regions.get(regionId)?.images.get(nodeId)?.log;
    if (!log || log.leftBehind.size === 0) return;
    const left = [...log.leftBehind].join(' ');
    this.#report('no overwritten tail stays', `node ${nodeId}, region ${regionId}: entries ${left} behind ${log.last}`);
  }

  /** Log matching, by induction: an index and a term stand for one entry, behind one predecessor. */
  #onEntry(facts: RegionFacts, image: ReplicaImage, index: number, mark: LogMark, where: string): void {
    const previousTerm = index === 1 ? 0 : (image.log.at(index - 1)?.term ?? -1);
    const key = index * 65_536 + mark.term;
    const known = facts.entries.get(key);
    if (!known) {
      facts.entries.set(key, { bytes: mark.bytes, previousTerm });
    } else if (Buffer.compare(known.bytes, mark.bytes) !== 0) {
      this.#report('log matching', `${where} of term ${mark.term} differs from another log's`);
    } else if (previousTerm !== -1 && known.previousTerm !== -1 && known.previousTerm !== previousTerm) {
      this.#report(
        'log matching',
        `${where} of term ${mark.term} follows ${previousTerm} here, ${known.previousTerm} elsewhere`,
      );
    }
  }

  #onDataWrite(node: NodeFacts, { key, value }: Mutation): void {
    const facts = this.#regionOfKey(key);
    const image = facts?.images.get(node.nodeId);
    if (!facts || !image)
      return this.#report('data lies in a region', `node ${node.nodeId} wrote a key of no region it has`);
    this.#setValue(node, image, `d${latin1(key)}`, value);
  }

  #onMetaWrite(node: NodeFacts, mutation: Mutation, appliedFrom: Map<RegionFacts, number>): void {
    const { key, value } = mutation;
    if (key.length < 9) return;
    const facts = this.#regions.get(readU64(key, 1));
    const image = facts?.images.get(node.nodeId);
    if (!facts || !image || key[0] === undefined) return;
    if (key[0] === META_KIND.session) return this.#setValue(node, image, `s${latin1(key)}`, value);
    if (key[0] === META_KIND.appliedState && value) this.#onAppliedState(node, facts, image, value, appliedFrom);
    if (key[0] === META_KIND.hardState && value) this.#onHardState(node.nodeId, facts, image, value);
  }

  #setValue(node: NodeFacts, image: ReplicaImage, name: string, value: Uint8Array | undefined): void {
    const before = node.values.get(name);
    if (before !== undefined) image.dataHash ^= before;
    if (value === undefined) {
      node.values.delete(name);
      return;
    }
    const hash = hashBytes(value, hashName(name));
    node.values.set(name, hash);
    image.dataHash ^= hash;
  }

  #onHardState(nodeId: number, facts: RegionFacts, image: ReplicaImage, value: Uint8Array): void {
    const { term, vote } = decode(mraft.HardState, value);
    const { term: oldTerm, vote: oldVote } = image.hardState;
    const where = `node ${nodeId}, region ${facts.region.regionId}`;
    if (term < oldTerm) this.#report('term is monotonic', `${where}: ${oldTerm} became ${term} on disk`);
    if (term === oldTerm && oldVote !== 0 && vote !== oldVote) {
      this.#report('one vote a term', `${where}: the vote of term ${term} for ${oldVote} became one for ${vote}`);
    }
    image.hardState = { term, vote };
  }

  #onAppliedState(
    { nodeId }: NodeFacts,
    facts: RegionFacts,
    image: ReplicaImage,
    value: Uint8Array,
    appliedFrom: Map<RegionFacts, number>,
  ): void {
    const { index, term } = decode(mraft.AppliedState, value);
    const where = `node ${nodeId}, region ${facts.region.regionId}`;
    if (index < image.applied) this.#report('applied is monotonic', `${where}: ${image.applied} became ${index}`);
    if (image.log.at(index)?.term !== term && index >= image.log.first) {
      this.#report('applied names its entry', `${where}: applied ${index} of term ${term} is not in the log`);
    }
    if (!appliedFrom.has(facts)) appliedFrom.set(facts, image.applied);
    image.applied = index;
  }

  /** A batch moved a replica's applied index: what it applied is what everyone applies there. */
  #onApplied(node: NodeFacts, facts: RegionFacts, from: number, mutations: readonly Mutation[]): void {
    const image = facts.images.get(node.nodeId)!;
    const where = `node ${node.nodeId}, region ${facts.region.regionId}`;
    for (let index = from + 1; index <= image.applied; index++) {
      if (image.durableLog.at(index) === undefined) {
        this.#report('applied entries are durable here', `${where}: entry ${index}`);
      }
      this.#noteCommitted(node.nodeId, facts, index, image.hardState.term);
    }
    this.#checkData(facts, image, where);
    for (const { column, key, value } of mutations) {
      if (column !== 'data' || value === undefined || this.#regionOfKey(key) !== facts) continue;
      this.#checkAppliedOnce(latin1(value), from + 1, image.applied, where);
    }
  }

  #checkData(facts: RegionFacts, image: ReplicaImage, where: string): void {
    if (image.aheadAt.has(image.applied)) return;
    const known = facts.dataHashes.get(image.applied);
    if (known === undefined) facts.dataHashes.set(image.applied, image.dataHash);
    else if (known !== image.dataHash) {
      this.#report('same data at each index', `${where}: the data at ${image.applied} differs from another replica's`);
    }
  }

  /** Every value is written by one call, so it is applied at one index, however often the call was sent. */
  #checkAppliedOnce(value: string, from: number, to: number, where: string): void {
    const range = this.#applied.get(value);
    if (!range) {
      this.#applied.set(value, { from, to });
    } else if (from > range.to || to < range.from) {
      this.#report(
        'applied once',
        `${where}: ${value} is applied in [${from}, ${to}] and in [${range.from}, ${range.to}]`,
      );
    } else {
      range.from = Math.max(range.from, from);
      range.to = Math.min(range.to, to);
    }
  }

  onDeleteRange(nodeId: number, column: Column, start: Uint8Array, end: Uint8Array | undefined): void {
    if (column !== 'data') return;
    const node = this.#nodes.get(nodeId)!;
    const own = this.#regionOfKey(start)?.images.get(nodeId);
    own?.aheadAt.add(own.applied);
    for (const name of node.values.keys()) {
      if (!name.startsWith('d')) continue;
      const key = Buffer.from(name.slice(1), 'latin1');
      if (Buffer.compare(key, start) < 0 || (end !== undefined && Buffer.compare(key, end) >= 0)) continue;
      const image = this.#regionOfKey(key)?.images.get(nodeId);
      if (image) this.#setValue(node, image, name, undefined);
    }
  }

  #settlePending(node: NodeFacts): void {
    for (const { column, key, value } of node.pending) {
      const isLog = column === 'log';
      if (!isLog && (key.length < 9 || key[0] !== META_KIND.hardState)) continue;
      const image = this.#regions.get(readU64(key, isLog ? 0 : 1))?.images.get(node.nodeId);
      if (!image) continue;
      if (!isLog) {
        if (value) image.durableHardState = decode(mraft.HardState, value);
        continue;
      }
      const index = logIndexOf(key);
      if (value) image.durableLog.put(index, { term: decodeTerm(index, value), bytes: value });
      else image.durableLog.delete(index);
    }
    node.pending = [];
  }

  /** The node lost what it had promised, and must not come back as if it had not. */
  onLoss(nodeId: number): void {
    for (const facts of this.#regions.values()) {
      const image = facts.images.get(nodeId);
      if (image) facts.promised.set(nodeId, image);
    }
  }

  /** The node crashed: what its disk has now is all that is known there, and it must fit what is known elsewhere. */
  onCrash(nodeId: number, store: MemoryStore): void {
    const node = this.#nodes.get(nodeId)!;
    node.pending = [];
    node.values.clear();
    const aheadAt = new Map<RegionFacts, ReadonlySet<number>>();
    for (const facts of this.#regions.values()) {
      const image = facts.images.get(nodeId);
      if (!image) continue;
      aheadAt.set(facts, image.aheadAt);
      facts.images.set(nodeId, new ReplicaImage());
      facts.seen.delete(nodeId);
    }
    for (const column of ['log', 'data', 'meta'] as const) {
      const page = store.scan(column, { limit: 1_000_000, maxBytes: 1e9 });
      for (const { key, value } of page.entries) this.#reload(node, { column, key, value });
    }
    for (const facts of this.#regions.values()) {
      const image = facts.images.get(nodeId);
      if (!image) continue;
      if (aheadAt.get(facts)!.has(image.applied)) image.aheadAt.add(image.applied);
      this.#checkRecovered(facts, image, `node ${nodeId} after a crash, region ${facts.region.regionId}`);
    }
  }

  #reload(node: NodeFacts, mutation: Mutation): void {
    const { column, key, value } = mutation;
    if (column === 'log') {
      const image = this.#regions.get(readU64(key, 0))?.images.get(node.nodeId);
      if (!image || !value) return;
      const index = logIndexOf(key);
      const mark = { term: decodeTerm(index, value), bytes: value };
      const where = `node ${node.nodeId} after a crash, region ${readU64(key, 0)}, entry ${index}`;
      for (const log of [image.log, image.durableLog]) {
        if (log.last < log.first) log.clear(index);
        if (!log.put(index, mark)) this.#report('log has no holes', where);
      }
      this.#onEntry(this.#regions.get(readU64(key, 0))!, image, index, mark, where);
      return;
    }
    if (column === 'data') return this.#onDataWrite(node, mutation);
    const image = key.length >= 9 ? this.#regions.get(readU64(key, 1))?.images.get(node.nodeId) : undefined;
    if (!image || !value) return;
    if (key[0] === META_KIND.session) this.#setValue(node, image, `s${latin1(key)}`, value);
    if (key[0] === META_KIND.appliedState) image.applied = decode(mraft.AppliedState, value).index;
    if (key[0] === META_KIND.hardState) {
      image.hardState = decode(mraft.HardState, value);
      image.durableHardState = image.hardState;
    }
  }

  /** Applied index and data were written in one batch, so they are never apart, whatever the crash kept. */
  #checkRecovered(facts: RegionFacts, image: ReplicaImage, where: string): void {
    const known = facts.dataHashes.get(image.applied);
    if (known !== undefined && known !== image.dataHash && !image.aheadAt.has(image.applied)) {
      this.#report('applied index is atomic with data', `${where}: the data is not that of index ${image.applied}`);
    }
    if (image.applied > image.log.last) {
      this.#report(
        'applied entries are durable here',
        `${where}: applied ${image.applied}, log ends at ${image.log.last}`,
      );
    }
  }

  #regionOfKey(key: Uint8Array): RegionFacts | undefined {
    for (const facts of this.#regions.values()) if (containsKey(facts.region, key)) return facts;
    return undefined;
  }

  // --- commit --------------------------------------------------------------------------------------------------------

  /** Some peer takes an entry of its log for committed. */
  #noteCommitted(nodeId: number, facts: RegionFacts, index: number, knownInTerm: number): void {
    const mark = facts.images.get(nodeId)!.log.at(index);
    const where = `node ${nodeId}, region ${facts.region.regionId}, entry ${index}`;
    const committed = facts.committed[index - 1];
    if (!mark) {
      if (index >= facts.images.get(nodeId)!.log.first) this.#report('committed entries are in the log', where);
      return;
    }
    if (committed) {
      if (!isSame(committed, mark)) {
        this.#report(
          'state machine safety',
          `${where}: committed as term ${mark.term} here, as ${committed.term} elsewhere`,
        );
      }
      return;
    }
    let durable = 0;
    for (const [peer, image] of facts.images) {
      const other = image.durableLog.at(index) ?? facts.promised.get(peer)?.durableLog.at(index);
      if (other && isSame(other, mark)) durable++;
    }
    if (durable < facts.majority) {
      this.#report(
        'committed entries are durable on a majority',
        `${where} of term ${mark.term} is durable on ${durable}`,
      );
    }
    facts.committed[index - 1] = { ...mark, knownInTerm };
  }

  // --- status after each turn ----------------------------------------------------------------------------------------

  /**
   * What a replica says of itself after a turn; `opening` changes when it is opened anew. A turn that is not `finished`
   * waits for room on its disk: what it holds and what it has written are apart. True: the replica has begun to campaign.
   */
  onStatus(nodeId: number, status: ReplicaStatus, opening: object, finished: boolean): boolean {
    const facts = this.#regions.get(status.region.regionId)!;
    const image = facts.images.get(nodeId)!;
    const { raft } = status;
    const where = `node ${nodeId}, region ${facts.region.regionId}`;
    let seen = facts.seen.get(nodeId);
    if (!seen || seen.opening !== opening) {
      const { term } = image.durableHardState;
      seen = { role: 'follower', term, commit: 0, applied: 0, leaseUntilMs: -Infinity, opening };
      facts.seen.set(nodeId, seen);
    }
    if (raft.term < seen.term) this.#report('term is monotonic', `${where}: ${seen.term} became ${raft.term}`);
    if (finished) this.#checkProgress(facts, seen, nodeId, raft, where);
    if (raft.role === 'leader' && (seen.role !== 'leader' || seen.term !== raft.term)) {
      this.#onLeader(facts, image, nodeId, raft.term);
    }
    const campaigns = seen.role === 'follower' && raft.role === 'preCandidate';
    seen.role = raft.role;
    seen.term = raft.term;
    seen.leaseUntilMs = raft.leaseUntilMs;
    if (this.#options.checkLeases && raft.leaseUntilMs > -Infinity) this.#checkLeases(facts);
    return campaigns;
  }

  #checkProgress(facts: RegionFacts, seen: SeenStatus, nodeId: number, raft: RaftStatus, where: string): void {
    const { commit, applied } = raft;
    if (commit < seen.commit) this.#report('commit is monotonic', `${where}: ${seen.commit} became ${commit}`);
    if (applied < seen.applied) this.#report('applied is monotonic', `${where}: ${seen.applied} became ${applied}`);
    if (applied > commit) this.#report('applied is committed', `${where}: ${applied} of ${commit}`);
    const known = facts.committed.length;
    for (let index = seen.commit + 1; index <= commit; index++) this.#noteCommitted(nodeId, facts, index, raft.term);
    // Whoever is the first to know has counted, and may count entries of its own term alone (thesis 3.6.2).
    const last = commit > known ? facts.images.get(nodeId)!.log.at(commit) : undefined;
    if (last && raft.role === 'leader' && last.term !== raft.term) {
      this.#report(
        'a leader commits by its own term',
        `${where}: entry ${commit} of term ${last.term} in term ${raft.term}`,
      );
    }
    seen.commit = commit;
    seen.applied = applied;
  }

  #onLeader(facts: RegionFacts, image: ReplicaImage, nodeId: number, term: number): void {
    const { regionId } = facts.region;
    const leader = facts.leaders.get(term);
    if (leader !== undefined && leader !== nodeId) {
      this.#report('election safety', `region ${regionId}: nodes ${leader} and ${nodeId} both lead term ${term}`);
    }
    facts.leaders.set(term, nodeId);
    if (this.#options.checkLeases) this.#checkElectedUnderLease(facts, nodeId, term);
    // Logs match, so the last entry that was committed before this term stands for all before it.
    for (let index = facts.committed.length; index > 0; index--) {
      const committed = facts.committed[index - 1];
      if (!committed || committed.knownInTerm > term) continue;
      const own = image.log.at(index);
      if (!own || !isSame(own, committed)) {
        this.#report(
          'leader completeness',
          `region ${regionId}: the leader of term ${term} on node ${nodeId} lacks entry ${index}`,
        );
      }
      return;
    }
  }

  /** Whose votes a leader was elected by has promised the one before that its lease would last. */
  #checkElectedUnderLease(facts: RegionFacts, elected: number, term: number): void {
    for (const [nodeId, seen] of facts.seen) {
      // Late votes of an older term make a leader of no consequence.
      if (nodeId === elected || seen.term > term) continue;
      const localMs = this.#options.localMs(nodeId);
      if (localMs === undefined || localMs >= seen.leaseUntilMs) continue;
      const who = `node ${elected} is elected in term ${term} under the lease of node ${nodeId}`;
      this.#report('nobody is elected under a lease', `region ${facts.region.regionId}: ${who}`);
    }
  }

  /** At one moment of true time at most one peer of a region may hold a lease, by its own clock. */
  #checkLeases(facts: RegionFacts): void {
    let holder = 0;
    for (const [nodeId, seen] of facts.seen) {
      if (seen.leaseUntilMs === -Infinity) continue;
      const localMs = this.#options.localMs(nodeId);
      if (localMs === undefined || localMs >= seen.leaseUntilMs) continue;
      if (holder !== 0) {
        this.#report(
          'one lease at a time',
          `region ${facts.region.regionId}: nodes ${holder} and ${nodeId} both hold a lease`,
        );
      }
      holder = nodeId;
    }
  }

  // --- frames that leave ---------------------------------------------------------------------------------------------

  onPeerFrame(nodeId: number, bytes: Uint8Array): void {
    checkPromises(
      nodeId,
      bytes,
      (regionId) => this.#regions.get(regionId)?.images.get(nodeId),
      (check, message) => this.#report(check, message),
    );
  }

  // --- at the end ----------------------------------------------------------------------------------------------------

  /** Regions tile the key space: no gap and no overlap. */
  checkTiling(regions: readonly Region[]): void {
    const sorted = [...regions].sort((a, b) => Buffer.compare(a.startKey, b.startKey));
    let end: Uint8Array | undefined = new Uint8Array(0);
    for (const region of sorted) {
      if (end === undefined || Buffer.compare(end, region.startKey) !== 0) {
        this.#report(
          'regions tile the key space',
          `region ${region.regionId} does not begin where the one before it ends`,
        );
      }
      end = region.endKey.length > 0 ? region.endKey : undefined;
    }
    if (end !== undefined) this.#report('regions tile the key space', 'the last region does not reach the last key');
  }
}

function isSame(a: LogMark, b: LogMark): boolean {
  return a.term === b.term && (a.bytes === b.bytes || Buffer.compare(a.bytes, b.bytes) === 0);
}

const nameHashes = new Map<string, number>();

function hashName(name: string): number {
  let hash = nameHashes.get(name);
  if (hash === undefined) {
    hash = hashBytes(Buffer.from(name, 'latin1'));
    if (nameHashes.size > 100_000) nameHashes.clear();
    nameHashes.set(name, hash);
  }
  return hash;
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
