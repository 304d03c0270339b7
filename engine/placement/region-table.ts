/**
 * All regions in columns: a cluster has up to a million, and an object each would cost several times the memory. A region
 * has a slot as long as it is known; slots are used again, so nobody keeps one across reports.
 *
 * Keys are strings of bytes ('latin1'): they compare as bytes do, and take as much memory as the key is long.
 */

import { invariant } from '../../rpc/wire/errors.ts';
import { LAST_SYSTEM_REGION_ID, type Peer, type PeerRole, type Region } from '../../rpc/wire/region.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { ReportedPhase } from './types.ts';

/** Peers of one region lie together in the columns of peers. */
export const STRIDE = LIMITS.peersPerRegion;
/** No node. */
export const NO_NODE = -1;
const FIRST_CAPACITY = 64;

const ROLES: readonly PeerRole[] = ['voter', 'learner', 'incomingVoter', 'demotingVoter'];
const PHASES: readonly ReportedPhase[] = ['normal', 'merging', 'applying'];
const ROLE_MASK = 3;
const PENDING = 4;
const DOWN = 8;

type Column = Float64Array | Float32Array | Int32Array | Uint32Array | Uint8Array;

export class RegionTable {
  private capacity = FIRST_CAPACITY;
  private used = 0;
  private readonly free: number[] = [];
  private readonly slots = new Map<number, number>();

  regionId = new Float64Array(FIRST_CAPACITY);
  version = new Float64Array(FIRST_CAPACITY);
  confVersion = new Float64Array(FIRST_CAPACITY);
  term = new Float64Array(FIRST_CAPACITY);
  sizeBytes = new Float64Array(FIRST_CAPACITY);
  reads = new Float32Array(FIRST_CAPACITY);
  writes = new Float32Array(FIRST_CAPACITY);
  reportedMs = new Float64Array(FIRST_CAPACITY);
  /** Of the last change of its epoch. */
  changedMs = new Float64Array(FIRST_CAPACITY);
  /** Slot of the leading node, or NO_NODE. */
  leader = new Int32Array(FIRST_CAPACITY);
  /** In that node's list of leaders. */
  leaderPosition = new Uint32Array(FIRST_CAPACITY);
  phase = new Uint8Array(FIRST_CAPACITY);
  peerCount = new Uint8Array(FIRST_CAPACITY);
  peerId = new Float64Array(FIRST_CAPACITY * STRIDE);
  /** Slots of nodes. */
  peerNode = new Int32Array(FIRST_CAPACITY * STRIDE);
  peerFlags = new Uint8Array(FIRST_CAPACITY * STRIDE);
  /** In that node's list of replicas. */
  peerPosition = new Uint32Array(FIRST_CAPACITY * STRIDE);
  readonly startKey: string[] = [];
  readonly endKey: string[] = [];

  /** Regions that are known. */
  get count(): number {
    return this.slots.size;
  }

  /** Slots below this may be taken. */
  get slotEnd(): number {
    return this.used;
  }

  slotOf(regionId: number): number | undefined {
    return this.slots.get(regionId);
  }

  isTaken(slot: number): boolean {
    return slot < this.used && this.regionId[slot] !== 0;
  }

  add(regionId: number): number {
    invariant(regionId > 0 && !this.slots.has(regionId), 'a region is added once');
    const slot = this.free.pop() ?? this.used++;
    if (slot >= this.capacity) this.grow();
    this.slots.set(regionId, slot);
    this.regionId[slot] = regionId;
    this.leader[slot] = NO_NODE;
    this.reportedMs[slot] = 0;
    this.sizeBytes[slot] = 0;
    this.reads[slot] = 0;
    this.writes[slot] = 0;
    this.peerCount[slot] = 0;
    this.startKey[slot] = '';
    this.endKey[slot] = '';
    return slot;
  }

  /** Whether its leader has reported it to this leader of placement; if not, it is known from records only. */
  isReported(slot: number): boolean {
    return this.leader[slot] !== NO_NODE;
  }

  delete(slot: number): void {
    this.slots.delete(this.regionId[slot] as number);
    this.regionId[slot] = 0;
    this.peerCount[slot] = 0;
    this.startKey[slot] = '';
    this.endKey[slot] = '';
    this.free.push(slot);
  }

  // --- one region ------------------------------------------------------------------------------------------------------

  isSystem(slot: number): boolean {
    return (this.regionId[slot] as number) <= LAST_SYSTEM_REGION_ID;
  }

  phaseOf(slot: number): ReportedPhase {
    return PHASES[this.phase[slot] as number] ?? 'normal';
  }

  setPhase(slot: number, phase: ReportedPhase): void {
    this.phase[slot] = PHASES.indexOf(phase);
  }

  /** Reads and writes per second. */
  rateOf(slot: number): number {
    return (this.reads[slot] as number) + (this.writes[slot] as number);
  }

  // --- its peers, by their place in the columns ------------------------------------------------------------------------

  firstPeer(slot: number): number {
    return slot * STRIDE;
  }

  endPeer(slot: number): number {
    return slot * STRIDE + (this.peerCount[slot] as number);
  }

