/** One worker thread of a node dies, by an exception or by termination; the others must not notice. */

// First, so that it sees the threads that the engine starts.
import { liveThreads, throwIn } from './threads.ts';

import type { Worker } from 'node:worker_threads';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { open, type Db } from '../../engine/index.ts';
import { connect, type Kv } from '../../rpc/client/index.ts';
import { startBroker, type Broker } from '../../tools/broker.ts';
import { LAST_SYSTEM_REGION_ID } from '../../rpc/wire/region.ts';
import { homeWorker, slotOfRegion } from '../../rpc/wire/slots.ts';
import { assert, eventually, note, suite } from '../harness.ts';
import { Load } from './load.ts';

const WORKERS = 2;
const REGIONS = 16;

interface Setup {
  readonly what: string;
  start(dir: string): Promise<{ nodes: Db[]; kv: Kv; broker: Broker | undefined }>;
}

const setups: readonly Setup[] = [
  {
    what: 'a single node without a broker',
    async start(dir) {
      const node = await open({ dataDir: join(dir, 'node'), workers: WORKERS, regions: REGIONS, logLevel: 'silent' });
      return { nodes: [node], kv: node, broker: undefined };
    },
  },
  {
    what: 'one of three nodes',
    async start(dir) {
      const broker = await startBroker({ dir });
      const nodes = await Promise.all(
        [1, 2, 3].map((nodeId) =>
          open({
            dataDir: join(dir, `node-${nodeId}`),
            cluster: 'threads',
            nodeId,
            initialNodes: [1, 2, 3],
            nats: broker.url,
            workers: WORKERS,
            regions: REGIONS,
            logLevel: 'silent',
          }),
        ),
      );
      return { nodes, kv: await connect({ servers: broker.url, cluster: 'threads' }), broker };
    },
  },
];

const deaths: readonly (readonly [what: string, kill: (thread: Worker) => unknown])[] = [
  ['throws', throwIn],
  ['is terminated', (thread) => thread.terminate()],
];

for (const setup of setups) {
  const test = suite(`worker thread of ${setup.what}`, { timeoutMs: 90_000 });
  let dir: string;
  let nodes: Db[];
  let kv: Kv;
  let broker: Broker | undefined;

  test.before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'mraft-threads-'));
    ({ nodes, kv, broker } = await setup.start(dir));
  });
  test.after(async () => {
    if (broker) await kv.close();
    await Promise.all(nodes.map((node) => node.close()));
    await broker?.stop();
    rmSync(dir, { recursive: true });
  });

  for (const [what, kill] of deaths) {
    test(`${what}: its regions serve again, the others never stopped, nothing is lost`, async () => {
      const groups = probeGroups();
      await Promise.all(groups.flat().map((key) => kv.put(key, 'before')));
      const load = Load.start([kv], { writers: 8, recorded: 4 });
      const probes = groups.map((keys) => new Probe(kv, keys));
      await Promise.all(probes.map((probe) => probe.answered(5)));

      const before = await restarts(nodes);
      const victim = liveThreads()[0] as Worker;
      kill(victim);
      await eventually('the worker is started again', async () => (await restarts(nodes)) === before + 1, 20_000);
      // Whichever group was hit: each of its keys is answered again, and the other's were all the time.
      await Promise.all(probes.map((probe) => probe.answered(5)));
      await Promise.all(probes.map((probe) => probe.stop()));
      await load.stop();

      assert.equal([...load.recorder.errors], []);
      assert.equal(
        probes.flatMap((probe) => probe.errors),
        [],
      );
      const [hit, spared] = probes.sort((a, b) => b.longestWait.lengthMs - a.longestWait.lengthMs) as [Probe, Probe];
      const served = spared.answersWithin(hit.longestWait);
      note(`${setup.what}, ${what}: ${hit.longestWait.lengthMs.toFixed(0)} ms; the other: ${served} answers`);
      assert.ok(served >= spared.keyCount, `the other worker's regions gave only ${served} answers meanwhile`);
      await load.verify(kv);
    });
  }
}

async function restarts(nodes: readonly Db[]): Promise<number> {
  const statuses = await Promise.all(nodes.map((node) => node.admin.status()));
  return statuses.reduce((sum, { workerRestarts }) => sum + workerRestarts, 0);
}

/** Keys of every region, by the worker that has the region. */
function probeGroups(): Uint8Array[][] {
  const groups: Uint8Array[][] = Array.from({ length: WORKERS }, () => []);
  for (let at = 0; at < REGIONS; at++) {
    const regionId = LAST_SYSTEM_REGION_ID + 1 + at;
    groups[homeWorker(slotOfRegion(regionId), WORKERS)]?.push(Uint8Array.of((at * 256) / REGIONS, 1));
  }
  return groups;
}

interface Wait {
  readonly fromMs: number;
  readonly lengthMs: number;
}

/** Reads keys, one after the other and round again, and remembers when it was answered. */
class Probe {
  readonly errors: string[] = [];
  readonly #kv: Kv;
  readonly #keys: readonly Uint8Array[];
  readonly #running: Promise<void>;
  readonly #answeredAtMs: number[] = [];
  #longestWait: Wait = { fromMs: 0, lengthMs: 0 };
  #stopped = false;

  constructor(kv: Kv, keys: readonly Uint8Array[]) {
    this.#kv = kv;
    this.#keys = keys;
    this.#running = this.#run();
  }

  get keyCount(): number {
    return this.#keys.length;
  }

  get longestWait(): Wait {
    return this.#longestWait;
  }

  answersWithin({ fromMs, lengthMs }: Wait): number {
    return this.#answeredAtMs.filter((at) => at > fromMs && at < fromMs + lengthMs).length;
  }

  /** Until every key was answered this many more times. */
  async answered(rounds: number): Promise<void> {
    const wanted = this.#answeredAtMs.length + rounds * this.keyCount;
    await eventually(`${wanted} answers`, () => this.#answeredAtMs.length >= wanted, 30_000);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let at = 0; !this.#stopped; at++) {
      const fromMs = performance.now();
      try {
        await this.#kv.get(this.#keys[at % this.keyCount] as Uint8Array, { timeoutMs: 20_000 });
      } catch (error) {
        this.errors.push(String(error));
      }
      const nowMs = performance.now();
      this.#answeredAtMs.push(nowMs);
      if (nowMs - fromMs > this.#longestWait.lengthMs) this.#longestWait = { fromMs, lengthMs: nowMs - fromMs };
    }
  }
}
