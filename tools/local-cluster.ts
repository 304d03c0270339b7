/** A cluster of real `mraft serve` processes on loopback: for `npm start`, the benchmark and the end-to-end tests. */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { Admin } from './admin.ts';
import { startBroker, type Broker } from './broker.ts';
import { LocalNode } from './local-node.ts';

export interface LocalClusterOptions {
  /** Default 3. */
  readonly nodes?: number;
  /** Default: that of `mraft serve`. */
  readonly regions?: number;
  /** Worker threads of each node. Default: that of `mraft serve`. */
  readonly workers?: number;
  /** Default `local`. */
  readonly cluster?: string;
  /** For data and logs; stays. Default: a fresh one that `stop` removes. */
  readonly dir?: string;
  /** Default: a broker of its own. */
  readonly brokerUrl?: string;
  readonly electionTimeoutMs?: number;
  readonly heartbeatMs?: number;
  /** Default: that of `mraft serve`. */
  readonly hibernateAfterMs?: number;
  /** Where every node serves its metrics; only 0, any free port, is of use for several. Default: nowhere. */
  readonly metricsPort?: number;
  /** Default `info`; the logs are files. */
  readonly logLevel?: string;
  /** Processes in groups of their own: a Ctrl-C in the terminal reaches only us. */
  readonly detached?: boolean;
  /** Further arguments of `mraft serve`, by node id. */
  readonly serveArgs?: (id: number) => readonly string[];
  /** Further arguments of Node itself, for every node. */
  readonly nodeArgs?: readonly string[];
  /** Resolve only when every region has a leader. Default true. */
  readonly waitForLeaders?: boolean;
}

export interface LocalCluster {
  readonly cluster: string;
  readonly dir: string;
  /** Where clients connect. */
  readonly url: string;
  /** Undefined when the broker was given. */
  readonly broker: Broker | undefined;
  readonly nodes: readonly LocalNode[];
  /** By its id. */
  node(id: number): LocalNode;
  /** A node that joins the cluster, not started yet; it is stopped with the others. */
  addNode(id: number, args?: readonly string[]): LocalNode;
  /** Until every region has a leader that some node knows. */
  waitForLeaders(timeoutMs?: number): Promise<void>;
  /** How many regions each node leads, as one node knows it. */
  leaders(): Promise<Map<number, number>>;
  /** Stops all processes, removes data that nobody asked to keep. */
  stop(): Promise<void>;
}

const DEFAULT_NODES = 3;
const LEADERS_TIMEOUT_MS = 20_000;
const POLL_MS = 50;

/**
 * Starts a cluster and waits until it serves.
 * @throws ProgramMissing when a broker is needed, and there is none
 */
export async function startLocalCluster(options: LocalClusterOptions = {}): Promise<LocalCluster> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'mraft-cluster-'));
  mkdirSync(dir, { recursive: true });
  const cluster = options.cluster ?? 'local';
  const detached = options.detached ?? false;
  const broker = options.brokerUrl === undefined ? await startBroker({ dir, detached }) : undefined;
  const url = options.brokerUrl ?? broker?.url ?? '';
  const nodes = makeNodes(options, { dir, cluster, url });

  const stop = async (): Promise<void> => {
    await Promise.all(nodes.map((node) => node.term()));
    await broker?.stop();
    if (options.dir === undefined) rmSync(dir, { recursive: true, force: true });
  };
  const waitForLeaders = (timeoutMs = LEADERS_TIMEOUT_MS): Promise<void> => allLed({ cluster, url }, timeoutMs);
  try {
    for (const node of nodes) node.launch();
    await Promise.all(nodes.map((node) => node.ready()));
    if (options.waitForLeaders ?? true) await waitForLeaders();
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    cluster,
    dir,
    url,
    broker,
    nodes,
    addNode: (id, args = []) => {
      const node = makeNode(options, { dir, cluster, url }, id, ['--join', ...args]);
      nodes.push(node);
      return node;
    },
    node: (id) => {
      const found = nodes.find((node) => node.id === id);
      if (!found) throw new RangeError(`no node ${id} in this cluster`);
      return found;
    },
    waitForLeaders,
    leaders: () => countLeaders({ cluster, url }),
    stop,
  };
}

interface Place {
  readonly dir: string;
  readonly cluster: string;
  readonly url: string;
}

function makeNodes(options: LocalClusterOptions, { dir, cluster, url }: Place): LocalNode[] {
  const ids = Array.from({ length: options.nodes ?? DEFAULT_NODES }, (_, at) => at + 1);
  return ids.map((id) =>
    makeNode(options, { dir, cluster, url }, id, ['--peers', ids.join(','), ...(options.serveArgs?.(id) ?? [])]),
  );
}

function makeNode(options: LocalClusterOptions, place: Place, id: number, more: readonly string[]): LocalNode {
  const { dir, cluster, url } = place;
  const dataDir = join(dir, `node-${id}`);
  const args = ['--cluster', cluster, '--node', String(id), '--nats', url, '--data', dataDir, ...more];
  const optional: Readonly<Record<string, string | number | undefined>> = {
    '--regions': options.regions,
    '--workers': options.workers,
    '--election-timeout-ms': options.electionTimeoutMs,
    '--heartbeat-ms': options.heartbeatMs,
    '--hibernate-after-ms': options.hibernateAfterMs,
    '--metrics': options.metricsPort,
    '--log-level': options.logLevel,
  };
  for (const [flag, value] of Object.entries(optional)) {
    if (value !== undefined) args.push(flag, String(value));
  }
  return new LocalNode({
    id,
    args,
    nodeArgs: options.nodeArgs ?? [],
    dataDir,
    logPath: join(dir, `node-${id}.log`),
    detached: options.detached ?? false,
  });
}

type Address = Pick<Place, 'cluster' | 'url'>;

async function allLed({ cluster, url }: Address, timeoutMs: number): Promise<void> {
  const admin = await Admin.connect({ cluster, nats: url });
  try {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const regions = await admin.regions().catch(() => []);
      const leaderless = regions.filter((region) => region.leaderNodeId === 0);
      if (regions.length > 0 && leaderless.length === 0) return;
      if (performance.now() > deadline) {
        const state = regions.length === 0 ? 'no node answers' : `${leaderless.length} of ${regions.length} have none`;
        throw new Error(`not every region has a leader within ${timeoutMs} ms: ${state}`);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } finally {
    await admin.close();
  }
}

async function countLeaders({ cluster, url }: Address): Promise<Map<number, number>> {
  const admin = await Admin.connect({ cluster, nats: url });
  try {
    const counts = new Map<number, number>();
    for (const { leaderNodeId } of await admin.regions()) counts.set(leaderNodeId, (counts.get(leaderNodeId) ?? 0) + 1);
    return counts;
  } finally {
    await admin.close();
  }
}
