/** What RocksDB and the file system throw, as the errors of mraft. */

import { DataDirInUse, DataDirUnusable, DiskFull, MraftError, StorageFailure } from '../../rpc/wire/errors.ts';

/** Whether an error, or one of its causes, says that there is no room. */
function isDiskFull(error: Error): boolean {
  return /no space left on device|disk quota exceeded/i.test(error.message) || codeOf(error) === 'ENOSPC';
}

function codeOf(error: Error): string {
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' ? code : '';
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** The binding wraps what went wrong in "Database is not open"; the innermost error is the one that says it. */
function rootCause(error: Error): Error {
  let root = error;
  while (root.cause instanceof Error) root = root.cause;
  return root;
}

/** The error of a read or a write that failed. */
export function storageError(thrown: unknown, doing: string): MraftError {
  if (thrown instanceof MraftError) return thrown;
  const cause = asError(thrown);
  if (isDiskFull(cause)) {
    return new DiskFull(`no room on the disk of the data directory while ${doing}: free some space`, { cause });
  }
  return new StorageFailure(
    `the store failed while ${doing}: ${rootCause(cause).message}; check the disk, then start the node again`,
    { cause },
  );
}

/** The error of a database that did not open. */
export function openError(thrown: unknown, path: string): MraftError {
  if (thrown instanceof MraftError) return thrown;
  const cause = asError(thrown);
  const root = rootCause(cause);
  const code = codeOf(root);
  if (code === 'LEVEL_LOCKED') {
    return new DataDirInUse(`the data directory ${path} is in use: stop the process that has it open, or use another`, {
      cause,
    });
  }
  if (isDiskFull(root)) {
    return new DiskFull(`no room on the disk of the data directory ${path}: free some space`, { cause });
  }
  if (
    ['EACCES', 'EPERM', 'ENOTDIR', 'EEXIST', 'EROFS', 'ENOENT', 'ELOOP', 'ENAMETOOLONG'].includes(code) ||
    /permission denied|not a directory|read-only file system|operation not permitted/i.test(root.message)
  ) {
    return new DataDirUnusable(
      `the data directory ${path} cannot be used (${root.message}): give this user a directory it may write`,
      { cause },
    );
  }
  return new StorageFailure(
    `the database in ${path} does not open: ${root.message}; ` +
      'if the disk is sound, remove this node and let it join again under a new id',
    { cause },
  );
}
