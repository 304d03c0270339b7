/**
 * Questions with one answer each, in JSON: to placement, and orders from it. Rare; never on the data path.
 * A failure travels as its code and becomes its class again.
 */

import { randomUUID } from 'node:crypto';
import { DeadlineExceeded, InvalidArgument, Unavailable } from '../wire/errors.ts';
import { answerTo, failureText, readAnswer, type Answerer } from './answers.ts';
import type { Link, LinkSubscription } from './link.ts';

interface OpenQuestion {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

const NO_RESPONDERS = 503;

/** How questions are asked and answered: over a broker, or inside one process. */
export interface CallPort {
  /** @throws Unavailable when nobody answers there, DeadlineExceeded, and what the other side threw */
  ask(subject: string, question: unknown, timeoutMs: number): Promise<unknown>;
  serve(subject: string, answer: Answerer): LinkSubscription;
  close(): void;
}

export class Calls implements CallPort {
  readonly #link: Link;
  readonly #inbox = `_INBOX.${randomUUID().replaceAll('-', '')}`;
  readonly #open = new Map<string, OpenQuestion>();
  readonly #subscriptions: LinkSubscription[] = [];
  #next = 1;

  constructor(link: Link) {
    this.#link = link;
    this.#subscriptions.push(
      link.subscribe(`${this.#inbox}.*`, (data, subject, _replyTo, status) => this.#onAnswer(subject, data, status)),
    );
  }

  /**
   * Asks whoever answers on `subject`.
   * @throws Unavailable when nobody does or there is no connection, DeadlineExceeded, and what the other side threw
   */
  async ask(subject: string, question: unknown, timeoutMs: number): Promise<unknown> {
    const id = String(this.#next++);
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve, reject) => {
        this.#open.set(id, { resolve, reject });
        timer = setTimeout(
          () => reject(new DeadlineExceeded(`no answer on ${subject} within ${timeoutMs} ms`)),
          timeoutMs,
        );
        const sent = this.#link.publish(subject, Buffer.from(JSON.stringify(question)), `${this.#inbox}.${id}`);
        if (!sent) reject(new Unavailable('the broker is not connected, or takes no message that large'));
      });
    } finally {
      clearTimeout(timer);
      this.#open.delete(id);
    }
  }

  #onAnswer(subject: string, data: Uint8Array, status: number): void {
    const question = this.#open.get(subject.slice(this.#inbox.length + 1));
    if (!question) return;
    if (status === NO_RESPONDERS) return question.reject(new Unavailable('nobody answers there'));
    try {
      question.resolve(readAnswer(Buffer.from(data).toString()));
    } catch (error) {
      question.reject(error as Error);
    }
  }

  /** Answers questions on a subject until the returned subscription is closed. */
  serve(subject: string, answer: Answerer): LinkSubscription {
    const subscription = this.#link.subscribe(subject, (data, _subject, replyTo) => {
      const text = Buffer.from(data).toString();
      void answerTo(text, answer).then((reply) => this.#reply(replyTo, reply));
    });
    this.#subscriptions.push(subscription);
    return subscription;
  }

  #reply(replyTo: string | undefined, text: string): void {
    if (replyTo === undefined) return;
    const bytes = Buffer.from(text);
    if (bytes.length <= this.#link.maxPayloadBytes) this.#link.publish(replyTo, bytes);
    // Silence would say that nobody is there.
    else this.#reply(replyTo, failureText(new InvalidArgument(`the answer takes ${bytes.length} bytes`)));
  }

  close(): void {
    for (const subscription of this.#subscriptions) subscription.close();
    for (const question of this.#open.values()) question.reject(new Unavailable('the node is stopping'));
  }
}
