/**
 * A cluster that exists in virtual time only: nodes that fail, regions that elect, copy, split and merge, and leaders that
 * report to placement and do what it orders. It knows what placement must never do, and throws when it is ordered.
 */

import type { Order, PeerAddress, RegionReport, SplitWish, Step } from '../../engine/placement/index.ts';
import type { Peer, PeerRole } from '../../rpc/wire/region.ts';
import { EventQueue } from './event-queue.ts';

export interface SimNode {
  readonly nodeId: number;
  readonly incarnation: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly capacityBytes: number;
  alive: boolean;
  /** Alive, but nobody hears of it. */
  cutOff: boolean;
  leaders: number;
  replicas: number;
  sizeBytes: number;
  /** Copies that it receives at the moment share its bandwidth. */
  receiving: number;
}

interface SimPeer {
  readonly peerId: number;
  readonly node: SimNode;
  role: PeerRole;
  /** Has not caught up. */
  pending: boolean;
}

export interface SimRegion {
  readonly regionId: number;
  /** Keys are numbers here; `toKey` makes bytes of them. */
  start: number;
  end: number;
  version: number;
  confVersion: number;
  term: number;
  peers: readonly SimPeer[];
  /** Undefined: no quorum, or an election is on. */
  leader: SimPeer | undefined;
  sizeBytes: number;
  reads: number;
  writes: number;
  phase: 'normal' | 'merging';
  wish: SplitWish | undefined;
  gone: boolean;
}

export interface ClusterOptions {
  readonly random: () => number;
  /** What a node receives, shared by its copies. */
  readonly copyBytesPerMs: number;
  readonly electionMs: number;
  /** How long a membership change, a transfer or a split takes. */
  readonly changeMs: number;
  /** A leader has something to say of its region; who listens is somebody else's business. */
  report(nodeId: number, report: RegionReport): void;
}

/** The end of the key space. */
const END = Number.POSITIVE_INFINITY;

export class SimCluster {
  readonly events = new EventQueue();
  readonly nodes = new Map<number, SimNode>();
  readonly regions = new Map<number, SimRegion>();
  copiedBytes = 0;
  private readonly options: ClusterOptions;

  constructor(options: ClusterOptions) {
    this.options = options;
  }

  // --- building --------------------------------------------------------------------------------------------------------

  addNode(nodeId: number, labels: SimNode['labels'] = {}, capacityBytes = 0): SimNode {
    const node: SimNode = {
      nodeId,
      incarnation: `data-${nodeId}`,
      labels,
      capacityBytes,
      alive: true,
      cutOff: false,
      leaders: 0,
      replicas: 0,
      sizeBytes: 0,
      receiving: 0,
    };
    this.nodes.set(nodeId, node);
    return node;
  }

  /** Voters on the nodes, the first of which leads. */
  addRegion(
    regionId: number,
    range: { readonly start: number; readonly end: number },
    peers: readonly PeerAddress[],
    sizeBytes: number,
  ): SimRegion {
    const region: SimRegion = {
      regionId,
      start: range.start,
      end: range.end,
      version: 1,
      confVersion: 1,
      term: 5,
      peers: [],
      leader: undefined,
      sizeBytes,
      reads: 0,
      writes: 0,
      phase: 'normal',
      wish: undefined,
      gone: false,
    };
    this.regions.set(regionId, region);
    this.setPeers(
      region,
      peers.map(({ peerId, nodeId }) => ({ peerId, node: this.node(nodeId), role: 'voter', pending: false })),
    );
    this.setLeader(region, region.peers[0]);
    return region;
  }

  node(nodeId: number): SimNode {
    const node = this.nodes.get(nodeId);
    if (!node) throw new Error(`no node ${nodeId} in the simulation`);
    return node;
  }

  // --- what happens to it ----------------------------------------------------------------------------------------------

