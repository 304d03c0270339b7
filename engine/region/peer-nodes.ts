/** On which node each peer of a region lives, also peers that this replica has not applied yet. */

import type { Region } from '../../rpc/wire/region.ts';

/** Peers, also former and future ones, whose nodes are remembered. */
const MOST_PEERS = 64;

export class PeerNodes {
  readonly #nodes = new Map<number, number>();

  constructor(region: Region) {
    this.note(region);
  }

  note({ peers }: Region): void {
    for (const { peerId, nodeId } of peers) this.#nodes.set(peerId, nodeId);
  }

  of(peerId: number): number | undefined {
    return this.#nodes.get(peerId);
  }

  /**
   * Whether a message of `peerId` may have come from that node. A peer that is not known here may be newer than what is
   * applied: where it lives is what it says, and it never moves.
   */
  comesFrom(peerId: number, nodeId: number): boolean {
    const known = this.#nodes.get(peerId);
    if (known !== undefined) return known === nodeId;
    if (this.#nodes.size >= MOST_PEERS) return false;
    this.#nodes.set(peerId, nodeId);
    return true;
  }
}
