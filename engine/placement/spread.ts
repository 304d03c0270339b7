/**
 * How far apart replicas are. Two nodes differ at the first label (the most important first) that they do not share; the
 * spread of a node in a company is the sum over the others, weighted so that one difference of a more important label is
 * worth more than any number of less important ones (as TiKV's PD scores isolation).
 */

import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Model } from './model.ts';
import type { PlacementNode } from './node-table.ts';

/** More than the peers of a region, so that lower levels never add up to a higher one. */
const BASE = LIMITS.peersPerRegion + 1;

export function distance(a: readonly number[], b: readonly number[]): number {
  for (let level = 0; level < a.length; level += 1) {
    if (a[level] !== b[level]) return BASE ** (a.length - 1 - level);
  }
  return 0;
}

/** The most that any two of them are apart. */
export function widestDistance(locations: readonly (readonly number[])[]): number {
  const [first] = locations;
  return first ? Math.max(...locations.map((location) => distance(first, location))) : 0;
}

/** Of `node` among the region's other peers, that of `leaving` left out. */
export function spreadOf(model: Model, region: number, node: PlacementNode, leaving: number): number {
  const { regions, nodes } = model;
  let sum = 0;
  for (let at = regions.firstPeer(region); at < regions.endPeer(region); at += 1) {
    const other = regions.nodeOf(at);
    if (other !== leaving && other !== node.slot) sum += distance(node.location, nodes.at(other).location);
  }
  return sum;
}

/** Whether all peers differ at the most important label: then nothing can be better. */
export function isWidest(model: Model, region: number): boolean {
  const { regions, nodes } = model;
  const end = regions.endPeer(region);
  for (let a = regions.firstPeer(region); a < end; a += 1) {
    for (let b = a + 1; b < end; b += 1) {
      if (nodes.at(regions.nodeOf(a)).location[0] === nodes.at(regions.nodeOf(b)).location[0]) return false;
    }
  }
  return true;
}
