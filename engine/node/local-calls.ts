/** Questions with one answer (rpc/nats/calls.ts): the same inside a node that is alone and has no broker. */

import { Unavailable } from '../../rpc/wire/errors.ts';
import type { Answerer, CallPort } from '../../rpc/nats/index.ts';

export class LocalCalls implements CallPort {
  readonly #answerers = new Map<string, Answerer>();

  async ask(subject: string, question: unknown): Promise<unknown> {
    const answerer = this.#answerers.get(subject);
    if (!answerer) throw new Unavailable('nobody answers there');
    return throughJson(await answerer(throughJson(question)));
  }

  serve(subject: string, answer: Answerer): { close(): void } {
    this.#answerers.set(subject, answer);
    return {
      close: () => {
        if (this.#answerers.get(subject) === answer) this.#answerers.delete(subject);
      },
    };
  }

  close(): void {
    this.#answerers.clear();
  }
}

/** As it would come over the network. */
function throughJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null));
}
