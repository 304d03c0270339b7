/**
 * Which ranges of keys are taken on this node. All regions of a node share one data column and live on several workers,
 * so nobody may put a snapshot where another region's data is. Kept by the node's main thread, which hears of every
 * change behind the write that made it: the ledger may hold a range for a little longer than it is taken, never shorter.
 */

import { LAST_SYSTEM_REGION_ID, compareKeys, type Region } from '../../rpc/wire/region.ts';

type Range = Pick<Region, 'regionId' | 'startKey' | 'endKey'>;

/** Empty conflicts: the range is claimed. Else the regions that lie there. */
export interface Claim {
  readonly conflicts: readonly number[];
}

export class RangeLedger {
  readonly #taken = new Map<number, Range>();
  readonly #claimed = new Map<number, Range>();

  /** Regions as they are after one write: several at once where a range passes from one to another. */
  note(regions: readonly Range[]): void {
    for (const region of regions) {
      this.#taken.set(region.regionId, region);
      this.#claimed.delete(region.regionId);
    }
  }

  /** The region's data is gone. */
  remove(regionId: number): void {
    this.#taken.delete(regionId);
  }

  /**
   * Compares with what the store has, behind the death of a worker that may not have come to tell of its last write: what
   * is gone is removed. Answers the regions that nobody has told of.
   */
  reconcile(stored: readonly Range[]): number[] {
    const ids = new Set(stored.map(({ regionId }) => regionId));
    for (const regionId of this.#taken.keys()) if (!ids.has(regionId)) this.#taken.delete(regionId);
    return [...ids].filter((regionId) => !this.#taken.has(regionId) && !this.#claimed.has(regionId));
  }

  /** Claims the range for a snapshot that is to be installed; its own old range does not stand in its way. */
  claim(region: Range): Claim {
    const conflicts = [...this.#taken.values(), ...this.#claimed.values()]
      .filter((other) => other.regionId !== region.regionId && overlap(other, region))
      .map((other) => other.regionId);
    if (conflicts.length === 0) this.#claimed.set(region.regionId, region);
    return { conflicts: [...new Set(conflicts)] };
  }

  /** Whose snapshots are under way. */
  get claimedRegions(): readonly number[] {
    return [...this.#claimed.keys()];
  }

  /** The snapshot was given up. */
  release(regionId: number): void {
    this.#claimed.delete(regionId);
  }

  /** The ranges of keys that no region of this node holds: what lies there is rubbish of a replica that was removed. */
  gaps(): { readonly start: Uint8Array; readonly end: Uint8Array | undefined }[] {
    const ranges = [...this.#taken.values()]
      .filter((range) => range.regionId > LAST_SYSTEM_REGION_ID)
      .sort((a, b) => compareKeys(a.startKey, b.startKey));
    const gaps: { start: Uint8Array; end: Uint8Array | undefined }[] = [];
    let start: Uint8Array | undefined = new Uint8Array(0);
    for (const { startKey, endKey } of ranges) {
      if (start === undefined) break;
      if (compareKeys(start, startKey) < 0) gaps.push({ start, end: startKey });
      start = endKey.length > 0 ? endKey : undefined;
    }
    if (start !== undefined) gaps.push({ start, end: undefined });
    return gaps;
  }
}

/** System regions have keys of their own. */
function overlap(a: Range, b: Range): boolean {
  if (a.regionId <= LAST_SYSTEM_REGION_ID !== b.regionId <= LAST_SYSTEM_REGION_ID) return false;
  return isBelow(a.startKey, b.endKey) && isBelow(b.startKey, a.endKey);
}

function isBelow(start: Uint8Array, end: Uint8Array): boolean {
  return end.length === 0 || compareKeys(start, end) < 0;
}
