/**
 * Carries the merges on whose source is led on this node: the target's leader is asked to commit, wherever it is; when the
 * target has provably moved on, the source is told to go on. The source's leader asks for a step every second, so nothing
 * here has to survive.
 */

import { mraft, decode, encode } from '../../rpc/wire/codec.ts';
import {
  MalformedRequest,
  RegionChanging,
  RegionNotFound,
  Unavailable,
  asMraftError,
  type MraftError,
} from '../../rpc/wire/errors.ts';
import { LAST_SYSTEM_REGION_ID, containsKey, toWireRegion, type Epoch, type Region } from '../../rpc/wire/region.ts';
import { subjects } from '../../rpc/wire/subjects.ts';
import type { CallPort, LinkSubscription } from '../../rpc/nats/index.ts';
import type { Logger } from '../config.ts';
import { decodeCommitMerge } from '../region/commit-merge.ts';
import type { RegionChange } from '../region/admin.ts';
import { judgeTarget } from '../region/merge.ts';
import type { Store } from '../store/port.ts';
import {
  fromWireRecord,
  listRegionRecords,
  loadRegionRecord,
  toWireRecord,
  type RegionRecord,
} from '../store/region-records.ts';
import { pause, withDeadline, type NodeRuntime } from './runtime.ts';

/** One attempt at the target's leader, which waits for its quorum; another one meanwhile does no harm. */
const COMMIT_TIMEOUT_MS = 1_000;
const LOOK_TIMEOUT_MS = 1_000;
/** Between two attempts of one step, and how many there are: a new leader may be on its way. */
const PAUSE_MS = 20;
const ATTEMPTS = 8;
/** How long whoever asked for a merge waits for it. */
const MERGE_TIMEOUT_MS = 15_000;

export interface MergeDriverOptions {
  readonly cluster: string;
  readonly nodeId: number;
  readonly calls: CallPort;
  readonly store: Store;
  readonly logger: Logger;
  readonly runtime: NodeRuntime;
  /** 0: not known. */
  readonly leaderOf: (regionId: number) => number;
  readonly nodes: () => readonly number[];
  /** Of a region that is led here. */
  readonly changeRegion: (regionId: number, epoch: Epoch, change: RegionChange) => Promise<void>;
}

interface Waiter {
  resolve(): void;
  reject(error: MraftError): void;
}

export class MergeDriver {
  readonly #options: MergeDriverOptions;
  readonly #subscriptions: LinkSubscription[];
  /** Sources whose merge is being carried on at the moment. */
  readonly #running = new Set<number>();
  readonly #waiters = new Map<number, Waiter>();
  #closed = false;

