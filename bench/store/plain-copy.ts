/**
 * What a snapshot is held against: the data of one node's database, copied into a new one in one thread.
 *
 *     node dist/bench/store/plain-copy.js FROM INTO     both are directories of RocksDB; nobody else may have FROM open
 *
 * It reads pages as large as a snapshot's chunks from a cursor, and writes each as a batch without a sync, but the last one. Everything
 * is copied twice, so that the code is compiled and the files are cached; the second copy counts. Prints a `PlainCopy` as JSON.
 */

import { join } from 'node:path';

import { openRocks } from '../../engine/store/rocks-store.ts';
import type { Store } from '../../engine/store/port.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';

export interface PlainCopy {
  readonly entries: number;
  /** Of keys and values, as the database has them. */
  readonly sizeBytes: number;
  readonly durationMs: number;
  /** Of the first copy. */
  readonly firstMs: number;
}

async function main(fromDir: string, intoDir: string): Promise<void> {
  const from = await openRocks({ dir: fromDir });
  const first = await copyInto(from.store(), join(intoDir, 'first'));
  const copy = await copyInto(from.store(), join(intoDir, 'second'));
  await from.close();
  if (first.entries !== copy.entries) throw new Error('the database changed while it was copied');
  const report: PlainCopy = { ...copy, firstMs: first.durationMs };
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

async function copyInto(source: Store, dir: string): Promise<Omit<PlainCopy, 'firstMs'>> {
  const target = await openRocks({ dir });
  const startedMs = performance.now();
  const counts = copyData(source, target.store());
  const durationMs = performance.now() - startedMs;
  await target.close();
  return { ...counts, durationMs };
}

/** The data column only: log and records of a node are not part of a snapshot. */
function copyData(source: Store, target: Store): { entries: number; sizeBytes: number } {
  const cursor = source.openCursor('data', { limit: LIMITS.snapshotChunkEntries, maxBytes: LIMITS.snapshotChunkBytes });
  const batch = target.createBatch();
  let entries = 0;
  let sizeBytes = 0;
  for (let more = true; more;) {
    const page = cursor.next();
    for (const { key, value } of page.entries) batch.put('data', key, value);
    entries += batch.count;
    sizeBytes += batch.sizeBytes;
    more = page.more;
    target.write(batch, { sync: !more });
  }
  cursor.close();
  return { entries, sizeBytes };
}

const [fromDir, intoDir] = process.argv.slice(2);
if (fromDir === undefined || intoDir === undefined) {
  process.stderr.write('usage: plain-copy FROM INTO\n');
  process.exitCode = 2;
} else await main(fromDir, intoDir);
