/** A client that says whatever it wants: frames and requests of its own making over one NATS connection. */

import { connectLink, type Link } from '../../rpc/nats/index.ts';

export interface RawAnswer {
  readonly data: Uint8Array;
  readonly text: string;
}

export class RawClient {
  readonly link: Link;
  #asked = 0;

  private constructor(link: Link) {
    this.link = link;
  }

  static async connect(url: string): Promise<RawClient> {
    return new RawClient(await connectLink({ servers: url, name: 'raw' }));
  }

  send(subject: string, data: Uint8Array | string): void {
    this.link.publish(subject, Buffer.from(data));
  }

  /** The first answer; an error when none comes. */
  ask(subject: string, data: Uint8Array | string, timeoutMs = 5_000): Promise<RawAnswer> {
    const inbox = `_INBOX.raw.${process.pid}.${++this.#asked}`;
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        subscription.close();
      };
      const timer = setTimeout(() => {
        end();
        reject(new Error(`no answer from ${subject} within ${timeoutMs} ms`));
      }, timeoutMs);
      const subscription = this.link.subscribe(inbox, (answer, _subject, _replyTo, status) => {
        end();
        if (status !== 0) return reject(new Error(`nobody listens on ${subject}`));
        const own = Uint8Array.from(answer);
        resolve({ data: own, text: Buffer.from(own).toString() });
      });
      this.link.publish(subject, Buffer.from(data), inbox);
    });
  }

  async askJson(subject: string, request: unknown, timeoutMs?: number): Promise<Record<string, unknown>> {
    const text = typeof request === 'string' ? request : JSON.stringify(request);
    return JSON.parse((await this.ask(subject, text, timeoutMs)).text) as Record<string, unknown>;
  }

  async close(): Promise<void> {
    await this.link.close();
  }
}
