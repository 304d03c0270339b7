/**
 * The client's transport inside a node: requests for this node's workers go over message ports, those for other nodes
 * over NATS. The client above it is the same that remote programs use.
 */

import type { ClientTransport } from '../../rpc/client/index.ts';
import type { mraft } from '../../rpc/wire/codec.ts';
import { ownBytes } from '../shard/port-messages.ts';
import type { WorkerPool } from '../shard/pool.ts';
import type { RouteTable } from './route-table.ts';

/** Answers to requests that came over a port go back over that port. */
const LOCAL_ORIGIN = '';

export class LocalTransport implements ClientTransport {
  onResponse: (frame: Uint8Array) => void = () => {};
  onUnreachable: (nodeId: number, worker: number) => void = () => {};
  readonly #nodeId: number;
  readonly #pool: WorkerPool;
  readonly #routes: RouteTable;
  readonly #remote: ClientTransport | undefined;

  /** `remote`: how other nodes are reached; undefined where there are none. */
  constructor(nodeId: number, pool: WorkerPool, routes: RouteTable, remote: ClientTransport | undefined) {
    this.#nodeId = nodeId;
    this.#pool = pool;
    this.#routes = routes;
    this.#remote = remote;
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
    if (nodeId !== this.#nodeId) return this.#remote?.send(nodeId, worker, frame) ?? false;
    const sent = this.#pool.post(worker, { kind: 'requests', frame: ownBytes(frame), origin: LOCAL_ORIGIN });
    if (!sent) setImmediate(() => this.onUnreachable(nodeId, worker));
    return sent;
  }

  fetchRoutes(): Promise<mraft.IRoutesResponse> {
    return Promise.resolve(this.#routes.toWire());
  }

  async close(): Promise<void> {
    await this.#remote?.close();
  }
}
