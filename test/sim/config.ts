/** What a run is: drawn from its seed (swarm testing: each seed has some faults and lacks others), or given to be run again. */

import { Random } from './random.ts';

export const PROFILES = ['default', 'network', 'disk', 'process', 'calm', 'changes', 'regions', 'placement'] as const;
export type Profile = (typeof PROFILES)[number];

/** Each is 0 where the fault is off. `every` is the mean time between two such faults in the cluster, in milliseconds. */
export interface Faults {
  // --- network
  /** Share of frames that are lost, that arrive twice, that overtake others. */
  loss: number;
  duplication: number;
  reordering: number;
  /** A link holds back everything for a while. */
  clogEvery: number;
  /** One-way, ring, symmetric and client partitions. */
  partitionEvery: number;
  /** Whoever leads is cut off from the other nodes, not from clients, again and again (thesis figure 3.7 comes of it). */
  churnEvery: number;
  /** The broker is gone: nobody hears anybody. */
  brokerLossEvery: number;
  /** Share of frames that come a second time much later, perhaps from an older boot or a dead connection. */
  ghosts: number;

  // --- disk
  slowDiskEvery: number;
  /** A single sync takes longer than a lease. */
  hungSyncEvery: number;
  syncErrorEvery: number;
  fullDiskEvery: number;
  /** Share of writes in the middle of which the process dies. */
  crashInWrite: number;
  /** The disk of one node claims its syncs and does not do them, until the node crashes and has forgotten (amnesia). */
  amnesiaEvery: number;
  /** One node's database, or everything it has, is gone. */
  wipeEvery: number;

  // --- process
  crashEvery: number;
  /** A crash of which the process is back within milliseconds. */
  restartEvery: number;
  /** A node that does not hear its leader campaigns, while a third restarts again and again: votes stay promised. */
  promiseEvery: number;
  /** All nodes at once. */
  blackoutEvery: number;
  workerCrashEvery: number;
  /** The process stands still; what arrives waits in its sockets. */
  pauseEvery: number;
  /** Share of timers before which the thread stalls. */
  stalls: number;
  /** Slots go from one worker of a node to another while it serves; now and then a worker dies in the middle. */
  slotMoveEvery: number;
  /** A clock that leaps ahead or runs far too fast or slow: leases are not checked then. */
  wildClockEvery: number;

  // --- operators
  transferEvery: number;
  handOverEvery: number;

  // --- placement
  /** Peers come, go, are promoted, demoted and replaced, one by one or through joint configurations. */
  membershipEvery: number;
  splitEvery: number;
  mergeEvery: number;
  /** Where placement runs: changes that somebody asks it for by hand, and nodes that are drained, for a while or for good. */
  operateEvery: number;
  drainEvery: number;
  /** The frames of old snapshots come once more, all of them and in order. */
  replayEvery: number;
  /** The replicas of a region compare their data. */
  comparisonEvery: number;
}

export type Fault = keyof Faults;

export interface SimConfig {
  readonly seed: number;
  readonly profile: Profile | 'given';
  readonly nodes: number;
  /** Those that the cluster begins with; the others join. */
  readonly initialNodes: number;
  /** There is a region 1, and the nodes run placement. */
  readonly placement: boolean;
  /** Peers of each region. */
  readonly replicas: number;
  readonly workers: number;
  readonly regions: number;
  readonly clients: number;
  /** Calls that one client has under way at a time. */
  readonly callsAtOnce: number;
  readonly keysPerRegion: number;
  /** What is added to each value. */
  readonly paddingBytes: number;
  /** Operations that each client makes at most. */
  readonly operations: number;
  /** Frames to one worker that a client does not wait for the answers of. */
  readonly inflightFrames: number;
  /** How long faults are made. */
  readonly durationMs: number;
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly tickMs: number;
  readonly maxClockDrift: number;
  /** How long a region is idle before it sleeps; 0: it never does. */
  readonly hibernateAfterMs: number;
  /** Clocks run at 1 ± this; within maxClockDrift for any two of them. */
  readonly clockSpread: number;
  readonly latencyMs: number;
  readonly syncMs: number;
  /** What a pass of a worker's loop takes beside its syncs. */
  readonly passMs: number;
  /** Between two calls; half of them follow at once. */
  readonly thinkMs: number;
  /** Share of calls that are for the first key of all. */
  readonly hotKey: number;
  /** Limits of production, or so small ones that everything is cut into parts, waits and is read back from the store. */
  readonly smallLimits: boolean;
  /** Logs are cut after a few entries, so that whoever is away for a moment needs a snapshot. */
  readonly shortLogs: boolean;
  /** Share of calls that are reads, and how fresh they are asked to be. */
  readonly reads: number;
  readonly leaseReads: number;
  /** At the end a random majority is healed, the others stay down or cut off. */
  readonly healMajorityOnly: boolean;
  readonly faults: Readonly<Faults>;
}

