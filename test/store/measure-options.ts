/**
 * Measures how the options of the database weigh on a node's own pattern of writes, one process a choice:
 *
 *     node dist/test/store/measure-options.js [--puts 2000000] [--only name,…]
 *
 * A turn writes one synced batch of a log entry, a hard state for each of 48 regions, then one batch that is not synced: 1,000 puts of
 * random 16-byte keys and 128-byte values, and an applied state for each region. What counts on a machine whose cores are
 * shared is CPU: `cpu` is all threads of the process, flushes and compactions included.
 */

import { randomBytes } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { META_KIND, logKey, metaKey } from '../../engine/store/keys.ts';
import type { Store } from '../../engine/store/port.ts';
import { DEFAULT_TUNING, type ColumnTuning, type RocksTuning } from '../../engine/store/rocks-options.ts';
import { openRocks } from '../../engine/store/rocks-store.ts';
import { pseudoRandom } from './fixtures.ts';

const MIB = 1024 * 1024;
const REGIONS = 48;
const PUTS_PER_TURN = 1_000;
/** The puts of one turn, spread over the regions' entries. */
const ENTRY_BYTES = Math.round((PUTS_PER_TURN / REGIONS) * 160);
const NOISE_BYTES = 16 * MIB;

const { log, data, meta, ...others } = DEFAULT_TUNING.columns;
const binding: ColumnTuning = { compression: true, cacheSize: 8 * MIB };
const plain: ColumnTuning = { compression: false, cacheSize: data.cacheSize, optimize: 'point-lookup' };

/** What differs from the default. */
const CHOICES: Readonly<Record<string, Partial<RocksTuning>>> = {
  'as built': {},
  "the binding's defaults": {
    columns: { log: binding, data: binding, meta: binding, ...others },
    walCompression: true,
  },
  'WAL compressed': { walCompression: true },
  'pipelined write': { pipelinedWrite: true },
  'one background thread': { parallelism: 1 },
  'data: RocksDB defaults': withData(plain),
  'data: level 128': withData({ ...plain, compaction: 'level', memtableMemoryBudget: 128 * MIB }),
  'data: level 256': withData({ ...plain, compaction: 'level', memtableMemoryBudget: 256 * MIB }),
  'data: universal 256': withData({ ...plain, compaction: 'universal', memtableMemoryBudget: 256 * MIB }),
  'data: zstd': withData({ ...data, compression: true }),
  'data: no point-lookup': withData(without(data, 'optimize')),
  'log: RocksDB defaults': withLog({ ...binding, compression: false }),
  'log: universal 64': withLog({ ...log, memtableMemoryBudget: 64 * MIB }),
  'log: universal 256': withLog({ ...log, memtableMemoryBudget: 256 * MIB }),
  'log: zstd': withLog({ ...log, compression: true }),
};

function withData(tuning: ColumnTuning): Partial<RocksTuning> {
  return { columns: { log, data: tuning, meta, ...others } };
}

function withLog(tuning: ColumnTuning): Partial<RocksTuning> {
  return { columns: { log: tuning, data, meta, ...others } };
}

function without(tuning: ColumnTuning, option: keyof ColumnTuning): ColumnTuning {
  const { [option]: _, ...rest } = tuning;
  return rest as ColumnTuning;
}

function turn(store: Store, number: number, random: () => number, records: TurnBuffers): void {
  const { batch, key, value, state, noise } = records;
  for (let n = 0; n < REGIONS; n++) {
    const entry = noise.subarray((random() * NOISE_BYTES) | 0).subarray(0, ENTRY_BYTES);
    batch.put('log', logKey(n + 1, number + 1), entry);
    batch.put('meta', metaKey(META_KIND.hardState, n + 1), state);
  }
  store.write(batch, { sync: true });
  for (let n = 0; n < PUTS_PER_TURN; n++) {
    key.writeDoubleBE(random(), 0);
    value.set(noise.subarray((random() * NOISE_BYTES) | 0).subarray(0, 100), 16);
    value.writeDoubleBE(random(), 8);
    batch.put('data', key, value);
  }
  for (let n = 0; n < REGIONS; n++) batch.put('meta', metaKey(META_KIND.appliedState, n + 1), state);
  store.write(batch, { sync: false });
}

