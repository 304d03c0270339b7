/**
 * Merges, as one worker takes part in them. Source and target may live on different workers, and share one store, so the
 * source's replica is finished and closed on its own worker before the target's takes its place:
 *
 *     target meets its CommitMerge → needs the source → source finishes and is closed → target goes on
 *
 * The asking is repeated, because a worker may die and come back in the middle of it; whoever comes back starts from the
 * store, where either nothing has happened or all of it.
 */

import { DiskFull, EpochNotMatch, Internal, RegionMerging, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { encodeCommitMerge, type CommitMerge } from '../region/commit-merge.ts';
import type { Replica } from '../region/replica.ts';
import type { Store } from '../store/port.ts';
import { loadApplied, loadRegionRecord } from '../store/region-records.ts';
import type { ShardEvents } from './ports.ts';

/** How often a target that waits asks again for its source. */
const ASK_AGAIN_MS = 1_000;

export interface MergePorts {
  readonly store: Store;
  readonly events: ShardEvents;
  readonly isHome: (regionId: number) => boolean;
  /** Takes a replica out of the worker's turn; what it still has to apply is applied. Undefined: it is not open here. */
  readonly detach: (regionId: number) => Replica | undefined;
  /** Opens a replica from the store, unless it is being installed or is none. */
  readonly reopen: (regionId: number) => void;
  /** The replica has something to apply. */
  readonly touch: (replica: Replica) => void;
  readonly replicaOf: (regionId: number) => Replica | undefined;
  /** Gives up a snapshot that is on its way to the region. */
  readonly dropSnapshot: (regionId: number) => void;
  readonly onAnomaly: (regionId: number, error: MraftError) => void;
}

interface FinishRequest {
  readonly targetId: number;
  readonly merge: CommitMerge;
}

interface Finishing extends FinishRequest {
  readonly replica: Replica;
}

export class Merges {
  readonly #ports: MergePorts;
  /** Replicas of this worker that have prepared. */
  readonly #preparing = new Set<Replica>();
  /** Sources that this worker was asked to finish, to be taken up between two turns. */
  #requests: FinishRequest[] = [];
  readonly #finishing = new Map<number, Finishing>();
  /** Sources that were finished here, until their targets have taken over: their records are there, and nobody uses them. */
  readonly #finished = new Set<number>();
  /** Sources that could not be finished: they are closed, and stay so unless they are asked for again. */
  readonly #broken = new Set<number>();
  /** Sources whose replica here is closed and finished, and the targets that live here. */
  readonly #ready = new Map<number, number>();
  /** When a target that lives here last asked for its source. */
  readonly #asked = new Map<number, { readonly targetId: number; readonly atMs: number }>();
  /** Regions that lived here, and into what they were merged; the oldest are forgotten. */
  readonly #successors = new Map<number, Region>();

  /** Replicas of regions that prepared to merge. */
  get preparing(): number {
    return this.#preparing.size;
  }

  constructor(ports: MergePorts) {
    this.#ports = ports;
  }

  // --- the source --------------------------------------------------------------------------------------------------

  /** Called where a replica is opened and where its region changes. */
  note(replica: Replica): void {
    if (replica.state.phase === 'merging') this.#preparing.add(replica);
    else this.#preparing.delete(replica);
  }

  forget(replica: Replica): void {
    this.#preparing.delete(replica);
    const { regionId } = replica;
    for (const [sourceId, targetId] of this.#ready) if (targetId === regionId) this.#ready.delete(sourceId);
    for (const [sourceId, { targetId }] of this.#asked) if (targetId === regionId) this.#asked.delete(sourceId);
  }

  /** What the leaders of regions that prepared ask for, now and then. */
  tick(nowMs: number): void {
    for (const replica of this.#preparing) {
      const step = replica.mergeStep(nowMs);
      if (step) this.#ports.events.onMergeStep(step.target, encodeCommitMerge(step.merge));
    }
  }

  /** A target on this node waits for its source, which lives here. */
  requestFinish(targetId: number, merge: CommitMerge): void {
    this.#requests.push({ targetId, merge });
  }

  get hasWork(): boolean {
    return this.#requests.length > 0;
  }

  /** Between turns: takes up what was asked. */
  begin(): void {
    for (const request of this.#requests.splice(0)) this.#finish(request);
  }

  #finish(request: FinishRequest): void {
    const { merge, targetId } = request;
    const { regionId } = merge.source;
    if (this.#finishing.has(regionId)) return;
    if (this.#isFinishedInStore(merge) && !this.#ports.replicaOf(regionId)) {
      this.#finished.add(regionId);
      this.#sayReady(regionId, targetId);
      return;
    }
    // An attempt that failed has left it closed.
    if (!this.#ports.replicaOf(regionId)) this.#ports.reopen(regionId);
    const replica = this.#ports.detach(regionId);
    if (!replica) return;
    this.#ports.dropSnapshot(regionId);
    this.#preparing.delete(replica);
    this.#finishing.set(regionId, { ...request, replica });
    try {
      replica.finish(merge);
      this.#ports.touch(replica);
    } catch (error) {
      this.#finishing.delete(regionId);
      // The target asks again.
      if (error instanceof DiskFull) return;
      if (!(error instanceof Internal)) throw error;
      if (!this.#broken.has(regionId)) this.#ports.onAnomaly(regionId, error);
      this.#broken.add(regionId);
    }
  }

  #isFinishedInStore({ source, commit }: CommitMerge): boolean {
    const { store } = this.#ports;
    const record = loadRegionRecord(store, source.regionId);
    const isPrepared = record?.phase === 'merging' && record.merge?.index === commit;
    return isPrepared && loadApplied(store, source.regionId).index >= commit;
  }

  /** At the end of a turn, when what was applied is written: tells the targets whose source has come to its end. */
  end(): void {
    for (const [regionId, { replica, targetId }] of this.#finishing) {
      if (!replica.isFinished) continue;
      this.#finishing.delete(regionId);
      this.#broken.delete(regionId);
      this.#finished.add(regionId);
      this.#sayReady(regionId, targetId);
    }
  }

  #sayReady(sourceId: number, targetId: number): void {
    if (this.#ports.isHome(targetId)) this.noteSourceReady(sourceId, targetId);
    else this.#ports.events.onSourceReady(sourceId, targetId);
  }

  // --- the target --------------------------------------------------------------------------------------------------

  /** Whether the source can be taken over; else it is asked for. */
  hasSource(targetId: number, merge: CommitMerge, nowMs: number): boolean {
    const { regionId } = merge.source;
    if (this.#ready.has(regionId)) return true;
    if (nowMs - (this.#asked.get(regionId)?.atMs ?? -Infinity) < ASK_AGAIN_MS) return false;
    this.#asked.set(regionId, { targetId, atMs: nowMs });
    if (this.#ports.isHome(regionId)) this.requestFinish(targetId, merge);
    else this.#ports.events.onSourceNeeded(regionId, targetId, encodeCommitMerge(merge));
    return false;
  }

  /** The source's replica on this node is closed, and everything up to its PrepareMerge is in the store. */
  noteSourceReady(sourceId: number, targetId: number): void {
    const target = this.#ports.replicaOf(targetId);
    // It asked more than once, and has taken over.
    if (!target || !this.#asked.has(sourceId)) return;
    this.#ready.set(sourceId, targetId);
    this.#ports.touch(target);
  }

  /** The target has taken over, and that is written. */
  onAbsorbed(sourceId: number): void {
    this.#ready.delete(sourceId);
    this.#asked.delete(sourceId);
  }

  // --- those that are gone -----------------------------------------------------------------------------------------

  /** A region that lived here was merged into `successor`. Answers its replica, if that was still to finish. */
  noteAbsorbed(sourceId: number, successor: Region): Replica | undefined {
    const finishing = this.drop(sourceId);
    this.#successors.delete(sourceId);
    this.#successors.set(sourceId, successor);
    const [oldest] = this.#successors.keys();
    if (this.#successors.size > LIMITS.absorbedRegions) this.#successors.delete(oldest!);
    return finishing;
  }

  /** The source goes another way than into its target's hands: its replica, if it was still to finish. */
  drop(sourceId: number): Replica | undefined {
    const replica = this.#finishing.get(sourceId)?.replica;
    this.#finishing.delete(sourceId);
    this.#finished.delete(sourceId);
    this.#broken.delete(sourceId);
    return replica;
  }

  /** Whether such regions are being finished here. */
  isFinishing(matches: (regionId: number) => boolean): boolean {
    for (const regionId of [...this.#finishing.keys(), ...this.#finished, ...this.#broken])
      if (matches(regionId)) return true;
    return this.#requests.some(({ merge }) => matches(merge.source.regionId));
  }

  /** Whether the region takes no part in anything any more, though its records are there. */
  isLeaving(regionId: number): boolean {
    const isClosed = this.#finishing.has(regionId) || this.#finished.has(regionId) || this.#broken.has(regionId);
    return isClosed || this.#successors.has(regionId);
  }

  /** What is answered to a request for a region that was merged, or is about to be. */
  errorFor(regionId: number): MraftError | undefined {
    const successor = this.#successors.get(regionId);
    if (successor) {
      return new EpochNotMatch(`region ${regionId} was merged into region ${successor.regionId}`, {
        regionId,
        regions: [successor],
      });
    }
    if (!this.isLeaving(regionId)) return undefined;
    return new RegionMerging(`region ${regionId} is being merged into its neighbour`, { regionId });
  }
}
