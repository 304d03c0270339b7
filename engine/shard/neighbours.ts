/** The other nodes that have peers of the regions here, counted so that a change of one region costs only its own peers. */

import type { Region } from '../../rpc/wire/region.ts';

export class Neighbours {
  readonly #ownNodeId: number;
  /** Peers of regions here, by node. */
  readonly #peers = new Map<number, number>();
  /** What each region was counted with. */
  readonly #counted = new Map<number, readonly number[]>();
  readonly #onChange: (nodeId: number, isNeighbour: boolean) => void;

  constructor(ownNodeId: number, onChange: (nodeId: number, isNeighbour: boolean) => void) {
    this.#ownNodeId = ownNodeId;
    this.#onChange = onChange;
  }

  get nodes(): number[] {
    return [...this.#peers.keys()];
  }

  has(nodeId: number): boolean {
    return this.#peers.has(nodeId);
  }

  /** The region has a replica here, with these peers: also to be called when its membership has changed. */
  note(region: Region): void {
    const nodes = region.peers.map((peer) => peer.nodeId).filter((nodeId) => nodeId !== this.#ownNodeId);
    const before = this.#counted.get(region.regionId);
    if (before !== undefined && before.length === nodes.length && before.every((node, at) => node === nodes[at]))
      return;
    this.#counted.set(region.regionId, nodes);
    for (const nodeId of nodes) this.#add(nodeId, 1);
    for (const nodeId of before ?? []) this.#add(nodeId, -1);
  }

  /** The region has no replica here any more. */
  forget(regionId: number): void {
    const nodes = this.#counted.get(regionId);
    this.#counted.delete(regionId);
    for (const nodeId of nodes ?? []) this.#add(nodeId, -1);
  }

  #add(nodeId: number, by: number): void {
    const before = this.#peers.get(nodeId) ?? 0;
    const after = before + by;
    if (after === 0) this.#peers.delete(nodeId);
    else this.#peers.set(nodeId, after);
    if ((before === 0) !== (after === 0)) this.#onChange(nodeId, after > 0);
  }
}
