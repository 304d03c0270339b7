/** Every node comes to know every route by gossip alone: also one that has no replica, and with nobody to ask. */

import { assert, eventually, suite } from '../harness.ts';
import { GossipHost } from '../../engine/node/gossip-host.ts';
import { RouteTable } from '../../engine/node/route-table.ts';
import { processRuntime } from '../../engine/node/runtime.ts';
import type { Link, LinkHandler } from '../../rpc/nats/index.ts';
import type { Region } from '../../rpc/wire/region.ts';

const test = suite('gossip between nodes');

const NODES = [1, 2, 3, 4, 5];
const HEARD_MS = 15_000;

/** A broker in memory, as far as gossip needs one. Messages to or from a node that is cut off are lost. */
class Bus {
  readonly #handlers = new Map<string, LinkHandler>();
  readonly cutOff = new Set<number>();

  link(): Link {
    const link: Pick<Link, 'publish' | 'subscribe'> = {
      publish: (subject, data) => {
        const [to, from] = subject.split('.').slice(-2).map(Number);
        if (this.cutOff.has(to ?? 0) || this.cutOff.has(from ?? 0)) return true;
        setImmediate(() => this.#handlers.get(`mraft.c.g.${to}.*`)?.(Uint8Array.from(data), subject, undefined, 0));
        return true;
      },
      subscribe: (subject, handler) => {
        this.#handlers.set(subject, handler);
        return { close: () => void this.#handlers.delete(subject) };
      },
    };
    return link as Link;
  }
}

function region(regionId: number, version = 1, confVersion = 1, end = regionId + 1): Region {
  const key = (at: number): Buffer => Buffer.from(String(at).padStart(6, '0'));
  return {
    regionId,
    startKey: key(regionId),
    endKey: key(end),
    epoch: { version, confVersion },
    peers: [1, 2, 3].map((nodeId) => ({ peerId: regionId * 10 + nodeId, nodeId, role: 'voter' })),
  };
}

let bus: Bus;
let tables: Map<number, RouteTable>;
let hosts: Map<number, GossipHost>;

test.before.each(() => {
  bus = new Bus();
  tables = new Map();
  hosts = new Map();
  for (const nodeId of NODES) {
    const routes = new RouteTable(nodeId, nodeId);
    // Each knows one other, no more.
    routes.noteNode((nodeId % NODES.length) + 1, 0);
    tables.set(nodeId, routes);
    const options = {
      cluster: 'c',
      nodeId,
      bootEpoch: 1,
      workers: nodeId,
      link: bus.link(),
      routes,
      runtime: processRuntime,
    };
    hosts.set(nodeId, new GossipHost(options));
  }
});
test.after.each(() => {
  for (const host of hosts.values()) host.close();
});

/** As its leader's worker tells its node. */
function lead(nodeId: number, led: Region, term: number): void {
  const routes = tables.get(nodeId)!;
  routes.learn(led);
  routes.noteLeader(led.regionId, nodeId, term);
  hosts.get(nodeId)!.noteRoute(routes.route(led.regionId)!);
}

function known(nodeId: number): string[] {
  return [...tables.get(nodeId)!.routes()]
    .map(({ region: { regionId, epoch }, leaderNodeId }) => `${regionId}@${epoch.version} led by ${leaderNodeId}`)
    .sort((a, b) => (a < b ? -1 : 1));
}

async function allKnow(expected: readonly string[], nodes: readonly number[] = NODES): Promise<void> {
  await eventually(
    `all know ${expected.slice(0, 3).join(', ')} …`,
    () => nodes.every((nodeId) => JSON.stringify(known(nodeId)) === JSON.stringify(expected)),
    HEARD_MS,
  );
}

test('what three nodes lead is known to two that have nothing, and so are all nodes and their workers', async () => {
  for (let id = 2; id <= 200; id++) lead((id % 3) + 1, region(id), 1);
  await eventually('everybody knows all', () => NODES.every((nodeId) => known(nodeId).length === 199), HEARD_MS);
  assert.ok(known(5).includes('10@1 led by 2'));
  await eventually(
    'all workers are known',
    () => NODES.every((nodeId) => NODES.every((other) => tables.get(nodeId)!.workersOf(other) === other)),
    HEARD_MS,
  );
});

test('a new leader is told, and an older term does not come back', async () => {
  lead(1, region(2), 1);
  await allKnow(['2@1 led by 1']);
  lead(3, region(2), 2);
  await allKnow(['2@1 led by 3']);
  // What the old one still believes is older than what everybody knows.
  hosts.get(1)!.noteRoute({ region: region(2), leaderNodeId: 1, term: 1 });
  lead(2, region(9), 1);
  await allKnow(['2@1 led by 3', '9@1 led by 2']);
});

test('a merge is known everywhere, and the region that ended does not return', async () => {
  lead(1, region(2), 1);
  lead(2, region(3), 1);
  await allKnow(['2@1 led by 1', '3@1 led by 2']);
  lead(1, region(2, 2, 1, 4), 1);
  await allKnow(['2@2 led by 1']);
});

test('who was cut off hears everything by anti-entropy, long after it was news', async () => {
  bus.cutOff.add(5);
  for (let id = 2; id <= 50; id++) lead(1, region(id), 1);
  await eventually('the others know', () => known(4).length === 49, HEARD_MS);
  await new Promise((resolve) => setTimeout(resolve, 2_000));
  assert.is(known(5).length, 0);
  bus.cutOff.clear();
  await eventually('it knows', () => known(5).length === 49, HEARD_MS);
});

test('a node that has left is forgotten by all and does not come back by late words', async () => {
  await eventually('all are known', () => NODES.every((nodeId) => tables.get(nodeId)!.nodes.length === 5), HEARD_MS);
  hosts.get(5)!.close();
  tables.get(1)!.forgetNode(5);
  hosts.get(1)!.noteLeft(5);
  await eventually(
    'it is forgotten',
    () => [1, 2, 3, 4].every((nodeId) => !tables.get(nodeId)!.nodes.includes(5)),
    HEARD_MS,
  );
});
