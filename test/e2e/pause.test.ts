/** A leader that stands still while others take over, and then goes on as if nothing had been. */

import { connect, type Client } from '../../rpc/client/index.ts';
import { Admin, type RegionRoute } from '../../tools/admin.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import { assert, eventually, suite } from '../harness.ts';
import { checkHistory } from '../linearizability/checker.ts';
import { Recorder } from '../linearizability/recorder.ts';

const test = suite('paused leader', { timeoutMs: 300_000 });

const ELECTION_TIMEOUT_MS = 800;
const BALANCED_WITHIN_MS = 60_000;
/** Reads are asked of the paused node right up to its return, so that it finds them when it wakes. */
const READ_EVERY_MS = 7;

let cluster: LocalCluster;

test.before(async () => {
  cluster = await startLocalCluster({ regions: 48, electionTimeoutMs: ELECTION_TIMEOUT_MS });
});
test.after(() => cluster.stop());

for (const read of ['linearizable', 'lease'] as const) {
  test(`stopped for twice the election time-out, it serves no stale ${read} read`, async () => {
    for (const node of cluster.nodes) await noStaleReads(node.id, read);
  });
}

async function noStaleReads(nodeId: number, read: 'linearizable' | 'lease'): Promise<void> {
  const node = cluster.node(nodeId);
  const keys = await keysLedBy(nodeId);
  const recorder = new Recorder();
  const address = { servers: cluster.url, cluster: cluster.cluster };
  // Each reader knows only the leader that it met before the pause; the writers find the new ones.
  const readers = await Promise.all([0, 1, 2, 3].map(() => connect(address)));
  const writer = await connect(address);
  const recordedWriter = recorder.client(0, writer);
  await Promise.all(keys.map((key) => recordedWriter.put(key, `before ${read}`)));
  await Promise.all(readers.flatMap((kv) => keys.map((key) => kv.get(key))));

  const reads: Promise<boolean>[] = [];
  let at = 0;
  const asking = setInterval(() => {
    const reader = readers[at % readers.length] as Client;
    reads.push(recorder.client(1 + at, reader, { read }).get(keys[at % keys.length] as string));
    at += 1;
  }, READ_EVERY_MS);
  node.sigstop();
  const resumed = pause(2 * ELECTION_TIMEOUT_MS).then(() => node.sigcont());
  for (let round = 0; round < 3; round++) {
    await Promise.all(keys.map((key) => recordedWriter.put(key, `${round} while ${nodeId} is away, ${read}`)));
  }
  await resumed;
  await pause(ELECTION_TIMEOUT_MS);
  clearInterval(asking);
  const answered = (await Promise.all(reads)).filter((isAnswered) => isAnswered).length;
  await Promise.all([...readers, writer].map((kv) => kv.close()));

  assert.ok(answered > 0, 'no read was answered');
  const verdict = checkHistory(recorder.history);
  assert.is(verdict.result, 'linearizable', 'explanation' in verdict ? verdict.explanation : verdict.result);
  await cluster.waitForLeaders();
}

for (const read of ['linearizable', 'lease'] as const) {
  test(`an old leader that wakes up where nobody tells it of the new one serves no stale ${read} read`, () =>
    silentAwakening(read === 'lease' ? 1 : 2, read));
}

/**
 * The broker loses everything on its way to the paused node, the others elect and write, and stand still themselves
 * before the node goes on: it is alone with the clients that still take it for the leader, and with its own clock.
 */
async function silentAwakening(nodeId: number, read: 'linearizable' | 'lease'): Promise<void> {
  const node = cluster.node(nodeId);
  const others = cluster.nodes.filter(({ id }) => id !== nodeId);
  const keys = await keysLedBy(nodeId);
  const recorder = new Recorder();
  const address = { servers: cluster.url, cluster: cluster.cluster };
  const readers = await Promise.all([0, 1, 2].map(() => connect(address)));
  const writer = await connect(address);
  const recordedWriter = recorder.client(0, writer, { timeoutMs: 20_000 });
  const readAll = (reader: Client, client: number, timeoutMs: number): Promise<boolean[]> =>
    Promise.all(keys.map((key) => recorder.client(client, reader, { read, timeoutMs }).get(key)));
  await Promise.all(keys.map((key) => recordedWriter.put(key, `before the silence, ${nodeId}, ${read}`)));
  await Promise.all(readers.map((reader, at) => readAll(reader, 10 + at, 10_000)));

  node.sigstop();
  await cluster.broker?.kill();
  await cluster.broker?.restart();
  const written = await Promise.all(keys.map((key) => recordedWriter.put(key, `in the silence, ${nodeId}, ${read}`)));
  assert.ok(written.every(Boolean), `the others did not take over: ${JSON.stringify([...recorder.errors])}`);
  for (const other of others) other.sigstop();
  node.sigcont();
  const asked = readers.map((reader, at) => readAll(reader, 20 + at, 3_000));
  await pause(2_500);
  for (const other of others) other.sigcont();
  await Promise.all(asked);
  await cluster.waitForLeaders();
  await readAll(writer, 30, 10_000);
  await Promise.all([...readers, writer].map((kv) => kv.close()));

  const verdict = checkHistory(recorder.history);
  assert.is(verdict.result, 'linearizable', 'explanation' in verdict ? verdict.explanation : verdict.result);
}

/** A key of up to six regions that a node leads, as strings. */
/** Placement spreads leaders evenly, a few at a time. */
async function keysLedBy(nodeId: number): Promise<string[]> {
  const admin = await Admin.connect({ cluster: cluster.cluster, nats: cluster.url });
  const ascii = await eventually(`node ${nodeId} leads something`, () => ledBy(admin, nodeId), BALANCED_WITHIN_MS);
  await admin.close();
  return ascii!.slice(0, 6).map(({ startKey }) => `${String.fromCharCode((startKey[0] ?? 0) + 1)}paused`);
}

async function ledBy(admin: Admin, nodeId: number): Promise<RegionRoute[] | undefined> {
  const regions = await admin.regions();
  const ascii = regions.filter(({ startKey, leaderNodeId }) => leaderNodeId === nodeId && (startKey[0] ?? 0) < 0x7f);
  return ascii.length > 0 ? ascii : undefined;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
