/**
 * The consistency checks of one worker: begins one for each region that is led here in turn, hashes a little in each tick,
 * and lets the leaders tell what they found.
 */

import { StorageFailure } from '../../rpc/wire/errors.ts';
import type { Difference } from '../region/consistency.ts';
import type { Replica } from '../region/replica.ts';

/** Pages of LIMITS.hashPageBytes that one tick hashes, over all checks: some five per cent of a worker's time. */
const PAGES_PER_TICK = 2;

export interface CheckPorts {
  /** Of the regions that are led here. */
  readonly led: () => Iterable<number>;
  readonly replicaOf: (regionId: number) => Replica | undefined;
  /** The replica has something to propose. */
  readonly touch: (replica: Replica) => void;
}

export class ConsistencyChecks {
  readonly #ports: CheckPorts;
  /** How often each region is checked. 0: never by itself. */
  readonly #everyMs: number;
  readonly #hashing = new Set<Replica>();
  #nextMs = 0;
  #round = 1;
  /** The region that was checked last; they take turns by id. */
  #last = 0;

  constructor(everyMs: number, ports: CheckPorts) {
    this.#everyMs = everyMs;
    this.#ports = ports;
  }

  /** The replica has begun to hash. */
  note(replica: Replica): void {
    this.#hashing.add(replica);
  }

  /** It is gone. */
  forget(replica: Replica): void {
    this.#hashing.delete(replica);
  }

  /** @throws StorageFailure */
  tick(nowMs: number): void {
    let pages = 0;
    for (const replica of this.#hashing) {
      while (pages < PAGES_PER_TICK && replica.hashes.isHashing) {
        replica.hashes.step();
        pages++;
      }
      if (replica.hashes.isHashing) return;
      this.#hashing.delete(replica);
      this.#tell(replica, nowMs);
    }
    if (this.#everyMs > 0 && this.#hashing.size === 0 && nowMs >= this.#nextMs) this.#beginNext(nowMs);
  }

  #tell(replica: Replica, nowMs: number): void {
    const found = replica.isLeader ? replica.hashes.takeFound() : undefined;
    if (!found) return;
    // A region that has changed meanwhile is checked again another time.
    replica.change(replica.region.epoch, { kind: 'admin', command: { verifyHash: found } }, nowMs, () => {});
    this.#ports.touch(replica);
  }

  #beginNext(nowMs: number): void {
    const led = [...this.#ports.led()].sort((a, b) => a - b);
    this.#nextMs = nowMs + this.#everyMs / Math.max(1, led.length);
    const next = led.find((regionId) => regionId > this.#last) ?? led[0];
    if (next === undefined) return;
    this.#last = next;
    const replica = this.#ports.replicaOf(next);
    // Whoever sleeps had nothing to do; it is not woken for this.
    if (replica && !replica.raft.isHibernating) this.begin(replica, nowMs);
  }

  /** Lets all replicas of the region check their data against this leader's. */
  begin(replica: Replica, nowMs: number): void {
    const command = { computeHash: { round: this.#round++ } };
    replica.change(replica.region.epoch, { kind: 'admin', command }, nowMs, () => {});
    this.#ports.touch(replica);
  }
}

/** What is to be said, loudly, when a replica's data is not its leader's. */
export function differenceError(regionId: number, { what, after, upTo }: Difference, index: number): StorageFailure {
  const where = what === 'state' ? 'its descriptor or sessions' : `keys behind ${hex(after)} up to ${hex(upTo)}`;
  return new StorageFailure(`region ${regionId} differs from its leader at entry ${index}: ${where}`, { regionId });
}

/** A key as people can read it in a report. */
function hex(key: Uint8Array): string {
  return key.length === 0 ? '(its end)' : Buffer.from(key).toString('hex');
}
