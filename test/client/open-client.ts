/** Clients of fake clusters, for tests. */

import { createClient, type Client, type ClientOptions } from '../../rpc/client/index.ts';
import type { FakeCluster } from './fake-cluster.ts';

const clients: Client[] = [];

/** A client whose attempts do not time out by themselves, however slow the machine; tests of silence say otherwise. */
export function open(cluster: FakeCluster, options: Partial<ClientOptions> = {}): Client {
  const client = createClient(cluster, { cluster: 'test', attemptTimeoutMs: 5_000, timeoutMs: 10_000, ...options });
  clients.push(client);
  return client;
}

export async function closeAll(): Promise<void> {
  for (const client of clients.splice(0)) await client.close();
}

export function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : Buffer.from(value).toString();
}

export function hexOf(key: string): string {
  return Buffer.from(key).toString('hex');
}
