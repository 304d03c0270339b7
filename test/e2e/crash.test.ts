/** Processes that die: one node, all nodes. Real processes, killed with SIGKILL under load. */

import { connect, type Client } from '../../rpc/client/index.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import { assert, note, suite } from '../harness.ts';
import { keysOfAllRegions } from './keys.ts';
import { Load, untilAllServe } from './load.ts';

const test = suite('crash', { timeoutMs: 120_000 });

/** The promise is 3 s; a test must not fail because the machine does something else meanwhile. */
const RECOVERY_MS = 3_000 * Number(process.env['MRAFT_TEST_SLACK'] ?? 2);
const LOAD_MS = 1_500;

let cluster: LocalCluster;
let clients: Client[];

test.before.each(async () => {
  cluster = await startLocalCluster({ regions: 48 });
  clients = await Promise.all([1, 2, 3].map(() => connect({ servers: cluster.url, cluster: cluster.cluster })));
});
test.after.each(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await cluster.stop();
});

test('a killed node costs its regions seconds, loses nothing, and catches up when it returns', async () => {
  const probes = await keysOfAllRegions(cluster);
  const load = Load.start(clients);
  for (const victim of cluster.nodes) {
    await pause(LOAD_MS);
    await victim.kill9();
    const recoveryMs = await untilAllServe(clients[0] as Client, probes, 30_000);
    note(`node ${victim.id} killed: all regions served after ${recoveryMs.toFixed(0)} ms`);
    assert.ok(recoveryMs < RECOVERY_MS, `all regions served only after ${recoveryMs} ms`);
    await victim.start();
    // The next node can only be spared if this one has caught up: two of three must agree.
    await untilAllServe(clients[0] as Client, probes, 30_000);
  }
  await pause(LOAD_MS);
  await load.stop();
  note(`${load.acknowledgedWrites} writes; errors: ${JSON.stringify([...load.recorder.errors])}`);
  await load.verify(clients[1] as Client);
});

test('all nodes killed at once: every acknowledged write is there after the restart', async () => {
  const probes = await keysOfAllRegions(cluster);
  const load = Load.start(clients);
  await pause(2 * LOAD_MS);
  await Promise.all(cluster.nodes.map((node) => node.kill9()));
  await Promise.all(cluster.nodes.map((node) => node.start()));
  const recoveryMs = await untilAllServe(clients[0] as Client, probes, 30_000);
  note(`all killed: all regions served ${recoveryMs.toFixed(0)} ms after the restart`);
  await pause(LOAD_MS);
  await load.stop();
  note(`${load.acknowledgedWrites} writes; errors: ${JSON.stringify([...load.recorder.errors])}`);
  await load.verify(clients[1] as Client);
});

test('a node told to stop under load hands over and exits with 0 within 10 s, and nobody sees an error', async () => {
  const load = Load.start(clients);
  await pause(LOAD_MS);
  for (const node of cluster.nodes) {
    const startedMs = performance.now();
    const ended = await node.term();
    assert.equal(ended, { code: 0, signal: null }, node.logTail);
    const tookMs = performance.now() - startedMs;
    note(`node ${node.id} stopped after ${tookMs.toFixed(0)} ms`);
    assert.ok(tookMs < 10_000, `it took ${tookMs} ms`);
    await node.start();
    await pause(LOAD_MS);
  }
  await load.stop();
  assert.equal([...load.recorder.errors], []);
  await load.verify(clients[1] as Client);
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
