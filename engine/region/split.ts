/**
 * The rules of a split: the keys from the split key on become a region of their own, with peers on the same nodes. Here is
 * what may be split, what both halves are then, and with which records the new one begins.
 */

import type { mraft } from '../../rpc/wire/codec.ts';
import { ChangeRefused, RegionChanging } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { LAST_SYSTEM_REGION_ID, compareKeys, type Region } from '../../rpc/wire/region.ts';
import { isJoint } from '../raft/index.ts';
import type { WriteBatch } from '../store/port.ts';
import {
  putApplied,
  putHardState,
  putRegionRecord,
  putSession,
  putTruncated,
  type HardState,
  type LogPosition,
  type RegionRecord,
} from '../store/region-records.ts';
import { membershipOf } from './membership.ts';
import type { SessionTable } from './sessions.ts';

export interface SplitCommand {
  readonly splitKey: Uint8Array;
  readonly childRegionId: number;
  /** In the order of the parent's peers. */
  readonly childPeerIds: readonly number[];
}

export interface Halves {
  /** The left half, which keeps its id, its peers and its log. */
  readonly parent: Region;
  readonly child: Region;
}

/**
 * The log of a new region begins behind this entry, the same on every peer, as if all had been told so by a snapshot: a
 * peer without it is then known to lack something.
 */
export const CHILD_START: LogPosition = { index: 5, term: 5 };
export const CHILD_HARD_STATE: HardState = { term: CHILD_START.term, vote: 0, commit: CHILD_START.index };

export function splitCommand(wire: mraft.ISplit): SplitCommand {
  return {
    // The bytes of an entry are given away when it is applied.
    splitKey: Buffer.from(wire.splitKey ?? []),
    childRegionId: wire.childRegionId ?? 0,
    childPeerIds: wire.childPeerIds ?? [],
  };
}

/**
 * Both halves, of one new epoch. Every replica asks this of the same descriptor, so all refuse alike.
 * @throws ChangeRefused when it never can be, RegionChanging when a membership change has to end first
 */
export function splitRegion(region: Region, command: SplitCommand): Halves {
  const { splitKey, childRegionId, childPeerIds } = command;
  checkSplitKey(region, splitKey);
  if (region.regionId <= LAST_SYSTEM_REGION_ID) throw refused(region, 'regions of the system stay whole');
  if (!isId(childRegionId) || childRegionId <= LAST_SYSTEM_REGION_ID || childRegionId === region.regionId) {
    throw refused(region, `${childRegionId} cannot be the id of its new half`);
  }
  const { peers } = region;
  if (childPeerIds.length !== peers.length) {
    throw refused(region, `it has ${peers.length} peers, its new half was given ${childPeerIds.length} ids for them`);
  }
  const known = new Set(peers.map((peer) => peer.peerId));
  if (!childPeerIds.every((id) => isId(id) && !known.has(id)) || new Set(childPeerIds).size < childPeerIds.length) {
    throw refused(region, 'the peers of its new half need ids that nobody has');
  }
  if (isJoint(membershipOf(region))) {
    throw new RegionChanging(`region ${region.regionId} is in the middle of a membership change`, {
      regionId: region.regionId,
    });
  }
  const epoch = { version: region.epoch.version + 1, confVersion: region.epoch.confVersion };
  return {
    parent: { ...region, endKey: splitKey, epoch },
    child: {
      regionId: childRegionId,
      startKey: splitKey,
      endKey: region.endKey,
      epoch,
      peers: peers.map((peer, i) => ({ ...peer, peerId: childPeerIds[i]! })),
    },
  };
}

function checkSplitKey(region: Region, splitKey: Uint8Array): void {
  if (splitKey.length === 0) throw refused(region, 'a split key has at least one byte');
  if (splitKey.length > LIMITS.keyBytes) throw refused(region, `a split key has at most ${LIMITS.keyBytes} bytes`);
  const { startKey, endKey } = region;
  const insideStart = compareKeys(splitKey, startKey) > 0;
  const insideEnd = endKey.length === 0 || compareKeys(splitKey, endKey) < 0;
  if (!insideStart || !insideEnd) throw refused(region, 'the split key lies outside of it or on its boundary');
}

function isId(id: number): boolean {
  return Number.isSafeInteger(id) && id > 0;
}

function refused(region: Region, why: string): ChangeRefused {
  return new ChangeRefused(`region ${region.regionId} cannot be split so: ${why}`, { regionId: region.regionId });
}

/** The records with which the new half begins: it knows every call that the whole had decided. */
export function putChild(batch: WriteBatch, record: RegionRecord, sessions: SessionTable): void {
  const { regionId } = record.region;
  putRegionRecord(batch, record);
  putHardState(batch, regionId, CHILD_HARD_STATE);
  putTruncated(batch, regionId, CHILD_START);
  putApplied(batch, regionId, CHILD_START);
  for (const session of sessions.copy(CHILD_START.index)) putSession(batch, regionId, session.name, session.record);
}
