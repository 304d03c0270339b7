/**
 * A consistent-hash ring with virtual nodes (Karger et al. 1997): where replicas go when nothing is known yet. Each node has
 * points on a circle, in proportion to its weight; a region's replicas go to the first nodes behind its own point. When a
 * node comes or goes, only what lies at its points moves.
 */

import { InvalidArgument } from '../../rpc/wire/errors.ts';
import { distance } from './spread.ts';
import type { Labels } from './types.ts';

/** Points of a node of weight 1. More even the load out, and cost memory and time to build. */
export const VIRTUAL_NODES = 256;

export interface RingNode {
  readonly nodeId: number;
  /** In proportion to its capacity; default 1. */
  readonly weight?: number;
  readonly labels?: Labels;
}

export interface RingOptions {
  /** Labels that keep replicas apart, the most important first. */
  readonly spreadBy?: readonly string[];
  readonly virtualNodes?: number;
}

interface Member {
  readonly nodeId: number;
  readonly location: readonly number[];
}

export class PlacementRing {
  /** Ascending; `owners[i]` is the member whose point `points[i]` is. */
  private readonly points: Uint32Array;
  private readonly owners: Uint32Array;
  private readonly members: readonly Member[];
  /** Of all members, at each level. */
  private readonly distinct: readonly number[];

  /** @throws InvalidArgument for a node given twice, or a weight that is not positive */
  constructor(nodes: readonly RingNode[], options: RingOptions = {}) {
    const { spreadBy = [], virtualNodes = VIRTUAL_NODES } = options;
    this.members = locate(nodes, spreadBy);
    this.distinct = spreadBy.map((_, level) => countDistinct(this.members, level));
    const points: { readonly point: number; readonly owner: number }[] = [];
    nodes.forEach(({ nodeId, weight = 1 }, owner) => {
      if (!(weight > 0))
        throw new InvalidArgument(`the weight of node ${nodeId} must be positive`, { field: 'weight' });
      const count = Math.max(1, Math.round(virtualNodes * weight));
      for (let replica = 0; replica < count; replica += 1) points.push({ point: hashPair(nodeId, replica), owner });
    });
    points.sort((a, b) => a.point - b.point || a.owner - b.owner);
    this.points = Uint32Array.from(points, ({ point }) => point);
    this.owners = Uint32Array.from(points, ({ owner }) => owner);
  }

  /**
   * Up to `count` different nodes for the region, the first of them as its first leader. Nodes that share a label with
   * those chosen before are passed over as long as others are left.
   */
  place(regionId: number, count: number): readonly number[] {
    const walk = this.walk(regionId);
    const chosen: Member[] = [];
    while (chosen.length < count && chosen.length < this.members.length) {
      const next = this.farthest(walk, chosen);
      if (!next) break;
      chosen.push(next);
    }
    return chosen.map(({ nodeId }) => nodeId);
  }

  /** Members in the order of their first points behind that of the region. */
  private walk(regionId: number): readonly Member[] {
    const start = this.firstBehind(hashPair(regionId, 0x9e3779b9));
    const seen = new Set<number>();
    const walk: Member[] = [];
    for (let step = 0; step < this.owners.length && seen.size < this.members.length; step += 1) {
      const owner = this.owners[(start + step) % this.owners.length] as number;
      if (seen.has(owner)) continue;
      seen.add(owner);
      walk.push(this.members[owner] as Member);
      if (this.isWideEnough(walk)) break;
    }
    return walk;
  }

  /** Far enough for any choice: going on would find nothing that is farther apart. */
  private isWideEnough(walk: readonly Member[]): boolean {
    const wanted = 16;
    if (walk.length < wanted) return false;
    return this.distinct.every((all, level) => countDistinct(walk, level) >= Math.min(all, wanted / 2));
  }

  /** The first of those that are farthest from the chosen ones. */
  private farthest(walk: readonly Member[], chosen: readonly Member[]): Member | undefined {
    let best: Member | undefined;
    let bestSpread = -1;
    for (const member of walk) {
      if (chosen.includes(member)) continue;
      const spread = chosen.reduce((sum, other) => sum + distance(member.location, other.location), 0);
      if (spread > bestSpread) [best, bestSpread] = [member, spread];
    }
    return best;
  }

  private firstBehind(point: number): number {
    let low = 0;
    let high = this.points.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.points[middle] as number) < point) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function locate(nodes: readonly RingNode[], spreadBy: readonly string[]): readonly Member[] {
  const values = new Map<string, number>();
  const intern = (value: string): number => {
    if (!values.has(value)) values.set(value, values.size);
    return values.get(value) as number;
  };
  const ids = new Set<number>();
  return nodes.map(({ nodeId, labels = {} }) => {
    if (ids.has(nodeId)) throw new InvalidArgument(`node ${nodeId} is given twice`, { field: 'nodes' });
    ids.add(nodeId);
    return { nodeId, location: spreadBy.map((name) => intern(labels[name] ?? '')) };
  });
}

function countDistinct(members: readonly Member[], level: number): number {
  return new Set(members.map(({ location }) => location[level])).size;
}

/** 32 well-mixed bits of two numbers (the finaliser of MurmurHash3, twice). */
function hashPair(a: number, b: number): number {
  return mix(mix(a >>> 0) ^ mix(Math.floor(a / 2 ** 32) + 0x85ebca6b) ^ Math.imul(b >>> 0, 0xc2b2ae35));
}

function mix(value: number): number {
  let bits = value >>> 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
