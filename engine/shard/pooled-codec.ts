/**
 * Makes the chunks of snapshots smaller in the node's second pool, so that no turn pays for it. Where the data does not
 * shrink it mostly lets it be, and looks again now and then.
 */

import { mraft } from '../../rpc/wire/codec.ts';
import { PLAIN_CODEC, type BodyCodec, type SealedBody } from '../region/snapshot-chunk.ts';
import type { Job, JobResult } from './job-worker.ts';

/** Runs a job in the pool; `done` is told once. */
export type RunJob = (job: Job, done: (result: JobResult) => void) => void;

/** A chunk of so few bytes is not worth the way to another thread. */
const SMALLEST_BYTES = 4 * 1024;
/** How many chunks are let be behind one that did not shrink. */
const LET_BE = 15;

export class PooledCodec implements BodyCodec {
  readonly #run: RunJob;
  readonly #seals: boolean;
  #letBe = 0;

  /** @param seals false: what is sent travels as it is; what others made smaller is still opened */
  constructor(run: RunJob, seals: boolean) {
    this.#run = run;
    this.#seals = seals;
  }

  seal(body: Uint8Array, done: (sealed: SealedBody) => void): void {
    if (!this.#seals || body.length < SMALLEST_BYTES || this.#letBe-- > 0) return PLAIN_CODEC.seal(body, done);
    this.#letBe = 0;
    this.#run({ kind: 'seal', body }, (sealed) => {
      if (sealed) return done({ body: sealed, encoding: mraft.SnapshotEncoding.BROTLI, plainBytes: body.length });
      this.#letBe = LET_BE;
      PLAIN_CODEC.seal(body, done);
    });
  }

  open(sealed: SealedBody, done: (body: Uint8Array | undefined) => void): void {
    if (sealed.encoding !== mraft.SnapshotEncoding.BROTLI) return PLAIN_CODEC.open(sealed, done);
    this.#run({ kind: 'open', body: sealed.body, plainBytes: sealed.plainBytes }, done);
  }
}
