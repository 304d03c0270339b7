/**
 * Shards of several nodes in one thread, over in-memory stores, a network that is a list, and a clock that moves when it
 * is told to: the production code of engine/shard and engine/region, step by step.
 */

import { Shard } from '../../engine/shard/shard.ts';
import type { ShardTransport } from '../../engine/shard/ports.ts';
import { decodeCommitMerge } from '../../engine/region/commit-merge.ts';
import { canDestroyAbsorbed, judgeTarget } from '../../engine/region/merge.ts';
import { RangeLedger } from '../../engine/shard/range-ledger.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import { listRegionRecords, listRegions, loadRegionRecord, putRegion } from '../../engine/store/region-records.ts';
import { encodeCommand, type Call, type Operation } from '../../rpc/wire/command.ts';
import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import type { RegionChange } from '../../engine/region/admin.ts';
import type { MraftError } from '../../rpc/wire/errors.ts';
import { containsKey, type Epoch, type Region } from '../../rpc/wire/region.ts';

export const CLUSTER = 'virtual';

interface Frame {
  readonly to: number;
  readonly from: number;
  readonly bytes: Uint8Array;
}

export interface VirtualNode {
  readonly nodeId: number;
  readonly store: MemoryStore;
  shard: Shard;
  bootEpoch: number;
  up: boolean;
  readonly responses: Map<number, mraft.IResponse>;
  readonly anomalies: string[];
}

/** Bytes of a text. */
export const text = (value: string): Uint8Array => Buffer.from(value);

export class VirtualCluster {
  nowMs = 1_000;
  readonly nodes = new Map<number, VirtualNode>();
  readonly regions: readonly Region[];
  /** A frame for which this answers true is lost. */
  loses: (frame: { to: number; from: number }) => boolean = () => false;
  /** What leaders of regions that prepared asked for. `carryOnMerges` does what a node's main thread would. */
  mergeSteps: { nodeId: number; target: Region; merge: Uint8Array }[] = [];
  #network: Frame[] = [];
  /** What nodes' main threads have to tell their workers. */
  #betweenTurns: (() => void)[] = [];
  #seed: number;
  #nextId = 1;

  readonly #hibernateAfterMs: number;

  constructor(options: { nodes?: number; regions?: readonly Region[]; seed?: number; hibernateAfterMs?: number } = {}) {
    this.#hibernateAfterMs = options.hibernateAfterMs ?? 0;
    const ids = Array.from({ length: options.nodes ?? 3 }, (_, i) => i + 1);
    this.#seed = options.seed ?? 1;
    this.regions = options.regions ?? [wholeRegion(ids)];
    for (const nodeId of ids) this.#boot(nodeId, this.#newStore(nodeId), 1);
  }

