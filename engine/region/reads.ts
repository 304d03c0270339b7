/**
 * The reads of one region on their way. A linearizable read waits until a quorum confirmed the leader (thesis section
 * 6.4: read index) and the confirmed index is applied; all reads of a turn share one confirmation. A lease read
 * needs no confirmation while the lease holds, which is checked before and after it.
 */

import { mraft } from '../../rpc/wire/codec.ts';
import { InvalidArgument } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Epoch, Region } from '../../rpc/wire/region.ts';
import type { ReadState } from '../raft/index.ts';
import { admitReadKeys } from './admission.ts';
import type { Origin } from './ports.ts';

/** replica: as linearizable, but whoever is asked serves it, at a read index of the leader. */
export type ReadMode = 'linearizable' | 'lease' | 'stale' | 'replica';

export interface ScanRange {
  readonly start: Uint8Array;
  /** Empty: to the end of the region. */
  readonly end: Uint8Array;
  readonly reverse: boolean;
  readonly limit: number;
}

export interface ReadRequest {
  readonly origin: Origin;
  readonly requestId: number;
  /** Of the region when the read was taken; compared again when it is served. */
  readonly epoch: Epoch;
  readonly mode: ReadMode;
  /** Keys of a point read; undefined: a scan. */
  readonly keys: readonly Uint8Array[] | undefined;
  readonly scan: ScanRange | undefined;
  /** Of its keys. */
  readonly sizeBytes: number;
  /** Of this node's clock: from then on nobody waits for the answer. */
  readonly deadlineMs: number;
}

/**
 * The read or scan of a client's request, checked against the region that it is asked of.
 * @throws KeyEmpty, KeyTooLong, KeyNotInRegion, InvalidArgument
 */
export function readRequest(region: Region, origin: Origin, request: mraft.IRequest, nowMs: number): ReadRequest {
  const { read, scan } = request;
  const head = {
    origin,
    requestId: request.id ?? 0,
    epoch: region.epoch,
    deadlineMs: nowMs + (request.timeoutMs || LIMITS.timeoutMs),
  };
  if (read) {
    const keys = read.keys ?? [];
    admitReadKeys(region, keys);
    const sizeBytes = keys.reduce((sum, key) => sum + key.length, 0);
    return { ...head, mode: readMode(read.mode), keys, scan: undefined, sizeBytes };
  }
  const range = {
    start: scan!.start ?? new Uint8Array(0),
    end: scan!.end ?? new Uint8Array(0),
    reverse: scan!.reverse ?? false,
    limit: Math.min(scan!.limit || LIMITS.scanPageEntries, LIMITS.scanPageEntries),
  };
  const sizeBytes = range.start.length + range.end.length;
  return { ...head, mode: readMode(scan!.mode), keys: undefined, scan: range, sizeBytes };
}

const { ReadMode: Wire } = mraft;
const MODES = new Map<mraft.ReadMode, ReadMode>([
  [Wire.LINEARIZABLE, 'linearizable'],
  [Wire.LEASE, 'lease'],
  [Wire.STALE, 'stale'],
  [Wire.REPLICA, 'replica'],
]);

function readMode(mode: mraft.ReadMode | null | undefined): ReadMode {
  const known = MODES.get(mode ?? Wire.LINEARIZABLE);
  if (known === undefined) throw new InvalidArgument(`read mode ${mode} is unknown`, { field: 'mode' });
  return known;
}

interface ConfirmedGroup {
  readonly id: number;
  readonly requests: ReadRequest[];
  /** Index that must be applied; undefined until a quorum confirmed it. */
  index: number | undefined;
}

export class ReadQueue {
  #linearizable: ReadRequest[] = [];
  #lease: ReadRequest[] = [];
  #ready: ReadRequest[] = [];
  #waiting: ConfirmedGroup[] = [];
  #nextId: number;
  #count = 0;
  #sizeBytes = 0;

  /** `firstId`: of its groups. Other replicas are asked under these ids, so those of an earlier life must not come again. */
  constructor(firstId = 1) {
    this.#nextId = firstId;
  }

  get count(): number {
    return this.#count;
  }

  get hasGathered(): boolean {
    return this.#linearizable.length > 0 || this.#lease.length > 0;
  }

  get hasReady(): boolean {
    return this.#ready.length > 0;
  }

  /** False when the region has as many reads under way as it may. */
  gather(request: ReadRequest): boolean {
    const sizeBytes = this.#sizeBytes + request.sizeBytes;
    if (this.#count >= LIMITS.regionPendingReads || sizeBytes > LIMITS.regionPendingReadBytes) return false;
    this.#count++;
    this.#sizeBytes = sizeBytes;
    if (request.mode === 'stale') this.#ready.push(request);
    else if (request.mode === 'lease') this.#lease.push(request);
    else this.#linearizable.push(request);
    return true;
  }

  /** A lease read whose lease ended under it asks the quorum after all. */
  regather(request: ReadRequest): void {
    this.#linearizable.push(withoutLease(request));
  }

  /** The lease holds: its reads may be served at the index that is committed now. */
  admitLease(commitIndex: number, appliedIndex: number): void {
    if (this.#lease.length === 0) return;
    if (appliedIndex >= commitIndex) this.#ready.push(...this.#lease);
    else this.#waiting.push({ id: 0, requests: this.#lease, index: commitIndex });
    this.#lease = [];
  }

  /** There is no lease: its reads are asked for like the others. */
  demoteLease(): void {
    if (this.#lease.length === 0) return;
    this.#linearizable.push(...this.#lease.map(withoutLease));
    this.#lease = [];
  }

  /** Closes the turn's group of linearizable reads; its id is what the core is asked to confirm. 0: there are none. */
  closeGroup(): number {
    if (this.#linearizable.length === 0) return 0;
    const id = this.#nextId++;
    this.#waiting.push({ id, requests: this.#linearizable, index: undefined });
    this.#linearizable = [];
    return id;
  }

  /** An id for a read index that is asked for on behalf of another replica. */
  takeId(): number {
    return this.#nextId++;
  }

  confirm(states: readonly ReadState[]): void {
    for (const state of states) {
      const group = this.#waiting.find((candidate) => candidate.id === state.id);
      if (group) group.index = state.index;
    }
  }

  /** Moves the groups whose index is applied to the ready reads. */
  release(appliedIndex: number): void {
    if (this.#waiting.length === 0) return;
    const still: ConfirmedGroup[] = [];
    for (const group of this.#waiting) {
      if (group.index !== undefined && group.index <= appliedIndex) this.#ready.push(...group.requests);
      else still.push(group);
    }
    this.#waiting = still;
  }

  takeReady(): ReadRequest[] {
    const ready = this.#ready;
    this.#ready = [];
    return ready;
  }

  /** Reads that were taken and are left for the next turn; they come first then. */
  putBack(requests: readonly ReadRequest[]): void {
    this.#ready = [...requests, ...this.#ready];
  }

  /** A taken read was answered. */
  settle(request: ReadRequest): void {
    this.#count--;
    this.#sizeBytes -= request.sizeBytes;
  }

  /** Takes back everything that needs a leader: this peer leads no more. The caller answers and settles them. */
  takeUnconfirmed(): ReadRequest[] {
    const all = [...this.#linearizable, ...this.#lease, ...this.#waiting.flatMap((group) => group.requests)];
    this.#linearizable = [];
    this.#lease = [];
    this.#waiting = [];
    return all;
  }
}

/** From here on the quorum answers for it, and no lease is asked about any more: there may be none for the whole term. */
function withoutLease(request: ReadRequest): ReadRequest {
  return { ...request, mode: 'linearizable' };
}
