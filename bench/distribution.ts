/** Which record the next operation touches. */

import type { Random } from './random.ts';

export const DISTRIBUTIONS = ['uniform', 'zipfian', 'latest'] as const;
export type DistributionName = (typeof DISTRIBUTIONS)[number];

export interface Distribution {
  /** A record's number in [0, count). */
  next(count: number): number;
}

/** YCSB's default skew. */
export const ZIPFIAN_CONSTANT = 0.99;

export function createDistribution(name: DistributionName, records: number, random: Random): Distribution {
  switch (name) {
    case 'uniform':
      return { next: (count) => random.below(count) };
    case 'zipfian':
      return new Zipfian(records, random);
    case 'latest':
      return latest(new Zipfian(records, random));
  }
}

/**
 * Rank r is drawn with a probability proportional to 1 / (r + 1)^theta. The method is that of Gray et al., "Quickly
 * generating billion-record synthetic databases" (SIGMOD 1994), which YCSB uses too. Popular records need no further
 * scrambling, because keys are a mix of the record's number.
 */
export class Zipfian implements Distribution {
  private readonly random: Random;
  private readonly theta: number;
  private readonly alpha: number;
  private readonly zeta2: number;
  private count = 0;
  private zeta = 0;
  private eta = 0;

  constructor(records: number, random: Random, theta = ZIPFIAN_CONSTANT) {
    this.random = random;
    this.theta = theta;
    this.alpha = 1 / (1 - theta);
    this.zeta2 = 1 + 0.5 ** theta;
    this.grow(records);
  }

  next(count: number): number {
    if (count > this.count) this.grow(count);
    const u = this.random.next();
    const scaled = u * this.zeta;
    if (scaled < 1) return 0;
    if (scaled < this.zeta2) return Math.min(1, count - 1);
    const rank = Math.floor(this.count * (this.eta * u - this.eta + 1) ** this.alpha);
    return Math.min(rank, count - 1);
  }

  /** Sums grow with the records, so that inserts cost a step each and not a new sum. */
  private grow(count: number): void {
    for (let rank = this.count; rank < count; rank++) this.zeta += 1 / (rank + 1) ** this.theta;
    this.count = count;
    this.eta = count <= 2 ? 0 : (1 - (2 / count) ** (1 - this.theta)) / (1 - this.zeta2 / this.zeta);
  }
}

/** The newest records are the most popular. */
function latest(zipfian: Zipfian): Distribution {
  return { next: (count) => count - 1 - zipfian.next(count) };
}
