/** Everything of one run that has a place in virtual time: the event queue, the network, the nodes, the checks. */

import { decode, mraft } from '../../rpc/wire/codec.ts';
import { LAST_SYSTEM_REGION_ID, PLACEMENT_REGION_ID, type Region } from '../../rpc/wire/region.ts';
import type { SimConfig } from './config.ts';
import { EventQueue } from './event-queue.ts';
import { FreshReads } from './fresh-reads.ts';
import { partyOfClient, VirtualNetwork, type Party } from './network.ts';
import { PlacementCheck } from './placement-check.ts';
import { VirtualNode, type VirtualProcess } from './process.ts';
import { Random } from './random.ts';
import { Safety } from './safety.ts';
import { setLimits } from './small-limits.ts';
import type { Violation } from './violation.ts';
import type { ClientSurroundings, DownNode, NodeSurroundings, Sender, Turn } from './surroundings.ts';

/** How long a publisher does not know that its broker is gone. */
const BROKER_SILENCE_MS = 60;
/** A run has tens of thousands. */
const MOST_EVENTS = 2_000_000;
/** Of snapshots, which may come once more. */
const MOST_KEPT_FRAMES = 400;
const { MessageKind } = mraft;

export interface WorldOptions {
  /** Told of each step in words, when somebody wants to read along. */
  readonly onTrace?: ((line: string) => void) | undefined;
}

export class World implements NodeSurroundings, ClientSurroundings {
  readonly config: SimConfig;
  readonly random: Random;
  readonly queue = new EventQueue();
  readonly network: VirtualNetwork;
  /** Of users' keys, as the cluster begins. */
  readonly regions: readonly Region[];
  readonly placementCheck: PlacementCheck;
  readonly nodes: readonly VirtualNode[];
  readonly safety: Safety;
  readonly freshReads: FreshReads;
  readonly #snapshotFrames: { from: Sender; to: number; worker: number; frame: Uint8Array }[] = [];
  readonly #clients: { readonly party: Party; readonly receive: (frame: Uint8Array) => void }[] = [];
  nowMs = 0;
  violation: Violation | undefined;
  promisesMoved = false;
  /** Stalls before timers still happen. */
  stallShare: number;
  events = 0;
  turns = 0;
  crashes = 0;
  #hash = 0x811c9dc5;
  readonly #onTrace: ((line: string) => void) | undefined;
  readonly #stallRandom: Random;

  constructor(config: SimConfig, { onTrace }: WorldOptions = {}) {
    this.config = config;
    this.#onTrace = onTrace;
    this.random = new Random(config.seed, 'world');
    setLimits(config, this.random.stream('limits'));
    this.#stallRandom = this.random.stream('stalls');
    this.stallShare = config.faults.stalls;
    this.network = new VirtualNetwork(this.queue, this.random.stream('network'), config.latencyMs, config.faults);
    this.regions = layOutRegions(config);
    this.placementCheck = new PlacementCheck((check, message) => this.report(check, message));
    const regions = config.placement ? [systemRegion(config), ...this.regions] : this.regions;
    const nodeIds = Array.from({ length: config.nodes }, (_, i) => i + 1);
    this.safety = new Safety({
      regions,
      nodeIds,
      checkLeases: config.faults.wildClockEvery === 0,
      report: (check, message) => this.report(check, message),
      localMs: (nodeId, regionId) => this.node(nodeId).process?.workerOf(regionId)?.process.clock.localAt(this.nowMs),
    });
    this.freshReads = new FreshReads({
      checkLeases: config.faults.wildClockEvery === 0,
      report: (check, message) => this.report(check, message),
      committedIndex: (regionId) => this.safety.committedIndex(regionId),
      replicaOn: (regionId, nodeId) => {
        const image = this.safety.stateOf(regionId, nodeId);
        if (!image) return undefined;
        const { region, phase } = image.record;
        return { applied: image.applied, epoch: region.epoch, phase };
      },
    });
    this.nodes = nodeIds.map((nodeId) => {
      const own = regions.filter((region) => region.peers.some((peer) => peer.nodeId === nodeId));
      return new VirtualNode(this, nodeId, own, this.random.stream(`node ${nodeId}`));
    });
    for (const { nodeId, disk } of this.nodes) this.safety.reload(nodeId, disk.store);
  }

  node(nodeId: number): VirtualNode {
    return this.nodes[nodeId - 1]!;
  }

  processOf(nodeId: number): VirtualProcess | undefined {
    return this.node(nodeId).process;
  }

  /** Those that exist now, as the newest replicas know them. */
  get currentRegions(): Region[] {
    return this.safety.newestRegions();
  }