export const NO_FAULTS: Readonly<Faults> = {
  loss: 0,
  duplication: 0,
  reordering: 0,
  clogEvery: 0,
  partitionEvery: 0,
  churnEvery: 0,
  brokerLossEvery: 0,
  ghosts: 0,
  slowDiskEvery: 0,
  hungSyncEvery: 0,
  syncErrorEvery: 0,
  fullDiskEvery: 0,
  crashInWrite: 0,
  amnesiaEvery: 0,
  wipeEvery: 0,
  crashEvery: 0,
  restartEvery: 0,
  promiseEvery: 0,
  blackoutEvery: 0,
  workerCrashEvery: 0,
  pauseEvery: 0,
  stalls: 0,
  slotMoveEvery: 0,
  wildClockEvery: 0,
  transferEvery: 0,
  handOverEvery: 0,
  membershipEvery: 0,
  splitEvery: 0,
  mergeEvery: 0,
  operateEvery: 0,
  drainEvery: 0,
  replayEvery: 0,
  comparisonEvery: 0,
};

type Draw = (random: Random, electionTimeoutMs: number) => number;

/** A mean time between faults, in election time-outs; often enough to meet each other, seldom enough to let work be done. */
const every =
  (low: number, high: number): Draw =>
  (random, electionTimeoutMs) =>
    Math.round(low * (high / low) ** random.next() * electionTimeoutMs);
const share =
  (most: number): Draw =>
  (random) =>
    Math.round(random.next() ** 2 * most * 1000) / 1000 + 0.001;

const NETWORK: Partial<Record<Fault, Draw>> = {
  loss: share(0.3),
  duplication: share(0.5),
  reordering: share(0.3),
  clogEvery: every(0.5, 8),
  partitionEvery: every(1, 8),
  churnEvery: every(1.5, 5),
  brokerLossEvery: every(4, 20),
  ghosts: share(0.2),
};
const DISK: Partial<Record<Fault, Draw>> = {
  slowDiskEvery: every(2, 8),
  hungSyncEvery: every(3, 12),
  syncErrorEvery: every(3, 15),
  fullDiskEvery: every(3, 15),
  crashInWrite: share(0.01),
};
const PROCESS: Partial<Record<Fault, Draw>> = {
  crashEvery: every(1, 8),
  restartEvery: every(0.3, 4),
  promiseEvery: every(2, 10),
  blackoutEvery: every(6, 20),
  workerCrashEvery: every(1, 10),
  pauseEvery: every(1, 8),
  stalls: share(0.02),
  wildClockEvery: every(1, 8),
};
const OPERATORS: Partial<Record<Fault, Draw>> = {
  transferEvery: every(0.5, 8),
  handOverEvery: every(4, 15),
};

/** A node is out of a run for good; never more than one, and none where the others are no majority. */
const LOSSES: Partial<Record<Fault, Draw>> = { amnesiaEvery: every(2, 12), wipeEvery: every(4, 20) };

const MEMBERSHIP: Partial<Record<Fault, Draw>> = {
  membershipEvery: every(0.5, 4),
  comparisonEvery: every(1, 8),
  replayEvery: every(0.5, 4),
};
const RANGES: Partial<Record<Fault, Draw>> = { splitEvery: every(0.7, 5), mergeEvery: every(0.7, 5) };

/** Profiles in which slots may move. */
const MOVING_SLOTS: readonly Profile[] = ['default', 'process', 'changes', 'regions'];

/** How likely a fault is on, where its profile has it. */
const SHARE_OF_SEEDS = 0.25;
/** Faults that leave little to be checked are on in few seeds, those that part logs in more. */
const OTHER_SHARES: Partial<Record<Fault, number>> = {
  wildClockEvery: 0.1,
  blackoutEvery: 0.15,
  churnEvery: 0.35,
  crashEvery: 0.35,
  pauseEvery: 0.4,
  transferEvery: 0.4,
  ghosts: 0.35,
  amnesiaEvery: 0.15,
  wipeEvery: 0.1,
};

