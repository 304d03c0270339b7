/** Nodes come and go under load: real processes, recorded callers with a deadline of 2 s. */

import { connect, type Client } from '../../rpc/client/index.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import { assert, eventually, note, suite } from '../harness.ts';
import { keysOfAllRegions } from './keys.ts';
import { Load, untilAllServe } from './load.ts';
import { PlacementView, type PlacedRegion } from './placement-view.ts';

const test = suite('placement', { timeoutMs: 400_000 });

/** The promises; a test must not fail because the machine does something else meanwhile. */
const SLACK = Number(process.env['MRAFT_TEST_SLACK'] ?? 2);
const EVEN_MS = 60_000 * SLACK;
const DEADLINE_MS = 2_000 * SLACK;
const REGIONS = 47;

let cluster: LocalCluster;
let clients: Client[];
let view: PlacementView;

async function start(nodes: number): Promise<void> {
  cluster = await startLocalCluster({ nodes, regions: REGIONS, workers: 1 });
  clients = await Promise.all([1, 2, 3].map(() => connect({ servers: cluster.url, cluster: cluster.cluster })));
  view = await PlacementView.connect(cluster);
  await view.untilUp(nodes, 60_000);
}

test.after.each(async () => {
  await view.close();
  await Promise.all(clients.map((client) => client.close()));
  await cluster.stop();
});

test('from 1 to 3 to 5 nodes and back to 3: leaders even, nothing lost, no caller sees an error', async () => {
  await start(1);
  const load = Load.start(clients, { writers: 24, recorded: 8, timeoutMs: DEADLINE_MS });
  for (const grown of [
    [1, 2, 3],
    [1, 2, 3, 4, 5],
  ]) {
    const joining = grown.slice(-2).map((id) => cluster.addNode(id));
    await Promise.all(joining.map((node) => node.start()));
    note(`${grown.length} nodes: even after ${Math.round(await view.untilEven(grown, EVEN_MS))} ms`);
  }
  for (const [leaving, left] of [
    [2, [1, 3, 4, 5]],
    [1, [3, 4, 5]],
  ] as const) {
    const startedMs = performance.now();
    await view.admin.placement('node.drain', { nodeId: leaving, leave: true });
    await eventually(
      `node ${leaving} has left`,
      async () => (await view.nodes()).find((node) => node.nodeId === leaving)?.state === 'removed',
      EVEN_MS,
    );
    await view.untilEven(left, EVEN_MS);
    note(`node ${leaving} left, the others even: after ${Math.round(performance.now() - startedMs)} ms`);
    await cluster.node(leaving).term();
  }
  await load.stop();
  note(`${load.acknowledgedWrites} writes; errors: ${JSON.stringify([...load.recorder.errors])}`);
  assert.equal([...load.recorder.errors], []);
  await load.verify(clients[1] as Client);
});

test('a node that dies is replaced after the configured time, and its regions have three replicas again', async () => {
  await start(3);
  await view.set({ suspectAfterMs: 2_000, replaceAfterMs: 4_000 });
  await cluster.addNode(4).start();
  await view.untilEven([1, 2, 3, 4], EVEN_MS);
  const load = Load.start(clients, { writers: 24, recorded: 8 });
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  await cluster.node(3).kill9();
  note(`replaced after ${Math.round(await view.untilEven([1, 2, 4], EVEN_MS))} ms, with 4,000 ms of patience`);
  await load.stop();
  note(`${load.acknowledgedWrites} writes; errors: ${JSON.stringify([...load.recorder.errors])}`);
  assert.equal([...load.recorder.errors], []);
  await load.verify(clients[1] as Client);
  // What comes back finds its place taken: it is told so, and is of use again.
  await cluster.node(3).start();
  await eventually(
    'the node that came back has no replica of a region that it does not belong to',
    async () => {
      const [node] = (await view.admin.nodes()).filter(({ nodeId }) => nodeId === 3);
      const placed = (await view.regions()).filter(({ peers }) => peers.some(({ nodeId }) => nodeId === 3));
      return node?.['regions'] === placed.length;
    },
    EVEN_MS,
  );
});

test('while nobody leads placement every region serves, also new clients and regions with new leaders', async () => {
  await start(3);
  for (const { name } of (await view.admin.placement('scheduler.list')) as { name: string }[]) {
    await view.admin.placement('scheduler.pause', { name });
  }
  await cluster.addNode(4).start();
  await view.untilUp(4, EVEN_MS);
  await moveAlone(PLACEMENT_REGION, 4);
  const probes = await keysOfAllRegions(cluster);
  await cluster.node(4).kill9();
  const unavailable = await view.admin.placement('node.list').then(
    () => 'it answers',
    (error: { code: string }) => error.code,
  );
  assert.is(unavailable, 'PlacementUnavailable');
  await cluster.node(1).kill9();
  const late = await connect({ servers: cluster.url, cluster: cluster.cluster });
  try {
    note(`all served without placement after ${Math.round(await untilAllServe(late, probes, EVEN_MS))} ms`);
  } finally {
    await late.close();
  }
  await cluster.node(1).start();
  await cluster.node(4).start();
  await view.untilUp(4, EVEN_MS);
});

const PLACEMENT_REGION = 1;

/** Leaves a region with one replica, on this node. */
async function moveAlone(regionId: number, nodeId: number): Promise<void> {
  const peers = async (): Promise<number[]> => {
    const region = (await view.admin.placement('region.show', { regionId })) as PlacedRegion;
    return region.peers.filter(({ role }) => role === 'voter').map((peer) => peer.nodeId);
  };
  const order = async (request: object, done: (nodes: readonly number[]) => boolean): Promise<void> => {
    await eventually(
      JSON.stringify(request),
      async () => {
        // What moves placement's own region may take its leader along, and with it the question.
        await view.admin.placement('operator.add', { regionId, ...request }).catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 500));
        return done(await peers());
      },
      EVEN_MS,
    );
  };
  await order({ kind: 'addReplica', nodeId }, (nodes) => nodes.includes(nodeId));
  for (const other of [1, 2, 3]) {
    await order({ kind: 'removeReplica', nodeId: other }, (nodes) => !nodes.includes(other));
  }
}
