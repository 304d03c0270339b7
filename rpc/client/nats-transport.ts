/**
 * Client frames over NATS. Each frame names `<inbox>.<node>.<worker>` for its answer, so that the broker's word that
 * nobody listens (status 503) says who is gone. Correlation is in the frames, not in subjects.
 */

import { randomUUID } from 'node:crypto';
import type { Link } from '../nats/index.ts';
import { decode, encode, mraft } from '../wire/codec.ts';
import { Unavailable } from '../wire/errors.ts';
import { subjects } from '../wire/subjects.ts';
import type { ClientTransport } from './transport.ts';

const NO_RESPONDERS = 503;
/** Of the routes; each has hundreds of regions at least. */
const MOST_PAGES = 1_000;

interface RoutesQuestion {
  resolve(response: mraft.IRoutesResponse): void;
  reject(error: Error): void;
}

export class NatsTransport implements ClientTransport {
  onResponse: (frame: Uint8Array) => void = () => {};
  onUnreachable: (nodeId: number, worker: number) => void = () => {};
  readonly #link: Link;
  readonly #cluster: string;
  readonly #ownsLink: boolean;
  readonly #inbox = `_INBOX.${randomUUID().replaceAll('-', '')}`;
  /** Subject and reply subject by node and worker. */
  readonly #addresses = new Map<number, Map<number, { subject: string; replyTo: string }>>();
  readonly #questions = new Map<string, RoutesQuestion>();
  #nextQuestion = 1;

  /** @param options.ownsLink whether closing the transport closes the link; default true */
  constructor(link: Link, cluster: string, options: { readonly ownsLink?: boolean } = {}) {
    this.#link = link;
    this.#cluster = cluster;
    this.#ownsLink = options.ownsLink ?? true;
    link.subscribe(`${this.#inbox}.*.*`, (data, subject, _replyTo, status) => this.#onFrame(data, subject, status));
  }

  send(nodeId: number, worker: number, frame: Uint8Array): boolean {
    const { subject, replyTo } = this.#address(nodeId, worker);
    return this.#link.publish(subject, frame, replyTo);
  }

  #address(nodeId: number, worker: number): { subject: string; replyTo: string } {
    let ofNode = this.#addresses.get(nodeId);
    if (ofNode === undefined) this.#addresses.set(nodeId, (ofNode = new Map()));
    let address = ofNode.get(worker);
    if (address === undefined) {
      const subject = subjects.client(this.#cluster, nodeId, worker);
      ofNode.set(worker, (address = { subject, replyTo: `${this.#inbox}.${nodeId}.${worker}` }));
    }
    return address;
  }

  #onFrame(data: Uint8Array, subject: string, status: number): void {
    const [first, second] = subject.slice(this.#inbox.length + 1).split('.');
    if (first === 'routes') this.#onRoutes(second!, data, status);
    else if (status === NO_RESPONDERS) this.onUnreachable(Number(first), Number(second));
    else this.onResponse(data);
  }

  /** All pages of the routes, each perhaps of another node: what is newer wins where they overlap. */
  async fetchRoutes(timeoutMs: number): Promise<mraft.IRoutesResponse> {
    const response = await this.#fetchPage(new Uint8Array(0), timeoutMs);
    let { nextKey } = response;
    for (let pages = 1; nextKey && nextKey.length > 0 && pages < MOST_PAGES; pages++) {
      const page = await this.#fetchPage(nextKey, timeoutMs);
      response.regions = [...(response.regions ?? []), ...(page.regions ?? [])];
      nextKey = page.nextKey;
    }
    return response;
  }

  async #fetchPage(fromKey: Uint8Array, timeoutMs: number): Promise<mraft.IRoutesResponse> {
    const id = String(this.#nextQuestion++);
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve, reject) => {
        this.#questions.set(id, { resolve, reject });
        const silent = `no node of cluster "${this.#cluster}" answered within ${timeoutMs} ms`;
        timer = setTimeout(() => reject(new Unavailable(silent)), timeoutMs);
        const question = encode(mraft.RoutesRequest, { cluster: this.#cluster, fromKey });
        const subject = subjects.admin(this.#cluster, 'routes');
        if (!this.#link.publish(subject, question, `${this.#inbox}.routes.${id}`)) {
          reject(new Unavailable('there is no connection to the broker'));
        }
      });
    } finally {
      clearTimeout(timer);
      this.#questions.delete(id);
    }
  }

  #onRoutes(id: string, data: Uint8Array, status: number): void {
    const question = this.#questions.get(id);
    if (question === undefined) return;
    if (status === NO_RESPONDERS) {
      question.reject(new Unavailable(`no node of cluster "${this.#cluster}" is there`));
      return;
    }
    try {
      question.resolve(decode(mraft.RoutesResponse, data));
    } catch (error) {
      question.reject(error as Error);
    }
  }

  async close(): Promise<void> {
    for (const question of this.#questions.values()) question.reject(new Unavailable('the client was closed'));
    if (this.#ownsLink) await this.#link.close();
  }
}
