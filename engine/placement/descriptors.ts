/**
 * What lasts of regions: their descriptors, so that a new leader of placement knows every region at once, also one that has
 * lost its leader. They are facts that leaders reported and not decisions: nothing waits for them to be written, and a
 * record that is older than the truth is superseded by the region's next report, by its epoch.
 */

import { StorageFailure } from '../../rpc/wire/errors.ts';
import type { Peer, PeerRole, Region } from '../../rpc/wire/region.ts';
import { RECORDS, parseRecord } from './durable.ts';
import type { Model } from './model.ts';
import type { DurableWrite } from './types.ts';

/** Short, because there may be a million; keys in base64. */
interface DescriptorRecord {
  readonly id: number;
  readonly start: string;
  readonly end: string;
  readonly epoch: readonly [version: number, confVersion: number];
  readonly peers: readonly (readonly [peerId: number, nodeId: number, role: PeerRole])[];
}

/** The records of up to `limit` regions that changed or went since they were last taken. */
export function takeDescriptors(model: Model, limit: number): readonly DurableWrite[] {
  const writes: DurableWrite[] = [];
  for (const regionId of model.changed) {
    if (writes.length === limit) break;
    model.changed.delete(regionId);
    const slot = model.regions.slotOf(regionId);
    const value = slot === undefined ? null : encodeDescriptor(model.descriptor(slot));
    writes.push({ key: RECORDS.region + regionId, value });
  }
  return writes;
}

export function encodeDescriptor({ regionId, startKey, endKey, epoch, peers }: Region): string {
  const record: DescriptorRecord = {
    id: regionId,
    start: Buffer.from(startKey).toString('base64'),
    end: Buffer.from(endKey).toString('base64'),
    epoch: [epoch.version, epoch.confVersion],
    peers: peers.map(({ peerId, nodeId, role }) => [peerId, nodeId, role] as const),
  };
  return JSON.stringify(record);
}

/** @throws StorageFailure */
export function decodeDescriptor(text: string): Region {
  const { id, start, end, epoch, peers } = parseRecord<Partial<DescriptorRecord>>(RECORDS.region, text);
  if (id === undefined || start === undefined || end === undefined || !epoch || !peers) {
    throw new StorageFailure(`a record of a region is not complete: ${text.slice(0, 200)}`);
  }
  return {
    regionId: id,
    startKey: Buffer.from(start, 'base64'),
    endKey: Buffer.from(end, 'base64'),
    epoch: { version: epoch[0], confVersion: epoch[1] },
    peers: peers.map(([peerId, nodeId, role]): Peer => ({ peerId, nodeId, role })),
  };
}
