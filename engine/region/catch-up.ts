/**
 * Peers that got a snapshot and lack what was written meanwhile. Under load that is more than a log may hold for a peer that is
 * merely slow; cut behind them, it would make their snapshot useless, and the next one as well, for ever. So the log is kept
 * for them until they keep up, up to a length of its own.
 */

import type { ProgressStatus } from '../raft/index.ts';

export class CatchUp {
  readonly #peers = new Set<number>();

  /** @param keepsUp whether a peer needs no favours any more */
  note(progress: readonly ProgressStatus[], firstIndex: number, keepsUp: (peer: ProgressStatus) => boolean): void {
    const known = new Set(progress.map(({ peerId }) => peerId));
    for (const peerId of this.#peers) if (!known.has(peerId)) this.#peers.delete(peerId);
    for (const peer of progress) {
      if (peer.state === 'snapshot') this.#peers.add(peer.peerId);
      // What it would go on from is gone: it needs another one.
      else if (keepsUp(peer) || lastIndexOf(peer) < firstIndex - 1) this.#peers.delete(peer.peerId);
    }
  }

  has({ peerId }: ProgressStatus): boolean {
    return this.#peers.has(peerId);
  }
}

/** Up to where a peer has the log: one whose snapshot has arrived is probed behind it, and has not answered yet. */
export function lastIndexOf({ state, match, next }: ProgressStatus): number {
  return state === 'probe' ? Math.max(match, next - 1) : match;
}
