/** A disk that lost what a node had acknowledged: the node says so and stays out, and the others serve on. */

import fs from 'node:fs';
import path from 'node:path';

import { connect, type Client } from '../../rpc/client/index.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import type { LocalNode } from '../../tools/local-node.ts';
import { assert, note, suite } from '../harness.ts';
import { keysOfAllRegions } from './keys.ts';
import { Load, untilAllServe } from './load.ts';

const test = suite('amnesia', { timeoutMs: 120_000 });
const LOAD_MS = 1_500;

let cluster: LocalCluster;
let clients: Client[];

test.before.each(async () => {
  cluster = await startLocalCluster({ regions: 48 });
  clients = await Promise.all([1, 2].map(() => connect({ servers: cluster.url, cluster: cluster.cluster })));
});
test.after.each(async () => {
  await Promise.all(clients.map((client) => client.close()));
  await cluster.stop();
});

/** Cuts the end of the log of writes off, which RocksDB does not notice. */
function loseTail({ dataDir }: LocalNode): void {
  const dir = path.join(dataDir, 'rocksdb');
  const logs = fs.readdirSync(dir).filter((name) => name.endsWith('.log'));
  const newest = path.join(dir, logs.toSorted().at(-1)!);
  const { size } = fs.statSync(newest);
  assert.ok(size > 0, 'the load went to this log');
  fs.truncateSync(newest, Math.floor(size / 2));
}

for (const [what, harm] of [
  ['half of its log', loseTail],
  ['its database', ({ dataDir }: LocalNode) => fs.rmSync(path.join(dataDir, 'rocksdb'), { recursive: true })],
] as const) {
  test(`a node that lost ${what} does not start, whatever is tried, and nothing acknowledged is lost`, async () => {
    const probes = await keysOfAllRegions(cluster);
    const load = Load.start(clients);
    await pause(LOAD_MS);
    const victim = cluster.node(2);
    await victim.kill9();
    harm(victim);
    for (let attempt = 0; attempt < 2; attempt++) {
      const said = await victim.start().then(
        () => 'it serves',
        (error: unknown) => String(error),
      );
      assert.match(said, 'Amnesia');
      assert.match(said, /remove .* new id/);
    }
    await untilAllServe(clients[0] as Client, probes, 30_000);
    await pause(LOAD_MS);
    await load.stop();
    note(`${load.acknowledgedWrites} writes; errors: ${JSON.stringify([...load.recorder.errors])}`);
    await load.verify(clients[1] as Client);
  });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