function turnBuffers(store: Store) {
  return {
    batch: store.createBatch(),
    noise: randomBytes(NOISE_BYTES + ENTRY_BYTES),
    key: Buffer.alloc(16, 'k'),
    value: Buffer.alloc(128, 'v'),
    state: Buffer.alloc(12, 1),
  };
}
type TurnBuffers = ReturnType<typeof turnBuffers>;

/** Runs `work` `count` times; the micros of wall clock each took, and of CPU. */
function measured(count: number, work: (n: number) => void): { wallUs: number; cpuUs: number } {
  const cpu = process.cpuUsage();
  const start = performance.now();
  for (let n = 0; n < count; n++) work(n);
  const wallUs = ((performance.now() - start) * 1000) / count;
  const used = process.cpuUsage(cpu);
  return { wallUs, cpuUs: (used.user + used.system) / count };
}

async function measure(tuning: RocksTuning, puts: number): Promise<void> {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'mraft-options-'));
  let owner = await openRocks({ dir, tuning });
  try {
    const store = owner.store();
    const random = pseudoRandom(1);
    const buffers = turnBuffers(store);
    const turns = Math.ceil(puts / PUTS_PER_TURN);
    const write = measured(turns, (n) => turn(store, n, random, buffers));

    const written = store.scan('data', { limit: 1_000_000, maxBytes: 1 << 30 }).entries.map(({ key }) => key);
    const pick = (): Uint8Array => written[Math.floor(random() * written.length)]!;
    const get = measured(30_000, () => void store.get('data', pick()));
    const many = measured(1_000, () => void store.getMany('data', Array.from({ length: 100 }, pick)));
    const scan = measured(1_000, () => void store.scan('data', { gte: pick(), limit: 100, maxBytes: MIB }));
    await owner.close();
    const start = performance.now();
    owner = await openRocks({ dir, tuning });
    const reopenMs = performance.now() - start;
    const files = fs
      .readdirSync(dir)
      .map((name) => fs.statSync(path.join(dir, name), { throwIfNoEntry: false })?.size ?? 0);
    const row = {
      turnMs: write.wallUs / 1000,
      putCpuUs: write.cpuUs / PUTS_PER_TURN,
      getUs: get.wallUs,
      getManyKeyUs: many.wallUs / 100,
      scanEntryUs: scan.wallUs / 100,
      reopenMs,
      diskMiB: files.reduce((sum, size) => sum + size, 0) / MIB,
      maxRssMiB: process.resourceUsage().maxRSS / 1024,
    };
    process.stdout.write(JSON.stringify(row));
  } finally {
    await owner.close();
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

function compare(names: readonly string[], puts: number): void {
  const columns = ['turnMs', 'putCpuUs', 'getUs', 'getManyKeyUs', 'scanEntryUs', 'reopenMs', 'diskMiB', 'maxRssMiB'];
  process.stdout.write(`| choice | ${columns.join(' | ')} |\n|${' --- |'.repeat(columns.length + 1)}\n`);
  for (const name of names) {
    const args = [fileURLToPath(import.meta.url), '--puts', String(puts), '--one', name];
    const child = spawnSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
    if (child.status !== 0) throw new Error(`${name}: exit ${child.status}`);
    const row = JSON.parse(child.stdout) as Record<string, number>;
    const cells = columns.map((column) => (row[column] ?? 0).toFixed(column.endsWith('MiB') ? 0 : 2));
    process.stdout.write(`| ${name} | ${cells.join(' | ')} |\n`);
  }
}

const { values: flags } = parseArgs({
  options: { puts: { type: 'string', default: '2000000' }, only: { type: 'string' }, one: { type: 'string' } },
});
const puts = Number(flags.puts);
if (flags.one !== undefined) await measure({ ...DEFAULT_TUNING, ...CHOICES[flags.one] }, puts);
else compare(flags.only?.split(',') ?? Object.keys(CHOICES), puts);
