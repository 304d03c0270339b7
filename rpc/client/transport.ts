/** How a client's frames reach the workers: NATS, a message port inside one process, or both (engine/index.ts). */

import type { mraft } from '../wire/codec.ts';

export interface ClientTransport {
  /**
   * Sends one encoded RequestFrame to a worker. False: it was not sent (no connection, or the backlog is full).
   * `token` comes back with `onUnreachable`.
   */
  send(nodeId: number, worker: number, frame: Uint8Array): boolean;
  /** Encoded ResponseFrames, in any order. Set once, by the client. */
  onResponse: (frame: Uint8Array) => void;
  /** Nobody listens there (the broker said so, or the port is closed): frames sent to it are lost. Set once. */
  onUnreachable: (nodeId: number, worker: number) => void;
  /** Asks any node for the regions and nodes it knows. */
  fetchRoutes(timeoutMs: number): Promise<mraft.IRoutesResponse>;
  close(): Promise<void>;
}
