/**
 * The entry of a thread of the second pool: one job at a time, CPU and nothing else. Brotli at its lowest level makes the
 * chunks of a snapshot smaller at several hundred MB/s, which no other compressor of Node comes near.
 */

import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';

/** Makes a chunk's body smaller, or plain again; `plainBytes` is what it must come to. */
export type Job =
  | { readonly kind: 'seal'; readonly body: Uint8Array }
  | { readonly kind: 'open'; readonly body: Uint8Array; readonly plainBytes: number };

/** Undefined: it cannot be made smaller by what is worth it, or the bytes are not what was sealed. */
export type JobResult = Uint8Array | undefined;

/** A body that does not shrink below this share of itself travels as it is. */
const WORTH_IT = 0.9;

const SEAL = { params: { [constants.BROTLI_PARAM_QUALITY]: 0, [constants.BROTLI_PARAM_LGWIN]: 18 } };

export default function runJob(job: Job): JobResult {
  if (job.kind === 'seal') {
    const sealed = brotliCompressSync(job.body, SEAL);
    return sealed.length <= job.body.length * WORTH_IT ? new Uint8Array(sealed) : undefined;
  }
  try {
    const body = brotliDecompressSync(job.body, { maxOutputLength: job.plainBytes });
    return body.length === job.plainBytes ? new Uint8Array(body) : undefined;
  } catch {
    return undefined;
  }
}
