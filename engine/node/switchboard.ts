/**
 * What a node does about what its workers say: words from one worker to another, the ledger of ranges, routes, and whom
 * else it concerns. Everything goes over ports that keep their order, so what is said first is done first.
 */

import { errorFromCode, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Region } from '../../rpc/wire/region.ts';
import type { Logger } from '../config.ts';
import type { FromWorker } from '../shard/port-messages.ts';
import { Neighbours } from '../shard/neighbours.ts';
import type { JobPool, WorkerPool } from '../shard/pool.ts';
import type { RangeLedger } from '../shard/range-ledger.ts';
import type { Store } from '../store/port.ts';
import { listRegionRecords } from '../store/region-records.ts';
import type { LocalTransport } from './local-transport.ts';
import type { Member } from './member.ts';
import type { MergeDriver } from './merge-driver.ts';
import { ClaimKeeper } from './range-claims.ts';
import type { RouteTable } from './route-table.ts';

/** The node's workers, as far as words are concerned. */
export type Workers = Pick<WorkerPool, 'post' | 'postAll' | 'workerOf' | 'restarts'>;

export interface SwitchboardOptions {
  readonly nodeId: number;
  readonly store: Store;
  readonly ledger: RangeLedger;
  readonly routes: RouteTable;
  readonly jobs: Pick<JobPool, 'run'>;
  readonly logger: Logger;
  /** The disk failed: the node cannot go on. */
  readonly onFatal: (error: MraftError) => void;
}

/** Whom words concern; they come when the node has them. */
interface Listeners {
  member?: Pick<Member, 'noteLeader' | 'noteRegions'>;
  merges?: Pick<MergeDriver, 'step' | 'noteAbsorbed'>;
  readonly transports: Pick<LocalTransport, 'origin' | 'receive'>[];
}

export class Switchboard {
  readonly #options: SwitchboardOptions;
  readonly #workers: Workers;
  readonly #claims: ClaimKeeper;
  readonly #neighbours: Neighbours;
  /** The last regions of this node that became part of others: a worker that was not there is told again. */
  readonly #absorbed = new Map<number, Region>();
  readonly listeners: Listeners = { transports: [] };

  constructor(options: SwitchboardOptions, workers: Workers) {
    this.#options = options;
    this.#workers = workers;
    this.#neighbours = new Neighbours(options.nodeId, (nodeId, isNeighbour) =>
      workers.postAll({ kind: 'neighbour', nodeId, isNeighbour }),
    );
    this.#claims = new ClaimKeeper({
      ledger: options.ledger,
      store: options.store,
      workerOf: (regionId) => workers.workerOf(regionId),
      post: (worker, message) => void workers.post(worker, message),
    });
  }

  /** Nodes with peers of the regions here. */
  get neighbours(): number[] {
    return this.#neighbours.nodes;
  }

  receive(worker: number, message: FromWorker): void {
    switch (message.kind) {
      case 'responses':
        this.listeners.transports.find(({ origin }) => origin === message.origin)?.receive(message.frame);
        return;
      case 'forwardRequests':
        this.#workers.post(message.worker, { kind: 'requests', frame: message.frame, origin: message.origin });
        return;
      case 'forwardPeerFrame':
        this.#workers.post(message.worker, { kind: 'peerFrame', frame: message.frame, fromNode: message.fromNode });
        return;
      case 'leader':
        this.#options.routes.noteLeader(message.regionId, message.leaderNodeId, message.term);
        this.listeners.member?.noteLeader(message.regionId, message.leaderNodeId);
        return;
      case 'node':
        this.#options.routes.noteNode(message.nodeId, message.workers);
        return;
      case 'regions':
        this.#onRegions(message.regions, message.absorbed);
        return;
      case 'mergeStep':
        this.listeners.merges?.step(message.target, message.merge);
        return;
      case 'sourceNeeded': {
        const { sourceId, targetId, merge } = message;
        this.#workers.post(this.#workers.workerOf(sourceId), { kind: 'finishRegion', targetId, merge });
        return;
      }
      case 'sourceReady': {
        const { sourceId, targetId } = message;
        this.#workers.post(this.#workers.workerOf(targetId), { kind: 'sourceReady', sourceId, targetId });
        return;
      }
      case 'newborn': {
        const { regionId, campaigns } = message;
        this.#workers.post(this.#workers.workerOf(regionId), {
          kind: 'openRegion',
          regionId,
          isNewborn: true,
          campaigns,
        });
        return;
      }
      case 'regionGone':
        this.#options.ledger.remove(message.regionId);
        this.#neighbours.forget(message.regionId);
        return;
      case 'claim':
        this.#claims.onClaim(worker, message);
        return;
      case 'releaseClaim':
        this.#claims.onRelease(message.regionId);
        return;
      case 'job':
        void this.#options.jobs
          .run(message.job)
          .then((result) => this.#workers.post(worker, { kind: 'jobDone', id: message.id, result }));
        return;
      case 'notice':
        this.#options.logger[message.level]({ worker, ...message.fields }, message.message);
        return;
      case 'fatal':
        this.#options.onFatal(errorFromCode(message.code, message.message));
        return;
      // What is said to the pool.
      case 'started':
      case 'serving':
      case 'slotReleased':
      case 'passOn':
    }
  }

  #onRegions(regions: readonly Region[], absorbed: readonly number[]): void {
    const { ledger, routes } = this.#options;
    ledger.note(regions);
    for (const region of regions) routes.learn(region);
    for (const region of regions) this.#neighbours.note(region);
    for (const regionId of absorbed) this.#onAbsorbed(regionId, regions[0]!);
    this.listeners.member?.noteRegions(regions);
  }

  /** In one step with the news of the target: the range is never nobody's, nor two regions'. */
  #onAbsorbed(regionId: number, successor: Region): void {
    this.#options.ledger.remove(regionId);
    this.#neighbours.forget(regionId);
    this.#absorbed.set(regionId, successor);
    const [oldest] = this.#absorbed.keys();
    if (this.#absorbed.size > LIMITS.absorbedRegions) this.#absorbed.delete(oldest!);
    this.#workers.post(this.#workers.workerOf(regionId), { kind: 'absorbed', regionId, successor });
    this.listeners.merges?.noteAbsorbed(regionId);
  }

  // --- workers that die ----------------------------------------------------------------------------------------------

  onWorkerDied(worker: number): void {
    this.#claims.onWorkerDied(worker);
  }

  /** A worker serves that died before: it may not have come to tell of its last write, of a region that began or ended. */
  onServing(): void {
    if (this.#workers.restarts === 0) return;
    for (const [regionId, successor] of this.#absorbed) {
      this.#workers.post(this.#workers.workerOf(regionId), { kind: 'absorbed', regionId, successor });
    }
    const records = listRegionRecords(this.#options.store);
    const untold = new Set(this.#options.ledger.reconcile(records.map(({ region }) => region)));
    for (const { region, phase } of records) {
      if (!untold.has(region.regionId) || phase === 'applying') continue;
      const { regionId } = region;
      this.#workers.post(this.#workers.workerOf(regionId), {
        kind: 'openRegion',
        regionId,
        isNewborn: false,
        campaigns: false,
      });
    }
  }
}
