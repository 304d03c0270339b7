/**
 * Which region holds a key, and whom to ask for it: a sorted cache of routes that heals from what servers answer.
 * Nothing here is trusted to be current; a server refuses what was routed wrongly, by epoch and by leadership.
 */

import type { mraft } from '../wire/codec.ts';
import { LIMITS } from '../wire/limits.ts';
import {
  canVote,
  compareKeys,
  containsKey,
  fromWireRegion,
  isNewerEpoch,
  LAST_SYSTEM_REGION_ID,
  type Epoch,
  type Region,
} from '../wire/region.ts';
import { homeWorker, slotOfRegion } from '../wire/slots.ts';

/** A worker of a node, as one number. */
export type LaneKey = number;

export function laneKey(nodeId: number, worker: number): LaneKey {
  return nodeId * LIMITS.workersPerNode + worker;
}

/** How long a worker without a listener is passed over, whatever others say of it; about as long as an election. */
const GONE_MS = 500;

export class Route {
  readonly regionId: number;
  readonly startKey: Uint8Array;
  readonly endKey: Uint8Array;
  readonly epoch: Epoch;
  /** Nodes that can lead. */
  readonly voters: readonly number[];
  /** Nodes that can answer a stale read. */
  readonly replicas: readonly number[];
  readonly slot: number;
  /** 0: not known. */
  leaderNodeId: number;
  /** Whose turn it is to be asked while no leader is known, and for the next stale read. */
  turn = 0;
  staleTurn = 0;
  /** No longer in the cache: whoever holds it must look its key up again. */
  replaced = false;
  /** Cached lane of the node to ask; -1: to be computed. */
  lane: LaneKey = -1;

  constructor(region: Region, leaderNodeId: number) {
    this.regionId = region.regionId;
    this.startKey = region.startKey;
    this.endKey = region.endKey;
    this.epoch = region.epoch;
    this.voters = region.peers.filter(canVote).map((peer) => peer.nodeId);
    this.replicas = region.peers.map((peer) => peer.nodeId);
    this.slot = slotOfRegion(region.regionId);
    this.leaderNodeId = leaderNodeId;
  }

  contains(key: Uint8Array): boolean {
    return containsKey(this, key);
  }
}

/** Which regions a router takes: those of users' keys, or the system's own. */
export type KeySpace = 'user' | 'system';

export class Router {
  readonly #keySpace: KeySpace;
  /** Sorted by start key, without overlaps; there may be holes. */
  #routes: Route[] = [];
  /** First six bytes of each start key as a number: decides most comparisons. */
  #prefixes: number[] = [];
  readonly #byId = new Map<number, Route>();
  readonly #workers = new Map<number, number>();
  /** Workers without a listener, and until when they are passed over. */
  readonly #goneUntilMs = new Map<LaneKey, number>();

  constructor(keySpace: KeySpace = 'user') {
    this.#keySpace = keySpace;
  }

  get size(): number {
    return this.#routes.length;
  }

  get routes(): readonly Route[] {
    return this.#routes;
  }

  /** The route of the region that holds `key`, if known. */
  find(key: Uint8Array): Route | undefined {
    const route = this.#routes[this.#lastAtOrBelow(key)];
    if (route === undefined) return undefined;
    if (route.endKey.length > 0 && compareKeys(key, route.endKey) >= 0) return undefined;
    return route;
  }

