/**
 * Runs in a mount namespace of its own: fills a small file system, makes it larger, and writes on. Says on standard output,
 * as JSON, what happened. Argument: an empty directory to mount on.
 */

import { execFileSync } from 'node:child_process';
import path from 'node:path';

import { openRocks } from '../../engine/store/rocks-store.ts';
import { MraftError } from '../../rpc/wire/errors.ts';
import { thrownBy } from './fixtures.ts';

export interface DiskFullStory {
  /** Batches that were written before the disk was full. */
  readonly written: number;
  readonly firstError: string;
  readonly nextErrors: readonly string[];
  readonly seenAlthoughRefused: boolean;
  readonly batchKept: boolean;
  /** Batches that are there after room was made, the refused one was written again and the database opened anew. */
  readonly afterReopening: number;
}

const mountPoint = process.argv[2]!;
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', mountPoint]);
const dir = path.join(mountPoint, 'db');

const owner = await openRocks({ dir });
const store = owner.store();
const batch = store.createBatch();
const value = Buffer.alloc(100_000, 1);
const keyOf = (n: number): Buffer => Buffer.from(`k${String(n).padStart(6, '0')}`);
const codeOf = (error: unknown): string => (error instanceof MraftError ? error.code : String(error));
const write = (): unknown => thrownBy(() => store.write(batch, { sync: true }));

let written = 0;
let refusal: unknown;
for (; refusal === undefined; written++) {
  batch.put('data', keyOf(written), value);
  refusal = write();
}
written--;
const nextErrors = [write(), thrownBy(() => store.deleteRange('data', keyOf(0), undefined))].map(codeOf);
const seenAlthoughRefused = store.get('data', keyOf(written)) !== undefined;
const batchKept = batch.count === 1;

execFileSync('mount', ['-o', 'remount,size=256m', mountPoint]);
const deadline = Date.now() + 30_000;
while (write() !== undefined && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 100));
await owner.close();

const again = await openRocks({ dir });
const found = again.store().scan('data', { limit: 100_000, maxBytes: 1 << 30 }).entries.length;
await again.close();
const story: DiskFullStory = {
  written,
  firstError: codeOf(refusal),
  nextErrors,
  seenAlthoughRefused,
  batchKept,
  afterReopening: found,
};
process.stdout.write(JSON.stringify(story));
