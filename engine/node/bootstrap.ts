/** The regions that a cluster starts with. Every node computes the same ones, so nobody has to be asked. */

import { PlacementRing } from '../placement/index.ts';
import { LAST_SYSTEM_REGION_ID, PLACEMENT_REGION_ID, type Peer, type Region } from '../../rpc/wire/region.ts';

export interface BootstrapPlan {
  /** Ascending. */
  readonly initialNodes: readonly number[];
  readonly regions: number;
  /** First keys of all regions but the first; undefined: the key space is cut evenly by its first four bytes. */
  readonly splitKeys: readonly Uint8Array[] | undefined;
}

const FIRST_EPOCH = { version: 1, confVersion: 1 };
/** Regions and peers that are made later get ids from here on: a cluster never begins with so many. */
export const FIRST_ALLOCATED_ID = 1_000_000;

/** Replicas of a region, where there are that many nodes. */
const REPLICAS = 3;

/**
 * All regions of a new cluster: that of placement, and those of the users' keys, in key order. The first peer of each is where
 * its leader belongs. Where there are more nodes than replicas the ring says which of them have one; placement refines that.
 */
export function initialRegions(plan: BootstrapPlan): Region[] {
  const { initialNodes, regions, splitKeys } = plan;
  const starts = [Buffer.alloc(0), ...(splitKeys ?? evenSplitKeys(regions))];
  const homesOf = homes(initialNodes);
  const user = starts.map((startKey, i) => ({
    regionId: LAST_SYSTEM_REGION_ID + 1 + i,
    startKey,
    endKey: starts[i + 1] ?? Buffer.alloc(0),
    epoch: FIRST_EPOCH,
    peers: peersOf(i, homesOf(i)),
  }));
  return [placementRegion(plan, starts.length), ...user];
}

/** The region in which placement keeps its state: the system's keys, all of them, on the first nodes. */
function placementRegion({ initialNodes }: BootstrapPlan, position: number): Region {
  const firstNodes = initialNodes.slice(0, REPLICAS);
  return {
    regionId: PLACEMENT_REGION_ID,
    startKey: Buffer.alloc(0),
    endKey: Buffer.alloc(0),
    epoch: FIRST_EPOCH,
    peers: peersOf(position, firstNodes),
  };
}

/** The nodes of the region at a position, the one that should lead first. */
function homes(nodes: readonly number[]): (position: number) => readonly number[] {
  // On so few nodes every region is on all of them, and leaders are even when each leads in its turn.
  if (nodes.length <= REPLICAS) return (position) => nodes.map((_, k) => nodes[(position + k) % nodes.length]!);
  const ring = new PlacementRing(nodes.map((nodeId) => ({ nodeId })));
  return (position) => ring.place(LAST_SYSTEM_REGION_ID + 1 + position, REPLICAS);
}

/** Peers of the region at `position`; each position has ids of its own. */
function peersOf(position: number, nodes: readonly number[]): Peer[] {
  return nodes.map((nodeId, k): Peer => ({ peerId: position * nodes.length + k + 1, nodeId, role: 'voter' }));
}

/** Cuts the space of the first four bytes into `regions` parts of one size. */
function evenSplitKeys(regions: number): Buffer[] {
  return Array.from({ length: regions - 1 }, (_, i) => {
    const key = Buffer.alloc(4);
    key.writeUInt32BE(Math.floor(((i + 1) * 2 ** 32) / regions));
    return key;
  });
}
