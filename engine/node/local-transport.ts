/**
 * The transport of a client inside a node: requests for this node's workers go over message ports, those for other nodes
 * over NATS. The client above it is the same that remote programs use.
 */

import type { ClientTransport } from '../../rpc/client/index.ts';
import type { mraft } from '../../rpc/wire/codec.ts';
import type { Origin } from '../region/ports.ts';
import { localOrigin, ownBytes } from '../shard/port-messages.ts';
import type { WorkerPool } from '../shard/pool.ts';
import type { RouteTable } from './route-table.ts';
import type { NodeRuntime } from './runtime.ts';

export interface LocalTransportOptions {
  /** Tells the clients of one node apart. `system`: it asks for the system's regions only. */
  readonly client: 'user' | 'system';
  readonly nodeId: number;
  readonly pool: Pick<WorkerPool, 'post'>;
  readonly routes: RouteTable;
  readonly runtime: NodeRuntime;
  /** How other nodes are reached; undefined where there are none. */
  readonly remote: ClientTransport | undefined;
}

export class LocalTransport implements ClientTransport {
  onResponse: (frame: Uint8Array) => void = () => {};
  onUnreachable: (nodeId: number, worker: number) => void = () => {};
  /** Where the workers' answers for this client go. */
  readonly origin: Origin;
  readonly #options: LocalTransportOptions;

  constructor(options: LocalTransportOptions) {
    this.#options = options;
    this.origin = localOrigin(options.client);
    const { remote } = options;
    if (remote) {
      remote.onResponse = (frame) => this.onResponse(frame);
      remote.onUnreachable = (node, worker) => this.onUnreachable(node, worker);
    }
  }

  /** Responses that a worker of this node posted. */
  receive(frame: Uint8Array): void {
    this.onResponse(frame);
  }

  send(nodeId: number, worker: number, frame: Uint8Array): boolean {
    const { nodeId: own, pool, remote, runtime } = this.#options;
    if (nodeId !== own) return remote?.send(nodeId, worker, frame) ?? false;
    const sent = pool.post(worker, { kind: 'requests', frame: ownBytes(frame), origin: this.origin });
    if (!sent) runtime.after(0, () => this.onUnreachable(nodeId, worker));
    return sent;
  }

  fetchRoutes(): Promise<mraft.IRoutesResponse> {
    const { client, routes } = this.#options;
    return Promise.resolve(routes.toWire(client === 'system' ? 'system' : 'all'));
  }

  async close(): Promise<void> {
    await this.#options.remote?.close();
  }
}