  constructor(options: MergeDriverOptions) {
    this.#options = options;
    const { calls, cluster, nodeId } = options;
    this.#subscriptions = [
      calls.serve(subjects.node(cluster, nodeId, 'commitMerge'), (question) => this.#onCommit(question)),
      calls.serve(subjects.node(cluster, nodeId, 'lookAt'), (question) => this.#onLook(question)),
    ];
  }

  /**
   * Merges a region that is led here into its neighbour, and waits for it.
   * @throws NotLeader, EpochNotMatch, ChangeRefused, RegionChanging (also when the target changed meanwhile and the merge
   *   was given up), DeadlineExceeded (it goes on), Unavailable (the node stops)
   */
  async merge(source: Region, target: Region): Promise<void> {
    const { regionId } = source;
    if (this.#waiters.has(regionId))
      throw new RegionChanging(`region ${regionId} is being merged already`, { regionId });
    const outcome = new Promise<void>((resolve, reject) => this.#waiters.set(regionId, { resolve, reject }));
    outcome.catch(() => {});
    try {
      const command = { prepareMerge: { target: toWireRegion(target) } };
      await this.#options.changeRegion(regionId, source.epoch, { kind: 'admin', command });
      await withDeadline(this.#options.runtime, outcome, MERGE_TIMEOUT_MS, `region ${regionId} is still being merged`);
    } finally {
      this.#waiters.delete(regionId);
    }
  }

  /** A region of this node is part of another one now. */
  noteAbsorbed(sourceId: number): void {
    this.#waiters.get(sourceId)?.resolve();
  }

  /** The leader of a region that prepared, here, asks for its merge to go on. */
  step(target: Region, mergeBytes: Uint8Array): void {
    const merge = decodeCommitMerge(mergeBytes);
    const { regionId } = merge.source;
    if (this.#running.has(regionId) || this.#closed) return;
    this.#running.add(regionId);
    void this.#carryOn(target, merge.source, merge.commit, mergeBytes)
      .catch((thrown: unknown) => {
        this.#options.logger.warn(
          { err: asMraftError(thrown), regionId },
          'a merge could not be carried on; trying on',
        );
      })
      .finally(() => this.#running.delete(regionId));
  }

  async #carryOn(target: Region, source: Region, commit: number, mergeBytes: Uint8Array): Promise<void> {
    let next = 0;
    for (let attempt = 0; attempt < ATTEMPTS && !this.#closed; attempt++) {
      const known = attempt % 2 === 0 ? this.#options.leaderOf(target.regionId) : 0;
      const nodeId = known || target.peers[next++ % target.peers.length]!.nodeId;
      try {
        await this.#commitAt(nodeId, target, mergeBytes);
        this.#waiters.get(source.regionId)?.resolve();
        return;
      } catch (thrown) {
        const { code } = asMraftError(thrown);
        const isDoubtful = code === 'EpochNotMatch' || code === 'RegionNotFound' || code === 'ChangeRefused';
        if (isDoubtful && (await this.#judge(target, source, commit))) return;
      }
      await pause(this.#options.runtime, PAUSE_MS * (attempt + 1));
    }
  }

  async #commitAt(nodeId: number, target: Region, mergeBytes: Uint8Array): Promise<void> {
    const { cluster, calls, runtime } = this.#options;
    if (nodeId === this.#options.nodeId) {
      const committed = this.#commit(target.regionId, target.epoch, mergeBytes);
      committed.catch(() => {});
      return withDeadline(
        runtime,
        committed,
        COMMIT_TIMEOUT_MS,
        `region ${target.regionId} takes long to commit a merge`,
      );
    }
    const question = { targetId: target.regionId, epoch: target.epoch, merge: toBase64(mergeBytes) };
    await calls.ask(subjects.node(cluster, nodeId, 'commitMerge'), question, COMMIT_TIMEOUT_MS);
  }

  #commit(targetId: number, epoch: Epoch, mergeBytes: Uint8Array): Promise<void> {
    const command = { commitMerge: decode(mraft.CommitMerge, mergeBytes) };
    return this.#options.changeRegion(targetId, epoch, { kind: 'admin', command });
  }

  async #onCommit(question: unknown): Promise<void> {
    const { targetId, epoch, merge } = question as { targetId: number; epoch: Epoch; merge: string };
    if (!Number.isSafeInteger(targetId) || typeof merge !== 'string' || typeof epoch !== 'object') {
      throw new MalformedRequest('a question about a merge names the target, its epoch and the merge');
    }
    await this.#commit(targetId, epoch, fromBase64(merge));
  }

  // --- whether the target has moved on -----------------------------------------------------------------------------

  /** True: the merge has come to its end, one way or the other. */
  async #judge(target: Region, source: Region, commit: number): Promise<boolean> {
    const nodes = new Set([...target.peers.map((peer) => peer.nodeId), ...this.#options.nodes()]);
    const seen = await Promise.all([...nodes].map((nodeId) => this.#lookAt(nodeId, target)));
    const verdicts = seen.map((record) => record && judgeTarget(source, target, record));
    if (verdicts.includes('merged')) {
      this.#waiters.get(source.regionId)?.resolve();
      return true;
    }
    if (!verdicts.includes('movedOn')) return false;
    const { regionId } = source;
    const command = { rollbackMerge: { commit } };
    await this.#options.changeRegion(regionId, source.epoch, { kind: 'admin', command });
    this.#options.logger.warn({ regionId, targetId: target.regionId }, 'a merge was given up: its target has changed');
    const error = new RegionChanging(`region ${target.regionId} changed meanwhile; the merge was given up`, {
      regionId,
    });
    this.#waiters.get(regionId)?.reject(error);
    return true;
  }

  /** What a node has applied of the target, or of whoever is in its place; undefined: nothing, or it does not answer. */
  async #lookAt(nodeId: number, target: Region): Promise<RegionRecord | undefined> {
    const { cluster, calls } = this.#options;
    try {
      if (nodeId === this.#options.nodeId) return this.#ownRecord(target.regionId, target.startKey);
      const question = { regionId: target.regionId, key: toBase64(target.startKey) };
      const answer = await calls.ask(subjects.node(cluster, nodeId, 'lookAt'), question, LOOK_TIMEOUT_MS);
      const { record } = answer as { record: string };
      return fromWireRecord(decode(mraft.RegionRecord, fromBase64(record)));
    } catch {
      return undefined;
    }
  }

  /** What is applied is committed, so it may be told though it is not synced. */
  #ownRecord(regionId: number, key: Uint8Array): RegionRecord {
    const { store } = this.#options;
    const own = loadRegionRecord(store, regionId);
    const there =
      own ??
      listRegionRecords(store).find(
        ({ region }) => region.regionId > LAST_SYSTEM_REGION_ID && containsKey(region, key),
      );
    if (!there) throw new RegionNotFound(`nothing of region ${regionId} is here`, { regionId });
    return there;
  }

  #onLook(question: unknown): { record: string } {
    const { regionId, key } = question as { regionId: number; key: string };
    if (!Number.isSafeInteger(regionId) || typeof key !== 'string') {
      throw new MalformedRequest('a question about a region names it, and a key');
    }
    const record = this.#ownRecord(regionId, fromBase64(key));
    return { record: toBase64(encode(mraft.RegionRecord, toWireRecord(record))) };
  }

  close(): void {
    this.#closed = true;
    for (const subscription of this.#subscriptions) subscription.close();
    for (const waiter of this.#waiters.values()) waiter.reject(new Unavailable('the node is stopping'));
  }
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}

function fromBase64(text: string): Uint8Array {
  return Buffer.from(text, 'base64');
}
