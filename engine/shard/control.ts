/**
 * Control calls between a node and its workers: the only import of comlink. Rare, typed, never on the data path. A call
 * to a worker that died would never settle, so every call has a deadline.
 */

import type { MessagePort } from 'node:worker_threads';
import * as Comlink from 'comlink/dist/esm/comlink.mjs';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { asMraftError, errorFromCode, Unavailable } from '../../rpc/wire/errors.ts';
import type { Epoch, Region } from '../../rpc/wire/region.ts';
import type { RegionChange } from '../region/admin.ts';
import type { ReplicaStatus } from '../region/replica.ts';
import type { SplitBounds } from '../region/traffic.ts';
import type { LedRegion } from './region-reports.ts';
import type { WorkerLoad } from './slot-balance.ts';
import type { ShardStats } from './stats.ts';

/** What a worker can be asked. */
export interface WorkerControl {
  stats(): ShardStats;
  listRegions(): ReplicaStatus[];
  regionStatus(regionId: number): ReplicaStatus | undefined;
  /** The regions that are led there: those that changed since they were last told, or all. */
  ledRegions(all: boolean, bounds: SplitBounds): LedRegion[];
  /** Regions that are led there and whose size is not known, or not any more; at most so many. */
  unmeasuredRegions(most: number): Region[];
  /** How large a region was found to be, as of a version of it. */
  noteSize(regionId: number, version: number, sizeBytes: number): void;
  /** Begins to hand every leadership over; answers how many are left. */
  handOver(): number;
  transferLeader(regionId: number, nodeId: number): boolean;
  /** Changes a region that is led here, as it was at `epoch`; ends when the change is applied and written here. */
  changeRegion(regionId: number, epoch: Epoch, change: RegionChange): Promise<void>;
  /** Lets the replicas of a region compare their data; what differs is reported. False: it is not led there. */
  checkConsistency(regionId: number): boolean;
  /** Lets the replica of a region go on alone, because the others are lost. @throws as Shard.unsafeRecover */
  unsafeRecover(regionId: number, lostNodes: readonly number[]): void;
  /** What the worker did since this was last asked. */
  load(): WorkerLoad;
  /** Ends the worker's task after its current turn. */
  stop(): void;
}

export type WorkerControlClient = {
  [K in keyof WorkerControl]: (...args: Parameters<WorkerControl[K]>) => Promise<Awaited<ReturnType<WorkerControl[K]>>>;
};

export const CONTROL_TIMEOUT_MS = 5_000;
/** Changes of a region wait for its quorum. */
export const CHANGE_TIMEOUT_MS = 15_000;

interface ThrownOverComlink {
  readonly value: unknown;
}

// Comlink's own handler drops an error's code: errors travel as code and message and become their class again.
const ownHandler = Comlink.transferHandlers.get('throw')!;
Comlink.transferHandlers.set('throw', {
  canHandle: (value): value is unknown => ownHandler.canHandle(value),
  serialize: (thrown: unknown) => {
    const error = asMraftError((thrown as ThrownOverComlink).value);
    return [{ code: error.code, message: error.message }, []];
  },
  deserialize: (sent: unknown) => {
    const { code, message } = sent as { code: string; message: string };
    throw errorFromCode(code, message);
  },
});

/** Offers `control` to whoever holds the other end of the port. */
export function offerControl(control: WorkerControl, port: MessagePort): void {
  Comlink.expose(control, nodeEndpoint(port));
}

/** Calls the control at the other end of the port. @throws Unavailable when it does not answer in time */
export function controlClient(port: MessagePort, worker: number): WorkerControlClient {
  const remote = Comlink.wrap<WorkerControl>(nodeEndpoint(port)) as unknown as Record<
    string,
    (...args: unknown[]) => Promise<unknown>
  >;
  const call = (method: keyof WorkerControl, args: unknown[], timeoutMs = CONTROL_TIMEOUT_MS): Promise<unknown> =>
    withDeadline(remote[method]!(...args), timeoutMs, `worker ${worker} does not answer ${method}`);
  return {
    stats: () => call('stats', []),
    listRegions: () => call('listRegions', []),
    regionStatus: (regionId: number) => call('regionStatus', [regionId]),
    ledRegions: (all: boolean, bounds: SplitBounds) => call('ledRegions', [all, bounds]),
    unmeasuredRegions: (most: number) => call('unmeasuredRegions', [most]),
    noteSize: (regionId: number, version: number, sizeBytes: number) =>
      call('noteSize', [regionId, version, sizeBytes]),
    handOver: () => call('handOver', []),
    transferLeader: (regionId: number, nodeId: number) => call('transferLeader', [regionId, nodeId]),
    changeRegion: (regionId: number, epoch: Epoch, change: RegionChange) =>
      call('changeRegion', [regionId, epoch, change], CHANGE_TIMEOUT_MS),
    unsafeRecover: (regionId: number, lostNodes: readonly number[]) => call('unsafeRecover', [regionId, lostNodes]),
    checkConsistency: (regionId: number) => call('checkConsistency', [regionId]),
    load: () => call('load', []),
    stop: () => call('stop', []),
  } as WorkerControlClient;
}

function withDeadline<T>(promise: Promise<T>, timeoutMs: number, message: string): Promise<T> {
  return new Promise((resolve, reject) => {
    // A call to a worker that died must not keep alive a program that has closed its database.
    const timer = setTimeout(() => reject(new Unavailable(message)), timeoutMs).unref();
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