  /** Undefined: no peer on that node. */
  peerOnNode(slot: number, node: number): number | undefined {
    const end = this.endPeer(slot);
    for (let at = this.firstPeer(slot); at < end; at += 1) if (this.peerNode[at] === node) return at;
    return undefined;
  }

  peerWithId(slot: number, peerId: number): number | undefined {
    const end = this.endPeer(slot);
    for (let at = this.firstPeer(slot); at < end; at += 1) if (this.peerId[at] === peerId) return at;
    return undefined;
  }

  nodeOf(at: number): number {
    return this.peerNode[at] as number;
  }

  roleOf(at: number): PeerRole {
    return ROLES[(this.peerFlags[at] as number) & ROLE_MASK] ?? 'learner';
  }

  isVoter(at: number): boolean {
    return ((this.peerFlags[at] as number) & ROLE_MASK) === 0;
  }

  isPending(at: number): boolean {
    return ((this.peerFlags[at] as number) & PENDING) !== 0;
  }

  isDown(at: number): boolean {
    return ((this.peerFlags[at] as number) & DOWN) !== 0;
  }

  /** A voter that follows closely. */
  isFit(at: number): boolean {
    return (this.peerFlags[at] as number) === 0;
  }

  /** Every peer is a voter that follows closely. */
  isHealthy(slot: number): boolean {
    const end = this.endPeer(slot);
    for (let at = this.firstPeer(slot); at < end; at += 1) if (!this.isFit(at)) return false;
    return this.phase[slot] === 0 && this.leader[slot] !== NO_NODE;
  }

  voters(slot: number): number {
    let count = 0;
    for (let at = this.firstPeer(slot); at < this.endPeer(slot); at += 1) if (this.isVoter(at)) count += 1;
    return count;
  }

  isJoint(slot: number): boolean {
    for (let at = this.firstPeer(slot); at < this.endPeer(slot); at += 1) {
      if (((this.peerFlags[at] as number) & ROLE_MASK) > 1) return true;
    }
    return false;
  }

  setPeers(slot: number, peers: readonly Peer[], nodeSlots: readonly number[]): void {
    this.peerCount[slot] = peers.length;
    peers.forEach((peer, position) => {
      const at = this.firstPeer(slot) + position;
      this.peerId[at] = peer.peerId;
      this.peerNode[at] = nodeSlots[position] as number;
      this.peerFlags[at] = ROLES.indexOf(peer.role);
    });
  }

  setPeerHealth(slot: number, pendingPeers: readonly number[], downPeers: readonly number[]): void {
    for (let at = this.firstPeer(slot); at < this.endPeer(slot); at += 1) {
      const peerId = this.peerId[at] as number;
      const role = (this.peerFlags[at] as number) & ROLE_MASK;
      this.peerFlags[at] =
        role | (pendingPeers.includes(peerId) ? PENDING : 0) | (downPeers.includes(peerId) ? DOWN : 0);
    }
  }

  descriptor(slot: number, nodeIdOf: (nodeSlot: number) => number): Region {
    const peers: Peer[] = [];
    for (let at = this.firstPeer(slot); at < this.endPeer(slot); at += 1) {
      peers.push({
        peerId: this.peerId[at] as number,
        nodeId: nodeIdOf(this.nodeOf(at)),
        role: this.roleOf(at),
      });
    }
    return {
      regionId: this.regionId[slot] as number,
      startKey: Buffer.from(this.startKey[slot] as string, 'latin1'),
      endKey: Buffer.from(this.endKey[slot] as string, 'latin1'),
      epoch: { version: this.version[slot] as number, confVersion: this.confVersion[slot] as number },
      peers,
    };
  }

  private grow(): void {
    this.capacity *= 2;
    const one = this.capacity;
    const many = this.capacity * STRIDE;
    this.regionId = enlarged(this.regionId, new Float64Array(one));
    this.version = enlarged(this.version, new Float64Array(one));
    this.confVersion = enlarged(this.confVersion, new Float64Array(one));
    this.term = enlarged(this.term, new Float64Array(one));
    this.sizeBytes = enlarged(this.sizeBytes, new Float64Array(one));
    this.reads = enlarged(this.reads, new Float32Array(one));
    this.writes = enlarged(this.writes, new Float32Array(one));
    this.reportedMs = enlarged(this.reportedMs, new Float64Array(one));
    this.changedMs = enlarged(this.changedMs, new Float64Array(one));
    this.leader = enlarged(this.leader, new Int32Array(one));
    this.leaderPosition = enlarged(this.leaderPosition, new Uint32Array(one));
    this.phase = enlarged(this.phase, new Uint8Array(one));
    this.peerCount = enlarged(this.peerCount, new Uint8Array(one));
    this.peerId = enlarged(this.peerId, new Float64Array(many));
    this.peerNode = enlarged(this.peerNode, new Int32Array(many));
    this.peerFlags = enlarged(this.peerFlags, new Uint8Array(many));
    this.peerPosition = enlarged(this.peerPosition, new Uint32Array(many));
  }
}

function enlarged<C extends Column>(from: C, to: C): C {
  to.set(from);
  return to;
}
