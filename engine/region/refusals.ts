/** Why a replica does not do what it is asked, in the words that callers hear. */

import {
  EpochNotMatch,
  NotLeader,
  RegionChanging,
  RegionMerging,
  ServerBusy,
  type MraftError,
} from '../../rpc/wire/errors.ts';
import { sameEpoch, type Epoch } from '../../rpc/wire/region.ts';
import type { ProposeResult } from '../raft/index.ts';
import type { RegionState } from './region-state.ts';

type ProposeRefusal = Exclude<ProposeResult, { ok: true }>['reason'];

/** @throws EpochNotMatch with the current regions */
export function checkEpoch(state: RegionState, epoch: Epoch): void {
  const { regionId, epoch: own } = state.region;
  if (sameEpoch(epoch, own)) return;
  throw new EpochNotMatch(
    `region ${regionId} is at epoch ${own.version}.${own.confVersion}, the request at ${epoch.version}.${epoch.confVersion}`,
    { regionId, regions: state.current },
  );
}

/**
 * Behind its PrepareMerge a region takes nothing: what is read or written there may be with its target already.
 * @throws RegionMerging
 */
export function checkPhase({ phase, region: { regionId } }: RegionState): void {
  if (phase === 'normal') return;
  throw new RegionMerging(`region ${regionId} is being merged into its neighbour`, { regionId });
}

/** `leaderNodeId` 0: not known. */
export function notLeader(regionId: number, nodeId: number, leaderNodeId: number): NotLeader {
  const known = leaderNodeId !== 0 && leaderNodeId !== nodeId;
  return new NotLeader(`region ${regionId} is not led by node ${nodeId}`, {
    regionId,
    ...(known ? { leaderNodeId } : {}),
  });
}

/** Why the core took no entry; who does not lead says so himself. */
export function proposeRefusal(regionId: number, reason: Exclude<ProposeRefusal, 'notLeader'>): MraftError {
  if (reason === 'busy') return new ServerBusy(`region ${regionId} has too much that is not committed`, { regionId });
  return new RegionChanging(`region ${regionId} is changing already (${reason}); try again`, { regionId });
}
