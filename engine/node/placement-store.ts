/**
 * What placement keeps in region 1, as its acting leader reads and writes it.
 *
 *     cluster-id     which cluster of this name it is; drawn once
 *     leader         who leads placement: a line a taking-over, for people and for whoever was deposed
 *     p/<key>        a record of placement (engine/placement: DurableWrite)
 *     r/<key>        a region's descriptor, as its leader last reported it to placement
 *
 * The fence: every record is written by compare-and-swap from what this leader last saw there. A leader that was deposed can
 * therefore overwrite nothing that its successor wrote, and if it was faster by a hair, its successor's own swap
 * fails, which makes that one read everything again. Either way the one that lost drops its state and its orders.
 *
 * Descriptors are outside the fence: they are facts, ordered by their epochs, and one that a deposed leader wrote late is
 * superseded by the region's next report.
 */

import type { BatchOperation, Kv } from '../../rpc/client/index.ts';
import { PlacementUnavailable } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { DurableWrite } from '../placement/index.ts';
import { pages } from './list-page.ts';

const CLUSTER_ID = 'cluster-id';
const LEADER = 'leader';
const PREFIX = 'p/';
/** The first key behind all that begin with the prefix. */
const BEHIND_PREFIX = 'p0';
const DESCRIPTORS = 'r/';
const BEHIND_DESCRIPTORS = 'r0';
const DESCRIPTOR_WRITE = { entries: LIMITS.keptDescriptors, bytes: LIMITS.keptDescriptorBytes };
const TIMEOUT_MS = 5_000;

export interface LeaderRecord {
  /** Grows by one with each taking-over. */
  readonly term: number;
  readonly nodeId: number;
  readonly bootEpoch: number;
}

export class PlacementStore {
  readonly #kv: Kv;
  /** Each record as this leader last saw or wrote it. */
  readonly #seen = new Map<string, string>();
  #descriptors: string[] = [];
  readonly clusterId: string;
  readonly leader: LeaderRecord;

  private constructor(kv: Kv, clusterId: string, leader: LeaderRecord) {
    this.#kv = kv;
    this.clusterId = clusterId;
    this.leader = leader;
  }

  /**
   * Writes down that `owner` leads placement now, then reads everything. A new cluster gets a `newClusterId`.
   * @throws PlacementUnavailable when another was faster; what the client throws
   */
  static async takeOver(
    kv: Kv,
    owner: Omit<LeaderRecord, 'term'>,
    newClusterId: () => string,
  ): Promise<PlacementStore> {
    const clusterId = await readClusterId(kv, newClusterId);
    const before = text(await kv.get(LEADER, { timeoutMs: TIMEOUT_MS }));
    const leader = { term: termOf(before) + 1, nodeId: owner.nodeId, bootEpoch: owner.bootEpoch };
    const leaderText = JSON.stringify(leader);
    const { swapped } = await kv.compareAndSwap(LEADER, before, leaderText, { timeoutMs: TIMEOUT_MS });
    if (!swapped) throw new PlacementUnavailable('another node took placement over');
    const store = new PlacementStore(kv, clusterId, leader);
    for await (const { key, value } of kv.scan({ gte: PREFIX, lt: BEHIND_PREFIX, timeoutMs: TIMEOUT_MS })) {
      store.#seen.set(Buffer.from(key).toString().slice(PREFIX.length), Buffer.from(value).toString());
    }
    for await (const { value } of kv.scan({ gte: DESCRIPTORS, lt: BEHIND_DESCRIPTORS, timeoutMs: TIMEOUT_MS })) {
      store.#descriptors.push(Buffer.from(value).toString());
    }
    return store;
  }

  /** All records, as last seen. */
  records(): [key: string, value: string][] {
    return [...this.#seen];
  }

  /** Descriptors of regions, as they were found; once, because there may be very many. */
  takeDescriptors(): readonly string[] {
    const descriptors = this.#descriptors;
    this.#descriptors = [];
    return descriptors;
  }

  /** Keeps descriptors, or forgets them. Call it again only when it has ended: the later word must be the last. */
  async writeDescriptors(writes: readonly DurableWrite[]): Promise<void> {
    for (const part of pages(writes, DESCRIPTOR_WRITE)) {
      const operations = part.map(({ key, value }): BatchOperation => {
        const full = DESCRIPTORS + key;
        return value === null ? { type: 'delete', key: full } : { type: 'put', key: full, value };
      });
      await this.#kv.batch(operations, { timeoutMs: TIMEOUT_MS });
    }
  }

  /**
   * Makes the writes last, those of one call in any order.
   * @throws PlacementUnavailable when somebody else wrote meanwhile: drop what was decided and take over again
   */
  async write(writes: readonly DurableWrite[]): Promise<void> {
    if (writes.length === 0) return;
    const latest = new Map(writes.map(({ key, value }) => [key, value]));
    await Promise.all([...latest].map(([key, value]) => this.#swap(key, value)));
  }

  async #swap(key: string, value: string | null): Promise<void> {
    const seen = this.#seen.get(key);
    if (seen === undefined && value === null) return;
    const next = value ?? undefined;
    const { swapped } = await this.#kv.compareAndSwap(PREFIX + key, seen, next, { timeoutMs: TIMEOUT_MS });
    if (!swapped) throw new PlacementUnavailable(`another leader of placement has written ${key}`);
    if (value === null) this.#seen.delete(key);
    else this.#seen.set(key, value);
  }
}

/** Draws it where there is none yet. */
async function readClusterId(kv: Kv, newClusterId: () => string): Promise<string> {
  const known = text(await kv.get(CLUSTER_ID, { timeoutMs: TIMEOUT_MS }));
  if (known !== undefined) return known;
  const drawn = newClusterId();
  const { swapped, current } = await kv.compareAndSwap(CLUSTER_ID, undefined, drawn, { timeoutMs: TIMEOUT_MS });
  return swapped ? drawn : (text(current) ?? drawn);
}

function termOf(record: string | undefined): number {
  if (record === undefined) return 0;
  const { term } = JSON.parse(record) as Partial<LeaderRecord>;
  return Number.isSafeInteger(term) ? (term as number) : 0;
}

function text(value: Uint8Array | undefined): string | undefined {
  return value && Buffer.from(value).toString();
}
