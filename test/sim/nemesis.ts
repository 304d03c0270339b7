/** Makes the faults that the configuration asks for, each at random times, and takes them all back at the end. */

import { slotOfRegion } from '../../rpc/wire/slots.ts';
import type { Fault, SimConfig } from './config.ts';
import type { Party } from './network.ts';
import { Administrator } from './administrator.ts';
import { Meddler } from './meddler.ts';
import type { VirtualNode, VirtualProcess } from './process.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

/** What a move of a slot may end by, when it does not succeed. */
const MOVE_CODES: readonly string[] = ['RegionChanging', 'Unavailable'];
/** About as long as a move takes where nobody has much to do. */
const MOVE_MS = 1;

export class Nemesis {
  readonly #world: World;
  readonly #config: SimConfig;
  readonly meddler: Meddler;
  readonly administrator: Administrator;
  #stopped = false;
  /** The leader that was cut off last. */
  #cutOff = 0;
  #doomed: VirtualNode | undefined;
  #joinLast: () => void = () => {};
  /** Moves of slots that were begun and have not ended. */
  readonly #openMoves = new Map<VirtualProcess, number>();
  /** Faults made, by name. */
  readonly made = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
    this.#config = world.config;
    this.meddler = new Meddler(world);
    this.administrator = new Administrator(world);
  }

  start(): void {
    const makers: Partial<Record<Fault, (random: Random) => void>> = {
      clogEvery: (random) => this.#clog(random),
      partitionEvery: (random) => this.#partition(random),
      churnEvery: (random) => this.#cutOffLeader(random),
      brokerLossEvery: (random) => this.#loseBroker(random),
      slowDiskEvery: (random) => this.#slowDisk(random),
      hungSyncEvery: (random) => this.#hangSync(random),
      syncErrorEvery: (random) => this.#failSync(random),
      fullDiskEvery: (random) => this.#fillDisk(random),
      amnesiaEvery: (random) => this.#lie(random),
      wipeEvery: (random) => this.#wipe(random),
      crashEvery: (random) => this.#anyNode(random).crash(),
      restartEvery: (random) => this.#restart(random),
      promiseEvery: (random) => this.#testPromises(random),
      blackoutEvery: () => this.#blackout(),
      workerCrashEvery: (random) => this.#crashWorker(random),
      pauseEvery: (random) => this.#pause(random),
      slotMoveEvery: (random) => this.#moveSlots(random),
      wildClockEvery: (random) => this.#upsetClock(random),
      transferEvery: (random) => this.#transfer(random),
      handOverEvery: (random) => this.#handOver(random),
      membershipEvery: (random) => this.meddler.changeMembership(random),
      splitEvery: (random) => this.meddler.split(random),
      mergeEvery: (random) => this.meddler.merge(random),
      operateEvery: (random) => this.administrator.operate(random),
      drainEvery: (random) => this.administrator.drain(random),
      replayEvery: (random) => this.#world.replaySnapshots(random),
      comparisonEvery: (random) => this.#compare(random),
    };
    for (const [fault, make] of Object.entries(makers) as [Fault, (random: Random) => void][]) {
      const everyMs = this.#config.faults[fault];
      if (everyMs > 0) this.#repeat(fault, everyMs, this.#world.random.stream(fault), make);
    }
    if (this.#config.placement) this.administrator.start(this.#world.random.stream('administrator'));
    this.#driftClocks(this.#world.random.stream('clocks'));
  }

  #repeat(fault: Fault, everyMs: number, random: Random, make: (random: Random) => void): void {
    this.#world.at(this.#world.nowMs + random.wait(everyMs), () => {
      if (this.#stopped) return;
      this.#world.trace(() => `fault: ${fault}`);
      this.made.set(fault, (this.made.get(fault) ?? 0) + 1);
      make(random);
      this.#repeat(fault, everyMs, random, make);
    });
  }

  /** A length of time that may or may not outlast an election. */
  #span(random: Random): number {
    return random.between(0.1, random.pick([0.5, 2, 5])) * this.#config.electionTimeoutMs;
  }

  /** Every other time one that leads: what happens to leaders is more telling. */
  #anyNode(random: Random): VirtualNode {
    const leads = random.chance(0.5)
      ? this.#world.leaderOf(random.pick(this.#world.currentRegions).regionId)
      : undefined;
    return leads ?? random.pick(this.#world.nodes);
  }

  get #clients(): Party[] {
    return this.#world.clientParties;
  }

  get #nodeIds(): number[] {
    return this.#world.nodes.map((node) => node.nodeId);
  }

  /** Runs when the fault has lasted; not if everything was healed before. */
  #afterwards(random: Random, run: () => void): void {
    this.#world.at(this.#world.nowMs + this.#span(random), () => {
      if (!this.#stopped) run();
    });
  }

  // --- network -------------------------------------------------------------------------------------------------------

  #clog(random: Random): void {
    const from = this.#anyNode(random).nodeId;
    const to = this.#anyNode(random).nodeId;
    this.#world.network.clog(from, to, this.#world.nowMs + this.#span(random));
  }

  #partition(random: Random): void {
    const ids = this.#nodeIds;
    const pairs = random.pick([
      () => symmetric([this.#anyNode(random).nodeId], ids),
      () => this.#brokenLink(random),
      () => this.#brokenLink(random),
      () => symmetric(random.sample(ids, 1 + random.below(ids.length)), ids),
      () => oneWay(random.sample(ids, 1 + random.below(ids.length)), ids, random.chance(0.5)),
      () => ring(random.sample(ids, ids.length)),
      () => this.#clientsCutOff(random),
    ])();
    if (pairs.length === 0) return;
    const join = this.#world.network.cut(pairs);
    this.#afterwards(random, join);
  }

  #cutOffLeader(random: Random): void {
    const leader = this.#world.leaderOf(random.pick(this.#world.currentRegions).regionId);
    if (!leader || leader.nodeId === this.#cutOff) return;
    // The one before comes back, so that there is a majority for the next and its own tail is overwritten.
    this.#joinLast();
    this.#cutOff = leader.nodeId;
    this.#joinLast = this.#world.network.cut(symmetric([leader.nodeId], this.#nodeIds));
  }

  /** Two nodes do not hear each other; everybody else hears both. */
  #brokenLink(random: Random): [Party, Party][] {
    const a = this.#anyNode(random).nodeId;
    const b = random.pick(this.#nodeIds.filter((id) => id !== a)) ?? a;
    return [
      [a, b],
      [b, a],
    ];
  }

  #clientsCutOff(random: Random): [Party, Party][] {
    const clients = this.#clients;
    const nodes = random.sample(this.#nodeIds, 1 + random.below(this.#nodeIds.length));
    return random.sample(clients, 1 + random.below(clients.length)).flatMap((client) =>
      nodes.flatMap((node): [Party, Party][] => [
        [client, node],
        [node, client],
      ]),
    );
  }

  #loseBroker(random: Random): void {
    const { network } = this.#world;
    if (network.brokerDownSinceMs !== undefined) return;
    network.brokerDownSinceMs = this.#world.nowMs;
    this.#afterwards(random, () => void (network.brokerDownSinceMs = undefined));
  }

  // --- disks ---------------------------------------------------------------------------------------------------------

  #slowDisk(random: Random): void {
    this.#anyNode(random).disk.slowUntilMs = this.#world.nowMs + this.#span(random);
  }

  #hangSync(random: Random): void {
    this.#anyNode(random).disk.hangMs = random.between(0.5, 4) * this.#config.electionTimeoutMs;
  }

  #failSync(random: Random): void {
    this.#anyNode(random).disk.failNext = true;
  }

  #fillDisk(random: Random): void {
    const { disk } = this.#anyNode(random);
    disk.fullAfter = random.below(8);
    this.#afterwards(random, () => {
      disk.fullAfter = Infinity;
      disk.store.diskFull = false;
    });
  }

  /** Claims syncs until the node crashes, which it does soon. */
  #lie(random: Random): void {
    const node = this.#chooseDoomed(random);
    if (!node?.process) return;
    node.disk.lies = true;
    const lastsMs = random.pick([0.2, 1, 3]) * this.#config.electionTimeoutMs * random.next();
    this.#world.at(this.#world.nowMs + lastsMs, () => {
      if (!this.#stopped && node.disk.lies) node.crash();
    });
  }

  #wipe(random: Random): void {
    const node = this.#chooseDoomed(random);
    if (!node) return;
    if (random.chance(0.3)) node.wipe('database');
    else if (node.isKnownTo(this.#world.nodes)) node.wipe('everything');
  }

  /** The one node of a run that loses what it promised: of the others a majority must remain in every region. */
  #chooseDoomed(random: Random): VirtualNode | undefined {
    if (this.#config.replicas < 3) return undefined;
    this.#doomed ??= this.#anyNode(random);
    return this.#doomed.isLost || this.#doomed.hasForgotten ? undefined : this.#doomed;
  }

  // --- processes -----------------------------------------------------------------------------------------------------

  /** Cuts one follower off from its leader, and meanwhile restarts the others. */
  #testPromises(random: Random): void {
    const { electionTimeoutMs } = this.#config;
    const leader = this.#world.leaderOf(random.pick(this.#world.currentRegions).regionId);
    const [candidate, ...others] = random.sample(
      this.#world.nodes.filter((node) => node !== leader),
      this.#world.nodes.length,
    );
    if (!leader || !candidate) return;
    // Without writes the candidate's log is as good as any.
    const unheard = random.chance(0.7) ? [candidate.nodeId, ...this.#clients] : [candidate.nodeId];
    const join = this.#world.network.cut(symmetric([leader.nodeId], [leader.nodeId, ...unheard]));
    const lastsMs = random.between(1, 4) * electionTimeoutMs;
    for (let inMs = 0; inMs < lastsMs; inMs += random.between(0.1, 0.6) * electionTimeoutMs) {
      this.#world.at(this.#world.nowMs + inMs, () => {
        if (!this.#stopped && others.length > 0) this.#restart(random, random.pick(others));
      });
    }
    this.#world.at(this.#world.nowMs + lastsMs, () => {
      if (!this.#stopped) join();
    });
  }

  #restart(random: Random, node = random.pick(this.#world.nodes)): void {
    node.restartsAfterMs = random.between(1, 10);
    node.crash();
  }

  #blackout(): void {
    for (const node of this.#world.nodes) node.crash();
  }

  #crashWorker(random: Random): void {
    const { process } = this.#anyNode(random);
    if (!process) return;
    process.crashWorker(random.below(process.workerCount), random.between(1, 100));
  }

  /** To another worker, perhaps all that the node has at once; and perhaps one of the two dies meanwhile. */
  #moveSlots(random: Random): void {
    const { process } = this.#anyNode(random);
    if (!process || process.workerCount < 2) return;
    const regions = [...this.#world.safety.replicasOn(process.nodeId)].map((replica) => replica.regionId);
    if (regions.length === 0) return;
    for (const regionId of random.chance(0.3) ? regions : [random.pick(regions)]) {
      this.#moveSlot(process, slotOfRegion(regionId), random);
    }
  }

  #moveSlot(process: VirtualProcess, slot: number, random: Random): void {
    const { pool } = process.main;
    const from = pool.workerOfSlot(slot);
    const to = (from + 1 + random.below(process.workerCount - 1)) % process.workerCount;
    this.#world.trace(() => `node ${process.nodeId} moves slot ${slot} from worker ${from} to ${to}`);
    this.#openMoves.set(process, (this.#openMoves.get(process) ?? 0) + 1);
    pool.beginMove(slot, to, (error) => {
      this.#openMoves.set(process, this.#openMoves.get(process)! - 1);
      this.#world.trace(() => `node ${process.nodeId}, slot ${slot}: ${error?.code ?? 'moved'}`);
      if (error && !MOVE_CODES.includes(error.code)) this.#world.report('a move of a slot ends well', error.message);
    });
    if (!random.chance(0.15)) return;
    const inMs = random.next() * MOVE_MS;
    const restartMs = random.between(1, 100);
    this.#world.at(this.#world.nowMs + inMs, () => process.crashWorker(random.chance(0.5) ? from : to, restartMs));
  }

  /** Moves of slots that have not come to their end, though their node runs. */
  get openMoves(): number {
    let count = 0;
    for (const [process, moves] of this.#openMoves) if (!process.isDead) count += moves;
    return count;
  }

  #pause(random: Random): void {
    const { process } = this.#anyNode(random);
    const elections = random.chance(0.7) ? random.between(1, 5) : random.between(0.1, 1);
    if (process) process.pausedUntilMs = this.#world.nowMs + elections * this.#config.electionTimeoutMs;
  }

  /** Within what the configuration promises. */
  #driftClocks(random: Random): void {
    const { clockSpread, electionTimeoutMs } = this.#config;
    this.#world.at(this.#world.nowMs + random.wait(electionTimeoutMs * 3), () => {
      if (this.#stopped) return;
      const { process } = this.#anyNode(random);
      process?.clock.adjust(this.#world.nowMs, random.between(1 - clockSpread, 1 + clockSpread));
      for (const worker of process?.workers ?? []) worker.replan();
      this.#driftClocks(random);
    });
  }

  /** Beyond all promises. */
  #upsetClock(random: Random): void {
    const { process } = this.#anyNode(random);
    if (!process) return;
    const leapMs = random.chance(0.5) ? this.#span(random) : 0;
    process.clock.adjust(this.#world.nowMs, random.between(0.5, 2), leapMs);
    for (const worker of process.workers) worker.replan();
  }

  // --- operators -----------------------------------------------------------------------------------------------------

  #transfer(random: Random): void {
    const region = random.pick(this.#world.currentRegions);
    const target = random.pick(region.peers).nodeId;
    // Sometimes the word comes so late that the leader has given the hand-over up.
    const lateMs = random.chance(0.3) ? random.between(0.9, 1.9) * this.#config.electionTimeoutMs : 0;
    for (const { nodeId, process } of this.#world.nodes) {
      const worker = process?.workerOf(region.regionId);
      if (!worker?.shard.transferLeader(region.regionId, target)) continue;
      if (lateMs > 0) this.#world.network.clog(nodeId, target, this.#world.nowMs + lateMs);
      worker.wake();
    }
  }

  #compare(random: Random): void {
    const { regionId } = random.pick(this.#world.currentRegions);
    const worker = this.#world.leaderOf(regionId)?.process?.workerOf(regionId);
    if (worker?.shard.checkConsistency(regionId)) worker.wake();
  }

  /** A node hands everything over, as before it stops, and is then restarted or not. */
  #handOver(random: Random): void {
    const node = this.#anyNode(random);
    const { process } = node;
    if (!process) return;
    for (const worker of process.workers) {
      worker.shard.handOver();
      worker.wake();
    }
    this.#afterwards(random, () => {
      if (node.process === process) node.crash();
    });
  }

  // --- the end of all faults -----------------------------------------------------------------------------------------

  /** Heals everything, or a random majority: the others stay down or cut off. Returns the nodes that are well. */
  heal(): VirtualNode[] {
    this.#stopped = true;
    this.meddler.stop();
    this.administrator.stop();
    const world = this.#world;
    world.network.heal();
    world.stallShare = 0;
    // What has forgotten something says so before it is counted on.
    for (const node of world.nodes) if (node.hasForgotten) node.start();
    const well = this.#chooseWell(world.random.stream('heal'));
    for (const node of world.nodes) {
      const { disk } = node;
      disk.faultsOff = true;
      disk.lies = false;
      disk.slowUntilMs = 0;
      disk.hangMs = 0;
      disk.failNext = false;
      disk.fullAfter = Infinity;
      disk.store.diskFull = false;
      if (node.process) node.process.pausedUntilMs = Math.min(node.process.pausedUntilMs, world.nowMs);
      for (let worker = 0; worker < (node.process?.workerCount ?? 0); worker++) node.process?.startWorker(worker);
      node.start();
    }
    return well;
  }

  #chooseWell(random: Random): VirtualNode[] {
    const { config } = this.#world;
    const nodes = this.#world.nodes.filter((node) => !node.isLost);
    const most = Math.floor((config.replicas - 1) / 2) - (this.#world.nodes.length - nodes.length);
    if (!config.healMajorityOnly || most <= 0) return nodes;
    const ill = random.sample(nodes, 1 + random.below(most));
    for (const node of ill) {
      if (random.chance(0.5)) {
        node.stayDown = true;
        node.crash();
      } else {
        const others = this.#world.nodes.filter((other) => other !== node).map((other) => other.nodeId);
        this.#world.network.cut(symmetric([node.nodeId], [...others, ...this.#clients, node.nodeId]));
      }
    }
    return nodes.filter((node) => !ill.includes(node));
  }
}

function symmetric(some: readonly Party[], all: readonly Party[]): [Party, Party][] {
  const others = all.filter((party) => !some.includes(party));
  return some.flatMap((a) =>
    others.flatMap((b): [Party, Party][] => [
      [a, b],
      [b, a],
    ]),
  );
}

function oneWay(some: readonly Party[], all: readonly Party[], outward: boolean): [Party, Party][] {
  const others = all.filter((party) => !some.includes(party));
  return some.flatMap((a) => others.map((b): [Party, Party] => (outward ? [a, b] : [b, a])));
}

/** Each hears its neighbours in the circle only. */
function ring(circle: readonly Party[]): [Party, Party][] {
  const count = circle.length;
  return circle.flatMap((a, i) =>
    circle.flatMap((b, j): [Party, Party][] => {
      const apart = Math.min((i - j + count) % count, (j - i + count) % count);
      return apart > 1 ? [[a, b]] : [];
    }),
  );
}