function menuOf(profile: Profile): Partial<Record<Fault, Draw>> {
  switch (profile) {
    case 'network':
      return { ...NETWORK, ...OPERATORS };
    case 'disk':
      return { ...DISK, crashEvery: PROCESS.crashEvery!, blackoutEvery: PROCESS.blackoutEvery! };
    case 'process':
      return { ...PROCESS, ...OPERATORS };
    case 'calm':
      return {};
    case 'default':
    case 'changes':
    case 'regions':
    case 'placement':
      return { ...NETWORK, ...DISK, ...PROCESS, ...OPERATORS };
  }
}

/** What happens to regions themselves; the first of its profile always does. */
function changesOf(profile: Profile): Partial<Record<Fault, Draw>> {
  if (profile === 'changes') return MEMBERSHIP;
  return profile === 'regions' ? { ...RANGES, ...MEMBERSHIP } : {};
}

/** The configuration of a seed. */
export function drawConfig(seed: number, profile: Profile): SimConfig {
  const random = new Random(seed, `config ${profile}`);
  const nodes = random.pick([1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5]);
  const electionTimeoutMs = random.pick([150, 200, 300]);
  const fastClocks = random.chance(0.3);
  const regions = random.pick([1, 1, 1, 2, 2, 3, 5, 8]);
  const durationMs = Math.round(random.between(12, 25) * electionTimeoutMs);
  const callsAtOnce = random.pick([1, 2, 4, 8]);
  const operations = random.pick([50, 100, 200]);
  const faults: Record<Fault, number> = { ...NO_FAULTS };
  const drawFaults = (menu: Partial<Record<Fault, Draw>>, from: Random): void => {
    for (const [fault, draw] of Object.entries(menu) as [Fault, Draw][]) {
      const isOn = from.chance(OTHER_SHARES[fault] ?? SHARE_OF_SEEDS);
      const value = draw(from, electionTimeoutMs);
      if (isOn) faults[fault] = value;
    }
  };
  drawFaults(menuOf(profile), random);
  // From a stream of their own: seeds without them are what they were before there were such faults.
  const changes = random.stream(`changes ${profile}`);
  const isChanging = profile === 'changes' || profile === 'regions';
  if (isChanging) drawChanges(faults, profile, changes, electionTimeoutMs);
  else if (profile !== 'network' && profile !== 'calm') drawFaults(LOSSES, random.stream(`losses ${profile}`));
  const config: SimConfig = {
    seed,
    profile,
    nodes,
    initialNodes: nodes,
    placement: false,
    replicas: nodes <= 3 ? nodes : random.pick([3, nodes]),
    workers: random.pick([1, 1, 2]),
    regions,
    clients: random.pick(callsAtOnce > 4 ? [1, 2, 3] : [2, 3, 4, 6]),
    callsAtOnce,
    keysPerRegion: random.pick(callsAtOnce > 2 ? [2, 4] : [1, 1, 2, 4]),
    paddingBytes: 0,
    operations,
    inflightFrames: random.pick([2, 2, 8]),
    durationMs,
    electionTimeoutMs,
    heartbeatMs: Math.round(electionTimeoutMs / random.pick([4, 5, 6])),
    tickMs: Math.max(5, Math.round(electionTimeoutMs / 16)),
    // Clocks that are 20 % too fast and too slow part by a half; 5 % by a tenth.
    maxClockDrift: fastClocks ? 0.34 : 0.1,
    // Of a stream of its own: what older seeds draw stays.
    hibernateAfterMs: Math.round(new Random(seed, 'sleep').pick([0, 0, 0.3, 1, 2]) * electionTimeoutMs),
    clockSpread: fastClocks ? 0.2 : 0.05,
    latencyMs: random.pick([0.3, 1, 3, 8, 20]),
    syncMs: random.pick([0.1, 0.5, 2]),
    passMs: regions <= 2 ? random.pick([0.02, 0.3, 2]) : 0.02,
    // So that the work lasts about as long as the faults.
    thinkMs: Math.round((durationMs * random.pick([0.3, 0.6, 1])) / operations),
    hotKey: callsAtOnce > 2 ? 0 : random.pick([0, 0.3, 0.7]),
    smallLimits: random.chance(0.5),
    shortLogs: false,
    reads: random.pick([0.2, 0.4, 0.6]),
    leaseReads: random.pick([0, 0.3, 0.7]),
    healMajorityOnly: random.chance(0.25),
    faults,
  };
  if (profile === 'placement') return drawPlacement(config, new Random(seed, 'placement'));
  const complete = isChanging ? { ...config, ...drawRoom(changes, electionTimeoutMs) } : config;
  return MOVING_SLOTS.includes(profile) ? drawSlotMoves(complete, new Random(seed, `slots ${profile}`)) : complete;
}