  /** The route of the region that holds the keys just below `end` (undefined: the last keys of all). */
  findBelow(end: Uint8Array | undefined): Route | undefined {
    if (end === undefined) {
      const last = this.#routes.at(-1);
      return last && last.endKey.length === 0 ? last : undefined;
    }
    let index = this.#lastAtOrBelow(end);
    if (index >= 0 && compareKeys(this.#routes[index]!.startKey, end) === 0) index--;
    const route = this.#routes[index];
    if (route === undefined) return undefined;
    if (route.endKey.length > 0 && compareKeys(route.endKey, end) < 0) return undefined;
    return route;
  }

  #lastAtOrBelow(key: Uint8Array): number {
    const prefix = prefixOf(key);
    const prefixes = this.#prefixes;
    let low = 0;
    let high = prefixes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const other = prefixes[middle]!;
      const below = other < prefix || (other === prefix && compareKeys(this.#routes[middle]!.startKey, key) <= 0);
      if (below) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  // --- whom to ask ---------------------------------------------------------------------------------------------------

  /** The lane of the leader; while none is known, of the peer whose turn it is. */
  laneOf(route: Route): LaneKey {
    if (route.lane === -1) {
      const nodeId = route.leaderNodeId || route.voters[route.turn % route.voters.length]!;
      route.lane = laneKey(nodeId, this.workerOf(route, nodeId));
    }
    return route.lane;
  }

  /** The lane of the next replica in turn. */
  staleLaneOf(route: Route): LaneKey {
    const nodeId = route.replicas[route.staleTurn++ % route.replicas.length]!;
    return laneKey(nodeId, this.workerOf(route, nodeId));
  }

  workerOf(route: Route, nodeId: number): number {
    const workers = this.#workers.get(nodeId) ?? 0;
    return workers === 0 ? 0 : homeWorker(route.slot, workers);
  }

  setLeader(route: Route, nodeId: number): void {
    if (route.leaderNodeId === nodeId) return;
    route.leaderNodeId = nodeId;
    route.lane = -1;
  }

  /** `nodeId` was asked in vain: if it still is the one to ask, it becomes the turn of the next peer that is there. */
  leave(route: Route, nodeId: number, nowMs: number): void {
    const { voters } = route;
    const asked = route.leaderNodeId || voters[route.turn % voters.length]!;
    if (asked !== nodeId) return;
    const position = voters.indexOf(nodeId);
    const next = (position === -1 ? route.turn : position) + 1;
    route.turn = next;
    for (let i = 0; i < voters.length - 1; i++) {
      if (!this.isGone(route, voters[(next + i) % voters.length]!, nowMs)) {
        route.turn = next + i;
        break;
      }
    }
    route.leaderNodeId = 0;
    route.lane = -1;
  }

  /** Nobody listens there: for a while, what would be asked there is asked elsewhere. */
  leaveLane(lane: LaneKey, nowMs: number): void {
    this.#goneUntilMs.set(lane, nowMs + GONE_MS);
    const nodeId = Math.floor(lane / LIMITS.workersPerNode);
    for (const route of this.#routes) if (route.lane === lane) this.leave(route, nodeId, nowMs);
  }

  isGone(route: Route, nodeId: number, nowMs: number): boolean {
    if (this.#goneUntilMs.size === 0) return false;
    const lane = laneKey(nodeId, this.workerOf(route, nodeId));
    const untilMs = this.#goneUntilMs.get(lane);
    if (untilMs === undefined) return false;
    if (untilMs > nowMs) return true;
    this.#goneUntilMs.delete(lane);
    return false;
  }

  // --- learning ------------------------------------------------------------------------------------------------------

  /** Takes in the answer to a question for routes; what is older than the cache is passed over. */
  learnRoutes(response: mraft.IRoutesResponse): void {
    for (const node of response.nodes ?? []) this.#learnNode(node);
    for (const wire of response.regions ?? []) this.learn(fromWireRegion(wire), wire.leaderNodeId ?? 0);
  }

  #learnNode(node: mraft.INode): void {
    const nodeId = node.nodeId ?? 0;
    const workers = node.workers ?? 0;
    if (nodeId <= 0 || workers > LIMITS.workersPerNode) return;
    if (this.#workers.get(nodeId) === workers || this.#workers.size >= LIMITS.nodesPerCluster) return;
    this.#workers.set(nodeId, workers);
    for (const route of this.#routes) route.lane = -1;
  }

  /** Takes in one region; `leaderNodeId` 0: not known. False: the cache knows better, or it is of another key space. */
  learn(region: Region, leaderNodeId: number): boolean {
    if (region.regionId <= LAST_SYSTEM_REGION_ID !== (this.#keySpace === 'system')) return false;
    if (!region.peers.some(canVote)) return false;
    const known = this.#byId.get(region.regionId);
    if (known && !isNewerEpoch(region.epoch, known.epoch)) {
      if (leaderNodeId > 0 && !isNewerEpoch(known.epoch, region.epoch)) this.setLeader(known, leaderNodeId);
      return false;
    }
    const { from, to } = this.#overlap(region);
    const overlapped = this.#routes.slice(from, to);
    if (overlapped.some((route) => route !== known && route.epoch.version > region.epoch.version)) return false;
    if (this.#routes.length - overlapped.length >= LIMITS.clientRoutes) return false;
    const route = new Route(region, leaderNodeId || guessLeader(region, overlapped));
    this.#replace(from, overlapped, route);
    if (known && !known.replaced) this.#drop(known);
    this.#byId.set(region.regionId, route);
    return true;
  }

  #replace(from: number, overlapped: readonly Route[], route: Route): void {
    for (const old of overlapped) {
      old.replaced = true;
      this.#byId.delete(old.regionId);
    }
    this.#routes.splice(from, overlapped.length, route);
    this.#prefixes.splice(from, overlapped.length, prefixOf(route.startKey));
  }

  #drop(route: Route): void {
    route.replaced = true;
    const index = this.#routes.indexOf(route);
    this.#routes.splice(index, 1);
    this.#prefixes.splice(index, 1);
  }

  /** Positions [from, to) of the routes that overlap the region; empty at the place where it belongs. */
  #overlap(region: Region): { from: number; to: number } {
    let from = this.#lastAtOrBelow(region.startKey);
    const first = this.#routes[from];
    const reaches = first && (first.endKey.length === 0 || compareKeys(first.endKey, region.startKey) > 0);
    if (!reaches) from++;
    let to = from;
    while (to < this.#routes.length) {
      if (region.endKey.length > 0 && compareKeys(this.#routes[to]!.startKey, region.endKey) >= 0) break;
      to++;
    }
    return { from, to };
  }
}

/** After a split the child is most likely led where its parent was. */
function guessLeader(region: Region, overlapped: readonly Route[]): number {
  const leaders = overlapped.map((route) => route.leaderNodeId);
  return leaders.find((nodeId) => region.peers.some((peer) => peer.nodeId === nodeId)) ?? 0;
}

function prefixOf(key: Uint8Array): number {
  if (key.length >= 6) {
    const low = ((key[2]! << 24) | (key[3]! << 16) | (key[4]! << 8) | key[5]!) >>> 0;
    return ((key[0]! << 8) | key[1]!) * 2 ** 32 + low;
  }
  let prefix = 0;
  for (let i = 0; i < 6; i++) prefix = prefix * 256 + (i < key.length ? key[i]! : 0);
  return prefix;
}
