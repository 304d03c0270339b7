/** etcd, driven at least as hard as its own `benchmark` tool drives it. */

import { ensureProgram, type Program } from '../../tools/program.ts';
import type { Driver, DriverInfo, Session, Usage } from '../driver.ts';
import { EtcdCluster } from './cluster.ts';
import { GrpcConnection } from './grpc.ts';
import { countEntries, decodeFirstValue, encodeGet, encodePut, encodePuts, encodeScan } from './messages.ts';

const ETCD: Program = {
  name: 'etcd',
  env: 'ETCD',
  packages: { 'apt-get': 'etcd-server', dnf: 'etcd', apk: 'etcd', brew: 'etcd' },
  homepage: 'https://etcd.io/docs/latest/install/',
};

const PUT = '/etcdserverpb.KV/Put';
const RANGE = '/etcdserverpb.KV/Range';
const TXN = '/etcdserverpb.KV/Txn';

export interface EtcdOptions {
  readonly connections: number;
  /** Talk to the leader only, or to all members in turn. */
  readonly endpoints: 'leader' | 'all';
}

export class EtcdDriver implements Driver {
  readonly info: DriverInfo;
  private readonly options: EtcdOptions;
  private cluster: EtcdCluster | undefined;

  constructor(options: EtcdOptions = { connections: 16, endpoints: 'leader' }) {
    this.options = options;
    const target = options.endpoints === 'leader' ? 'all to the leader' : 'spread over the members';
    this.info = {
      name: 'etcd',
      description:
        `3 members of the system's etcd package with default settings on loopback; gRPC on a lean HTTP/2 client of ` +
        `this benchmark, ${options.connections} connections, ${target}, a stream for every call`,
      durability: 'fsynced on a majority before the answer',
      reads: 'linearizable (range requests with serializable=false)',
      batches: 'one transaction of puts without a condition',
      canScan: true,
    };
  }

  async start(): Promise<void> {
    this.cluster = await EtcdCluster.start(await ensureProgram(ETCD));
  }

  async connect(): Promise<Session> {
    const { connections, endpoints } = this.options;
    const cluster = this.started();
    const leader = await cluster.leaderPort();
    const ports = endpoints === 'leader' && leader !== undefined ? [leader] : cluster.clientPorts;
    return new EtcdSession(
      await Promise.all(
        Array.from({ length: connections }, (_, i) =>
          GrpcConnection.connect('127.0.0.1', ports[i % ports.length] as number),
        ),
      ),
    );
  }

  async usage(): Promise<Usage> {
    const cluster = this.started();
    const [seconds, fsyncs] = await Promise.all([cluster.cpuSeconds(), cluster.fsyncs()]);
    return { cpuSeconds: { etcd: seconds }, fsyncs };
  }

  async stop(): Promise<void> {
    const cluster = this.cluster;
    this.cluster = undefined;
    await cluster?.stop();
  }

  private started(): EtcdCluster {
    if (this.cluster === undefined) throw new Error('the etcd driver was not started');
    return this.cluster;
  }
}

class EtcdSession implements Session {
  private readonly connections: readonly GrpcConnection[];
  private next = 0;

  constructor(connections: readonly GrpcConnection[]) {
    this.connections = connections;
  }

  put(key: Uint8Array, value: Uint8Array): Promise<unknown> {
    return this.connection().unary(PUT, encodePut(key, value));
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return decodeFirstValue(await this.connection().unary(RANGE, encodeGet(key)));
  }

  batch(keys: readonly Uint8Array[], value: Uint8Array): Promise<unknown> {
    return this.connection().unary(TXN, encodePuts(keys, value));
  }

  async scan(start: Uint8Array, limit: number): Promise<number> {
    return countEntries(await this.connection().unary(RANGE, encodeScan(start, limit)));
  }

  async close(): Promise<void> {
    for (const connection of this.connections) connection.close();
  }

  /** Calls go round the connections, so that none has more than its share of streams. */
  private connection(): GrpcConnection {
    this.next = (this.next + 1) % this.connections.length;
    return this.connections[this.next] as GrpcConnection;
  }
}
