/**
 * Carries out what placement orders of the regions that are led here. An order is checked against the region as it is
 * now: one that comes late, or twice, does nothing.
 */

import { InvalidArgument, NotLeader, RegionNotFound } from '../../rpc/wire/errors.ts';
import { toWireRegion, type Epoch } from '../../rpc/wire/region.ts';
import type { Order, Step } from '../placement/index.ts';
import type { RegionChange } from '../region/admin.ts';
import type { PeerChange } from '../region/membership.ts';

/** What an order works on: the node's workers. */
export interface OrderTarget {
  changeRegion(regionId: number, epoch: Epoch, change: RegionChange): Promise<void>;
  transferLeader(regionId: number, nodeId: number): Promise<boolean>;
  unsafeRecover(regionId: number, lostNodes: readonly number[]): Promise<void>;
  /** The key in the middle of a region's data. @throws ChangeRefused when there are too few */
  middleKey(regionId: number): Promise<Uint8Array>;
}

/**
 * Ends when the step is done.
 * @throws EpochNotMatch, NotLeader, RegionNotFound, RegionChanging, ChangeRefused, InvalidArgument
 */
export async function carryOut(order: Order, nodeId: number, target: OrderTarget): Promise<void> {
  const { regionId, toNodeId, epoch, step } = order;
  if (toNodeId !== nodeId) throw new InvalidArgument(`this is node ${nodeId}, the order is for ${toNodeId}`);
  if (step.kind === 'transferLeader') {
    const started = await target.transferLeader(regionId, step.to.nodeId);
    if (!started) throw new NotLeader(`node ${nodeId} cannot hand region ${regionId} over`, { regionId });
    return;
  }
  const splitKey = step.kind === 'split' ? (step.splitKey ?? (await target.middleKey(regionId))) : undefined;
  await target.changeRegion(regionId, epoch, changeOf(order, step, splitKey));
}

function changeOf(
  order: Order,
  step: Exclude<Step, { kind: 'transferLeader' }>,
  splitKey: Uint8Array | undefined,
): RegionChange {
  switch (step.kind) {
    case 'addLearner':
      return membership([{ action: 'addLearner', ...step.peer }]);
    case 'promote': {
      const promoted: PeerChange = { action: 'addVoter', ...step.peer };
      return membership(step.demote ? [promoted, { action: 'addLearner', ...step.demote }] : [promoted]);
    }
    case 'removePeer':
      return membership([{ action: 'remove', ...step.peer }]);
    case 'split': {
      const { childRegionId, childPeerIds } = step;
      if (splitKey === undefined)
        throw new InvalidArgument('the order names no key to split at', { field: 'splitKey' });
      return { kind: 'admin', command: { split: { splitKey, childRegionId, childPeerIds: [...childPeerIds] } } };
    }
    case 'merge': {
      if (!order.target) throw new RegionNotFound(`region ${step.targetRegionId} is not described in the order`);
      return { kind: 'admin', command: { prepareMerge: { target: toWireRegion(order.target) } } };
    }
  }
}

/** Several at once go through a joint configuration. */
function membership(changes: readonly PeerChange[]): RegionChange {
  return { kind: 'membership', joint: changes.length > 1, changes };
}
