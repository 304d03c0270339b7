/** The broker between all of them dies, or freezes with its connections open. */

import { connect, type Client } from '../../rpc/client/index.ts';
import type { Broker } from '../../tools/broker.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import { assert, note, suite } from '../harness.ts';
import { keysOfAllRegions } from './keys.ts';
import { Load, untilAllServe } from './load.ts';

const test = suite('broker loss', { timeoutMs: 120_000 });

/** The promise is 5 s; a test must not fail because the machine does something else meanwhile. */
const RECOVERY_MS = 5_000 * Number(process.env['MRAFT_TEST_SLACK'] ?? 2);
const LOAD_MS = 1_500;
const FREEZE_MS = 10_000;

let cluster: LocalCluster;
let broker: Broker;
let clients: Client[];

test.before.each(async () => {
  cluster = await startLocalCluster({ regions: 48 });
  assert.ok(cluster.broker);
  broker = cluster.broker as Broker;
  clients = await Promise.all([1, 2, 3].map(() => connect({ servers: cluster.url, cluster: cluster.cluster })));
});
test.after.each(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await cluster.stop();
});

async function serveAgain(what: string, loseBroker: () => Promise<void>): Promise<void> {
  const probes = await keysOfAllRegions(cluster);
  const load = Load.start(clients, { timeoutMs: 30_000 });
  await pause(LOAD_MS);
  await loseBroker();
  const recoveryMs = await untilAllServe(clients[0] as Client, probes, 30_000);
  note(`broker ${what}: all regions served ${recoveryMs.toFixed(0)} ms after its return`);
  assert.ok(recoveryMs < RECOVERY_MS, `all regions served only after ${recoveryMs} ms`);
  await pause(LOAD_MS);
  await load.stop();
  note(`${load.acknowledgedWrites} writes; errors: ${JSON.stringify([...load.recorder.errors])}`);
  await load.verify(clients[1] as Client);
}

test('killed and started again: the cluster serves soon, nothing is lost and nothing applied twice', () =>
  serveAgain('killed', async () => {
    await broker.kill();
    await pause(1_000);
    await broker.restart();
  }));

test('away for longer than any election: the cluster serves soon after its return', () =>
  serveAgain('away', async () => {
    await broker.kill();
    await pause(6_000);
    await broker.restart();
  }));

test('frozen for 10 s: the cluster serves soon, nothing is lost and nothing applied twice', () =>
  serveAgain('frozen', async () => {
    broker.freeze();
    await pause(FREEZE_MS);
    broker.resume();
  }));

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
