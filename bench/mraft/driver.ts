/** mraft over the network: its own client, against three node processes and a broker, or a cluster that runs. */

import { connect } from '../../rpc/client/index.ts';
import { Admin } from '../../tools/admin.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import { sessionOfKv, type Driver, type DriverInfo, type Session, type Usage } from '../driver.ts';
import { cpuSecondsOf } from '../process.ts';
import { PlacementHand } from '../scenarios/placement-hand.ts';
import { untilLeadersAreSpread } from './leaders.ts';
import { storeSyncs } from './syncs.ts';

export interface MraftOptions {
  readonly regions: number;
  readonly workers: number;
  /** A cluster that runs already; undefined: one is started. */
  readonly existing: { readonly url: string; readonly cluster: string } | undefined;
  /** Placement splits and merges nothing by itself. */
  readonly keepsRegions?: boolean | undefined;
}

/** Also of thousands of regions on a busy machine. */
const LEADERS_TIMEOUT_MS = 120_000;
const ASK_TIMEOUT_MS = 30_000;

export const MRAFT_DURABILITY = 'fsynced on a majority before the answer';
export const MRAFT_READS = 'linearizable (read index), which is the default of a get';
export const MRAFT_BATCHES = 'one atomic batch; its keys share their first 8 bytes, so that they lie in one region';

export class MraftDriver implements Driver {
  readonly info: DriverInfo;
  private readonly options: MraftOptions;
  private local: LocalCluster | undefined;
  private admin: Admin | undefined;
  private nodeCount = 0;

  constructor(options: MraftOptions) {
    this.options = options;
    const { regions, workers, existing } = options;
    const cluster = existing
      ? `the cluster '${existing.cluster}' at ${existing.url}`
      : `3 'mraft serve' processes (${workers} worker each, ${regions} regions) and one nats-server on loopback`;
    this.info = {
      name: 'mraft',
      description: `${cluster}; one client of mraft/client, calls as its users make them`,
      durability: MRAFT_DURABILITY,
      reads: MRAFT_READS,
      batches: MRAFT_BATCHES,
      canScan: true,
    };
  }

  async start(): Promise<void> {
    const { regions, workers, existing } = this.options;
    if (existing === undefined) {
      this.local = await startLocalCluster({
        regions,
        workers,
        detached: true,
        logLevel: 'warn',
        waitForLeaders: false,
      });
      await this.local.waitForLeaders(LEADERS_TIMEOUT_MS);
    }
    this.admin = await Admin.connect({ cluster: this.address().cluster, nats: this.address().url });
    // Nothing is loaded yet, so all that are there answer in time.
    this.nodeCount = (await this.admin.nodes()).length;
    if (this.local !== undefined) await this.settle(this.admin);
  }

  /** What placement does to a fresh cluster is no part of what is measured. */
  private async settle(admin: Admin): Promise<void> {
    if (this.options.keepsRegions) await new PlacementHand(admin).pauseSchedulers(['split', 'merge'], ASK_TIMEOUT_MS);
    await untilLeadersAreSpread(admin, { nodes: this.nodeCount, regions: this.options.regions });
  }

  async connect(): Promise<Session> {
    const { cluster, url } = this.address();
    return sessionOfKv(await connect({ cluster, servers: url }));
  }

  async usage(): Promise<Usage> {
    const [cpuSeconds, fsyncs] = await Promise.all([this.cpuSeconds(), storeSyncs(this.admin, this.nodeCount)]);
    return { cpuSeconds, fsyncs };
  }

  async stop(): Promise<void> {
    const { admin, local } = this;
    this.admin = undefined;
    this.local = undefined;
    await admin?.close();
    await local?.stop();
  }

  private async cpuSeconds(): Promise<Record<string, number>> {
    if (this.local === undefined) return {};
    const nodes = await Promise.all(this.local.nodes.map(({ pid }) => cpuSecondsOf(pid)));
    return {
      mraft: nodes.reduce((sum, seconds) => sum + seconds, 0),
      'nats-server': await cpuSecondsOf(this.local.broker?.pid),
    };
  }

  private address(): { cluster: string; url: string } {
    const address = this.options.existing ?? this.local;
    if (address === undefined) throw new Error('the mraft driver was not started');
    return address;
  }
}
