/** A node that was away for long: it comes back by snapshots while the others serve on, however often it is killed meanwhile. */

import { connect, type Client } from '../../rpc/client/index.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { Admin } from '../../tools/admin.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import { assert, note, suite } from '../harness.ts';
import { spreadKey } from './keys.ts';
import { Load } from './load.ts';

const test = suite('snapshot', { timeoutMs: 240_000 });

const REGIONS = 4;
const AWAY = 3;
/** Writes are large, so that logs grow too long soon. */
const VALUE_BYTES = 64 * 1024;
const CATCH_UP_MS = 30_000 * Number(process.env['MRAFT_TEST_SLACK'] ?? 2);

let cluster: LocalCluster;
let clients: Client[];
let admin: Admin;

/** Slow on purpose, so that there is time to interfere. */
async function start(bytesPerSecond: number, ...args: string[]): Promise<void> {
  cluster = await startLocalCluster({
    regions: REGIONS,
    serveArgs: () => ['--snapshot-bytes-per-second', String(bytesPerSecond), ...args],
  });
  clients = await Promise.all([1, 2].map(() => connect({ servers: cluster.url, cluster: cluster.cluster })));
  admin = await Admin.connect({ cluster: cluster.cluster, nats: cluster.url });
}

test.after.each(async () => {
  await admin.close();
  await Promise.all(clients.map((client) => client.close()));
  await cluster.stop();
});

/** Until every log is cut past a node that is away. */
async function writeFarAhead(): Promise<void> {
  const value = Buffer.alloc(VALUE_BYTES, 'v');
  const writes = Math.ceil((REGIONS * 1.5 * LIMITS.logForceBytes) / VALUE_BYTES);
  const client = clients[0] as Client;
  let at = 0;
  const write = async (): Promise<void> => {
    // Few keys, so that what is written is more than what there is.
    while (at < writes) await client.put(spreadKey('far', at++ % 320), value, { timeoutMs: 20_000 });
  };
  await Promise.all(Array.from({ length: 16 }, write));
}

/** What a node counts; a busy machine may need several questions. */
async function counters(nodeId: number): Promise<Record<string, number>> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const nodes = await admin.nodes().catch(() => []);
    const found = nodes.find((node) => node.nodeId === nodeId);
    if (found) return found as unknown as Record<string, number>;
    await pause(100);
  }
  throw new Error(`node ${nodeId} says nothing`);
}

interface Replica {
  readonly nodeId?: number;
  readonly raft?: { readonly applied: number; readonly role: string; readonly peerId: number };
}

/** Until every replica has applied what its leader has. */
async function untilLevel(): Promise<number> {
  const startedMs = performance.now();
  const regions = await admin.regions();
  for (;;) {
    const behind = await Promise.all(regions.map(({ regionId }) => isBehind(regionId)));
    if (!behind.includes(true)) return performance.now() - startedMs;
    assert.ok(performance.now() - startedMs < CATCH_UP_MS, `not level after ${CATCH_UP_MS} ms`);
    await pause(200);
  }
}

async function isBehind(regionId: number): Promise<boolean> {
  const replicas = (await admin.replicas(regionId).catch(() => [])) as Replica[];
  const applied = replicas.map(({ raft }) => raft?.applied ?? -1);
  return applied.length < 3 || Math.max(...applied) - Math.min(...applied) > 50;
}

test('a node that was away for long catches up by snapshots while the others serve on', async () => {
  await start(256 * 1024 * 1024);
  await cluster.node(AWAY).kill9();
  await writeFarAhead();
  const load = Load.start(clients);
  await pause(500);
  await cluster.node(AWAY).start();
  const tookMs = await untilLevel();
  await pause(500);
  await load.stop();
  const away = await counters(AWAY);
  note(
    `level after ${tookMs.toFixed(0)} ms; ${away['snapshotsInstalled']} snapshots, ${load.acknowledgedWrites} writes meanwhile`,
  );
  assert.ok(away['snapshotsInstalled']! >= REGIONS, JSON.stringify(away));
  assert.equal([...load.recorder.errors], []);
  await load.verify(clients[1] as Client);
});

test('killed again and again while it installs, it comes back whole, and what it says is linearizable', async () => {
  await start(24 * 1024 * 1024);
  await cluster.node(AWAY).kill9();
  await writeFarAhead();
  const load = Load.start(clients, { writers: 16 });
  for (let kill = 0; kill < 8; kill++) {
    await cluster.node(AWAY).start();
    await pause(300 + 350 * kill);
    await cluster.node(AWAY).kill9();
  }
  await cluster.node(AWAY).start();
  const tookMs = await untilLevel();
  note(`level ${tookMs.toFixed(0)} ms after the last of 8 kills`);
  // From here on it votes and leads with what it was sent.
  await cluster.node(1).kill9();
  await pause(3_000);
  await cluster.node(1).start();
  await pause(1_000);
  await load.stop();
  await load.verify(clients[1] as Client);
});

test('compressed in the second pool, a snapshot is the same data', async () => {
  await start(256 * 1024 * 1024, '--snapshot-compression');
  await cluster.node(AWAY).kill9();
  await writeFarAhead();
  await cluster.node(AWAY).start();
  await untilLevel();
  const [away, leaders] = [await counters(AWAY), await Promise.all([counters(1), counters(2)])];
  const sent = leaders.reduce((sum, node) => sum + node['snapshotBytesSent']!, 0);
  note(`${sent} bytes sent for ${away['snapshotsInstalled']} snapshots`);
  assert.ok(away['snapshotsInstalled']! >= REGIONS);
  assert.ok(sent < 320 * VALUE_BYTES * 0.5, 'values of one letter shrink');
  await cluster.node(1).kill9();
  const value = await (clients[0] as Client).get(spreadKey('far', 7), { timeoutMs: 20_000 });
  assert.is(value?.length, VALUE_BYTES);
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