function drawChanges(faults: Record<Fault, number>, profile: Profile, random: Random, electionTimeoutMs: number): void {
  for (const [at, [fault, draw]] of (Object.entries(changesOf(profile)) as [Fault, Draw][]).entries()) {
    const isOn = random.chance(0.7);
    const value = draw(random, electionTimeoutMs);
    if (isOn || at === 0) faults[fault] = value;
  }
}

/**
 * A cluster of three nodes that others join. Placement thinks in seconds, so the run is long, and what else happens is
 * rarer by as much.
 */
function drawPlacement(config: SimConfig, random: Random): SimConfig {
  const electionTimeoutMs = random.pick([200, 300]);
  const durationMs = Math.round(random.between(10_000, 25_000));
  const calmer = random.pick([3, 6, 12]);
  const faults: Record<Fault, number> = { ...config.faults };
  for (const fault of faultsOf(config)) if (fault.endsWith('Every')) faults[fault] = Math.round(faults[fault] * calmer);
  faults.operateEvery = random.pick([0, 500, 1_500]);
  faults.drainEvery = random.pick([0, 3_000, 6_000]);
  if (random.chance(0.4)) faults.slotMoveEvery = every(1, 10)(random, electionTimeoutMs);
  const operations = random.pick([100, 200, 400]);
  return {
    ...config,
    nodes: random.pick([3, 4, 4, 5, 5]),
    initialNodes: 3,
    placement: true,
    replicas: 3,
    workers: faults.slotMoveEvery > 0 ? 2 : random.pick([1, 2]),
    regions: random.pick([1, 1, 2, 3]),
    clients: random.pick([1, 2, 3]),
    keysPerRegion: random.pick([4, 8]),
    paddingBytes: random.pick([50, 200]),
    operations,
    durationMs,
    electionTimeoutMs,
    heartbeatMs: Math.round(electionTimeoutMs / 5),
    tickMs: Math.round(electionTimeoutMs / 12),
    latencyMs: random.pick([0.3, 1, 3, 8]),
    thinkMs: Math.round((durationMs * random.pick([0.5, 1])) / operations),
    hibernateAfterMs: random.pick([0, 2, 5]) * electionTimeoutMs,
    // Records of placement are as large as they are.
    smallLimits: false,
    shortLogs: random.chance(0.5),
    healMajorityOnly: false,
    faults,
  };
}

/** Of a stream of its own, as all that was invented later. */
function drawSlotMoves(config: SimConfig, random: Random): SimConfig {
  if (!random.chance(0.4)) return config;
  const slotMoveEvery = every(0.3, 4)(random, config.electionTimeoutMs);
  return { ...config, workers: random.pick([2, 2, 3]), faults: { ...config.faults, slotMoveEvery } };
}

/** Nodes for peers to go to, and time for changes of several steps. Whom a majority is of is not known beforehand. */
function drawRoom(random: Random, electionTimeoutMs: number): Partial<SimConfig> {
  const nodes = random.pick([2, 3, 4, 5, 5]);
  return {
    nodes,
    initialNodes: nodes,
    replicas: Math.min(nodes, random.pick([1, 3, 3, 3])),
    regions: random.pick([1, 1, 2, 3]),
    durationMs: Math.round(random.between(15, 35) * electionTimeoutMs),
    shortLogs: random.chance(0.7),
    healMajorityOnly: false,
  };
}

export function faultsOf(config: SimConfig): Fault[] {
  return (Object.keys(config.faults) as Fault[]).filter((fault) => config.faults[fault] > 0);
}

/** One line that says what a run is. */
export function describeConfig(config: SimConfig): string {
  const { faults, ...rest } = config;
  const on = faultsOf(config).map((fault) => `${fault}=${faults[fault]}`);
  const plain = Object.entries(rest).map(([name, value]) => `${name}=${value}`);
  return `${plain.join(' ')} | faults: ${on.length > 0 ? on.join(' ') : 'none'}`;
}
