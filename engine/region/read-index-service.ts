/**
 * A leader's side of reads that another replica serves (thesis 6.4): the replica asks for a read index, the leader proves
 * that it still leads as for a read of its own, and answers with the index that the replica must have applied.
 */

import { LIMITS } from '../../rpc/wire/limits.ts';
import type { RaftMessage, ReadState } from '../raft/index.ts';
import { sideMessage } from './side-message.ts';

interface Asker {
  readonly peerId: number;
  /** The asker's correlation. */
  readonly context: number;
}

export class ReadIndexService {
  readonly #askers = new Map<number, Asker>();

  get count(): number {
    return this.#askers.size;
  }

  /** Remembers who waits for the read index `id`. False: too many do; the asker's callers try again. */
  await(id: number, { from, context }: RaftMessage): boolean {
    if (this.#askers.size >= LIMITS.regionReadIndexAskers) return false;
    this.#askers.set(id, { peerId: from, context });
    return true;
  }

  /** The answers to those whose read index was proved. */
  confirmed(states: readonly ReadState[], peerId: number, term: number): RaftMessage[] {
    const answers: RaftMessage[] = [];
    for (const { id, index } of states) {
      const asker = this.#askers.get(id);
      if (!asker) continue;
      this.#askers.delete(id);
      const { context } = asker;
      answers.push(sideMessage('readIndexResponse', { from: peerId, to: asker.peerId, term }, { context, index }));
    }
    return answers;
  }

  /** This peer leads no more: nobody is answered. */
  clear(): void {
    this.#askers.clear();
  }
}
