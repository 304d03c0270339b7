/** What a worker and its node say to each other over their raw port: data, never control (control.ts). */

import type { MessagePort } from 'node:worker_threads';
import type { Origin } from '../region/ports.ts';
import type { Region } from '../../rpc/wire/region.ts';
import type { Job, JobResult } from './job-worker.ts';
import type { Absorbed } from '../store/region-records.ts';
import type { ShardConfig } from './ports.ts';
import type { MovedSlot } from './slot-table.ts';

/** A replica that its worker has closed, because its slot is another worker's now. */
export interface ReleasedRegion {
  readonly regionId: number;
  readonly wasLed: boolean;
}

export type ToWorker =
  /** Of slot moves (slot-moves.ts). */
  | { readonly kind: 'releaseSlot'; readonly slot: number; readonly to: number }
  | { readonly kind: 'takeSlot'; readonly slot: number; readonly regions: readonly ReleasedRegion[] }
  | { readonly kind: 'slotMoved'; readonly slot: number; readonly worker: number }
  /** Whether the node of that id has peers of regions of this node, on whichever worker. */
  | { readonly kind: 'members'; readonly nodeIds: readonly number[] }
  | { readonly kind: 'neighbour'; readonly nodeId: number; readonly isNeighbour: boolean }
  | { readonly kind: 'claimed'; readonly id: number; readonly isGranted: boolean }
  | { readonly kind: 'jobDone'; readonly id: number; readonly result: JobResult | 'lost' }
  /** The region was merged into another one, whose snapshot is to come in its place. */
  | { readonly kind: 'destroyRegion'; readonly regionId: number }
  | { readonly kind: 'requests'; readonly frame: Uint8Array; readonly origin: Origin }
  | { readonly kind: 'peerFrame'; readonly frame: Uint8Array; readonly fromNode: number }
  /** A region came into being on another worker, and its slot is this one's: its records are in the store. */
  | {
      readonly kind: 'openRegion';
      readonly regionId: number;
      readonly isNewborn: boolean;
      readonly campaigns: boolean;
    }
  /** A target on this node waits for its source, which lives on this worker, to finish (an encoded CommitMerge). */
  | { readonly kind: 'finishRegion'; readonly targetId: number; readonly merge: Uint8Array }
  /** The source of a target that lives on this worker has finished. */
  | { readonly kind: 'sourceReady'; readonly sourceId: number; readonly targetId: number }
  /** A region that lived on this worker is part of another one. */
  | { readonly kind: 'absorbed'; readonly regionId: number; readonly successor: Region };

export type FromWorker =
  /** The thread runs its task; what it opens and whom it waits for may take long. */
  | { readonly kind: 'started' }
  | { readonly kind: 'serving' }
  /** `regions` undefined: the worker cannot let go of the slot now. */
  | { readonly kind: 'slotReleased'; readonly slot: number; readonly regions: readonly ReleasedRegion[] | undefined }
  /** Was meant for the worker that has the region, and came when that was another one already. */
  | { readonly kind: 'passOn'; readonly regionId: number; readonly message: ToWorker }
  /** A snapshot is to come in this range; regions that it absorbed may go. */
  | { readonly kind: 'claim'; readonly id: number; readonly region: Region; readonly absorbed: readonly Absorbed[] }
  | { readonly kind: 'releaseClaim'; readonly regionId: number }
  /** For the second pool. */
  | { readonly kind: 'job'; readonly id: number; readonly job: Job }
  | { readonly kind: 'responses'; readonly origin: Origin; readonly frame: Uint8Array }
  | { readonly kind: 'forwardRequests'; readonly worker: number; readonly origin: Origin; readonly frame: Uint8Array }
  | {
      readonly kind: 'forwardPeerFrame';
      readonly worker: number;
      readonly frame: Uint8Array;
      readonly fromNode: number;
    }
  | { readonly kind: 'leader'; readonly regionId: number; readonly leaderNodeId: number; readonly term: number }
  | { readonly kind: 'node'; readonly nodeId: number; readonly workers: number; readonly bootEpoch: number }
  /** Regions as they are after one write; `absorbed` are part of the one that changed. */
  | { readonly kind: 'regions'; readonly regions: readonly Region[]; readonly absorbed: readonly number[] }
  /** A region led there prepared to be merged into `target`: its leader is to commit that (an encoded CommitMerge). */
  | { readonly kind: 'mergeStep'; readonly target: Region; readonly merge: Uint8Array }
  /** For the worker of the source: finish it. And back, for the worker of the target. */
  | {
      readonly kind: 'sourceNeeded';
      readonly sourceId: number;
      readonly targetId: number;
      readonly merge: Uint8Array;
    }
  | { readonly kind: 'sourceReady'; readonly sourceId: number; readonly targetId: number }
  /** A replica is gone, with its data. */
  | { readonly kind: 'regionGone'; readonly regionId: number }
  /** The child of a split is in the store; `campaigns`: its parent is led here. Comes behind `regions` with both. */
  | { readonly kind: 'newborn'; readonly regionId: number; readonly campaigns: boolean }
  | {
      readonly kind: 'notice';
      readonly level: 'info' | 'warn' | 'error';
      readonly message: string;
      readonly fields: object;
    }
  /** The disk failed: the whole node must stop. */
  | { readonly kind: 'fatal'; readonly code: string; readonly message: string };

/** Answers to this origin go to a client inside the node, over the port; no NATS subject begins so. */
export function localOrigin(client: string): Origin {
  return `#${client}`;
}

export function isLocalOrigin(origin: Origin): boolean {
  return origin.startsWith('#');
}

/** What a worker is started with. */
export interface WorkerTask {
  readonly config: ShardConfig;
  /** Slots that are not at home. */
  readonly movedSlots: readonly MovedSlot[];
  /** Nodes with peers of this node's regions. */
  readonly neighbours: readonly number[];
  /** Of the node's database (store: attachRocks). */
  readonly storeHandle: bigint;
  /** Where its fence is kept (store: FenceFile). */
  readonly dataDir: string;
  /** Empty: a single node without a broker. */
  readonly servers: readonly string[];
  readonly dataPort: MessagePort;
  readonly controlPort: MessagePort;
}

/**
 * Bytes that can be posted: structured clone copies the whole buffer behind a view, so a view gets a buffer of its own.
 */
export function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer) {
    return bytes as Uint8Array<ArrayBuffer>;
  }
  return new Uint8Array(bytes);
}

/** A region whose keys are in buffers of their own, for the same reason. */
export function ownKeys(region: Region): Region {
  return { ...region, startKey: ownBytes(region.startKey), endKey: ownBytes(region.endKey) };
}
