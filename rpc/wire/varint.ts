/** Protobuf varints of integers below 2^53, by hand: the hot paths of command.ts read and write them by the million. */

import { MalformedRequest } from './errors.ts';

const TWO_7 = 128;
const TWO_28 = 2 ** 28;

/** Bytes that `value` takes. */
export function varintBytes(value: number): number {
  let size = 1;
  while (value >= TWO_7) {
    value = value < TWO_28 ? value >>> 7 : Math.floor(value / TWO_7);
    size++;
  }
  return size;
}

/** Writes `value` at `at` and returns the offset behind it. */
export function writeVarint(target: Uint8Array, at: number, value: number): number {
  while (value >= TWO_28) {
    target[at++] = (value % TWO_7) | 0x80;
    value = Math.floor(value / TWO_7);
  }
  while (value >= TWO_7) {
    target[at++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  target[at++] = value;
  return at;
}

/** A position in bytes that moves forward; every read is bounded by `end`. */
export class VarintReader {
  at: number;
  end: number;

  constructor(
    readonly bytes: Uint8Array,
    at = 0,
    end = bytes.length,
  ) {
    this.at = at;
    this.end = end;
  }

  /** @throws MalformedRequest past the end, or for a number of 2^53 and more */
  next(): number {
    const first = this.at < this.end ? this.bytes[this.at]! : 0x80;
    if (first < 0x80) {
      this.at++;
      return first;
    }
    let value = 0;
    let scale = 1;
    for (let size = 0; size < 8; size++) {
      if (this.at >= this.end) throw new MalformedRequest('a message ends in the middle of a number');
      const byte = this.bytes[this.at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break;
        return value;
      }
      scale *= TWO_7;
    }
    throw new MalformedRequest('a number does not fit in 53 bits');
  }

  /** Reads a length and checks that so many bytes follow. */
  length(): number {
    const length = this.next();
    if (length > this.end - this.at) throw new MalformedRequest('a field is longer than its message');
    return length;
  }

  /** Passes over the value of a field that this version does not know. */
  skip(wireType: number): void {
    switch (wireType) {
      case 0:
        this.next();
        return;
      case 1:
        this.at += 8;
        break;
      case 2: {
        const length = this.length();
        this.at += length;
        return;
      }
      case 5:
        this.at += 4;
        break;
      default:
        throw new MalformedRequest(`wire type ${wireType} is not used by this protocol`);
    }
    if (this.at > this.end) throw new MalformedRequest('a field is longer than its message');
  }
}
