/** mraft embedded: the load generator's own process is one of the three nodes. */

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { open, type Db } from '../../engine/index.ts';
import { Admin } from '../../tools/admin.ts';
import { startBroker, type Broker } from '../../tools/broker.ts';
import { LocalNode } from '../../tools/local-node.ts';
import { sessionOfKv, type Driver, type DriverInfo, type Session, type Usage } from '../driver.ts';
import { cpuSecondsOf } from '../process.ts';
import { MRAFT_BATCHES, MRAFT_DURABILITY, MRAFT_READS } from './driver.ts';
import { storeSyncs } from './syncs.ts';

const CLUSTER = 'bench';
const NODES = [1, 2, 3];
const LEADERS_TIMEOUT_MS = 20_000;
const POLL_MS = 50;

export interface EmbeddedOptions {
  readonly regions: number;
  readonly workers: number;
}

export class EmbeddedDriver implements Driver {
  readonly info: DriverInfo;
  private readonly options: EmbeddedOptions;
  private dir: string | undefined;
  private broker: Broker | undefined;
  private nodes: LocalNode[] = [];
  private db: Db | undefined;
  private admin: Admin | undefined;

  constructor(options: EmbeddedOptions) {
    this.options = options;
    this.info = {
      name: 'mraft-embedded',
      description:
        `this process is node 1 (open()), two 'mraft serve' processes are the others (${options.workers} worker each, ` +
        `${options.regions} regions), one nats-server on loopback; the generator's CPU seconds include node 1`,
      durability: MRAFT_DURABILITY,
      reads: MRAFT_READS,
      batches: MRAFT_BATCHES,
      canScan: true,
    };
  }

  async start(): Promise<void> {
    const dir = await mkdtemp(join(tmpdir(), 'mraft-bench-embedded-'));
    this.dir = dir;
    this.broker = await startBroker({ dir, detached: true });
    const { url } = this.broker;
    const { regions, workers } = this.options;
    this.nodes = NODES.slice(1).map((id) => this.makeNode(id, dir, url));
    for (const node of this.nodes) node.launch();
    const dataDir = join(dir, 'node-1');
    await mkdir(dataDir);
    const common = { cluster: CLUSTER, nodeId: 1, initialNodes: NODES, nats: url, regions, workers };
    this.db = await open({ dataDir, ...common });
    await Promise.all(this.nodes.map((node) => node.ready()));
    this.admin = await Admin.connect({ cluster: CLUSTER, nats: url });
    await this.waitForLeaders(this.admin);
  }

  async connect(): Promise<Session> {
    if (this.db === undefined) throw new Error('the embedded driver was not started');
    // The database outlives the session; `stop` closes it.
    return { ...sessionOfKv(this.db), close: async () => {} };
  }

  async usage(): Promise<Usage> {
    const [nodes, broker, fsyncs] = await Promise.all([
      Promise.all(this.nodes.map(({ pid }) => cpuSecondsOf(pid))),
      cpuSecondsOf(this.broker?.pid),
      storeSyncs(this.admin, NODES.length),
    ]);
    const mraft = nodes.reduce((sum, seconds) => sum + seconds, 0);
    return { cpuSeconds: { 'mraft (2 of 3 nodes)': mraft, 'nats-server': broker }, fsyncs };
  }

  async stop(): Promise<void> {
    const { admin, db, nodes, broker, dir } = this;
    this.admin = this.db = this.broker = this.dir = undefined;
    this.nodes = [];
    await admin?.close();
    await db?.close();
    await Promise.all(nodes.map((node) => node.term()));
    await broker?.stop();
    if (dir !== undefined) await rm(dir, { recursive: true, force: true });
  }

  private makeNode(id: number, dir: string, url: string): LocalNode {
    const dataDir = join(dir, `node-${id}`);
    const { regions, workers } = this.options;
    const args = [
      ...['--cluster', CLUSTER, '--node', String(id), '--peers', NODES.join(','), '--nats', url, '--data', dataDir],
      ...['--regions', String(regions), '--workers', String(workers), '--log-level', 'warn'],
    ];
    return new LocalNode({ id, args, dataDir, logPath: join(dir, `node-${id}.log`), detached: true });
  }

  private async waitForLeaders(admin: Admin): Promise<void> {
    const deadline = performance.now() + LEADERS_TIMEOUT_MS;
    for (;;) {
      const regions = await admin.regions().catch(() => []);
      if (regions.length > 0 && regions.every(({ leaderNodeId }) => leaderNodeId !== 0)) return;
      if (performance.now() > deadline) throw new Error(`no leaders within ${LEADERS_TIMEOUT_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}