  /** Stops nodes; regions that they led elect, if a quorum is left. */
  kill(nodeIds: readonly number[]): void {
    const killed = new Set(nodeIds);
    for (const nodeId of nodeIds) this.node(nodeId).alive = false;
    for (const region of this.regions.values()) {
      if (!region.peers.some(({ node }) => killed.has(node.nodeId))) continue;
      if (region.leader && !region.leader.node.alive) this.setLeader(region, undefined);
      const delayMs = this.options.electionMs * (1 + this.options.random());
      this.events.after(delayMs, () => (region.leader ? this.report(region) : this.elect(region)));
    }
  }

  revive(nodeIds: readonly number[]): void {
    const revived = new Set(nodeIds);
    for (const nodeId of nodeIds) this.node(nodeId).alive = true;
    for (const region of this.regions.values()) {
      if (!region.peers.some(({ node }) => revived.has(node.nodeId))) continue;
      const delayMs = this.options.electionMs * (1 + this.options.random());
      this.events.after(delayMs, () => (region.leader ? this.report(region) : this.elect(region)));
    }
  }

  private elect(region: SimRegion): void {
    if (region.gone || region.leader) return;
    if (!this.hasQuorum(region)) return;
    const fit = region.peers.filter(({ node, role }) => node.alive && role !== 'learner');
    region.term += 1;
    this.setLeader(region, fit[Math.floor(this.options.random() * fit.length)]);
    this.report(region);
  }

  hasQuorum({ peers }: SimRegion): boolean {
    const voters = peers.filter(({ role }) => role === 'voter' || role === 'incomingVoter');
    const outgoing = peers.filter(({ role }) => role === 'voter' || role === 'demotingVoter');
    const holds = (half: readonly SimPeer[]): boolean => half.filter(({ node }) => node.alive).length * 2 > half.length;
    return holds(voters) && holds(outgoing);
  }

  report(region: SimRegion): void {
    const { leader } = region;
    if (!leader || region.gone || !leader.node.alive || leader.node.cutOff) return;
    this.options.report(leader.node.nodeId, this.reportOf(region));
  }

  reportOf(region: SimRegion): RegionReport {
    return {
      region: this.descriptor(region),
      term: region.term,
      sizeBytes: region.sizeBytes,
      readsPerSecond: region.reads,
      writesPerSecond: region.writes,
      pendingPeers: region.peers.filter(({ pending }) => pending).map(({ peerId }) => peerId),
      downPeers: region.peers.filter(({ node }) => !node.alive).map(({ peerId }) => peerId),
      phase: region.phase,
      ...(region.wish && { splitWish: region.wish }),
    };
  }

  private descriptor(region: SimRegion): RegionReport['region'] {
    return {
      regionId: region.regionId,
      startKey: toKey(region.start),
      endKey: toKey(region.end),
      epoch: { version: region.version, confVersion: region.confVersion },
      peers: region.peers.map(({ peerId, node, role }): Peer => ({ peerId, nodeId: node.nodeId, role })),
    };
  }

  // --- orders ----------------------------------------------------------------------------------------------------------

  /** An order reaches a node. Late, repeated or misdirected ones do nothing, as in a real cluster. */
  execute({ regionId, toNodeId, epoch, step, target }: Order): void {
    const region = this.regions.get(regionId);
    const node = this.node(toNodeId);
    if (!region || region.gone || !node.alive || node.cutOff || region.leader?.node !== node) return;
    if (region.version !== epoch.version || region.confVersion !== epoch.confVersion) return;
    if (region.phase !== 'normal' || !this.hasQuorum(region) || isJoint(region)) return;
    this.check(region, step);
    this.events.after(this.options.changeMs, () => {
      const same = region.version === epoch.version && region.confVersion === epoch.confVersion;
      if (!region.gone && same && region.leader?.node === node && node.alive && !isJoint(region)) {
        this.perform(region, step, target?.regionId);
      }
    });
  }

