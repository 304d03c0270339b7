/**
 * A node's data directory:
 *
 *     mraft.json    whose it is; written once, at the first start
 *     boot          how often it was started; grows with every start
 *     cluster-id    which cluster of that name it belongs to; written once, when the node first heard it
 *     rocksdb/      the database
 *     fence.<n>     how many batches worker n has synced; compared with the database at each start (fence.ts)
 *
 * Whose it is, is checked before the database is touched, so that a wrong flag cannot harm another node's data.
 */

import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

import { Amnesia, DataDirMismatch, DataDirUnusable, DiskFull, type MraftError } from '../../rpc/wire/errors.ts';

/** Version of everything that lies in the directory. */
export const DATA_DIR_FORMAT = 1;

const INCARNATION_BYTES = 6;

export interface DataDirIdentity {
  readonly cluster: string;
  readonly nodeId: number;
}

export interface DataDir {
  readonly dir: string;
  /** Where the database is (`openRocks`). */
  readonly storeDir: string;
  /** The directory was new: this is the node's first start on it. */
  readonly created: boolean;
  /** Random, drawn when the directory was made: a node that comes back without its data has another one. Never 0. */
  readonly incarnation: number;
}

/**
 * Makes the directory this node's, or checks that it is. What another node or cluster wrote is not touched.
 * @throws DataDirMismatch with the `field` that differs, Amnesia, DataDirUnusable, DiskFull
 */