  /** The store of a node before its first start. */
  #newStore(nodeId: number): MemoryStore {
    const store = new MemoryStore();
    const batch = store.createBatch();
    for (const region of this.regions) {
      if (region.peers.some((peer) => peer.nodeId === nodeId)) putRegion(batch, region);
    }
    store.write(batch, { sync: true });
    return store;
  }

  #boot(nodeId: number, store: MemoryStore, bootEpoch: number): void {
    const before = this.nodes.get(nodeId);
    const node: VirtualNode = {
      nodeId,
      store,
      shard: undefined as unknown as Shard,
      bootEpoch,
      up: true,
      responses: before?.responses ?? new Map(),
      anomalies: before?.anomalies ?? [],
    };
    node.shard = this.#shard(node);
    this.nodes.set(nodeId, node);
  }

  #shard(node: VirtualNode): Shard {
    const transport: ShardTransport = {
      sendPeerFrame: (to, _worker, bytes) => {
        this.#network.push({ to, from: node.nodeId, bytes });
        return true;
      },
      respond: (_origin, frame) => {
        for (const response of decode(mraft.ResponseFrame, frame).responses)
          node.responses.set(response.id ?? 0, response);
      },
      forwardPeerFrame: () => {},
      forwardRequests: () => {},
      flush: () => {},
    };
    const ledger = new RangeLedger();
    ledger.note(listRegions(node.store));
    const shard = new Shard(
      {
        cluster: CLUSTER,
        nodeId: node.nodeId,
        worker: 0,
        workers: 1,
        bootEpoch: node.bootEpoch,
        tickMs: 50,
        timings: {
          electionTimeoutMs: 800,
          heartbeatMs: 150,
          maxClockDrift: 0.1,
          hibernateAfterMs: this.#hibernateAfterMs,
        },
      },
      {
        store: node.store,
        clock: { nowMs: () => this.nowMs },
        random: () => this.#random(),
        transport,
        ranges: {
          claim: ({ region, absorbed }, done) => {
            const { conflicts } = ledger.claim(region);
            const gone = conflicts.filter((regionId) => {
              const merged = absorbed.find((one) => one.regionId === regionId);
              if (!merged) return false;
              return canDestroyAbsorbed(region.regionId, merged, loadRegionRecord(node.store, merged.targetId));
            });
            this.#betweenTurns.push(() => gone.forEach((regionId) => shard.destroyRegion(regionId)));
            done(conflicts.length === 0);
          },
          release: (regionId) => ledger.release(regionId),
        },
        events: {
          onLeader: () => {},
          onNode: () => {},
          onNodeLost: () => {},
          onRegions: (regions, absorbed = []) => {
            ledger.note(regions);
            for (const regionId of absorbed) ledger.remove(regionId);
            for (const regionId of absorbed) shard.noteAbsorbed(regionId, regions[0]!);
          },
          onMergeStep: (target, merge) => this.mergeSteps.push({ nodeId: node.nodeId, target, merge }),
          onSourceNeeded: () => {},
          onSourceReady: () => {},
          onNewborn: (regionId, campaigns) => shard.openStoredRegion(regionId, { isNewborn: true, campaigns }),
          onRegionGone: (regionId) => ledger.remove(regionId),
          onAnomaly: (what, error) => node.anomalies.push(`${what}: ${error?.code} ${error?.message}`),
        },
      },
    );
    shard.openOwnRegions();
    return shard;
  }

  #random(): number {
    this.#seed = (Math.imul(this.#seed, 1_664_525) + 1_013_904_223) >>> 0;
    return this.#seed / 2 ** 32;
  }

  node(nodeId: number): VirtualNode {
    return this.nodes.get(nodeId)!;
  }

  /** The process dies: what was not synced is lost. */
  crash(nodeId: number): void {
    const node = this.node(nodeId);
    node.up = false;
    node.store.crash();
  }

  restart(nodeId: number): void {
    const { store, bootEpoch } = this.node(nodeId);
    this.#boot(nodeId, store, bootEpoch + 1);
  }

  /** Runs turns and carries frames until nothing is left to do, without letting time pass. */
  settle(): void {
    for (let round = 0; round < 10_000; round++) {
      let moved = false;
      for (const act of this.#betweenTurns.splice(0)) act();
      for (const node of this.nodes.values()) {
        while (node.up && node.shard.hasWork) {
          node.shard.turn();
          moved = true;
        }
      }
      const frames = this.#network;
      this.#network = [];
      for (const frame of frames) {
        const target = this.node(frame.to);
        if (!target.up || this.loses(frame)) continue;
        target.shard.receivePeerFrame(frame.bytes, frame.from);
        moved = true;
      }
      if (!moved) return;
    }
    throw new Error('the cluster does not come to rest');
  }

  /** So many turns of one node, or deliveries of what is on its way, and no more. */
  steps(count: number): void {
    for (let step = 0; step < count; step++) {
      const busy = [...this.nodes.values()].find((node) => node.up && node.shard.hasWork);
      if (busy) {
        busy.shard.turn();
        continue;
      }
      const frame = this.#network.shift();
      if (!frame) return;
      const target = this.node(frame.to);
      if (target.up && !this.loses(frame)) target.shard.receivePeerFrame(frame.bytes, frame.from);
    }
  }

  /** Lets time pass in ticks. */
  pass(ms: number): void {
    for (const end = this.nowMs + ms; this.nowMs < end;) {
      this.nowMs += 50;
      for (const node of this.nodes.values()) if (node.up) node.shard.requestTick();
      this.settle();
    }
  }

  /** Lets time pass until some node leads the region. */
  elect(regionId = this.regions[0]!.regionId): VirtualNode {
    for (let i = 0; i < 200; i++) {
      const leader = this.leader(regionId);
      if (leader) return leader;
      this.pass(50);
    }
    throw new Error(`region ${regionId} elects no leader`);
  }

  leader(regionId = this.regions[0]!.regionId): VirtualNode | undefined {
    return [...this.nodes.values()].find(
      (node) => node.up && node.shard.regionStatus(regionId)?.raft.role === 'leader',
    );
  }

  /** The region as its leader has it; without a leader, as the cluster began with it. */
  region(regionId = this.regions[0]!.regionId): Region {
    const known = this.leader(regionId)?.shard.regionStatus(regionId)?.region;
    return known ?? this.regions.find((candidate) => candidate.regionId === regionId) ?? this.regions[0]!;
  }

  /** Asks the leader for a change of its region, and waits until it is applied there. Undefined: it took effect. */
  change(change: RegionChange, regionId = this.regions[0]!.regionId): MraftError | undefined {
    const leader = this.elect(regionId);
    let outcome: MraftError | 'none' | undefined = 'none';
    leader.shard.changeRegion(regionId, this.region(regionId).epoch, change, (error) => (outcome = error));
    this.settle();
    for (let i = 0; i < 40 && outcome === 'none'; i++) this.pass(50);
    if (outcome === 'none') throw new Error('the change does not end');
    return outcome;
  }

  // --- split and merge ---------------------------------------------------------------------------------------------

  /** Changes a region where it is led, and lets the cluster come to rest; the error's code, or `done`. */
  administer(regionId: number, command: mraft.IAdminCommand, epoch?: Epoch): string {
    const leader = this.elect(regionId);
    let outcome = 'pending';
    const current = epoch ?? leader.shard.regionStatus(regionId)!.region.epoch;
    leader.shard.changeRegion(regionId, current, { kind: 'admin', command }, (error) => {
      outcome = error?.code ?? 'done';
    });
    this.settle();
    return outcome;
  }

  /** Asks targets to commit, and tells sources to go on whose target has moved on; answers what was done. */
  carryOnMerges(): string[] {
    return this.mergeSteps.splice(0).map(({ nodeId, target, merge }) => this.#carryOn(nodeId, target, merge));
  }

  /** Lets a test ask the targets in its own way. */
  askTargets(ask: (leader: VirtualNode, target: Region, command: mraft.IAdminCommand) => void): void {
    for (const { target, merge } of this.mergeSteps.splice(0)) {
      const leader = this.leader(target.regionId);
      if (leader) ask(leader, target, { commitMerge: decode(mraft.CommitMerge, merge) });
    }
  }

  #carryOn(nodeId: number, target: Region, merge: Uint8Array): string {
    const { source, commit } = decodeCommitMerge(merge);
    const leader = this.leader(target.regionId);
    let outcome = 'pending';
    if (leader) {
      const command = { commitMerge: decode(mraft.CommitMerge, merge) };
      leader.shard.changeRegion(target.regionId, target.epoch, { kind: 'admin', command }, (error) => {
        outcome = error?.code ?? 'done';
      });
      this.settle();
    }
    if (outcome === 'done') return outcome;
    for (const { store, up } of this.nodes.values()) {
      const record =
        loadRegionRecord(store, target.regionId) ??
        listRegionRecords(store).find(({ region }) => containsKey(region, target.startKey));
      if (!up || !record || judgeTarget(source, target, record) !== 'movedOn') continue;
      const command = { rollbackMerge: { commit } };
      this.node(nodeId).shard.changeRegion(source.regionId, source.epoch, { kind: 'admin', command }, () => {});
      this.settle();
      return 'rolled back';
    }
    return outcome;
  }

  // --- requests ----------------------------------------------------------------------------------------------------

  send(nodeId: number, request: mraft.IRequest): number {
    const id = this.#nextId++;
    const region = this.region(request.regionId ?? undefined);
    const full = { regionId: region.regionId, epoch: region.epoch, timeoutMs: 1_000, ...request, id };
    const frame = encode(mraft.RequestFrame, { cluster: CLUSTER, requests: [full] });
    this.node(nodeId).shard.receiveRequests(frame, 'client');
    return id;
  }

  /** Sends, lets the cluster come to rest, and takes the answer. */
  ask(nodeId: number, request: mraft.IRequest): mraft.IResponse | undefined {
    const id = this.send(nodeId, request);
    this.settle();
    return this.node(nodeId).responses.get(id);
  }

  /** `to`: the region and epoch that the request names, if they are not those of the beginning. */
  write(
    nodeId: number,
    operation: Operation,
    options: { session?: string; seq?: number; floor?: number } = {},
    to: Pick<mraft.IRequest, 'regionId' | 'epoch'> = {},
  ) {
    return this.ask(nodeId, { ...to, write: this.command(operation, options) });
  }

  command(operation: Operation, options: { session?: string; seq?: number; floor?: number } = {}): Uint8Array {
    const calls: Call[] = [{ seq: options.seq ?? 0, operation }];
    return encodeCommand(text(options.session ?? ''), options.floor ?? 0, calls);
  }

  put(nodeId: number, key: string, value: string, options?: { session?: string; seq?: number; floor?: number }) {
    return this.write(nodeId, { kind: 'put', key: text(key), value: text(value) }, options);
  }

  read(nodeId: number, key: string, mode: mraft.ReadMode = mraft.ReadMode.LINEARIZABLE) {
    return this.ask(nodeId, { read: { mode, keys: [text(key)] } });
  }

  /** The value that a read answered; null: no such key. */
  value(nodeId: number, key: string, mode?: mraft.ReadMode): string | null {
    const response = this.read(nodeId, key, mode);
    if (!response?.read) throw new Error(`no value: ${JSON.stringify(response)}`);
    const value = response.read.values![0]!.value;
    return value === undefined || value === null ? null : Buffer.from(value).toString();
  }
}

export function wholeRegion(nodeIds: readonly number[]): Region {
  return {
    regionId: 2,
    startKey: Buffer.alloc(0),
    endKey: Buffer.alloc(0),
    epoch: { version: 1, confVersion: 1 },
    peers: nodeIds.map((nodeId) => ({ peerId: nodeId * 10, nodeId, role: 'voter' })),
  };
}
