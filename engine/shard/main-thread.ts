/** What a worker asks its node's main thread for and waits: a range in the ledger, a job in the second pool. */

import type { RegionRecord } from '../store/region-records.ts';
import runJob, { type Job, type JobResult } from './job-worker.ts';
import type { FromWorker } from './port-messages.ts';
import type { RangeClaims } from './snapshot-ports.ts';

export class MainThread implements RangeClaims {
  readonly #post: (message: FromWorker) => void;
  readonly #claims = new Map<number, (isGranted: boolean) => void>();
  readonly #jobs = new Map<number, { readonly job: Job; readonly done: (result: JobResult) => void }>();
  #nextId = 1;

  constructor(post: (message: FromWorker) => void) {
    this.#post = post;
  }

  claim({ region, absorbed }: RegionRecord, done: (isGranted: boolean) => void): void {
    const id = this.#nextId++;
    this.#claims.set(id, done);
    this.#post({ kind: 'claim', id, region, absorbed });
  }

  release(regionId: number): void {
    this.#post({ kind: 'releaseClaim', regionId });
  }

  onClaimed(id: number, isGranted: boolean): void {
    const done = this.#claims.get(id);
    this.#claims.delete(id);
    done?.(isGranted);
  }

  run(job: Job, done: (result: JobResult) => void): void {
    const id = this.#nextId++;
    this.#jobs.set(id, { job, done });
    // Copied, not handed over: the body is needed here where it turns out not to shrink.
    this.#post({ kind: 'job', id, job });
  }

  onJobDone(id: number, result: JobResult | 'lost'): void {
    const asked = this.#jobs.get(id);
    this.#jobs.delete(id);
    asked?.done(result === 'lost' ? runJob(asked.job) : result);
  }
}