  /** What must never be ordered. */
  private check(region: SimRegion, step: Step): void {
    const fail = (why: string): never => {
      throw new Error(`region ${region.regionId}: ${step.kind} ${JSON.stringify(step)}: ${why}`);
    };
    if (step.kind === 'addLearner') {
      if (region.peers.some(({ node }) => node.nodeId === step.peer.nodeId)) fail('the node has a peer');
      if (region.peers.some(({ peerId }) => peerId === step.peer.peerId)) fail('the peer id is used');
    }
    const loses = step.kind === 'removePeer' ? step.peer : step.kind === 'promote' ? step.demote : undefined;
    if (loses) {
      const voters = region.peers.filter(({ role }) => role === 'voter');
      if (region.leader?.peerId === loses.peerId) fail('the leader has not handed over');
      const isLast = voters.length === 1 && voters[0]?.peerId === loses.peerId;
      if (isLast && step.kind === 'removePeer') fail('the last voter');
    }
  }

  private perform(region: SimRegion, step: Step, targetRegionId: number | undefined): void {
    switch (step.kind) {
      case 'addLearner':
        return this.addLearner(region, step.peer);
      case 'promote':
        return this.promote(region, step.peer, step.demote);
      case 'removePeer':
        region.confVersion += 1;
        this.setPeers(
          region,
          region.peers.filter(({ peerId }) => peerId !== step.peer.peerId),
        );
        return this.report(region);
      case 'transferLeader':
        return this.transfer(region, step.to);
      case 'split':
        return this.split(region, step);
      case 'merge':
        return this.merge(region, targetRegionId);
    }
  }

  private addLearner(region: SimRegion, { peerId, nodeId }: PeerAddress): void {
    if (region.peers.some(({ node }) => node.nodeId === nodeId)) return;
    const node = this.node(nodeId);
    const peer: SimPeer = { peerId, node, role: 'learner', pending: true };
    region.confVersion += 1;
    this.setPeers(region, [...region.peers, peer]);
    this.report(region);
    node.receiving += 1;
    const copyMs = (region.sizeBytes / this.options.copyBytesPerMs) * node.receiving;
    this.events.after(copyMs, () => {
      node.receiving -= 1;
      if (region.gone || !region.peers.includes(peer) || !node.alive) return;
      peer.pending = false;
      this.copiedBytes += region.sizeBytes;
      this.report(region);
    });
  }

  private promote(region: SimRegion, { peerId }: PeerAddress, demote: PeerAddress | undefined): void {
    const learner = region.peers.find((peer) => peer.peerId === peerId);
    if (learner?.role !== 'learner' || learner.pending) return;
    region.confVersion += 1;
    if (!demote) {
      learner.role = 'voter';
      return this.report(region);
    }
    const old = region.peers.find((peer) => peer.peerId === demote.peerId);
    if (old?.role !== 'voter') return;
    learner.role = 'incomingVoter';
    old.role = 'demotingVoter';
    this.report(region);
    this.events.after(this.options.changeMs, () => this.leaveJoint(region));
  }

  private leaveJoint(region: SimRegion): void {
    if (region.gone || !isJoint(region)) return;
    if (!region.leader || !region.leader.node.alive || !this.hasQuorum(region)) {
      this.events.after(this.options.electionMs, () => this.leaveJoint(region));
      return;
    }
    region.confVersion += 1;
    for (const peer of region.peers) {
      if (peer.role === 'incomingVoter') peer.role = 'voter';
      else if (peer.role === 'demotingVoter') peer.role = 'learner';
    }
    if (region.leader.role === 'learner') {
      this.setLeader(region, undefined);
      this.elect(region);
    } else this.report(region);
  }

  private transfer(region: SimRegion, { peerId }: PeerAddress): void {
    const to = region.peers.find((peer) => peer.peerId === peerId);
    if (to?.role !== 'voter' || !to.node.alive || to.pending) return;
    region.term += 1;
    this.setLeader(region, to);
    this.report(region);
  }

