/** A region with data on one store, and what it takes to carry it to another. */

import { checksumOf, type SnapshotChunk } from '../../engine/region/snapshot-chunk.ts';
import { SnapshotReceiver, readHead, type SnapshotName } from '../../engine/region/snapshot-receiver.ts';
import { SnapshotSource } from '../../engine/region/snapshot-source.ts';
import { PLAIN_CODEC, type BodyCodec } from '../../engine/region/snapshot-chunk.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import { normalRecord, putSession, type RegionRecord } from '../../engine/store/region-records.ts';
import { mraft } from '../../rpc/wire/codec.ts';
import type { Region } from '../../rpc/wire/region.ts';

export const REGION: Region = {
  regionId: 7,
  startKey: Buffer.from('b'),
  endKey: Buffer.from('y'),
  epoch: { version: 3, confVersion: 5 },
  peers: [
    { peerId: 10, nodeId: 1, role: 'voter' },
    { peerId: 20, nodeId: 2, role: 'voter' },
  ],
};
export const RECORD: RegionRecord = normalRecord(REGION, [{ regionId: 5, version: 2, targetId: 7 }]);
export const INDEX = 1_000;
export const TERM = 6;

export const MESSAGE: mraft.IRaftMessage = {
  regionId: REGION.regionId,
  kind: mraft.MessageKind.SNAPSHOT,
  from: 10,
  to: 20,
  term: 8,
  index: INDEX,
  logTerm: TERM,
  membership: { voters: [10, 20], votersOutgoing: [], learners: [], learnersNext: [], autoLeave: false },
};

export const NAME: SnapshotName = { fromNode: 1, sourceBoot: 99, snapshotId: 4 };

/** A store whose region holds `count` keys of `valueBytes`, three sessions, and keys of its neighbours. */
export function sourceStore(count: number, valueBytes = 100): MemoryStore {
  const store = new MemoryStore();
  const batch = store.createBatch();
  for (let n = 0; n < count; n++) {
    const value = Buffer.alloc(valueBytes, n);
    batch.put('data', Buffer.from(`c${String(n).padStart(8, '0')}`), value);
  }
  for (const key of ['a', 'y', 'z']) batch.put('data', Buffer.from(key), Buffer.from('of a neighbour'));
  for (const name of ['s1', 's2', 's3'])
    putSession(batch, REGION.regionId, Buffer.from(name), Buffer.from(`record ${name}`));
  store.write(batch, { sync: true });
  return store;
}

/** All chunks of the region, unsealed. */
export function chunksOf(store: MemoryStore, message = MESSAGE, record = RECORD): SnapshotChunk[] {
  const source = new SnapshotSource(store, record, message);
  const chunks: SnapshotChunk[] = [];
  for (let body = source.next(); body; body = source.next()) chunks.push(chunkOf(chunks.length, body));
  return chunks;
}

export function chunkOf(sequence: number, body: Uint8Array): SnapshotChunk {
  const sealed = { body, encoding: mraft.SnapshotEncoding.PLAIN, plainBytes: body.length };
  return { ...sealed, sequence, checksum: checksumOf(NAME.snapshotId, sequence, sealed) };
}

export function receiverOf(head: SnapshotChunk, codec: BodyCodec = PLAIN_CODEC): SnapshotReceiver {
  return new SnapshotReceiver(NAME, head, readHead(head), codec, 0);
}

/** Everything of a store, but what is staged. */
export function contentsOf(store: MemoryStore): string[] {
  const lines: string[] = [];
  for (const column of ['data', 'log', 'meta', 'system'] as const) {
    for (const { key, value } of store.scan(column, { limit: 1_000_000, maxBytes: 2 ** 31 }).entries) {
      lines.push(`${column} ${Buffer.from(key).toString('latin1')} ${Buffer.from(value).toString('latin1')}`);
    }
  }
  return lines;
}

export function stagedCount(store: MemoryStore): number {
  return store.scan('staging', { limit: 1_000_000, maxBytes: 2 ** 31 }).entries.length;
}
