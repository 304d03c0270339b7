/**
 * Hosts gossip: tells the other nodes who leads the regions that this one leads, and that it is there, and takes in what
 * they tell. So every node knows all routes, also one without replicas, and also while nobody leads placement.
 */

import type { Link, LinkSubscription } from '../../rpc/nats/index.ts';
import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { MalformedRequest } from '../../rpc/wire/errors.ts';
import { fromWireRegion, toWireRegion } from '../../rpc/wire/region.ts';
import { subjects } from '../../rpc/wire/subjects.ts';
import { Gossip, decodeGossip, encodeGossip, type GossipEntry, type GossipEnvelope } from '../placement/index.ts';
import type { KnownRoute, RouteTable } from './route-table.ts';
import type { NodeRuntime } from './runtime.ts';

const TICK_MS = 250;
/** So many ticks between two words of a node that it is there. */
const ALIVE_TICKS = 20;
const ANTI_ENTROPY_TICKS = 16;
/** A node that left says nothing that is newer than this. */
const LEFT = [Number.MAX_SAFE_INTEGER, 0, 0] as const;

export interface GossipHostOptions {
  readonly cluster: string;
  readonly nodeId: number;
  readonly bootEpoch: number;
  readonly workers: number;
  readonly link: Pick<Link, 'publish' | 'subscribe'>;
  readonly routes: RouteTable;
  readonly runtime: NodeRuntime;
}

export class GossipHost {
  readonly #options: GossipHostOptions;
  readonly #gossip: Gossip;
  readonly #subscription: LinkSubscription;
  #cancelTick: () => void = () => {};
  /** When each other node was last heard of, by whatever way. */
  readonly #heardAtMs = new Map<number, number>();
  #ticks = 0;
  #closed = false;

  constructor(options: GossipHostOptions) {
    const { cluster, nodeId, link, routes, runtime } = options;
    this.#options = options;
    this.#gossip = new Gossip({ nodeId, random: () => runtime.random(), antiEntropyEvery: ANTI_ENTROPY_TICKS });
    this.#subscription = link.subscribe(subjects.gossips(cluster, nodeId), (data, subject) =>
      this.#receive(data, Number(subject.slice(subject.lastIndexOf('.') + 1))),
    );
    routes.onReplaced = (regionId, version) => this.#gossip.put('region', regionId, [version, 0, 0], null, this.#nowMs);
    for (const route of routes.routes()) this.noteRoute(route);
    this.#planTick();
  }

  get #nowMs(): number {
    return this.#options.runtime.nowMs();
  }

  /** How long ago each other node was heard of. */
  silenceMs(): ReadonlyMap<number, number> {
    const now = this.#nowMs;
    return new Map([...this.#heardAtMs].map(([nodeId, atMs]) => [nodeId, now - atMs]));
  }

  /** Entries that are kept. */
  get size(): number {
    return this.#gossip.size;
  }

  /** A route has changed: it is told where this node leads, which nobody knows better. */
  noteRoute({ region, leaderNodeId, term }: KnownRoute): void {
    if (leaderNodeId !== this.#options.nodeId) return;
    const { version, confVersion } = region.epoch;
    const value = encode(mraft.Region, toWireRegion(region, leaderNodeId));
    this.#gossip.put('region', region.regionId, [version, confVersion, term], value, this.#nowMs);
  }

  /** Placement says that this node has left for good. */
  noteLeft(nodeId: number): void {
    this.#gossip.put('node', nodeId, LEFT, null, this.#nowMs);
    this.#heardAtMs.delete(nodeId);
  }

  close(): void {
    this.#closed = true;
    this.#cancelTick();
    this.#subscription.close();
  }

  #planTick(): void {
    this.#cancelTick = this.#options.runtime.after(TICK_MS, () => this.#tick());
  }

  #tick(): void {
    this.#planTick();
    const { nodeId, bootEpoch, workers, routes } = this.#options;
    if (this.#ticks % ALIVE_TICKS === 0) {
      const value = encode(mraft.Node, { nodeId, workers });
      this.#gossip.put('node', nodeId, [bootEpoch, this.#ticks, 0], value, this.#nowMs);
    }
    this.#ticks++;
    this.#gossip.setPeers(routes.nodes);
    this.#send(this.#gossip.tick(this.#nowMs));
  }

  #send(envelopes: readonly GossipEnvelope[]): void {
    const { cluster, nodeId, link } = this.#options;
    for (const { to, message } of envelopes) link.publish(subjects.gossip(cluster, to, nodeId), encodeGossip(message));
  }

  /** Whatever is wrong with a message, the sender is no client: it is dropped. */
  #receive(data: Uint8Array, from: number): void {
    if (this.#closed || !Number.isSafeInteger(from) || from < 1) return;
    try {
      const { news, replies } = this.#gossip.receive(from, decodeGossip(data), this.#nowMs);
      for (const entry of news) this.#learn(entry);
      this.#send(replies);
    } catch (error) {
      if (!(error instanceof MalformedRequest)) throw error;
    }
  }

  #learn({ kind, id, version, value }: GossipEntry): void {
    const { routes, nodeId } = this.#options;
    if (kind === 'region') {
      if (value === null) return;
      const wire = decode(mraft.Region, value);
      const region = fromWireRegion(wire);
      if (region.regionId === id && region.peers.length > 0) routes.learn(region, wire.leaderNodeId, version[2]);
    } else if (value === null) {
      routes.forgetNode(id);
      this.#heardAtMs.delete(id);
    } else if (id !== nodeId) {
      routes.noteNode(id, decode(mraft.Node, value).workers);
      this.#heardAtMs.set(id, this.#nowMs);
    }
  }
}
