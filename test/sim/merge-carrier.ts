/**
 * Carries merges on from the node that leads the source, over the virtual network, by the rules of engine/node's merge
 * driver: the target's leader is asked to commit; when the target has provably moved on, the source is told to go on.
 */

import { decodeCommitMerge } from '../../engine/region/commit-merge.ts';
import type { RegionChange } from '../../engine/region/admin.ts';
import { judgeTarget } from '../../engine/region/merge.ts';
import { listRegionRecords, loadRegionRecord, type RegionRecord } from '../../engine/store/region-records.ts';
import { decode, mraft } from '../../rpc/wire/codec.ts';
import { containsKey, LAST_SYSTEM_REGION_ID, type Region } from '../../rpc/wire/region.ts';
import type { RunningProcess } from './surroundings.ts';

const ATTEMPTS = 8;
/** Who says so has not got the target as it was when the source prepared. */
const DOUBTFUL: readonly string[] = ['EpochNotMatch', 'RegionNotFound', 'ChangeRefused'];

export class MergeCarrier {
  readonly #process: RunningProcess;
  /** Sources whose merge is being carried on at the moment. */
  readonly #running = new Set<number>();

  constructor(process: RunningProcess) {
    this.#process = process;
  }

  get #world(): RunningProcess['node']['world'] {
    return this.#process.node.world;
  }

  /** The leader of a region that prepared, on this node, asks for its merge to go on. */
  step(target: Region, merge: Uint8Array): void {
    const { source } = decodeCommitMerge(merge);
    if (this.#running.has(source.regionId)) return;
    this.#running.add(source.regionId);
    this.#attempt(target, merge, 0);
  }

  #attempt(target: Region, merge: Uint8Array, attempt: number): void {
    const { source, commit } = decodeCommitMerge(merge);
    const end = (): void => void this.#running.delete(source.regionId);
    if (this.#process.isDead || attempt >= ATTEMPTS) return end();
    const again = (): void => this.#world.at(this.#world.nowMs + 20, () => this.#attempt(target, merge, attempt + 1));
    const leader = this.#process.routes.route(target.regionId)?.leaderNodeId ?? 0;
    const nodeId = (attempt % 2 === 0 && leader) || target.peers[attempt % target.peers.length]!.nodeId;
    this.#world.trace(
      () => `node ${this.#process.nodeId} asks node ${nodeId} to commit the merge of region ${source.regionId}`,
    );
    const command: mraft.IAdminCommand = { commitMerge: decode(mraft.CommitMerge, merge) };
    this.#ask<string>(
      nodeId,
      (there, answer) => there.changeRegion(target.regionId, target.epoch, { kind: 'admin', command }, answer),
      (outcome) => {
        if (outcome === 'done') return end();
        if (outcome === undefined || !DOUBTFUL.includes(outcome)) return again();
        this.#judge(target, source, (isMovedOn) => {
          if (isMovedOn === 'merged') return end();
          if (isMovedOn !== 'movedOn') return again();
          const change: RegionChange = { kind: 'admin', command: { rollbackMerge: { commit } } };
          this.#process.changeRegion(source.regionId, source.epoch, change, end);
        });
      },
    );
  }

  /** Asks another node, or this one, over the network; undefined: it did not answer in time. */
  #ask<T>(
    nodeId: number,
    question: (there: RunningProcess, answer: (value: T) => void) => void,
    done: (value: T | undefined) => void,
  ): void {
    const world = this.#world;
    let ended = false;
    const end = (value: T | undefined): void => {
      if (ended || this.#process.isDead) return;
      ended = true;
      done(value);
    };
    world.at(world.nowMs + world.config.electionTimeoutMs * 3, () => end(undefined));
    const own = this.#process.nodeId;
    if (nodeId === own) return question(this.#process, end);
    world.network.send(own, nodeId, world.nowMs, () => {
      const there = world.processOf(nodeId);
      if (!there) return;
      question(there, (value) => world.network.send(nodeId, own, world.nowMs, () => end(value)));
    });
  }

  #judge(target: Region, source: Region, done: (verdict: ReturnType<typeof judgeTarget> | undefined) => void): void {
    const nodeIds = new Set([...target.peers.map((peer) => peer.nodeId), ...this.#process.routes.nodes]);
    const verdicts: (ReturnType<typeof judgeTarget> | undefined)[] = [];
    for (const nodeId of nodeIds) {
      this.#ask<RegionRecord | undefined>(
        nodeId,
        (there, answer) => answer(there.recordOf(target.regionId, target.startKey)),
        (record) => {
          verdicts.push(record && judgeTarget(source, target, record));
          if (verdicts.length < nodeIds.size) return;
          const telling = verdicts.includes('merged') ? 'merged' : verdicts.find((verdict) => verdict === 'movedOn');
          done(telling);
        },
      );
    }
  }
}

/** What a node's store has of a region, or of whoever is in its place. */
export function findRecord(
  store: Parameters<typeof loadRegionRecord>[0],
  regionId: number,
  key: Uint8Array,
): RegionRecord | undefined {
  const isThere = ({ region }: RegionRecord): boolean =>
    region.regionId > LAST_SYSTEM_REGION_ID && containsKey(region, key);
  return loadRegionRecord(store, regionId) ?? listRegionRecords(store).find(isThere);
}
