/** Workers' claims on ranges of the node, and what becomes of them when a worker dies. */

import { canDestroyAbsorbed } from '../region/merge.ts';
import type { RangeLedger } from '../shard/range-ledger.ts';
import type { FromWorker, ToWorker } from '../shard/port-messages.ts';
import type { Store } from '../store/port.ts';
import { loadRegionRecord } from '../store/region-records.ts';

type Claim = Extract<FromWorker, { kind: 'claim' }>;

export interface ClaimParts {
  readonly ledger: RangeLedger;
  readonly store: Store;
  readonly workerOf: (regionId: number) => number;
  readonly post: (worker: number, message: ToWorker) => void;
}

export class ClaimKeeper {
  readonly #parts: ClaimParts;

  constructor(parts: ClaimParts) {
    this.#parts = parts;
  }

  /**
   * A region that was merged into the one whose snapshot comes has no business here any more: it goes, and the snapshot,
   * which is refused for now, comes again.
   */
  onClaim(worker: number, { id, region, absorbed }: Claim): void {
    const { ledger, post, store, workerOf } = this.#parts;
    const { conflicts } = ledger.claim(region);
    for (const regionId of conflicts) {
      const merged = absorbed.find((one) => one.regionId === regionId);
      const isUnneeded =
        merged && canDestroyAbsorbed(region.regionId, merged, loadRegionRecord(store, merged.targetId));
      if (isUnneeded) post(workerOf(regionId), { kind: 'destroyRegion', regionId });
    }
    post(worker, { kind: 'claimed', id, isGranted: conflicts.length === 0 });
  }

  onRelease(regionId: number): void {
    this.#parts.ledger.release(regionId);
  }

  /** What the worker was receiving is gone; what it was installing it goes on with. */
  onWorkerDied(worker: number): void {
    const { ledger, store, workerOf } = this.#parts;
    for (const regionId of ledger.claimedRegions) {
      if (workerOf(regionId) !== worker) continue;
      if (loadRegionRecord(store, regionId)?.phase !== 'applying') ledger.release(regionId);
    }
  }
}
