/** Regions split and merge by hand, many times in a row, while clients write: real processes. */

import { monitorEventLoopDelay } from 'node:perf_hooks';

import { connect, type Client } from '../../rpc/client/index.ts';
import { change } from '../../tools/commands/operator-progress.ts';
import type { RegionRoute } from '../../tools/admin.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import { seededRandom } from '../linearizability/random-history.ts';
import { assert, eventually, note, suite } from '../harness.ts';
import { Load } from './load.ts';
import { PlacementView } from './placement-view.ts';

const test = suite('split and merge', { timeoutMs: 300_000 });

/** The promise: nobody who waits for a second sees an error. A test must not fail because the machine is slow. */
const DEADLINE_MS = 1_000 * Number(process.env['MRAFT_TEST_SLACK'] ?? 2);
const SPLITS = 32;
const LONGEST_MS = 120_000;
/** A test whose own thread stands still for so long says nothing about deadlines. */
const STARVED_MS = 300;
const MOST_REGIONS = 24;

let cluster: LocalCluster;
let clients: Client[];
let view: PlacementView;

test.before.each(async () => {
  cluster = await startLocalCluster({
    regions: 4,
    workers: 2,
    serveArgs: () => ['--consistency-check-ms', '3000'],
  });
  clients = await Promise.all([1, 2, 3].map(() => connect({ servers: cluster.url, cluster: cluster.cluster })));
  view = await PlacementView.connect(cluster);
  await view.untilUp(3, 30_000);
  // What is done by hand stays.
  await view.set({ mergeSizeBytes: 0 });
});
test.after.each(async () => {
  await view.close();
  await Promise.all(clients.map((client) => client.close()));
  await cluster.stop();
});

const flags = { waitMs: 20_000 } as Parameters<typeof change>[2];

/** As some node knows them; none while the one that was asked is down. */
async function regionsNow(): Promise<RegionRoute[]> {
  return view.admin.regions().catch(() => []);
}

/** Splits one region at a key of two bytes that lies in it. */
async function splitAnywhere(random: () => number): Promise<boolean> {
  const key = Buffer.from([Math.floor(random() * 256), Math.floor(random() * 256)]);
  const regions = await regionsNow();
  const region = regions.findLast(({ startKey }) => Buffer.compare(startKey, key) <= 0);
  if (!region || Buffer.compare(region.startKey, key) === 0) return false;
  const { regionId } = region;
  return attempt({ kind: 'split', regionId, splitKey: key.toString('base64') });
}

/** Merges two neighbours that stand on the same nodes. */
async function mergeAny(random: () => number): Promise<boolean> {
  const regions = await regionsNow();
  if (regions.length < 2) return false;
  const at = Math.floor(random() * (regions.length - 1));
  const [left, right] = [regions[at]!, regions[at + 1]!];
  const [source, target] = random() < 0.5 ? [left, right] : [right, left];
  return attempt({ kind: 'merge', regionId: source.regionId, targetRegionId: target.regionId });
}

const refusals = new Map<string, number>();

/** Another change may be in its way, or a leader be elected: then there was none. */
async function attempt(request: object): Promise<boolean> {
  try {
    await change(view.admin, request, flags);
    return true;
  } catch (error) {
    const text = `${(error as { code?: string }).code}: ${(error as Error).message.replaceAll(/\d+/g, 'n')}`;
    refusals.set(text, (refusals.get(text) ?? 0) + 1);
    return false;
  }
}

async function assertTiled(): Promise<number> {
  return eventually(
    'the key space is tiled and led',
    async () => {
      const found = await regionsNow();
      const tiles = found.every(
        ({ startKey }, i) => Buffer.compare(startKey, i === 0 ? Buffer.alloc(0) : found[i - 1]!.endKey) === 0,
      );
      const isWhole = found.length > 0 && found.at(-1)!.endKey.length === 0;
      return tiles && isWhole && found.every(({ leaderNodeId }) => leaderNodeId > 0) ? found.length : 0;
    },
    30_000,
  );
}

