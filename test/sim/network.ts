/**
 * The virtual network: a broker between all nodes and clients. What is sent arrives later, in order where nothing else
 * is asked for, and perhaps never, twice, or much later as a ghost.
 */

import type { EventQueue } from './event-queue.ts';
import type { Faults } from './config.ts';
import type { Random } from './random.ts';

/** A node by its id, a client by its negative number. */
export type Party = number;

export function partyOfClient(number: number): Party {
  return -1 - number;
}

interface Link {
  lastArrivalMs: number;
  cloggedUntilMs: number;
}

const LONGEST_GHOST_DELAY_MS = 4_000;
const MOST_GHOSTS = 200;

export class VirtualNetwork {
  readonly #queue: EventQueue;
  readonly #random: Random;
  readonly #latencyMs: number;
  readonly #links = new Map<number, Link>();
  /** Directed pairs that hear nothing of each other, each as often as partitions have cut it. */
  readonly #cuts = new Map<number, number>();
  /** What still happens; zeroed when the network is healed. */
  faults: Pick<Faults, 'loss' | 'duplication' | 'reordering' | 'ghosts'>;
  brokerDownSinceMs: number | undefined;
  #ghosts = 0;
  sent = 0;
  lost = 0;

  constructor(queue: EventQueue, random: Random, latencyMs: number, faults: Faults) {
    this.#queue = queue;
    this.#random = random;
    this.#latencyMs = latencyMs;
    this.faults = faults;
  }

  /** Carries something that leaves at `departsMs`; `arrive` runs for each copy that comes through. */
  send(from: Party, to: Party, departsMs: number, arrive: () => void): void {
    this.sent++;
    if (this.#random.chance(this.faults.ghosts) && this.#ghosts < MOST_GHOSTS) {
      this.#ghosts++;
      // A ghost comes from a buffer that survived somewhere, whoever is cut off now.
      const delayMs = this.#random.next() ** 3 * LONGEST_GHOST_DELAY_MS;
      this.#queue.push(departsMs + this.#latencyMs + delayMs, arrive);
    }
    if (this.isCut(from, to) || this.#random.chance(this.faults.loss)) {
      this.lost++;
      return;
    }
    this.#carry(from, to, departsMs, arrive);
    if (this.#random.chance(this.faults.duplication)) this.#carry(from, to, departsMs, arrive);
  }

  #carry(from: Party, to: Party, departsMs: number, arrive: () => void): void {
    const link = this.#link(from, to);
    let arrivesMs = departsMs + this.#latencyMs * 0.5 + this.#random.wait(this.#latencyMs * 0.5);
    if (this.#random.chance(this.faults.reordering)) {
      arrivesMs += this.#random.wait(this.#latencyMs * 5 + 2);
    } else {
      arrivesMs = Math.max(arrivesMs, link.lastArrivalMs, link.cloggedUntilMs);
      link.lastArrivalMs = arrivesMs;
    }
    this.#queue.push(arrivesMs, () => {
      if (this.isCut(from, to)) this.lost++;
      else arrive();
    });
  }

  #link(from: Party, to: Party): Link {
    const key = linkKey(from, to);
    let link = this.#links.get(key);
    if (!link) this.#links.set(key, (link = { lastArrivalMs: 0, cloggedUntilMs: 0 }));
    return link;
  }

  isCut(from: Party, to: Party): boolean {
    return this.brokerDownSinceMs !== undefined || this.#cuts.has(linkKey(from, to));
  }

  /** Cuts directed pairs; returns what joins them again. */
  cut(pairs: readonly (readonly [Party, Party])[]): () => void {
    const keys = pairs.map(([from, to]) => linkKey(from, to));
    for (const key of keys) this.#cuts.set(key, (this.#cuts.get(key) ?? 0) + 1);
    let joined = false;
    return () => {
      if (joined) return;
      joined = true;
      for (const key of keys) {
        const left = (this.#cuts.get(key) ?? 0) - 1;
        if (left > 0) this.#cuts.set(key, left);
        else this.#cuts.delete(key);
      }
    };
  }

  clog(from: Party, to: Party, untilMs: number): void {
    const link = this.#link(from, to);
    link.cloggedUntilMs = Math.max(link.cloggedUntilMs, untilMs);
  }

  /** From now on everything arrives, once and in order. What is on its way as a ghost still comes. */
  heal(): void {
    this.faults = { loss: 0, duplication: 0, reordering: 0, ghosts: 0 };
    this.#cuts.clear();
    this.brokerDownSinceMs = undefined;
    for (const link of this.#links.values()) link.cloggedUntilMs = 0;
  }
}

function linkKey(from: Party, to: Party): number {
  return (from + 1_000) * 10_000 + (to + 1_000);
}
