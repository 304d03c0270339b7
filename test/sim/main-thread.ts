/**
 * What a node's main thread does for its workers, as engine/node does it: the ledger of ranges, routes, claims, words from
 * one worker to another, and the carrying on of merges. Everything goes through queues, so it comes a little later.
 */

import { ClaimKeeper } from '../../engine/node/range-claims.ts';
import { RouteTable } from '../../engine/node/route-table.ts';
import { decodeCommitMerge } from '../../engine/region/commit-merge.ts';
import type { ShardEnvironment } from '../../engine/shard/ports.ts';
import type { ToWorker } from '../../engine/shard/port-messages.ts';
import { RangeLedger } from '../../engine/shard/range-ledger.ts';
import type { Shard } from '../../engine/shard/shard.ts';
import { listRegions, listTombstones, loadRegion, regionRanges } from '../../engine/store/region-records.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { homeWorker, slotOfRegion } from '../../rpc/wire/slots.ts';
import { MergeCarrier } from './merge-carrier.ts';
import type { RunningProcess } from './surroundings.ts';

/** From one thread of a process to another. */
export const THREAD_HOP_MS = 0.05;

export class VirtualMainThread {
  readonly routes: RouteTable;
  readonly merges: MergeCarrier;
  readonly #process: RunningProcess;
  readonly #ledger = new RangeLedger();
  readonly #claims: ClaimKeeper;
  readonly #waiting = new Map<number, (isGranted: boolean) => void>();
  #nextClaim = 1;

  constructor(process: RunningProcess) {
    this.#process = process;
    const { nodeId, workerCount, node } = process;
    this.routes = new RouteTable(nodeId, workerCount);
    this.merges = new MergeCarrier(process);
    this.#claims = new ClaimKeeper({
      ledger: this.#ledger,
      store: node.disk.store,
      workerOf: (regionId) => homeWorker(slotOfRegion(regionId), workerCount),
      post: (worker, message) => this.#post(worker, message),
    });
  }

  /**
   * At a start: what is there is known, and what replicas that were destroyed may have left is removed.
   * @throws DiskFull
   */
  open(): void {
    const { disk } = this.#process.node;
    const regions = listRegions(disk.store);
    for (const region of regions) this.routes.learn(region);
    this.#ledger.note(regions);
    for (const { start, end } of this.#ledger.gaps()) disk.deleteRange('data', start, end);
    for (const { region } of listTombstones(disk.store)) {
      if (loadRegion(disk.store, region.regionId)) continue;
      for (const { column, start, end } of regionRanges(region.regionId)) disk.deleteRange(column, start, end);
    }
  }

  onWorkerDied(worker: number): void {
    this.#claims.onWorkerDied(worker);
  }

  /** Something that a worker said a moment ago; what it said before comes before. */
  #hear(nowMs: number, act: () => void): void {
    const { world } = this.#process.node;
    world.at(nowMs + THREAD_HOP_MS, () => {
      if (!this.#process.isDead) act();
    });
  }

  #tell(regionId: number, act: (shard: Shard) => void): void {
    const { node } = this.#process;
    node.world.at(node.world.nowMs + THREAD_HOP_MS, () => {
      const worker = this.#process.workerOf(regionId);
      worker?.post(() => act(worker.shard));
    });
  }

  #post(_worker: number, message: ToWorker): void {
    if (message.kind === 'destroyRegion') {
      this.#tell(message.regionId, (shard) => shard.destroyRegion(message.regionId));
    } else if (message.kind === 'claimed') {
      const done = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      done?.(message.isGranted);
    }
  }

  /** What a worker's shard is given. `nowMs`: into the pass that it runs. */
  portsFor(number: number, nowMs: () => number, isDead: () => boolean): Pick<ShardEnvironment, 'events' | 'ranges'> {
    const { node } = this.#process;
    const hear = (act: () => void): void => {
      if (!isDead()) this.#hear(nowMs(), act);
    };
    return {
      ranges: {
        claim: ({ region, absorbed }, done) => {
          const id = this.#nextClaim++;
          this.#waiting.set(id, (isGranted) => {
            node.world.at(node.world.nowMs + THREAD_HOP_MS, () => {
              if (!isDead()) this.#process.worker(number)?.post(() => done(isGranted));
            });
          });
          hear(() => this.#claims.onClaim(number, { kind: 'claim', id, region, absorbed }));
        },
        release: (regionId) => hear(() => this.#claims.onRelease(regionId)),
      },
      events: {
        onLeader: (regionId, leaderNodeId, term) => hear(() => this.routes.noteLeader(regionId, leaderNodeId, term)),
        onNodeLost: () => {},
        onNode: (nodeId, workers) => hear(() => this.routes.noteNode(nodeId, workers)),
        onRegions: (regions, absorbed = []) => hear(() => this.#onRegions(regions, absorbed)),
        onSourceNeeded: (sourceId, targetId, merge) =>
          hear(() => this.#tell(sourceId, (shard) => shard.finishRegion(targetId, decodeCommitMerge(merge)))),
        onSourceReady: (sourceId, targetId) =>
          hear(() => this.#tell(targetId, (shard) => shard.noteSourceReady(sourceId, targetId))),
        onMergeStep: (target, merge) => hear(() => this.merges.step(target, merge)),
        onNewborn: (regionId, campaigns) =>
          hear(() => this.#tell(regionId, (shard) => shard.openStoredRegion(regionId, { isNewborn: true, campaigns }))),
        onRegionGone: (regionId) => hear(() => this.#ledger.remove(regionId)),
        onAnomaly: (what, error, regionId) => {
          if (isDead()) return;
          const where = `node ${node.nodeId}, region ${regionId}`;
          node.world.report('no anomalies', `${where}: ${what}: ${error?.stack ?? ''}`);
        },
      },
    };
  }

  #onRegions(regions: readonly Region[], absorbed: readonly number[]): void {
    this.#ledger.note(regions);
    for (const region of regions) this.routes.learn(region);
    for (const regionId of absorbed) {
      this.#ledger.remove(regionId);
      this.#tell(regionId, (shard) => shard.noteAbsorbed(regionId, regions[0]!));
    }
  }
}
