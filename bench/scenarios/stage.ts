/** A cluster of a scenario's own, with a client and a connection for questions; all gone at the end. */

import { connect, type Client } from '../../rpc/client/index.ts';
import { Admin } from '../../tools/admin.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';

export interface StageOptions {
  readonly nodes: number;
  readonly regions: number;
  readonly workers: number;
  /** Further arguments of `mraft serve`, of every node. */
  readonly serveArgs?: readonly string[];
}

export interface Stage {
  readonly cluster: LocalCluster;
  readonly admin: Admin;
  readonly kv: Client;
}

export interface ScenarioHooks {
  readonly signal: AbortSignal;
  readonly onProgress: (step: string, done: number, operations: number) => void;
}

/** Processes share few cores with the load: answers may take their time. */
const ANSWER_TIMEOUT_MS = 5_000;
const LEADERS_TIMEOUT_MS = 120_000;

/** Starts a cluster, lets `work` happen, and stops it, whatever happened. */
export async function onStage<T>(
  options: StageOptions,
  hooks: ScenarioHooks,
  work: (stage: Stage) => Promise<T>,
): Promise<T> {
  hooks.onProgress('starting', 0, 0);
  const { serveArgs = [], ...sizes } = options;
  const cluster = await startLocalCluster({
    ...sizes,
    serveArgs: () => serveArgs,
    detached: true,
    waitForLeaders: false,
  });
  try {
    hooks.signal.throwIfAborted();
    await cluster.waitForLeaders(LEADERS_TIMEOUT_MS);
    const admin = await Admin.connect({ cluster: cluster.cluster, nats: cluster.url, timeoutMs: ANSWER_TIMEOUT_MS });
    const kv = await connect({ cluster: cluster.cluster, servers: cluster.url });
    try {
      return await work({ cluster, admin, kv });
    } finally {
      await Promise.all([kv.close(), admin.close()]);
    }
  } finally {
    await cluster.stop();
  }
}
