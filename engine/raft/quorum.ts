/**
 * Who votes, and what a quorum of them agrees on. Peers are known by slot, their position in `peers`, so that whoever
 * counts keeps plain arrays. The halves are majorities that must all agree: one, or two while a configuration is joint.
 * Learners have slots, because they are replicated to, and are in no half.
 */

import type { Membership } from './types.ts';

export type TallyResult = 'won' | 'lost' | 'pending';

/** One of each for all groups, filled and read within one call: a node has thousands of groups, and counts in one at a time. */
let scratch = new Float64Array(16);
let sorted = new Float64Array(16);

export class Quorum {
  /** Peer ids in the order of their slots, ascending. */
  readonly peers: readonly number[];
  private readonly halves: readonly (readonly number[])[];

  constructor(voters: readonly number[], votersOutgoing: readonly number[] = [], learners: readonly number[] = []) {
    this.peers = [...new Set([...voters, ...votersOutgoing, ...learners])].sort((a, b) => a - b);
    const halves = votersOutgoing.length > 0 ? [voters, votersOutgoing] : [voters];
    this.halves = halves.map((half) => [...new Set(half)].map((peerId) => this.slotOf(peerId)));
    if (this.peers.length > scratch.length) {
      scratch = new Float64Array(2 * this.peers.length);
      sorted = new Float64Array(2 * this.peers.length);
    }
  }

  static of({ voters, votersOutgoing, learners }: Membership): Quorum {
    return new Quorum(voters, votersOutgoing, learners);
  }

  get size(): number {
    return this.peers.length;
  }

  /** -1 for a peer that is not in the configuration. A few peers at most, so a scan beats a map. */
  slotOf(peerId: number): number {
    const peers = this.peers;
    for (let slot = 0; slot < peers.length; slot++) if (peers[slot] === peerId) return slot;
    return -1;
  }

  isVoter(slot: number): boolean {
    return slot >= 0 && this.halves.some((half) => half.includes(slot));
  }

  /** Whether this peer alone decides everything. */
  isAlone(slot: number): boolean {
    return this.halves.every((half) => half.length === 1 && half[0] === slot);
  }

  /** Room for a value of each slot, to be counted at once: whichever group asks next overwrites it. */
  get values(): Float64Array {
    return scratch;
  }

  /** The highest value that a quorum has reached; `values` are by slot. -Infinity without voters. */
  highest(values: Float64Array): number {
    let agreed = Infinity;
    for (const half of this.halves) agreed = Math.min(agreed, this.highestOf(half, values));
    return agreed;
  }

  /** `votes` are by slot: 1 granted, -1 rejected, 0 not answered. */
  tally(votes: Int8Array): TallyResult {
    let result: TallyResult = 'won';
    for (const half of this.halves) {
      const majority = (half.length >> 1) + 1;
      let granted = 0;
      let rejected = 0;
      for (const slot of half) {
        if (votes[slot] === 1) granted++;
        else if (votes[slot] === -1) rejected++;
      }
      if (half.length - rejected < majority) return 'lost';
      if (granted < majority) result = 'pending';
    }
    return result;
  }

  private highestOf(half: readonly number[], values: Float64Array): number {
    const count = half.length;
    if (count === 0) return -Infinity;
    // Insertion sort, descending: three to seven numbers.
    for (let i = 0; i < count; i++) {
      const value = values[half[i]!]!;
      let at = i;
      while (at > 0 && sorted[at - 1]! < value) {
        sorted[at] = sorted[at - 1]!;
        at--;
      }
      sorted[at] = value;
    }
    return sorted[count >> 1]!;
  }
}
