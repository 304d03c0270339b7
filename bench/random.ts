/** A small seeded generator of random numbers: the same seed gives the same run. */

const TWO_TO_32 = 2 ** 32;

export class Random {
  private a: number;
  private b: number;
  private c: number;
  private counter = 1;

  constructor(seed: number) {
    this.a = seed >>> 0;
    this.b = mix32(seed ^ 0x5bd1e995);
    this.c = mix32(seed ^ 0x27d4eb2f);
    // The state of a small seed is mostly zeros; a few rounds spread it.
    for (let i = 0; i < 12; i++) this.next32();
  }

  /** In [0, 1). */
  next(): number {
    return this.next32() / TWO_TO_32;
  }

  /** An integer in [0, limit). */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  bytes(sizeBytes: number): Buffer {
    const bytes = Buffer.allocUnsafe(sizeBytes);
    for (let at = 0; at < sizeBytes; at++) bytes[at] = this.below(256);
    return bytes;
  }

  /** Doty-Humphrey's small fast chaotic generator (sfc32), which passes PractRand. */
  private next32(): number {
    const sum = (this.a + this.b + this.counter++) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = (((this.c << 21) | (this.c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }
}

/** A one-to-one mixing of 32 bits (the finalizer of MurmurHash3): neighbours end up far apart. */
export function mix32(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
