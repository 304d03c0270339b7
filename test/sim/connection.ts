/** A client's way into the virtual network: the transport and the runtime of the real client library. */

import type { ClientRuntime } from '../../rpc/client/runtime.ts';
import type { ClientTransport } from '../../rpc/client/transport.ts';
import { decode, mraft } from '../../rpc/wire/codec.ts';
import { Unavailable } from '../../rpc/wire/errors.ts';
import type { Party } from './network.ts';
import type { Random } from './random.ts';
import type { World } from './world.ts';

/** How often the broker tells a publisher that nobody listens. */
const NO_RESPONDER_SHARE = 0.7;

export class VirtualConnection implements ClientTransport {
  readonly party: Party;
  onResponse: (frame: Uint8Array) => void = () => {};
  onUnreachable: (nodeId: number, worker: number) => void = () => {};
  readonly runtime: ClientRuntime;
  readonly #world: World;
  readonly #random: Random;
  readonly #origin: string;
  #closed = false;

  constructor(world: World, random: Random) {
    this.#world = world;
    this.#random = random;
    this.#origin = String(world.connections.length);
    this.party = -1 - world.connections.length;
    world.connections.push(this);
    this.runtime = {
      now: () => world.nowMs,
      random: () => random.next(),
      defer: (run) => this.#later(0.01, run),
      after: (ms, run) => this.#later(ms, run),
      newSession: () => this.#newSession(),
    };
  }

  #later(ms: number, run: () => void): () => void {
    let cancelled = false;
    this.#world.at(this.#world.nowMs + ms, () => {
      if (cancelled) return;
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
      const target = world.node(nodeId).process?.worker(worker);
      if (target) target.receive(frame, 0, this.#origin);
      else if (this.#random.chance(NO_RESPONDER_SHARE)) {
        this.#later(world.config.latencyMs, () => this.onUnreachable(nodeId, worker));
      }
    });
    return true;
  }

  receive(frame: Uint8Array): void {
    if (this.#closed) return;
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
        const { process } = node;
        if (!process) return;
        world.at(process.pausedUntilMs, () => {
          if (process.isDead) return;
          const bytes = process.describeRoutes();
          world.network.send(node.nodeId, this.party, world.nowMs, () => {
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
