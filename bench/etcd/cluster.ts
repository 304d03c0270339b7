/** Three etcd members on loopback with fresh data, as etcd's own documentation starts them. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { ServerGroup, freePorts } from '../process.ts';
import { GrpcConnection } from './grpc.ts';
import { decodeStatus } from './messages.ts';

const MEMBERS = 3;
const READY_TIMEOUT_MS = 30_000;
/** The default of 2 GiB is an alarm for operators that a long run without compaction would ring. */
const QUOTA_BYTES = 8 * 1024 ** 3;

interface Member {
  readonly name: string;
  readonly clientPort: number;
  readonly peerPort: number;
}

export class EtcdCluster {
  private readonly dataDir: string;
  private readonly members: readonly Member[];
  private readonly servers: ServerGroup;

  private constructor(dataDir: string, members: readonly Member[], servers: ServerGroup) {
    this.dataDir = dataDir;
    this.members = members;
    this.servers = servers;
  }

  static async start(program: string): Promise<EtcdCluster> {
    const ports = await freePorts(MEMBERS * 2);
    const members = Array.from({ length: MEMBERS }, (_, i) => ({
      name: `etcd-${i + 1}`,
      clientPort: ports[i * 2] as number,
      peerPort: ports[i * 2 + 1] as number,
    }));
    const initialCluster = members.map(({ name, peerPort }) => `${name}=http://127.0.0.1:${peerPort}`).join(',');
    const dataDir = await mkdtemp(join(tmpdir(), 'mraft-bench-etcd-'));
    const servers = new ServerGroup();
    for (const { name, clientPort, peerPort } of members) {
      const clientUrl = `http://127.0.0.1:${clientPort}`;
      const peerUrl = `http://127.0.0.1:${peerPort}`;
      const args = [
        ...['--name', name, '--data-dir', join(dataDir, name)],
        ...['--listen-client-urls', clientUrl, '--advertise-client-urls', clientUrl],
        ...['--listen-peer-urls', peerUrl, '--initial-advertise-peer-urls', peerUrl],
        ...['--initial-cluster', initialCluster, '--initial-cluster-state', 'new'],
        ...['--quota-backend-bytes', String(QUOTA_BYTES), '--log-level', 'error', '--logger', 'zap'],
      ];
      servers.launch(name, program, args, join(dataDir, `${name}.log`));
    }
    const cluster = new EtcdCluster(dataDir, members, servers);
    try {
      await servers.untilReady('etcd', READY_TIMEOUT_MS, async () => (await cluster.leaderPort()) !== undefined);
    } catch (error) {
      await cluster.stop();
      throw error;
    }
    return cluster;
  }

  get clientPorts(): readonly number[] {
    return this.members.map(({ clientPort }) => clientPort);
  }

  /** The client port of the member that leads; undefined while there is none. */
  async leaderPort(): Promise<number | undefined> {
    for (const { clientPort } of this.members) {
      const connection = await GrpcConnection.connect('127.0.0.1', clientPort);
      try {
        const status = await connection.unary('/etcdserverpb.Maintenance/Status', Buffer.alloc(0));
        if (decodeStatus(status).isLeader) return clientPort;
      } finally {
        connection.close();
      }
    }
    return undefined;
  }

  cpuSeconds(): Promise<number> {
    return this.servers.cpuSeconds();
  }

  /** Syncs of the write-ahead logs of all members, from their own metrics. */
  async fsyncs(): Promise<number> {
    const each = await Promise.all(this.members.map(({ clientPort }) => walFsyncs(clientPort)));
    return each.reduce((sum, count) => sum + count, 0);
  }

  async stop(): Promise<void> {
    await this.servers.stop();
    await rm(this.dataDir, { recursive: true, force: true });
  }
}

async function walFsyncs(clientPort: number): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${clientPort}/metrics`);
  const match = /^etcd_disk_wal_fsync_duration_seconds_count (\S+)$/m.exec(await response.text());
  if (match === null) throw new Error('etcd does not report etcd_disk_wal_fsync_duration_seconds_count');
  return Number(match[1]);
}