  private split(region: SimRegion, step: Extract<Step, { kind: 'split' }>): void {
    const middle = Number.isFinite(region.end) ? (region.start + region.end) / 2 : region.start * 2 + 1;
    const at = step.splitKey ? fromKey(step.splitKey) : middle;
    if (!(at > region.start && at < region.end)) throw new Error(`region ${region.regionId}: split outside of it`);
    if (step.childPeerIds.length !== region.peers.length) return;
    region.version += 1;
    const child: SimRegion = {
      ...region,
      regionId: step.childRegionId,
      start: at,
      term: 5,
      peers: [],
      leader: undefined,
      sizeBytes: region.sizeBytes / 2,
      reads: region.reads / 2,
      writes: region.writes / 2,
      wish: undefined,
    };
    if (this.regions.has(child.regionId)) throw new Error(`region id ${child.regionId} is used twice`);
    const peers = region.peers.map((peer, position) => ({ ...peer, peerId: step.childPeerIds[position] as number }));
    this.resize(region, { sizeBytes: child.sizeBytes, reads: child.reads, writes: child.writes });
    region.end = at;
    region.wish = undefined;
    this.regions.set(child.regionId, child);
    this.setPeers(child, peers);
    this.setLeader(
      child,
      peers.find(({ node }) => node === region.leader?.node),
    );
    this.report(region);
    this.report(child);
  }

  private merge(region: SimRegion, targetRegionId: number | undefined): void {
    const target = targetRegionId === undefined ? undefined : this.regions.get(targetRegionId);
    if (!target?.leader || target.gone || target.phase !== 'normal' || isJoint(target)) return;
    const adjacent = target.end === region.start || region.end === target.start;
    if (!adjacent || nodesOf(region) !== nodesOf(target)) {
      throw new Error(
        `region ${region.regionId}: merge into ${target.regionId}, which is not its neighbour on the same nodes`,
      );
    }
    region.phase = 'merging';
    region.version += 1;
    this.report(region);
    this.events.after(this.options.changeMs, () => {
      if (target.gone || !target.leader || nodesOf(region) !== nodesOf(target)) {
        region.phase = 'normal';
        region.version += 1;
        return this.report(region);
      }
      target.version = Math.max(target.version, region.version) + 1;
      target.start = Math.min(target.start, region.start);
      target.end = Math.max(target.end, region.end);
      this.resize(target, {
        sizeBytes: target.sizeBytes + region.sizeBytes,
        reads: target.reads + region.reads,
        writes: target.writes + region.writes,
      });
      this.setLeader(region, undefined);
      this.setPeers(region, []);
      region.gone = true;
      this.regions.delete(region.regionId);
      this.report(target);
    });
  }

  // --- books -----------------------------------------------------------------------------------------------------------

  resize(region: SimRegion, to: { readonly sizeBytes: number; readonly reads: number; readonly writes: number }): void {
    for (const { node } of region.peers) node.sizeBytes += to.sizeBytes - region.sizeBytes;
    region.sizeBytes = to.sizeBytes;
    region.reads = to.reads;
    region.writes = to.writes;
  }

  private setPeers(region: SimRegion, peers: readonly SimPeer[]): void {
    for (const { node } of region.peers) {
      node.replicas -= 1;
      node.sizeBytes -= region.sizeBytes;
    }
    region.peers = peers;
    for (const { node } of peers) {
      node.replicas += 1;
      node.sizeBytes += region.sizeBytes;
    }
  }

  private setLeader(region: SimRegion, leader: SimPeer | undefined): void {
    if (region.leader) region.leader.node.leaders -= 1;
    region.leader = leader;
    if (leader) leader.node.leaders += 1;
  }
}

function isJoint({ peers }: SimRegion): boolean {
  return peers.some(({ role }) => role === 'incomingVoter' || role === 'demotingVoter');
}

function nodesOf({ peers }: SimRegion): string {
  return peers
    .map(({ node, role }) => `${node.nodeId}:${role}`)
    .sort()
    .join();
}

/** Positive numbers in an order that their bytes keep; 0 and infinity are the ends of the key space. */
export function toKey(position: number): Buffer {
  if (position === 0 || position === END) return Buffer.alloc(0);
  const key = Buffer.allocUnsafe(8);
  key.writeDoubleBE(position);
  return key;
}

export function fromKey(key: Uint8Array): number {
  return Buffer.from(key).readDoubleBE();
}
