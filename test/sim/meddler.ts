/**
 * Changes regions as no placement would, in the place of one: it hands out ids and drives changes through whoever leads
 * the regions, step by step, and gives up after a while. It asks the wrong node, too early and twice; whatever comes of it
 * is legal, as long as the region stays one.
 */

import type { RegionChange } from '../../engine/region/admin.ts';
import type { PeerChange } from '../../engine/region/membership.ts';
import { sameEpoch, toWireRegion, type Epoch, type Region } from '../../rpc/wire/region.ts';
import type { VirtualNode } from './process.ts';
import type { Random } from './random.ts';
import type { VirtualWorker } from './worker.ts';
import { regionLetter, type World } from './world.ts';

/** What a change may fail by. */
const CODES: readonly string[] = [
  'NotLeader',
  'EpochNotMatch',
  'RegionNotFound',
  'RegionChanging',
  'RegionMerging',
  'ServerBusy',
  'ChangeRefused',
  'DiskFull',
];

/** Beyond what the first regions and their peers have. */
const FIRST_PEER_ID = 10_000;
const FIRST_REGION_ID = 1_000;
const MOST_REGIONS = 8;
const MOST_TRIES = 12;
/** Voters of a region that peers are added to rather than taken from. */
const FEW_VOTERS = 3;

/** What to ask the leader of a region for next, seeing it as it is. */
type Step = (region: Region, leader: VirtualNode) => RegionChange | 'reached' | 'impossible' | 'wait';

