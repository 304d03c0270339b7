/** Three clustered nats-servers with JetStream on loopback, and one replicated KV bucket in files. */

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { rawConnect, type NatsConnection } from '../../rpc/nats/index.ts';
import { ServerGroup, freePorts } from '../process.ts';

const MEMBERS = 3;
const READY_TIMEOUT_MS = 30_000;
const REQUEST_TIMEOUT_MS = 5_000;

export const BUCKET = 'bench';
export const STREAM = `KV_${BUCKET}`;
export const SUBJECT_PREFIX = `$KV.${BUCKET}.`;

/** What the stock clients make of `kv add bench --replicas 3 --storage file`. */
const STREAM_CONFIG = {
  name: STREAM,
  subjects: [`${SUBJECT_PREFIX}>`],
  retention: 'limits',
  max_msgs_per_subject: 1,
  max_msgs: -1,
  max_bytes: -1,
  max_age: 0,
  max_msg_size: -1,
  storage: 'file',
  discard: 'new',
  num_replicas: MEMBERS,
  duplicate_window: 120_000_000_000,
  deny_delete: true,
  allow_rollup_hdrs: true,
  allow_direct: true,
};

interface StreamInfo {
  error?: { description: string };
  cluster?: { leader?: string; replicas?: { current: boolean }[] };
}

export class JetStreamCluster {
  private readonly dataDir: string;
  private readonly clientPorts: readonly number[];
  private readonly servers: ServerGroup;

  private constructor(dataDir: string, clientPorts: readonly number[], servers: ServerGroup) {
    this.dataDir = dataDir;
    this.clientPorts = clientPorts;
    this.servers = servers;
  }

  static async start(program: string): Promise<JetStreamCluster> {
    const ports = await freePorts(MEMBERS * 2);
    const clientPorts = ports.slice(0, MEMBERS);
    const routePorts = ports.slice(MEMBERS);
    const dataDir = await mkdtemp(join(tmpdir(), 'mraft-bench-jetstream-'));
    const servers = new ServerGroup();
    for (let i = 0; i < MEMBERS; i++) {
      const folder = join(dataDir, memberName(i));
      await mkdir(folder);
      const configPath = join(folder, 'server.conf');
      await writeFile(configPath, serverConfig(i, folder, clientPorts[i] as number, routePorts));
      servers.launch(memberName(i), program, ['-c', configPath], join(folder, 'server.log'));
    }
    const cluster = new JetStreamCluster(dataDir, clientPorts, servers);
    try {
      await servers.untilReady('JetStream', READY_TIMEOUT_MS, () => cluster.createBucket());
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  /** A connection to the member that leads the bucket's stream. */
  async connectToLeader(): Promise<NatsConnection> {
    const connection = await this.connect(0);
    let leader: string | undefined;
    try {
      leader = (await request(connection, `$JS.API.STREAM.INFO.${STREAM}`, {})).cluster?.leader;
    } finally {
      await connection.close();
    }
    return this.connect(this.clientPorts.findIndex((_, i) => memberName(i) === leader));
  }

  cpuSeconds(): Promise<number> {
    return this.servers.cpuSeconds();
  }

  async stop(): Promise<void> {
    await this.servers.stop();
    await rm(this.dataDir, { recursive: true, force: true });
  }

  /** True when the bucket is there, with a leader and followers that have caught up. */
  private async createBucket(): Promise<boolean> {
    const connection = await this.connect(0);
    try {
      const created = await request(connection, `$JS.API.STREAM.CREATE.${STREAM}`, STREAM_CONFIG);
      if (created.error) return false;
      const { cluster } = await request(connection, `$JS.API.STREAM.INFO.${STREAM}`, {});
      const replicas = cluster?.replicas ?? [];
      return Boolean(cluster?.leader) && replicas.length === MEMBERS - 1 && replicas.every(({ current }) => current);
    } finally {
      await connection.close();
    }
  }

  private connect(member: number): Promise<NatsConnection> {
    return rawConnect({ servers: `nats://127.0.0.1:${this.clientPorts[Math.max(0, member)]}`, name: 'mraft-bench' });
  }
}

function memberName(member: number): string {
  return `nats-${member + 1}`;
}

function serverConfig(member: number, folder: string, clientPort: number, routePorts: readonly number[]): string {
  const routes = routePorts.map((port) => `"nats-route://127.0.0.1:${port}"`).join(', ');
  return `
    server_name: ${memberName(member)}
    listen: "127.0.0.1:${clientPort}"
    jetstream { store_dir: ${JSON.stringify(folder)} }
    cluster { name: mraft-bench, listen: "127.0.0.1:${routePorts[member]}", routes: [${routes}] }
  `;
}

async function request(connection: NatsConnection, subject: string, body: object): Promise<StreamInfo> {
  const answer = await connection.request(subject, Buffer.from(JSON.stringify(body)), { timeout: REQUEST_TIMEOUT_MS });
  return JSON.parse(Buffer.from(answer.data).toString()) as StreamInfo;
}
