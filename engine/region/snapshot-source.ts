/**
 * A region as a sequence of chunks: its data and its sessions as they are when the source is opened, between two turns of
 * the region's own worker, so that they belong to its applied index. Each chunk is a page of a cursor and no more work
 * than one page is, however large the region.
 */

import type { mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { sessionOf, sessionRange } from '../store/keys.ts';
import type { ScanPage, Store, StoreCursor } from '../store/port.ts';
import { dataColumn, toWireRecord, type RegionRecord } from '../store/region-records.ts';
import { encodeEntries, encodeHead, encodeTail } from './snapshot-chunk.ts';

export class SnapshotSource {
  readonly #head: mraft.ISnapshotHead;
  readonly #data: StoreCursor;
  readonly #sessions: StoreCursor;
  #part: 'head' | 'data' | 'sessions' | 'tail' | 'end' = 'head';
  #chunks = 0;
  #entries = 0;
  #bytes = 0;

  /** `message`, of kind snapshot, names the applied index and its term, and the configuration there. */
  constructor(store: Store, record: RegionRecord, message: mraft.IRaftMessage) {
    this.#head = { message, record: toWireRecord(record) };
    const { regionId, startKey, endKey } = record.region;
    const sessions = sessionRange(regionId);
    const page = { limit: LIMITS.snapshotChunkEntries, maxBytes: LIMITS.snapshotChunkBytes };
    this.#sessions = store.openCursor('meta', { gte: sessions.start, lt: sessions.end, ...page });
    this.#data = store.openCursor(dataColumn(regionId), {
      gte: startKey,
      ...(endKey.length > 0 ? { lt: endKey } : {}),
      ...page,
    });
  }

  /** Bytes of keys and values that were read. */
  get readBytes(): number {
    return this.#bytes;
  }

  /** The body of the next chunk, in memory of its own; undefined behind the last. */
  next(): Uint8Array | undefined {
    const body = this.#next();
    if (body) this.#chunks++;
    return body;
  }

  #next(): Uint8Array | undefined {
    if (this.#part === 'head') {
      this.#part = 'data';
      return encodeHead(this.#head);
    }
    if (this.#part === 'data') {
      const page = this.#data.next();
      if (!page.more) this.#part = 'sessions';
      if (page.entries.length > 0) return this.#encode('data', page);
    }
    if (this.#part === 'sessions') {
      const page = this.#sessions.next();
      if (!page.more) this.#part = 'tail';
      const entries = page.entries.map(({ key, value }) => ({ key: sessionOf(key), value }));
      if (entries.length > 0) return this.#encode('sessions', { ...page, entries });
    }
    if (this.#part === 'end') return undefined;
    this.#part = 'end';
    this.close();
    return encodeTail({ chunks: this.#chunks, entries: this.#entries, bytes: this.#bytes });
  }

  #encode(part: 'data' | 'sessions', { entries }: ScanPage): Uint8Array {
    this.#entries += entries.length;
    for (const { key, value } of entries) this.#bytes += key.length + value.length;
    return encodeEntries(part, entries);
  }

  close(): void {
    this.#data.close();
    this.#sessions.close();
  }
}
