/** What a node knows about where regions are: their descriptors, who leads them, and how many workers each node has. */

import type { mraft } from '../../rpc/wire/codec.ts';
import { toWireRegion, type Region } from '../../rpc/wire/region.ts';

interface Route {
  readonly region: Region;
  leaderNodeId: number;
  term: number;
}

export class RouteTable {
  readonly #nodeId: number;
  readonly #routes = new Map<number, Route>();
  readonly #workers = new Map<number, number>();

  constructor(nodeId: number, workers: number, regions: readonly Region[]) {
    this.#nodeId = nodeId;
    this.#workers.set(nodeId, workers);
    for (const region of regions) {
      this.#routes.set(region.regionId, { region, leaderNodeId: 0, term: 0 });
      for (const peer of region.peers) if (!this.#workers.has(peer.nodeId)) this.#workers.set(peer.nodeId, 0);
    }
  }

  /** A replica here has another leader; news of an older term is late and dropped. */
  noteLeader(regionId: number, leaderNodeId: number, term: number): void {
    const route = this.#routes.get(regionId);
    if (!route || term < route.term) return;
    route.leaderNodeId = leaderNodeId;
    route.term = term;
  }

  noteNode(nodeId: number, workers: number): void {
    this.#workers.set(nodeId, workers);
  }

  /** Workers of a node that was heard; 0: not heard yet. */
  workersOf(nodeId: number): number {
    return this.#workers.get(nodeId) ?? 0;
  }

  get regionCount(): number {
    return this.#routes.size;
  }

  get ledRegions(): number {
    let led = 0;
    for (const route of this.#routes.values()) if (route.leaderNodeId === this.#nodeId) led++;
    return led;
  }

  get leaderlessRegions(): number {
    let leaderless = 0;
    for (const route of this.#routes.values()) if (route.leaderNodeId === 0) leaderless++;
    return leaderless;
  }

  toWire(): mraft.IRoutesResponse {
    return {
      fromNode: this.#nodeId,
      regions: [...this.#routes.values()].map((route) => toWireRegion(route.region, route.leaderNodeId)),
      nodes: [...this.#workers].map(([nodeId, workers]) => ({ nodeId, workers })),
    };
  }
}
