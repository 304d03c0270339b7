/** Messages that wait for the next Ready, apart by whether they must wait for the disk. */

import type { RaftMessage } from './types.ts';

const NONE = Object.freeze([]) as unknown as RaftMessage[];

export class Outbox {
  private now: RaftMessage[] = [];
  private afterSync: RaftMessage[] = [];

  get empty(): boolean {
    return this.now.length === 0 && this.afterSync.length === 0;
  }

  /** May leave at once: it promises nothing about this peer's log or vote. */
  send(message: RaftMessage): void {
    this.now.push(message);
  }

  /** Leaves when all that was appended or voted before it is durable. */
  sendDurable(message: RaftMessage): void {
    this.afterSync.push(message);
  }

  /** As `sendDurable`, for an accepted append: it stands for the one before it, which it includes. */
  acknowledge(message: RaftMessage): void {
    const last = this.afterSync.at(-1);
    const includes =
      last?.kind === 'appendResponse' &&
      !last.reject &&
      last.to === message.to &&
      last.term === message.term &&
      last.index <= message.index &&
      last.context <= message.context;
    if (includes) this.afterSync.pop();
    this.afterSync.push(message);
  }

  takeNow(): RaftMessage[] {
    if (this.now.length === 0) return NONE;
    const taken = this.now;
    this.now = [];
    return taken;
  }

  takeDurable(): RaftMessage[] {
    if (this.afterSync.length === 0) return NONE;
    const taken = this.afterSync;
    this.afterSync = [];
    return taken;
  }
}
