/** What a node remembers of itself and of other nodes, in the meta column. */

import { META_KIND, metaKey, nodeIdentityKey, readU64, writeU64 } from './keys.ts';
import type { Store, WriteBatch } from './port.ts';

const U64_BYTES = 8;

/** The incarnation that `nodeId` was first heard with; undefined: it never was. */
export function loadIncarnation(store: Store, nodeId: number): number | undefined {
  const record = store.get('meta', metaKey(META_KIND.nodeIncarnation, nodeId));
  return record && readU64(record, 0);
}

/** Remembers it for good: it is durable when this returns. @throws DiskFull, StorageFailure */
export function rememberIncarnation(store: Store, nodeId: number, incarnation: number): void {
  const record = Buffer.allocUnsafe(U64_BYTES);
  writeU64(record, 0, incarnation);
  const batch = store.createBatch();
  batch.put('meta', metaKey(META_KIND.nodeIncarnation, nodeId), record);
  store.write(batch, { sync: true });
}

/** Marks that this node was given the regions which its cluster began with. */
export function putBootstrapped(batch: WriteBatch): void {
  batch.put('meta', nodeIdentityKey(), Buffer.from('bootstrapped'));
}

export function isBootstrapped(store: Store): boolean {
  return store.get('meta', nodeIdentityKey()) !== undefined;
}