export function openDataDir(dir: string, identity: DataDirIdentity): DataDir {
  const storeDir = path.join(dir, 'rocksdb');
  return guarded(dir, () => {
    const existing = readIfThere(path.join(dir, 'mraft.json'));
    if (existing !== undefined) {
      checkIdentity(dir, existing, identity);
      fs.accessSync(dir, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
      refuseLostDatabase(dir, storeDir);
      const found = parseIdentity(existing)?.['incarnation'];
      const incarnation = isIncarnation(found) ? found : writeIdentity(dir, identity);
      return { dir, storeDir, created: false, incarnation };
    }
    refuseForeignFiles(dir);
    makeDirectory(dir);
    return { dir, storeDir, created: true, incarnation: writeIdentity(dir, identity) };
  });
}

/** Writes whose the directory is; answers its new incarnation. */
function writeIdentity(dir: string, { cluster, nodeId }: DataDirIdentity): number {
  const incarnation = randomBytes(INCARNATION_BYTES).readUIntBE(0, INCARNATION_BYTES) || 1;
  const record = { format: DATA_DIR_FORMAT, cluster, nodeId, incarnation };
  writeDurably(dir, 'mraft.json', `${JSON.stringify(record)}\n`);
  return incarnation;
}

function isIncarnation(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

/** The id of the cluster that this node belongs to; undefined: it has not heard it yet. @throws DataDirUnusable */
export function readClusterId(dir: string): string | undefined {
  return guarded(dir, () => readIfThere(path.join(dir, 'cluster-id'))?.trim() || undefined);
}

/** Remembers it for good. @throws DataDirUnusable, DiskFull */
export function writeClusterId(dir: string, clusterId: string): void {
  guarded(dir, () => writeDurably(dir, 'cluster-id', `${clusterId}\n`));
}

/**
 * The number of this start: above that of every earlier start on this directory, durable before it is returned. It is
 * also at least `nowMs`, so that a node whose directory was wiped does not begin again with numbers that its peers have
 * seen. Call it when the database is open: its lock is what keeps a second process from counting.
 * @throws DataDirUnusable, DiskFull
 */
export function nextBootEpoch(dir: string, nowMs: number): number {
  return guarded(dir, () => {
    const last = readIfThere(path.join(dir, 'boot'));
    const lastEpoch = last === undefined ? 0 : Number(last.trim() || Number.NaN);
    if (!Number.isSafeInteger(lastEpoch) || lastEpoch < 0) {
      throw new DataDirUnusable(
        `${path.join(dir, 'boot')} holds no number: write one into it that is above every earlier boot epoch`,
      );
    }
    const epoch = Math.max(lastEpoch + 1, Math.floor(nowMs));
    writeDurably(dir, 'boot', `${epoch}\n`);
    return epoch;
  });
}

function checkIdentity(dir: string, text: string, wanted: DataDirIdentity): void {
  const found = parseIdentity(text);
  if (found === undefined) {
    throw new DataDirMismatch(`${path.join(dir, 'mraft.json')} is not an mraft identity: use another data directory`, {
      field: 'dataDir',
    });
  }
  const expected = { format: DATA_DIR_FORMAT, cluster: wanted.cluster, nodeId: wanted.nodeId };
  for (const field of ['format', 'cluster', 'nodeId'] as const) {
    if (found[field] !== expected[field]) {
      throw new DataDirMismatch(
        `the data directory ${dir} belongs to ${field} ${show(found[field])}, not ${show(expected[field])}: ` +
          'use the directory of this node, or start with what the directory says',
        { field },
      );
    }
  }
}

function parseIdentity(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? 'nothing').slice(0, 100);
}

/** A directory that has a database but no identity is not a new one. */
function refuseForeignFiles(dir: string): void {
  if (!fs.existsSync(dir)) return;
  const foreign = fs.readdirSync(dir).find((name) => name === 'rocksdb' || name === 'boot' || name === 'CURRENT');
  if (foreign === undefined) return;
  throw new DataDirMismatch(
    `the data directory ${dir} holds ${foreign} but no mraft.json: use another directory, or restore the file`,
    { field: 'dataDir' },
  );
}

/** A start is counted only when the database is open; so where one was counted and no database is, the data is gone. */
function refuseLostDatabase(dir: string, storeDir: string): void {
  if (!fs.existsSync(path.join(dir, 'boot')) || fs.existsSync(path.join(storeDir, 'CURRENT'))) return;
  throw new Amnesia(
    `the database in ${storeDir} is gone, and with it what this node had acknowledged: ` +
      `remove ${dir} and let the node join under a new id`,
    { field: 'dataDir' },
  );
}

function readIfThere(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** All or nothing, also through a power cut: a new file that is synced takes the old one's name, which is synced too. */
function writeDurably(dir: string, name: string, content: string): void {
  const temporary = path.join(dir, `${name}.tmp`);
  const file = fs.openSync(temporary, 'w');
  try {
    fs.writeSync(file, content);
    fs.fsyncSync(file);
  } finally {
    fs.closeSync(file);
  }
  fs.renameSync(temporary, path.join(dir, name));
  syncDirectory(dir);
  syncDirectory(path.dirname(path.resolve(dir)));
}

function syncDirectory(dir: string): void {
  const handle = fs.openSync(dir, 'r');
  try {
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
}

/** Runs file work of a data directory. @throws DataDirUnusable, DiskFull in place of the file system's errors */
export function guarded<T>(dir: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw asDataDirError(error, dir);
  }
}

function asDataDirError(error: unknown, dir: string): unknown {
  const code = (error as NodeJS.ErrnoException).code;
  if (!(error instanceof Error) || (error as { syscall?: unknown }).syscall === undefined) return error;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new DiskFull(`no room on the disk of the data directory ${dir}: free some space`, { cause: error });
  }
  const unusable: MraftError = new DataDirUnusable(
    `the data directory ${dir} cannot be used (${error.message}): give this user a directory it may write`,
    { cause: error, field: 'dataDir' },
  );
  return unusable;
}

/**
 * Makes a directory and those above it. Node's own recursive mkdir does not end where a file system says that a parent
 * which is there does not exist, as /proc does.
 */
function makeDirectory(dir: string): void {
  try {
    fs.mkdirSync(dir);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && fs.statSync(dir).isDirectory()) return;
    const parent = path.dirname(dir);
    if (code !== 'ENOENT' || fs.existsSync(parent)) throw error;
    makeDirectory(parent);
    fs.mkdirSync(dir);
  }
}
