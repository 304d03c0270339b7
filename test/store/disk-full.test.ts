/** A disk without room, a real one: a small file system in a mount namespace (Linux, with or without root). */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

import { assert, suite } from '../harness.ts';
import { openError, storageError } from '../../engine/store/rocks-errors.ts';
import { DataDirInUse, DataDirUnusable, DiskFull, StorageFailure } from '../../rpc/wire/errors.ts';
import type { DiskFullStory } from './disk-full-writer.ts';
import { removeDir, scratchDir } from './fixtures.ts';

const test = suite('a full disk', { timeoutMs: 120_000 });

test('refuses writes without doing them, and takes them again by itself when there is room', () => {
  const namespace = ['-r', '-m'];
  if (spawnSync('unshare', [...namespace, 'true']).status !== 0) {
    process.stdout.write(' (not run: this system gives no mount namespace) ');
    return;
  }
  const dir = scratchDir();
  try {
    const writer = fileURLToPath(new URL('./disk-full-writer.js', import.meta.url));
    const child = spawnSync('unshare', [...namespace, process.execPath, writer, dir], { encoding: 'utf8' });
    assert.is(child.status, 0, child.stderr);
    const story = JSON.parse(child.stdout) as DiskFullStory;
    assert.ok(story.written > 0);
    assert.equal(
      { ...story, written: 0, afterReopening: story.afterReopening - story.written },
      {
        written: 0,
        firstError: 'DiskFull',
        nextErrors: ['DiskFull', 'DiskFull'],
        seenAlthoughRefused: false,
        batchKept: true,
        afterReopening: 1,
      },
    );
  } finally {
    removeDir(dir);
  }
});

test('and every other failure has the error that says what to do', () => {
  const io = new Error('IO error: While fdatasync: /d/000004.log: Input/output error');
  for (const [error, type] of [
    [storageError(new Error('IO error: No space left on device: While appending to file'), 'writing'), DiskFull],
    [storageError(io, 'writing'), StorageFailure],
    [storageError('thrown by hand', 'reading'), StorageFailure],
    [openError(wrapped('LEVEL_LOCKED', 'IO error: While lock file: /d/LOCK: Resource busy'), '/d'), DataDirInUse],
    [openError(wrapped('EROFS', 'read-only file system'), '/d'), DataDirUnusable],
    [openError(wrapped('LEVEL_CORRUPTION', 'Corruption: bad record'), '/d'), StorageFailure],
    [openError(wrapped('ENOSPC', 'no space left on device'), '/d'), DiskFull],
  ] as const) {
    assert.instance(error, type);
    assert.ok(error.cause !== undefined);
  }
  const failure = storageError(io, 'writing');
  assert.is(storageError(failure, 'something else'), failure, 'an error that is ours stays itself');
  assert.match(failure.message, 'Input/output error');
});

/** As the binding throws it. */
function wrapped(code: string, message: string): Error {
  return new Error('Database is not open', { cause: Object.assign(new Error(message), { code }) });
}
