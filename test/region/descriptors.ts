/** Descriptors for tests: a region of voters on nodes 1 to 3, changed where a test says so. */

import type { Peer, Region } from '../../rpc/wire/region.ts';

export function region(id: number, start: string, end: string, changes: Partial<Region> = {}): Region {
  return {
    regionId: id,
    startKey: Buffer.from(start),
    endKey: Buffer.from(end),
    epoch: { version: 4, confVersion: 2 },
    peers: [1, 2, 3].map((nodeId): Peer => ({ peerId: id * 100 + nodeId, nodeId, role: 'voter' })),
    ...changes,
  };
}

export const text = (value: string): Uint8Array => Buffer.from(value);
