/**
 * The generated codec (mraft.proto), set up once for the whole process, and the way in for bytes from outside.
 * `bytes` fields of decoded messages alias the input: copy what is kept longer than the frame.
 */

import './protobuf-numbers.ts';

import type protobuf from 'protobufjs/minimal.js';

import { mraft } from './generated/mraft.js';
import { MalformedRequest } from './errors.ts';

export { mraft };

interface Decoder<T> {
  decode(bytes: Uint8Array): T;
}

/**
 * Decodes bytes that came from outside this process.
 * @throws MalformedRequest when they are no such message
 */
export function decode<T>(type: Decoder<T>, bytes: Uint8Array): T {
  try {
    return type.decode(bytes);
  } catch (cause) {
    throw new MalformedRequest(`not a message of this protocol: ${(cause as Error).message}`, { cause });
  }
}

/** Encodes a message into bytes of its own. */
export function encode<P>(type: { encode(message: P): protobuf.Writer }, message: P): Uint8Array {
  return type.encode(message).finish();
}