export class Meddler {
  readonly #world: World;
  #nextPeerId = FIRST_PEER_ID;
  #nextRegionId = FIRST_REGION_ID;
  #stopped = false;
  /** Changes that were asked for and not answered, by whom they were asked of. */
  readonly #openCalls = new Map<VirtualWorker, number>();
  /** By region and node: the peer that came last. */
  readonly #latest = new Map<string, number>();
  /** How changes ended: by code, or done. */
  readonly outcomes = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Changes that have not ended, though whom they were asked of runs. */
  get openCalls(): number {
    let count = 0;
    for (const [worker, calls] of this.#openCalls) if (!worker.isDead) count += calls;
    return count;
  }

  // --- membership ----------------------------------------------------------------------------------------------------

  changeMembership(random: Random): void {
    const region = random.pick(this.#world.currentRegions);
    const steps = this.#membershipPlan(region, random);
    if (steps.length > 0) this.#drive(region.regionId, steps, random);
  }

  /** Whoever leads hands over before it goes, most of the time. */
  #removal(peer: Place, random: Random): Step[] {
    const steps = random.chance(0.5) ? [remove(peer)] : [swap([], [peer]), remove(peer)];
    return random.chance(0.8) ? [handOver(peer, this.#world), ...steps] : steps;
  }

  #membershipPlan(region: Region, random: Random): Step[] {
    const { nodes } = this.#world;
    const voters = region.peers.filter((peer) => peer.role === 'voter');
    const free = nodes.filter(({ nodeId }) => !region.peers.some((peer) => peer.nodeId === nodeId));
    const newcomer = free.length > 0 ? this.#newPeer(random.pick(free).nodeId) : undefined;
    const someone = random.pick(region.peers);
    if (voters.length < FEW_VOTERS && newcomer && random.chance(0.8)) return this.#addition(newcomer, random);
    return random.pick([
      () => (newcomer ? this.#addition(newcomer, random) : []),
      () => (newcomer ? [...this.#addition(newcomer, random), ...this.#removal(someone, random)] : []),
      () => (newcomer ? [add('addLearner', newcomer), swap([newcomer], [someone]), remove(someone)] : []),
      () => this.#removal(someone, random),
      // The same node, with another peer.
      () => [...this.#removal(someone, random), ...this.#addition(this.#newPeer(someone.nodeId), random)],
      () => [swap([], [someone]), swap([someone], [])],
      () => [swap([], [someone]), add('addVoter', someone)],
      () => this.#exchange(region, random),
    ])();
  }

  #newPeer(nodeId: number): Place {
    return { peerId: this.#nextPeerId++, nodeId };
  }

  /** As a learner first, or at once as a voter that has nothing yet. */
  #addition(peer: Place, random: Random): Step[] {
    if (random.chance(0.2)) return [add('addVoter', peer)];
    const promote = random.chance(0.5) ? add('addVoter', peer) : swap([peer], []);
    return random.chance(0.15) ? [add('addLearner', peer)] : [add('addLearner', peer), promote];
  }

  /** Several voters at once for several others. */
  #exchange(region: Region, random: Random): Step[] {
    const free = this.#world.nodes.filter(({ nodeId }) => !region.peers.some((peer) => peer.nodeId === nodeId));
    const coming = random.sample(free, 1 + random.below(2)).map(({ nodeId }) => this.#newPeer(nodeId));
    const going = random.sample(region.peers, 1 + random.below(2));
    if (coming.length === 0) return [];
    const learners = random.chance(0.5) ? coming.map((peer) => add('addLearner', peer)) : [];
    return [...learners, swap(coming, going), ...going.map(remove)];
  }

  // --- split and merge -----------------------------------------------------------------------------------------------

  split(random: Random): void {
    const regions = this.#world.currentRegions;
    if (regions.length >= MOST_REGIONS) return;
    const { regionId } = random.pick(regions);
    const splitKey = this.#splitKey(random);
    const childRegionId = this.#nextRegionId++;
    let asked = false;
    const step: Step = (region) => {
      if (asked) return 'reached';
      asked = true;
      const childPeerIds = region.peers.map(() => this.#nextPeerId++);
      return { kind: 'admin', command: { split: { splitKey, childRegionId, childPeerIds } } };
    };
    this.#drive(regionId, [step], random);
  }

  /** Between two regions, at a key, between two. */
  #splitKey(random: Random): Buffer {
    const { regions, keysPerRegion } = this.#world.config;
    const letter = regionLetter(random.below(regions));
    return Buffer.from(
      random.pick([letter, `${letter}${random.below(keysPerRegion)}`, `${letter}${random.below(10)}5`]),
    );
  }

  /** Brings the peers of one region to where its neighbour's are, and merges it into that. */
  merge(random: Random): void {
    const regions = this.#world.currentRegions;
    const source = random.pick(regions);
    const isNeighbour = ({ startKey, endKey }: Region): boolean =>
      (startKey.length > 0 && Buffer.compare(startKey, source.endKey) === 0) ||
      (endKey.length > 0 && Buffer.compare(endKey, source.startKey) === 0);
    const neighbours = regions.filter(isNeighbour);
    const target = neighbours.length > 0 ? random.pick(neighbours) : random.pick(regions);
    const steps = random.chance(0.8) ? this.#alignment(source, target) : [];
    let asked = false;
    const prepare: Step = () => {
      if (asked) return 'reached';
      asked = true;
      const now = this.#world.currentRegions.find((region) => region.regionId === target.regionId);
      return now ? { kind: 'admin', command: { prepareMerge: { target: toWireRegion(now) } } } : 'impossible';
    };
    this.#drive(source.regionId, [...steps, prepare], random);
  }

  #alignment(source: Region, target: Region): Step[] {
    const isOn = (region: Region, nodeId: number): boolean => region.peers.some((peer) => peer.nodeId === nodeId);
    const coming = target.peers
      .filter(({ nodeId }) => !isOn(source, nodeId))
      .map(({ nodeId }) => this.#newPeer(nodeId));
    const going = source.peers.filter(({ nodeId }) => !isOn(target, nodeId));
    const learners = source.peers.filter((peer) => peer.role === 'learner' && isOn(target, peer.nodeId));
    return [
      ...coming.flatMap((peer) => [add('addLearner', peer), add('addVoter', peer)]),
      ...learners.map((peer) => add('addVoter', peer)),
      ...going.flatMap((peer) => [handOver(peer, this.#world), remove(peer)]),
    ];
  }

  // --- the way of a change -------------------------------------------------------------------------------------------

  #drive(regionId: number, steps: readonly Step[], random: Random, tries = 0, sent?: Epoch): void {
    const { electionTimeoutMs } = this.#world.config;
    if (this.#stopped || tries > MOST_TRIES) return;
    const again = (left: readonly Step[], epoch?: Epoch): void =>
      this.#world.at(this.#world.nowMs + random.wait(electionTimeoutMs * 0.3), () =>
        this.#drive(regionId, left, random, tries + 1, epoch),
      );
    const leader = this.#world.leaderOf(regionId);
    const worker = leader?.process?.workerOf(regionId);
    const region = worker?.shard.regionStatus(regionId)?.region;
    if (!leader || !worker || !region) return again(steps, sent);
    let left = steps;
    for (let step = left[0]; step; step = left[0]) {
      const change = step(region, leader);
      if (change === 'impossible') return;
      if (change === 'reached') {
        left = left.slice(1);
        continue;
      }
      if (change !== 'wait') {
        if (!this.#keepsOrder(region, change)) return;
        // A little too late, now and then, or to the wrong address.
        const epoch = sent && random.chance(0.1) ? sent : region.epoch;
        this.#ask(random.chance(0.05) ? random.pick(this.#world.nodes) : leader, regionId, epoch, change);
      }
      break;
    }
    if (left.length > 0) again(left, region.epoch);
  }

  /** Ids are not used twice and grow, as placement gives them: who was removed, or overtaken, does not come any more. */
  #keepsOrder({ regionId, peers }: Region, change: RegionChange): boolean {
    if (change.kind !== 'membership') return true;
    const facts = this.#world.safety.regions.get(regionId);
    return change.changes.every(({ action, peerId, nodeId }) => {
      const isMember = peers.some((peer) => peer.peerId === peerId);
      if (action !== 'remove' && !isMember && facts?.hadPeer(peerId)) return false;
      const place = `${regionId} ${nodeId}`;
      if (action === 'remove' || peerId < (this.#latest.get(place) ?? 0)) return action === 'remove';
      this.#latest.set(place, peerId);
      return true;
    });
  }

  #ask(node: VirtualNode, regionId: number, epoch: Epoch, change: RegionChange): void {
    const worker = node.process?.workerOf(regionId);
    if (!worker) return;
    this.#world.trace(() => `the meddler asks node ${node.nodeId} to change region ${regionId}: ${describe(change)}`);
    this.#count(worker, 1);
    const now = worker.shard.regionStatus(regionId)?.region.epoch;
    const isStale = now !== undefined && !sameEpoch(now, epoch);
    let ended = false;
    worker.shard.changeRegion(regionId, epoch, change, (error) => {
      const outcome = error?.code ?? 'done';
      this.#world.trace(() => `the meddler hears of region ${regionId}: ${error ? String(error) : 'done'}`);
      this.outcomes.set(outcome, (this.outcomes.get(outcome) ?? 0) + 1);
      if (ended) this.#world.report('a change ends once', `region ${regionId}: ${outcome}`);
      if (error && !CODES.includes(error.code)) {
        this.#world.report('changes fail by documented codes', `region ${regionId}: ${error.stack ?? error.message}`);
      }
      if (isStale && !error) this.#world.report('a change is made in the epoch it was asked in', `region ${regionId}`);
      ended = true;
      this.#count(worker, -1);
    });
    worker.wake();
  }

  #count(worker: VirtualWorker, by: 1 | -1): void {
    const calls = (this.#openCalls.get(worker) ?? 0) + by;
    if (calls === 0) this.#openCalls.delete(worker);
    else this.#openCalls.set(worker, calls);
  }
}

interface Place {
  readonly peerId: number;
  readonly nodeId: number;
}

function membership(joint: boolean, changes: readonly PeerChange[]): RegionChange {
  return { kind: 'membership', joint, changes };
}

function roleIn(region: Region, { peerId }: Place): string | undefined {
  return region.peers.find((peer) => peer.peerId === peerId)?.role;
}

function add(action: 'addLearner' | 'addVoter', peer: Place): Step {
  return (region) => {
    const role = roleIn(region, peer);
    if (role === 'voter' || (role === 'learner' && action === 'addLearner')) return 'reached';
    return membership(false, [{ action, peerId: peer.peerId, nodeId: peer.nodeId }]);
  };
}

/** Through a joint configuration: these vote, those learn. */
function swap(coming: readonly Place[], going: readonly Place[]): Step {
  return (region) => {
    const isIn = coming.every((peer) => roleIn(region, peer) === 'voter');
    const isOut = going.every((peer) => roleIn(region, peer) !== 'voter');
    if (isIn && isOut) return 'reached';
    return membership(true, [
      ...coming.map(({ peerId, nodeId }) => ({ action: 'addVoter' as const, peerId, nodeId })),
      ...going.map(({ peerId, nodeId }) => ({ action: 'addLearner' as const, peerId, nodeId })),
    ]);
  };
}

function remove(peer: Place): Step {
  return (region) => {
    if (roleIn(region, peer) === undefined) return 'reached';
    return membership(false, [{ action: 'remove', peerId: peer.peerId, nodeId: peer.nodeId }]);
  };
}

/** A leader that is to go gives its region to another peer first. */
function handOver(peer: Place, world: World): Step {
  return (region, leader) => {
    if (leader.nodeId !== peer.nodeId) return 'reached';
    const target = region.peers.find((other) => other.nodeId !== peer.nodeId && other.role === 'voter');
    if (!target) return 'impossible';
    const worker = leader.process?.workerOf(region.regionId);
    worker?.shard.transferLeader(region.regionId, target.nodeId);
    worker?.wake();
    return world.leaderOf(region.regionId) === leader ? 'wait' : 'reached';
  };
}

function describe(change: RegionChange): string {
  if (change.kind === 'admin') return JSON.stringify(change.command);
  const changes = change.changes.map(({ action, peerId, nodeId }) => `${action} ${peerId}@${nodeId}`);
  return `${change.joint ? 'joint ' : ''}${changes.join(', ')}`;
}