async function assertNothingDiffers(): Promise<void> {
  for (const status of await view.admin.nodes()) {
    assert.is(status['differences'], 0, `node ${status.nodeId}`);
    assert.is(status['anomalies'], 0, `node ${status.nodeId}: ${cluster.node(status.nodeId).logTail}`);
  }
}

test('dozens of splits and merges under load: no error with a short deadline, nothing lost, the key space tiled', async () => {
  const random = seededRandom(11);
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const startedMs = performance.now();
  const load = Load.start(clients, { writers: 16, recorded: 8, timeoutMs: DEADLINE_MS });
  let splits = 0;
  let merges = 0;
  while (splits + merges < 2 * SPLITS && performance.now() - startedMs < LONGEST_MS) {
    const many = (await regionsNow()).length;
    if (many < MOST_REGIONS && (many < 6 || splits <= merges)) splits += (await splitAnywhere(random)) ? 1 : 0;
    else merges += (await mergeAny(random)) ? 1 : 0;
  }
  await load.stop();
  delay.disable();
  const stalledMs = delay.max / 1e6;
  const regions = await assertTiled();
  note(`${splits} splits, ${merges} merges, ${regions} regions; ${load.acknowledgedWrites} writes`);
  note(`refused: ${JSON.stringify([...refusals])}; errors: ${JSON.stringify([...load.recorder.errors])}`);
  assert.ok(splits >= 8 && merges >= 6, 'enough was split and merged');
  if (stalledMs < STARVED_MS) assert.equal([...load.recorder.errors], []);
  else note(`this thread stood still for ${Math.round(stalledMs)} ms: the machine is too busy to speak of deadlines`);
  await load.verify(clients[1] as Client);
  await new Promise((resolve) => setTimeout(resolve, 4_000));
  await assertNothingDiffers();
});

test('nodes are killed in the middle of splits and merges: nothing is lost, and the key space is tiled', async () => {
  const random = seededRandom(12);
  const load = Load.start(clients, { writers: 16, recorded: 8 });
  let changes = 0;
  let stopped = false;
  const changing = (async () => {
    while (!stopped) {
      const many = (await regionsNow()).length;
      if (many === 0) continue;
      const done =
        many < 8 || (many < MOST_REGIONS && random() < 0.5) ? await splitAnywhere(random) : await mergeAny(random);
      if (done) changes++;
    }
  })();
  for (const victim of [...cluster.nodes, ...cluster.nodes]) {
    await new Promise((resolve) => setTimeout(resolve, 1_500 + random() * 1_000));
    await victim.kill9();
    await new Promise((resolve) => setTimeout(resolve, 500));
    await victim.start();
  }
  await new Promise((resolve) => setTimeout(resolve, 3_000));
  stopped = true;
  await changing;
  await load.stop();
  const regions = await assertTiled();
  note(`${changes} splits and merges, ${regions} regions; ${load.acknowledgedWrites} writes`);
  note(`refused: ${JSON.stringify([...refusals])}; errors: ${JSON.stringify([...load.recorder.errors])}`);
  assert.ok(changes >= 4, 'enough was split and merged');
  await load.verify(clients[1] as Client);
  await assertNothingDiffers();
});

test('a range delete over many regions that split and merge meanwhile leaves nothing behind', async () => {
  const random = seededRandom(13);
  const client = clients[0] as Client;
  let stopped = false;
  const changing = (async () => {
    while (!stopped) await (random() < 0.5 ? splitAnywhere(random) : mergeAny(random));
  })();
  for (let round = 0; round < 5; round++) {
    const keys = Array.from({ length: 2_000 }, (_, at) => Buffer.from([1 + (at % 250), at % 256, round]));
    await Promise.all(keys.map((key) => client.put(key, `${round}`, { timeoutMs: 10_000 })));
    await client.deleteRange(Buffer.from([1]), Buffer.from([255]), { timeoutMs: 10_000 });
    let left = 0;
    for await (const _entry of client.scan({ gte: Buffer.from([1]), lt: Buffer.from([255]), timeoutMs: 10_000 }))
      left++;
    assert.is(left, 0, `round ${round}`);
  }
  stopped = true;
  await changing;
  await assertTiled();
});
