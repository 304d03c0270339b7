/** Changes of regions that somebody asks placement for, at a bad moment. */

import { asMraftError } from '../../../rpc/wire/errors.ts';
import type { PlacedRegion, PlacementView } from '../placement-view.ts';
import type { Fleet } from './fleet.ts';

/** What is an answer to a change that cannot be now; anything else is a finding. */
const EXPECTED: ReadonlySet<string> = new Set([
  'ChangeRefused',
  'RegionChanging',
  'RegionMerging',
  'RegionNotFound',
  'NodeNotFound',
  'PlacementUnavailable',
  'Unavailable',
  'DeadlineExceeded',
]);

/** Asks for one change at random, if anybody says which regions there are. */
export async function changeByHand(view: PlacementView, fleet: Fleet, random: () => number): Promise<void> {
  const regions = await view.regions().catch(() => undefined);
  const users = regions?.filter(({ regionId }) => regionId > 1);
  if (!users || users.length === 0) return;
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T;
  const request = requestOf(pick(users), users, fleet.staying, pick, random());
  if (!request) return;
  try {
    await view.admin.placement('operator.add', request);
  } catch (thrown) {
    const { code, message } = asMraftError(thrown);
    if (!EXPECTED.has(code)) fleet.violation(`${JSON.stringify(request)} was answered ${code}: ${message}`);
  }
}

function requestOf(
  region: PlacedRegion,
  all: readonly PlacedRegion[],
  nodes: readonly number[],
  pick: <T>(items: readonly T[]) => T,
  choice: number,
): object | undefined {
  const { regionId, peers } = region;
  if (choice < 0.3) return { kind: 'split', regionId };
  if (choice < 0.6) {
    const neighbour = all.find(({ startKey }) => startKey !== '' && startKey === region.endKey);
    if (!neighbour) return undefined;
    const [source, target] = pick([
      [regionId, neighbour.regionId],
      [neighbour.regionId, regionId],
    ] as const);
    return { kind: 'merge', regionId: source, targetRegionId: target };
  }
  if (choice < 0.8) return { kind: 'transferLeader', regionId, nodeId: pick(peers)?.nodeId };
  const free = nodes.filter((nodeId) => !peers.some((peer) => peer.nodeId === nodeId));
  if (free.length === 0) return undefined;
  return { kind: 'moveReplica', regionId, fromNodeId: pick(peers)?.nodeId, toNodeId: pick(free) };
}
