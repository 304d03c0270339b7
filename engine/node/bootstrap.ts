/** The regions that a cluster starts with. Every node computes the same ones, so nobody has to be asked. */

import { LAST_SYSTEM_REGION_ID, type Peer, type Region } from '../../rpc/wire/region.ts';

export interface BootstrapPlan {
  /** Ascending. */
  readonly initialNodes: readonly number[];
  readonly regions: number;
  /** First keys of all regions but the first; undefined: the key space is cut evenly by its first four bytes. */
  readonly splitKeys: readonly Uint8Array[] | undefined;
}

/** Replicas of a region, where there are that many nodes. */
const REPLICAS = 3;

/**
 * All regions of a new cluster, in key order. Region i is replicated on REPLICAS nodes from the i-th on; the first of
 * them is where its leader belongs, so that leaders are spread evenly.
 */
export function initialRegions(plan: BootstrapPlan): Region[] {
  const { initialNodes, regions, splitKeys } = plan;
  const starts = [Buffer.alloc(0), ...(splitKeys ?? evenSplitKeys(regions))];
  const replicas = Math.min(REPLICAS, initialNodes.length);
  return starts.map((startKey, i) => ({
    regionId: LAST_SYSTEM_REGION_ID + 1 + i,
    startKey,
    endKey: starts[i + 1] ?? Buffer.alloc(0),
    epoch: { version: 1, confVersion: 1 },
    peers: Array.from({ length: replicas }, (_, k): Peer => ({
      peerId: i * replicas + k + 1,
      nodeId: initialNodes[(i + k) % initialNodes.length]!,
      role: 'voter',
    })),
  }));
}

/** Cuts the space of the first four bytes into `regions` parts of one size. */
function evenSplitKeys(regions: number): Buffer[] {
  return Array.from({ length: regions - 1 }, (_, i) => {
    const key = Buffer.alloc(4);
    key.writeUInt32BE(Math.floor(((i + 1) * 2 ** 32) / regions));
    return key;
  });
}
