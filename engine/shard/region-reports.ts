/** What this worker says of the regions that it leads: each after a change worth telling, all of them when asked. */

import type { Region } from '../../rpc/wire/region.ts';
import type { Replica } from '../region/replica.ts';
import type { Replicas } from './replicas.ts';
import type { SplitBounds, SplitWish } from '../region/traffic.ts';

/** A region as its leader sees it. */
export interface LedRegion {
  readonly region: Region;
  /** In which it is led here. */
  readonly term: number;
  readonly phase: 'normal' | 'merging' | 'applying';
  readonly sizeBytes: number;
  readonly readsPerSecond: number;
  readonly writesPerSecond: number;
  /** It would rather be two. */
  readonly splitWish?: SplitWish;
  /** Peers that have not caught up with the log. */
  readonly pendingPeers: readonly number[];
  /** Peers that do not answer. */
  readonly downPeers: readonly number[];
}

/** A peer that is further behind has not caught up: under load each is always a few entries behind. */
const CAUGHT_UP_ENTRIES = 256;

interface Told {
  readonly version: number;
  readonly confVersion: number;
  readonly term: number;
  readonly phase: string;
  readonly peers: string;
  readonly sizeBytes: number;
  readonly load: number;
  readonly wish: string;
}

export class RegionReports {
  readonly #told = new Map<number, Told>();

  /** Reports of the replicas that lead, of those only that changed unless `all`. */
  take(replicas: Iterable<Replica>, all: boolean, bounds: SplitBounds, nowMs: number): LedRegion[] {
    const reports: LedRegion[] = [];
    if (all) this.#told.clear();
    for (const replica of replicas) {
      if (!replica.isLeader || replica.raft.isHibernating) replica.traffic.rest();
      if (!replica.isLeader) this.#told.delete(replica.regionId);
      else this.#look(replica, reports, bounds, nowMs);
    }
    return reports;
  }

  /** Regions that are led here and whose size is not known, or not any more; at most so many. */
  unmeasured(replicas: Replicas, most: number): Region[] {
    const found: Region[] = [];
    for (const regionId of replicas.led) {
      if (found.length >= most) break;
      const replica = replicas.get(regionId);
      if (replica?.traffic.wantsMeasure(replica.region)) found.push(replica.region);
    }
    return found;
  }

  /** The replica is gone. */
  forget(regionId: number): void {
    this.#told.delete(regionId);
  }

  #look(replica: Replica, reports: LedRegion[], bounds: SplitBounds, nowMs: number): void {
    const before = this.#told.get(replica.regionId);
    // Whoever sleeps has nothing new to say: it fell asleep after everything had been told and agreed to.
    if (before && replica.raft.isHibernating && before.term === replica.raft.term) return;
    const report = reportOf(replica, bounds, nowMs);
    const { epoch } = report.region;
    const told: Told = {
      version: epoch.version,
      confVersion: epoch.confVersion,
      term: report.term,
      phase: report.phase,
      peers: `${report.pendingPeers.join()};${report.downPeers.join()}`,
      sizeBytes: report.sizeBytes,
      load: report.readsPerSecond + report.writesPerSecond,
      wish: report.splitWish?.reason ?? '',
    };
    if (before && !isNews(before, told)) return;
    this.#told.set(replica.regionId, told);
    reports.push(report);
  }
}

function reportOf(replica: Replica, bounds: SplitBounds, nowMs: number): LedRegion {
  const { region, state, raft, peerId, traffic } = replica;
  const splitWish = state.phase === 'normal' ? traffic.splitWish(region, bounds, nowMs) : undefined;
  const { progress, commit } = raft.status();
  const others = progress.filter((peer) => peer.peerId !== peerId);
  const isBehind = (match: number): boolean => match + CAUGHT_UP_ENTRIES < commit;
  return {
    region: ownKeys(region),
    term: raft.term,
    phase: state.phase,
    sizeBytes: traffic.sizeBytes,
    ...traffic.rates(nowMs),
    ...(splitWish && { splitWish: ownWish(splitWish) }),
    pendingPeers: others
      .filter((peer) => peer.state !== 'replicate' || isBehind(peer.match))
      .map((peer) => peer.peerId),
    downPeers: others.filter((peer) => !peer.recentlyActive).map((peer) => peer.peerId),
  };
}

/** As `ownKeys`. */
function ownWish({ reason, splitKey }: SplitWish): SplitWish {
  return splitKey ? { reason, splitKey: new Uint8Array(splitKey) } : { reason };
}

/** Keys in buffers of their own: a clone for another thread copies the whole buffer behind a view. */
function ownKeys(region: Region): Region {
  return { ...region, startKey: new Uint8Array(region.startKey), endKey: new Uint8Array(region.endKey) };
}

function isNews(before: Told, now: Told): boolean {
  return (
    before.version !== now.version ||
    before.confVersion !== now.confVersion ||
    before.term !== now.term ||
    before.phase !== now.phase ||
    before.peers !== now.peers ||
    before.wish !== now.wish ||
    differsMuch(before.sizeBytes, now.sizeBytes, SIZE_NEWS_BYTES) ||
    differsMuch(before.load, now.load, LOAD_NEWS_PER_SECOND)
  );
}

/** Smaller changes of size and load are no news, nor are those below a tenth. */
const SIZE_NEWS_BYTES = 256 * 1024;
const LOAD_NEWS_PER_SECOND = 20;

function differsMuch(before: number, now: number, least: number): boolean {
  return Math.abs(now - before) > Math.max(least, before / 10);
}
