/** A client's way into the virtual network: the transport and the runtime of the real client library. */

import type { ClientRuntime } from '../../rpc/client/runtime.ts';
import type { ClientTransport } from '../../rpc/client/transport.ts';
import { decode, mraft } from '../../rpc/wire/codec.ts';
import { Unavailable } from '../../rpc/wire/errors.ts';
import { partyOfClient, type Party } from './network.ts';
import type { Random } from './random.ts';
import type { ClientSurroundings } from './surroundings.ts';

/** How often the broker tells a publisher that nobody listens. */
const NO_RESPONDER_SHARE = 0.7;
/** From a call to the frame that carries it, and whatever else came up in the same pass of the client's loop. */
const DEFER_MS = 0.01;

/** The node that a connection belongs to. */
export interface ConnectionOwner {
  readonly party: Party;
  readonly isDead: () => boolean;
}

export class VirtualConnection implements ClientTransport {
  readonly party: Party;
  onResponse: (frame: Uint8Array) => void = () => {};
  onUnreachable: (nodeId: number, worker: number) => void = () => {};
  readonly runtime: ClientRuntime;
  readonly #world: ClientSurroundings;
  readonly #random: Random;
  readonly #origin: string;
  readonly #isDead: () => boolean;
  #closed = false;

  /** Without an `owner` it is a user's, from outside. */
  constructor(world: ClientSurroundings, random: Random, owner?: ConnectionOwner) {
    this.#world = world;
    this.#isDead = owner?.isDead ?? (() => false);
    this.#random = random;
    const number = world.admit((frame) => this.#receive(frame), owner?.party);
    this.#origin = String(number);
    this.party = owner?.party ?? partyOfClient(number);
    this.runtime = {
      now: () => world.nowMs,
      random: () => random.next(),
      defer: (run) => void this.#later(DEFER_MS, run),
      after: (ms, run) => this.#later(ms, run),
      newSession: () => this.#newSession(),
    };
  }

  #later(ms: number, run: () => void): () => void {
    let cancelled = false;
    this.#world.at(this.#world.nowMs + ms, () => {
      if (cancelled || this.#isDead()) return;
      this.#world.promisesMoved = true;
      run();
    });
    return () => void (cancelled = true);
  }

  #newSession(): Uint8Array {
    const session = Buffer.alloc(16);
    session.writeUIntBE(Math.floor(this.#world.nowMs), 0, 6);
    for (let i = 6; i < 16; i++) session[i] = this.#random.below(256);
    return session;
  }

  send(nodeId: number, worker: number, frame: Uint8Array): boolean {
    const world = this.#world;
    if (world.isOffline || this.#closed) return false;
    world.mix(frame.length);
    world.network.send(this.party, nodeId, world.nowMs, () => {
      const heard = world.nodes[nodeId - 1]?.deliver(worker, frame, this.#origin) ?? false;
      if (heard || !this.#random.chance(NO_RESPONDER_SHARE)) return;
      this.#later(world.config.latencyMs, () => this.onUnreachable(nodeId, worker));
    });
    return true;
  }

  #receive(frame: Uint8Array): void {
    if (this.#closed || this.#isDead()) return;
    this.#world.promisesMoved = true;
    this.onResponse(frame);
  }

  fetchRoutes(timeoutMs: number): Promise<mraft.IRoutesResponse> {
    const world = this.#world;
    return new Promise((resolve, reject) => {
      this.#later(timeoutMs, () => reject(new Unavailable('no node answered the question for routes')));
      const up = world.nodes.filter((node) => node.isUp);
      if (world.isOffline || up.length === 0) return;
      const node = this.#random.pick(up);
      world.network.send(this.party, node.nodeId, world.nowMs, () => {
        node.answerRoutes((bytes, from) => {
          const departsMs = world.nowMs;
          world.network.send(node.nodeId, this.party, departsMs, () => {
            if (from.diedAtMs < departsMs) return;
            world.promisesMoved = true;
            resolve(decode(mraft.RoutesResponse, bytes));
          });
        });
      });
    });
  }

  close(): Promise<void> {
    this.#closed = true;
    return Promise.resolve();
  }
}
