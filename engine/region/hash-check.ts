/**
 * The consistency check of one replica: from the entry at which all replicas look at their data, to the entry in which the
 * leader says what it saw. One check at a time; a newer one takes its place. See consistency.ts.
 */

import type { mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Store } from '../store/port.ts';
import { listSessions } from '../store/region-records.ts';
import { RangeHasher, firstDifference, groupPages, hashState, type Difference, type HashPage } from './consistency.ts';
import type { RegionState } from './region-state.ts';

/** Entries in one page of the cursor; its bytes are LIMITS.hashPageBytes. */
const CURSOR_ENTRIES = 4096;

interface Check {
  readonly round: number;
  readonly index: number;
  readonly hasher: RangeHasher;
  /** The leader's, where they came before this replica was done. */
  verify: readonly HashPage[] | undefined;
  isTold: boolean;
}

export class HashCheck {
  readonly #store: Store;
  readonly #state: RegionState;
  readonly #onDifference: (difference: Difference, index: number) => void;
  #check: Check | undefined;

  constructor(store: Store, state: RegionState, onDifference: (difference: Difference, index: number) => void) {
    this.#store = store;
    this.#state = state;
    this.#onDifference = onDifference;
  }

  /** Looks at the range as the store has it now. @throws StorageFailure */
  begin(round: number, index: number): void {
    this.close();
    const { region, column } = this.#state;
    const stateHash = hashState(region, listSessions(this.#store, region.regionId));
    const cursor = this.#store.openCursor(column, {
      gte: region.startKey,
      ...(region.endKey.length > 0 ? { lt: region.endKey } : {}),
      limit: CURSOR_ENTRIES,
      maxBytes: LIMITS.hashPageBytes,
    });
    this.#check = {
      round,
      index,
      hasher: new RangeHasher(cursor, region.endKey, stateHash),
      verify: undefined,
      isTold: false,
    };
  }

  /** Whether there is something left to hash. */
  get isHashing(): boolean {
    return this.#check !== undefined && !this.#check.hasher.isDone;
  }

  /** Hashes one page. @throws StorageFailure */
  step(): void {
    const check = this.#check;
    if (!check || check.hasher.isDone) return;
    if (check.hasher.step() && check.verify) this.#compare(check, check.verify);
  }

  /** What this replica found, once, for a leader to tell; undefined while it is not done. */
  takeFound(): mraft.IVerifyHash | undefined {
    const check = this.#check;
    if (!check || check.isTold || !check.hasher.isDone) return undefined;
    check.isTold = true;
    const pages = groupPages(check.hasher.pages).map(({ lastKey, hash }) => ({ lastKey, hash }));
    return { round: check.round, index: check.index, pages };
  }

  /** What the leader found. A check that did not begin here is passed over. */
  verify(wire: mraft.IVerifyHash): void {
    const check = this.#check;
    if (!check || check.round !== wire.round || check.index !== wire.index) return;
    const pages = (wire.pages ?? []).map(({ lastKey, hash }) => ({
      lastKey: Buffer.from(lastKey ?? []),
      hash: Buffer.from(hash ?? []),
    }));
    if (check.hasher.isDone) this.#compare(check, pages);
    else check.verify = pages;
  }

  #compare(check: Check, pages: readonly HashPage[]): void {
    this.#check = undefined;
    const difference = firstDifference(check.hasher.pages, pages);
    if (difference) this.#onDifference(difference, check.index);
  }

  /** Gives up. */
  close(): void {
    this.#check?.hasher.close();
    this.#check = undefined;
  }
}
