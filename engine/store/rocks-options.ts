/**
 * How each column family is tuned, and why. The figures behind the choices are in README.md. Sizes are bytes.
 *
 * What the binding does with them: `compaction` sets a memtable to a quarter of `memtableMemoryBudget`, flushes two at a
 * time and allows six; without it a memtable has 64 MiB and there are two. `compaction: 'level'` turns zstd on from level
 * 2 whatever `compression` says; zstd is the only compressor it was built with.
 */

import type { Column } from './port.ts';

const MIB = 1024 * 1024;

export interface ColumnTuning {
  readonly compaction?: 'level' | 'universal';
  readonly memtableMemoryBudget?: number;
  readonly compression: boolean;
  readonly optimize?: 'point-lookup';
  readonly filterPolicy?: string;
  readonly cacheSize: number;
  readonly cacheIndexAndFilterBlocks?: boolean;
  readonly blockSize?: number;
}

export interface RocksTuning {
  readonly columns: Readonly<Record<Column, ColumnTuning>>;
  /** Threads that flush and compact. */
  readonly parallelism: number;
  readonly walCompression: boolean;
  readonly pipelinedWrite: boolean;
}

/**
 * The binding reads properties (memtable sizes, keys, pending compaction) of the default family only, so the column that
 * one wants to watch lies there.
 */
export const FAMILY_OF: Readonly<Record<Column, string>> = {
  data: 'default',
  log: 'log',
  meta: 'meta',
  system: 'system',
  staging: 'staging',
};

export const DEFAULT_TUNING: RocksTuning = {
  columns: {
    // Written once in order, read back rarely, deleted by range: no filter, no compression, the cheapest compaction.
    log: {
      compaction: 'universal',
      memtableMemoryBudget: 128 * MIB,
      compression: false,
      filterPolicy: 'nullptr',
      cacheSize: 8 * MIB,
    },
    // Random keys, point reads and scans. Point lookup puts a filter before each memtable, too.
    data: {
      compaction: 'universal',
      memtableMemoryBudget: 128 * MIB,
      compression: false,
      optimize: 'point-lookup',
      cacheSize: 256 * MIB,
    },
    // Few, small records that are overwritten all the time: a flush keeps only the last of each. Small memtables, because an
    // unflushed record of this column keeps the log of writes of all columns, which a restart reads.
    meta: {
      compaction: 'universal',
      memtableMemoryBudget: 16 * MIB,
      compression: false,
      cacheSize: 8 * MIB,
    },
    // What placement keeps: little, and rarely written.
    system: { compaction: 'universal', memtableMemoryBudget: 8 * MIB, compression: false, cacheSize: 4 * MIB },
    // Chunks of snapshots on their way in: large, read once, deleted by range.
    staging: { compaction: 'universal', memtableMemoryBudget: 64 * MIB, compression: false, cacheSize: 1 * MIB },
  },
  parallelism: 2,
  walCompression: false,
  pipelinedWrite: false,
};
