/**
 * What a node knows about where regions are: their descriptors, who leads them, and how many workers each node has. It
 * hears of them from its own replicas and from gossip; the newer epoch wins, and of one epoch the newer term.
 */

import type { mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import {
  LAST_SYSTEM_REGION_ID,
  compareKeys,
  isNewerEpoch,
  sameEpoch,
  toWireRegion,
  type Region,
} from '../../rpc/wire/region.ts';

export interface KnownRoute {
  readonly region: Region;
  /** 0: none known. */
  readonly leaderNodeId: number;
  /** In which it leads. */
  readonly term: number;
}

interface Route {
  region: Region;
  leaderNodeId: number;
  term: number;
}

export class RouteTable {
  readonly #nodeId: number;
  readonly #routes = new Map<number, Route>();
  /** Regions of users' keys by start key, without overlaps. */
  readonly #ordered: Route[] = [];
  readonly #workers = new Map<number, number>();
  /** Another region of this version lies where this one lay: it was merged, or its own new descriptor is on its way. */
  onReplaced: (regionId: number, version: number) => void = () => {};

  constructor(nodeId: number, workers: number) {
    this.#nodeId = nodeId;
    this.#workers.set(nodeId, workers);
  }

  /**
   * Takes in a region. What is older than what is known, or lies where a newer region does, is passed over; what it
   * takes the place of, is forgotten. True: something changed.
   */
  learn(region: Region, leaderNodeId = 0, term = 0): boolean {
    const known = this.#routes.get(region.regionId);
    if (known && sameEpoch(region.epoch, known.region.epoch)) {
      // In one term there is one leader: whoever does not know it yet says nothing new.
      const isNews = leaderNodeId !== 0 || term > known.term;
      return isNews && this.noteLeader(region.regionId, leaderNodeId, term);
    }
    if (known && !isNewerEpoch(region.epoch, known.region.epoch)) return false;
    const replaced = region.regionId <= LAST_SYSTEM_REGION_ID ? [] : this.#overlapping(region);
    if (replaced.some((other) => other !== known && isNewerVersion(other.region, region))) return false;
    if (!known && this.#routes.size - replaced.length >= LIMITS.clientRoutes) return false;
    for (const peer of region.peers) if (!this.#workers.has(peer.nodeId)) this.noteNode(peer.nodeId, 0);
    // A later term without a leader says nothing: who was removed may have campaigned in it, unheard by the others.
    const keepsLeader = known !== undefined && known.term > term && (known.leaderNodeId !== 0 || leaderNodeId === 0);
    const route = { region, leaderNodeId: keepsLeader ? known.leaderNodeId : leaderNodeId, term };
    if (keepsLeader) route.term = known.term;
    for (const other of replaced) {
      if (other === known) continue;
      this.#routes.delete(other.region.regionId);
      this.onReplaced(other.region.regionId, region.epoch.version);
    }
    this.#place(route, known, replaced);
    this.#routes.set(region.regionId, route);
    return true;
  }

  #place(route: Route, known: Route | undefined, replaced: readonly Route[]): void {
    if (route.region.regionId <= LAST_SYSTEM_REGION_ID) return;
    if (known && !replaced.includes(known)) {
      const old = this.#ordered.indexOf(known);
      if (old >= 0) this.#ordered.splice(old, 1);
    }
    this.#ordered.splice(this.#firstReaching(route.region.startKey), replaced.length, route);
  }

  /** The position of the first route that ends behind `key`. */
  #firstReaching(key: Uint8Array): number {
    let low = 0;
    let high = this.#ordered.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const { endKey } = this.#ordered[middle]!.region;
      if (endKey.length > 0 && compareKeys(endKey, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #overlapping(region: Region): Route[] {
    const overlapping: Route[] = [];
    for (let at = this.#firstReaching(region.startKey); at < this.#ordered.length; at++) {
      const other = this.#ordered[at]!;
      if (region.endKey.length > 0 && compareKeys(other.region.startKey, region.endKey) >= 0) break;
      overlapping.push(other);
    }
    return overlapping;
  }

  /** A region has another leader; news of an older term is late and dropped. True: something changed. */
  noteLeader(regionId: number, leaderNodeId: number, term: number): boolean {
    const route = this.#routes.get(regionId);
    if (!route || term < route.term) return false;
    // A replica that was removed hears nobody any more: that is no news of the region.
    if (leaderNodeId === 0 && !route.region.peers.some(({ nodeId }) => nodeId === this.#nodeId)) return false;
    if (term === route.term && leaderNodeId === route.leaderNodeId) return false;
    route.leaderNodeId = leaderNodeId;
    route.term = term;
    return true;
  }

  noteNode(nodeId: number, workers: number): void {
    if (workers === 0 && this.#workers.has(nodeId)) return;
    if (this.#workers.size >= LIMITS.nodesPerCluster && !this.#workers.has(nodeId)) return;
    this.#workers.set(nodeId, workers);
  }

  /** The node left the cluster. */
  forgetNode(nodeId: number): void {
    if (nodeId !== this.#nodeId) this.#workers.delete(nodeId);
  }

  /** Workers of a node that was heard; 0: not heard yet. */
  workersOf(nodeId: number): number {
    return this.#workers.get(nodeId) ?? 0;
  }

  get nodes(): number[] {
    return [...this.#workers.keys()];
  }

  route(regionId: number): KnownRoute | undefined {
    return this.#routes.get(regionId);
  }

  routes(): IterableIterator<KnownRoute> {
    return this.#routes.values();
  }

  get regionCount(): number {
    return this.#routes.size;
  }

  get leaderlessRegions(): number {
    let leaderless = 0;
    for (const route of this.#routes.values()) if (route.leaderNodeId === 0) leaderless++;
    return leaderless;
  }

  /** What clients are told: all regions, those of the system too, which they pass over; or only the latter. */
  toWire(which: 'all' | 'system' = 'all'): mraft.IRoutesResponse {
    const routes = [...this.#routes.values()];
    return this.#wire(which === 'all' ? routes : routes.filter(isOfSystem));
  }

  /** The same in pages that fit a frame: from the region that holds `fromKey` on, the first page with those of the system. */
  pageToWire(fromKey: Uint8Array, maxBytes: number): mraft.IRoutesResponse {
    const page = fromKey.length === 0 ? [...this.#routes.values()].filter(isOfSystem) : [];
    let sizeBytes = 0;
    for (let at = this.#firstReaching(fromKey); at < this.#ordered.length; at++) {
      const route = this.#ordered[at]!;
      sizeBytes += wireBytes(route.region);
      if (sizeBytes > maxBytes) return { ...this.#wire(page), nextKey: route.region.startKey };
      page.push(route);
    }
    return this.#wire(page);
  }

  #wire(routes: readonly KnownRoute[]): mraft.IRoutesResponse {
    return {
      fromNode: this.#nodeId,
      regions: routes.map((route) => toWireRegion(route.region, route.leaderNodeId)),
      nodes: [...this.#workers].map(([nodeId, workers]) => ({ nodeId, workers })),
    };
  }
}

/** Ranges change with the version only: of two regions in one place the one of the lower version is gone. */
function isNewerVersion(a: Region, b: Region): boolean {
  return a.epoch.version > b.epoch.version;
}

function isOfSystem({ region }: KnownRoute): boolean {
  return region.regionId <= LAST_SYSTEM_REGION_ID;
}

/** What a region takes on the wire, at most. */
function wireBytes({ startKey, endKey, peers }: Region): number {
  return startKey.length + endKey.length + 24 * peers.length + 64;
}
