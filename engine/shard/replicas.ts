/** The replicas that are open on a worker, and which of them have something to do. */

import { Internal } from '../../rpc/wire/errors.ts';
import type { Replica } from '../region/replica.ts';

export class Replicas {
  readonly #byId = new Map<number, Replica>();
  /** Those that are ticked. All others sleep, and cost nothing. */
  readonly #awake = new Set<Replica>();
  /** Regions that are led here. */
  readonly #led = new Set<number>();
  /** Those that this turn, or a step before it, gave something to do; each knows that it is here (`isBusy`). */
  #busy: Replica[] = [];
  /** Followers with committed entries that they have not applied, those that lag longest first. */
  readonly lagging = new Set<Replica>();
  /** Of replicas that slept. */
  wakeUps = 0;

  get size(): number {
    return this.#byId.size;
  }

  get(regionId: number): Replica | undefined {
    return this.#byId.get(regionId);
  }

  values(): IterableIterator<Replica> {
    return this.#byId.values();
  }

  get awake(): ReadonlySet<Replica> {
    return this.#awake;
  }

  get led(): ReadonlySet<number> {
    return this.#led;
  }

  get hasBusy(): boolean {
    return this.#busy.length > 0;
  }

  /** @throws Internal when the region has a replica here */
  add(replica: Replica): void {
    const { regionId } = replica;
    if (this.#byId.has(regionId)) throw new Internal(`region ${regionId} is open already`);
    this.#byId.set(regionId, replica);
    this.#awake.add(replica);
    this.noteBusy(replica);
  }

  /** Takes a replica out, wherever it stands. */
  remove(regionId: number): Replica | undefined {
    const replica = this.#byId.get(regionId);
    if (!replica) return undefined;
    this.#byId.delete(regionId);
    this.#awake.delete(replica);
    this.#led.delete(regionId);
    if (replica.isBusy) this.#busy.splice(this.#busy.indexOf(replica), 1);
    replica.isBusy = false;
    this.lagging.delete(replica);
    return replica;
  }

  noteLeader(regionId: number, isLedHere: boolean): void {
    if (isLedHere) this.#led.add(regionId);
    else this.#led.delete(regionId);
  }

  noteBusy(replica: Replica): void {
    if (replica.isBusy || !replica.hasWork) return;
    replica.isBusy = true;
    this.#busy.push(replica);
  }

  /** Something was done to a replica that may give it work, or have woken it. */
  noteWork(replica: Replica): void {
    replica.work++;
    this.noteBusy(replica);
    this.#noteAwake(replica);
  }

  /**
   * A turn went over a replica. What the turn had gathered for it may have woken it only then, and perhaps nobody answers
   * what it sent: without ticks it would not send it again.
   */
  noteTurn(replica: Replica): void {
    this.noteBusy(replica);
    this.#noteAwake(replica);
  }

  #noteAwake(replica: Replica): void {
    if (this.#awake.has(replica) || !replica.needsTicks) return;
    this.#awake.add(replica);
    this.wakeUps++;
  }

  /** Who has something to do in this turn; what comes from now on is for the next. */
  takeBusy(): readonly Replica[] {
    const busy = this.#busy;
    this.#busy = [];
    for (const replica of busy) replica.isBusy = false;
    return busy;
  }

  /** Hands every leadership to the peer that is furthest along; how many it began to. */
  handOver(nowMs: number): number {
    let started = 0;
    for (const regionId of this.#led) {
      const replica = this.#byId.get(regionId);
      if (!replica?.isLeader) continue;
      // It has not heard its peers while it slept, and does not know whom it can trust with it.
      replica.wake(nowMs);
      this.noteWork(replica);
      const target = replica.handoverCandidates()[0];
      if (target !== undefined && this.transfer(replica, target, nowMs)) started++;
    }
    return started;
  }

  /** False: it does not lead, or the target is no voter of its region. */
  transfer(replica: Replica, nodeId: number, nowMs: number): boolean {
    const started = replica.transferTo(nodeId, nowMs);
    if (started) this.noteWork(replica);
    return started;
  }

  tick(nowMs: number): void {
    for (const replica of this.#awake) {
      replica.tick(nowMs);
      this.noteBusy(replica);
      if (!replica.needsTicks) this.#awake.delete(replica);
    }
  }
}
