/**
 * Questions and orders between nodes over the virtual network, as rpc/nats/calls.ts asks them over a broker: what is lost
 * ends in DeadlineExceeded, where nobody listens in Unavailable, and a process that died answers nothing.
 */

import type { NodeRuntime } from '../../engine/node/runtime.ts';
import { answerTo, readAnswer, type Answerer } from '../../rpc/nats/answers.ts';
import type { CallPort } from '../../rpc/nats/index.ts';
import { DeadlineExceeded, Unavailable } from '../../rpc/wire/errors.ts';
import type { NodeSurroundings, Sender } from './surroundings.ts';

/** The main thread of the process that asks and answers. */
export interface Caller extends Sender {
  readonly isDead: boolean;
  readonly runtime: NodeRuntime;
  /** Runs on the main thread, then or when it runs again. */
  at(ms: number, run: () => void): void;
}

export class VirtualCalls implements CallPort {
  readonly #world: NodeSurroundings;
  readonly #caller: Caller;
  readonly #answerers = new Map<string, Answerer>();

  constructor(world: NodeSurroundings, caller: Caller) {
    this.#world = world;
    this.#caller = caller;
  }

  ask(subject: string, question: unknown, timeoutMs: number): Promise<unknown> {
    const world = this.#world;
    const { nodeId, runtime } = this.#caller;
    const text = JSON.stringify(question);
    world.placementCheck.onQuestion(subject, question);
    world.trace(() => `  ${nodeId} asks ${subject}: ${text}`);
    return new Promise((resolve, reject) => {
      const cancel = runtime.after(timeoutMs, () =>
        reject(new DeadlineExceeded(`no answer on ${subject} within ${timeoutMs} ms`)),
      );
      const hear = (act: () => void): void => {
        cancel();
        act();
      };
      if (world.isOffline) return hear(() => reject(new Unavailable('there is no connection to the broker')));
      const there = world.listenersTo(subject);
      if (there.length === 0) {
        const refuse = (): void => hear(() => reject(new Unavailable('nobody answers there')));
        return this.#carry(nodeId, nodeId, () => this.#caller.at(world.nowMs, refuse));
      }
      for (const node of there) {
        this.#carry(nodeId, node, () =>
          world.processOf(node)?.calls.onQuestion(subject, text, (reply) => {
            this.#carry(node, nodeId, () => {
              this.#caller.at(world.nowMs, () => {
                world.trace(() => `  ${nodeId} hears from ${subject}: ${reply}`);
                hear(() => {
                  try {
                    resolve(readAnswer(reply));
                  } catch (error) {
                    reject(error as Error);
                  }
                });
              });
            });
          }),
        );
      }
    });
  }

  #carry(from: number, to: number, arrive: () => void): void {
    this.#world.mix(from * 64 + to);
    this.#world.network.send(from, to, this.#world.nowMs, arrive);
  }

  /** A question has come to this process. */
  onQuestion(subject: string, text: string, reply: (text: string) => void): void {
    this.#caller.at(this.#world.nowMs, () => {
      const answerer = this.#answerers.get(subject);
      if (!answerer) return;
      void answerTo(text, answerer).then((answer) => {
        if (!this.#caller.isDead) reply(answer);
      });
    });
  }

  serve(subject: string, answer: Answerer): { close(): void } {
    this.#answerers.set(subject, answer);
    return {
      close: () => {
        if (this.#answerers.get(subject) === answer) this.#answerers.delete(subject);
      },
    };
  }

  listensTo(subject: string): boolean {
    return this.#answerers.has(subject);
  }

  close(): void {
    this.#answerers.clear();
  }
}
