/**
 * What placement must hold to, seen from outside: ids are given once, and whoever was deposed overwrites nothing that its
 * successor has written.
 */

import type { Kv } from '../../rpc/client/index.ts';
import type { Report } from './region-facts.ts';

interface Written {
  /** Of the leader of placement that wrote it. */
  readonly term: number;
  readonly acknowledgedAtMs: number;
}

export class PlacementCheck {
  readonly #report: Report;
  /** By id: the operator and the place in it that it was given for. */
  readonly #ids = new Map<number, string>();
  /** By record: the write of the highest term. */
  readonly #written = new Map<string, Written>();
  /** Records written, orders sent, by kind of step. */
  readonly made = new Map<string, number>();

  constructor(report: Report) {
    this.#report = report;
  }

  #count(what: string): void {
    this.made.set(what, (this.made.get(what) ?? 0) + 1);
  }

  /** A question is on its way: an order gives ids away. */
  onQuestion(subject: string, question: unknown): void {
    if (!subject.endsWith('.order')) return;
    const { operatorId, step } = question as { operatorId: number; step: Record<string, unknown> };
    const kind = String(step['kind']);
    this.#count(kind);
    if (kind === 'addLearner') this.#give((step['peer'] as { peerId: number }).peerId, `${operatorId} addLearner`);
    if (kind !== 'split') return;
    this.#give(step['childRegionId'] as number, `${operatorId} child`);
    for (const [at, peerId] of (step['childPeerIds'] as number[]).entries()) {
      this.#give(peerId, `${operatorId} peer ${at} of child ${String(step['childRegionId'])}`);
    }
  }

  #give(id: number, purpose: string): void {
    const before = this.#ids.get(id);
    if (before === undefined) this.#ids.set(id, purpose);
    else if (before !== purpose) this.#report('ids are given once', `${id} for operator ${before} and for ${purpose}`);
  }

  /** A leader of placement was told that its write of a record is done. */
  onWritten(key: string, term: number, invokedAtMs: number, nowMs: number): void {
    this.#count('written');
    const newest = this.#written.get(key);
    if (newest && newest.term > term && invokedAtMs > newest.acknowledgedAtMs) {
      const who = `the leader of term ${term} wrote ${key}`;
      this.#report('who was deposed overwrites nothing', `${who}, which term ${newest.term} had written before`);
    }
    if (!newest || term >= newest.term) this.#written.set(key, { term, acknowledgedAtMs: nowMs });
  }
}

/** A client of region 1 whose writes of placement's records are looked at. */
export function watchedKv(kv: Kv, check: PlacementCheck, nowMs: () => number): Kv {
  let term = 0;
  return {
    get: (...args) => kv.get(...args),
    batchGet: (...args) => kv.batchGet(...args),
    put: (...args) => kv.put(...args),
    delete: (...args) => kv.delete(...args),
    batch: (...args) => kv.batch(...args),
    scan: (...args) => kv.scan(...args),
    deleteRange: (...args) => kv.deleteRange(...args),
    close: () => kv.close(),
    compareAndSwap: async (key, expected, value, options) => {
      const invokedAtMs = nowMs();
      const result = await kv.compareAndSwap(key, expected, value, options);
      const name = String(key);
      if (result.swapped && name === 'leader') term = (JSON.parse(String(value)) as { term: number }).term;
      else if (result.swapped && name.startsWith('p/')) check.onWritten(name, term, invokedAtMs, nowMs());
      return result;
    },
  };
}
