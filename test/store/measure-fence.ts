/**
 * What the fence costs: turns with and without it, in turns, so that a busy machine slows both alike. A turn is one
 * synced batch of `regions` entries of `entryBytes`, as a worker writes it, and an unsynced one of what it applies.
 *
 *     node dist/test/store/measure-fence.js
 */

import { Fence } from '../../engine/store/fence.ts';
import { FenceFile, prepareFences } from '../../engine/store/fence-file.ts';
import { logKey } from '../../engine/store/keys.ts';
import type { WriteBatch } from '../../engine/store/port.ts';
import { openRocks } from '../../engine/store/rocks-store.ts';
import { removeDir, scratchDir } from './fixtures.ts';

const TURNS_PER_ROUND = 50;
const ROUNDS = 60;

interface Cost {
  cpuUs: number;
  wallUs: number;
}

async function measure(regions: number, entryBytes: number): Promise<void> {
  const dir = scratchDir();
  const owner = await openRocks({ dir: `${dir}/rocksdb` });
  try {
    prepareFences(dir, 1);
    const store = owner.store();
    const file = new FenceFile(dir, 0);
    const fence = new Fence(store, 0, file);
    const entry = Buffer.alloc(entryBytes, 7);
    const durable = store.createBatch();
    const applied = store.createBatch();
    let index = 0;
    const fill = (batch: WriteBatch, column: 'log' | 'data'): void => {
      for (let region = 1; region <= regions; region++) batch.put(column, logKey(region, index), entry);
    };
    const turn = (guard: Fence | undefined): void => {
      index++;
      fill(durable, 'log');
      guard?.addMark(durable);
      store.write(durable, { sync: true });
      guard?.pass();
      fill(applied, 'data');
      store.write(applied, { sync: false });
    };
    const costs = { with: [] as Cost[], without: [] as Cost[] };
    for (let round = 0; round < ROUNDS * 2; round++) {
      const guard = round % 2 === 0 ? fence : undefined;
      const cpu = process.cpuUsage();
      const startMs = performance.now();
      for (let i = 0; i < TURNS_PER_ROUND; i++) turn(guard);
      const wallUs = ((performance.now() - startMs) * 1000) / TURNS_PER_ROUND;
      const { user, system } = process.cpuUsage(cpu);
      costs[guard ? 'with' : 'without'].push({ cpuUs: (user + system) / TURNS_PER_ROUND, wallUs });
      // Timers and what runs off this thread get their time.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    file.close();
    report(`${regions} entries of ${entryBytes} bytes`, costs.with, costs.without);
  } finally {
    await owner.close();
    removeDir(dir);
  }
}

function report(what: string, guarded: readonly Cost[], plain: readonly Cost[]): void {
  const line = (['cpuUs', 'wallUs'] as const).map((of) => {
    const [a, b] = [median(guarded.map((cost) => cost[of])), median(plain.map((cost) => cost[of]))];
    return `${of} ${a.toFixed(1)} with, ${b.toFixed(1)} without (${(a / b).toFixed(3)})`;
  });
  console.log(`a turn of ${what}: ${line.join('; ')}`);
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

for (const [regions, entryBytes] of [
  [1, 200],
  [16, 1_000],
  [48, 3_000],
] as const) {
  await measure(regions, entryBytes);
}