  /** Of several that believe to lead, the latest elected. */
  leaderOf(regionId: number): VirtualNode | undefined {
    let latest: VirtualNode | undefined;
    let term = 0;
    for (const node of this.nodes) {
      const raft = node.process?.workerOf(regionId)?.shard.regionStatus(regionId)?.raft;
      if (raft?.role !== 'leader' || raft.term <= term) continue;
      latest = node;
      term = raft.term;
    }
    return latest;
  }

  at(ms: number, run: () => void): void {
    this.queue.push(Math.max(ms, this.nowMs), run);
  }

  /** The first violation is kept; what follows from it is noise. */
  report(check: string, message: string): void {
    if (this.violation) return;
    this.trace(() => `VIOLATION ${check}: ${message}`);
    this.violation = { check, message, atMs: this.nowMs };
  }

  trace(line: () => string): void {
    this.#onTrace?.(`${this.nowMs.toFixed(3).padStart(10)}  ${line()}`);
  }

  // --- the trace's hash ----------------------------------------------------------------------------------------------

  mix(value: number): void {
    this.#hash = (Math.imul(this.#hash ^ (value | 0), 0x01000193) ^ (this.#hash >>> 15)) | 0;
  }

  #mixBytes(bytes: Uint8Array): void {
    this.mix(bytes.length);
    for (let i = 0; i < bytes.length; i += 3) this.mix(bytes[i]!);
  }

  get traceHash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0');
  }

  // --- the run -------------------------------------------------------------------------------------------------------

  /** Runs events up to `untilMs`, or until `done`; a violation ends it. */
  async run(untilMs: number, done: () => boolean = () => false): Promise<void> {
    while (!this.violation && this.queue.nextMs <= untilMs && !done()) {
      const event = this.queue.pop()!;
      this.nowMs = event.atMs;
      this.events++;
      this.mix(event.atMs * 1024);
      event.run();
      if (this.events > MOST_EVENTS) this.report('a run ends', `${MOST_EVENTS} events in ${this.nowMs} ms`);
      if (!this.promisesMoved) continue;
      this.promisesMoved = false;
      await new Promise(setImmediate);
    }
    if (!this.violation && untilMs < Infinity && !done()) this.nowMs = Math.max(this.nowMs, untilMs);
  }

  // --- threads -------------------------------------------------------------------------------------------------------

  stallMs(): number {
    if (!this.#stallRandom.chance(this.stallShare)) return 0;
    return this.#stallRandom.between(0.1, 3) * this.config.electionTimeoutMs;
  }

  framesPerRead(): number {
    return 1 + this.#stallRandom.below(16);
  }

  afterTurn(turn: Turn): void {
    this.turns++;
    const statuses = turn.shard.listRegions();
    this.processOf(turn.nodeId)?.noteOpen(turn, statuses);
    this.safety.onOpen(turn.nodeId, turn.opening, statuses);
    for (const status of statuses) {
      const campaigns = this.safety.onStatus(turn.nodeId, status, turn.opening, !turn.shard.isStalled);
      if (campaigns) this.#checkLateTimer(turn, status.region.regionId, status.raft.term);
    }
  }

  /** Who campaigns although its leader's word lies in its sockets has believed a timer that was late. */
  #checkLateTimer(turn: Turn, regionId: number, term: number): void {
    for (const bytes of turn.unread(this.nowMs - 2 * this.config.tickMs)) {
      for (const message of decode(mraft.PeerFrame, bytes).messages) {
        const fromLeader = message.kind === MessageKind.APPEND || message.kind === MessageKind.HEARTBEAT;
        if (message.regionId !== regionId || !fromLeader || (message.term ?? 0) < term) continue;
        this.report(
          'a late timer is not believed',
          `node ${turn.nodeId} campaigns in region ${regionId}, unread: a message of its leader`,
        );
        return;
      }
    }
  }

  onDown(node: DownNode): void {
    this.crashes++;
    if (node.stayDown) return;
    const { electionTimeoutMs } = this.config;
    const meanMs = electionTimeoutMs * this.random.pick([0.02, 0.2, 1]);
    const afterMs = node.restartsAfterMs ?? this.random.wait(meanMs);
    node.restartsAfterMs = undefined;
    this.at(this.nowMs + afterMs, () => node.start());
  }

  // --- frames --------------------------------------------------------------------------------------------------------

  /** What publishers of a broker that is gone are told: nothing at first. */
  get isOffline(): boolean {
    const since = this.network.brokerDownSinceMs;
    return since !== undefined && this.nowMs - since > BROKER_SILENCE_MS;
  }

  sendPeerFrame(from: Sender, departsMs: number, to: number, worker: number, frame: Uint8Array): boolean {
    if (this.isOffline) return false;
    const fromNode = from.nodeId;
    this.mix(fromNode * 64 + to);
    this.#mixBytes(frame);
    if (this.#onTrace) this.trace(() => `  ${fromNode} → ${to}: ${describeFrame(frame)}`);
    this.network.send(fromNode, to, departsMs, () => {
      if (from.diedAtMs < departsMs) return;
      this.node(to).process?.worker(worker)?.receive(frame, fromNode, '');
    });
    return true;
  }

  keepSnapshotFrame(from: Sender, to: number, worker: number, frame: Uint8Array): void {
    if (this.config.faults.replayEvery === 0) return;
    this.#snapshotFrames.push({ from, to, worker, frame });
    if (this.#snapshotFrames.length > MOST_KEPT_FRAMES) this.#snapshotFrames.shift();
  }

  /** What one node sent another of snapshots lately comes once more, in order, as out of a buffer that was forgotten. */
  replaySnapshots(random: Random): void {
    const last = this.#snapshotFrames.length > 0 ? random.pick(this.#snapshotFrames) : undefined;
    for (const { from, to, worker, frame } of this.#snapshotFrames) {
      if (from !== last?.from || to !== last.to) continue;
      this.at(this.nowMs + 0.01, () => this.node(to).process?.worker(worker)?.receive(frame, from.nodeId, ''));
    }
  }

  sendResponse(from: Sender, departsMs: number, origin: string, frame: Uint8Array): void {
    const client = Number(origin);
    this.freshReads.onResponses(from.nodeId, origin, frame);
    this.#mixBytes(frame);
    const { party, receive } = this.#clients[client]!;
    this.network.send(from.nodeId, party, departsMs, () => {
      if (from.diedAtMs >= departsMs) receive(frame);
    });
  }

  admit(receive: (frame: Uint8Array) => void, party = partyOfClient(this.#clients.length)): number {
    return this.#clients.push({ party, receive }) - 1;
  }

  listenersTo(subject: string): number[] {
    return this.nodes.filter((node) => node.process?.calls.listensTo(subject)).map((node) => node.nodeId);
  }

  /** Clients from outside. */
  get clientParties(): Party[] {
    return this.#clients.map(({ party }) => party).filter((party) => party < 0);
  }

  get clients(): this {
    return this;
  }
}

/** Regions over the letters from `a` on; each has its peers on other nodes than its neighbour. */
function layOutRegions({ regions, initialNodes: nodes, replicas }: SimConfig): Region[] {
  const edge = (i: number): Uint8Array => (i === 0 || i === regions ? Buffer.alloc(0) : Buffer.from(regionLetter(i)));
  return Array.from({ length: regions }, (_, i) => {
    const regionId = LAST_SYSTEM_REGION_ID + 1 + i;
    const peers = Array.from({ length: replicas }, (_, at) => {
      const nodeId = ((i + at) % nodes) + 1;
      return { peerId: regionId * 100 + nodeId, nodeId, role: 'voter' as const };
    });
    return { regionId, startKey: edge(i), endKey: edge(i + 1), epoch: { version: 1, confVersion: 1 }, peers };
  });
}

/** In which placement keeps its state. */
function systemRegion({ initialNodes, replicas }: SimConfig): Region {
  const peers = Array.from({ length: Math.min(initialNodes, replicas) }, (_, at) => ({
    peerId: PLACEMENT_REGION_ID * 100 + at + 1,
    nodeId: at + 1,
    role: 'voter' as const,
  }));
  const everything = { startKey: Buffer.alloc(0), endKey: Buffer.alloc(0) };
  return { regionId: PLACEMENT_REGION_ID, ...everything, epoch: { version: 1, confVersion: 1 }, peers };
}

export function regionLetter(position: number): string {
  return String.fromCharCode('a'.charCodeAt(0) + position);
}

function describeFrame(frame: Uint8Array): string {
  return decode(mraft.PeerFrame, frame)
    .messages.map((wire) => {
      const message = wire as mraft.RaftMessage;
      const entries = message.entries.map((entry) => `${entry.index}:${entry.term}`).join(' ');
      const reject = message.reject ? ' reject' : '';
      const at = `r${message.regionId} ${MessageKind[message.kind]} t${message.term} i${message.index}/${message.logTerm}`;
      return `${at} c${message.commit} x${message.context}${reject}${entries ? ` [${entries}]` : ''}`;
    })
    .join('; ');
}
