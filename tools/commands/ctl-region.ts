/** `mraft ctl region`: where regions are, and changes of them by hand. */

import { Command, Option } from 'commander';

import { InvalidArgument } from '../../rpc/wire/errors.ts';
import { LAST_SYSTEM_REGION_ID, showKey, type Region } from '../../rpc/wire/region.ts';
import type { Admin, PlacedRegion, RegionRoute } from '../admin.ts';
import { ctlAction, type Arguments, type Row } from './ctl-action.ts';
import { wholeNumbers, wholeNumber } from './flags.ts';
import { change, showOutcome, type ChangeFlags } from './operator-progress.ts';
import { showBytes, showRate } from './units.ts';

export function regionCommand(): Command {
  return new Command('region')
    .description('regions: ranges, peers, leaders; and changes of them')
    .addCommand(
      ctlAction<RegionFlags>(new Command('list'), (admin, _args, { system = false }) => regions(admin, system), {
        row: regionRow,
      })
        .description("all regions of users' keys")
        .option('--system', 'those of the system too'),
    )
    .addCommand(
      ctlAction(new Command('show'), (admin, [id]) => findRegion(admin, id as number))
        .description('one region, with what placement knows of it')
        .argument('<region>', 'its id', wholeNumber),
    )
    .addCommand(
      changeCommand('add-replica', 'a further replica on a node', ([regionId, nodeId], { observer }) => ({
        kind: 'addReplica',
        regionId,
        nodeId,
        ...(observer ? { observer } : {}),
      }))
        .argument('<region>', 'its id', wholeNumber)
        .argument('<node>', 'where to', wholeNumber)
        .option('--observer', 'one that never votes, for stale reads and reads at the leader’s index'),
    )
    .addCommand(
      changeCommand('remove-replica', 'takes the replica on a node away', ([regionId, nodeId]) => ({
        kind: 'removeReplica',
        regionId,
        nodeId,
      }))
        .argument('<region>', 'its id', wholeNumber)
        .argument('<node>', 'where from', wholeNumber),
    )
    .addCommand(
      changeCommand('move-replica', 'puts the replica of one node on another', ([regionId, fromNodeId, toNodeId]) => ({
        kind: 'moveReplica',
        regionId,
        fromNodeId,
        toNodeId,
      }))
        .argument('<region>', 'its id', wholeNumber)
        .argument('<from>', 'a node', wholeNumber)
        .argument('<to>', 'another node', wholeNumber),
    )
    .addCommand(
      changeCommand('transfer-leader', 'lets the replica on a node lead', ([regionId, nodeId]) => ({
        kind: 'transferLeader',
        regionId,
        nodeId,
      }))
        .argument('<region>', 'its id', wholeNumber)
        .argument('<node>', 'who is to lead', wholeNumber),
    )
    .addCommand(
      changeCommand('split', 'makes two of a region, in its middle or at a key', ([regionId], flags) => ({
        kind: 'split',
        regionId,
        ...splitKeyOf(flags),
      }))
        .argument('<region>', 'its id', wholeNumber)
        .option('--key <key>', 'first key of the new half (default: the middle)')
        .addOption(new Option('--key64 <key>', 'the same in base64').conflicts('key')),
    )
    .addCommand(
      ctlAction<RegionFlags>(
        new Command('unsafe-recover'),
        async (admin, [regionId, nodeId], { lost = [] }) => {
          await admin.node(nodeId as number, 'unsafeRecover', { regionId, lostNodes: lost });
          return { regionId, nodeId, lostNodes: lost };
        },
        {
          text: () =>
            'recovered: writes that only the lost nodes had are gone; these must not come back with their data',
        },
      )
        .description('last resort: one replica goes on alone where the quorum is lost for good; loses writes')
        .argument('<region>', 'its id', wholeNumber)
        .argument('<node>', 'whose replica goes on', wholeNumber)
        .requiredOption('--lost <nodes>', 'the nodes that are lost for good, as 2,3', wholeNumbers),
    )
    .addCommand(
      changeCommand('merge', 'makes one of two neighbours', ([regionId, targetRegionId]) => ({
        kind: 'merge',
        regionId,
        targetRegionId,
      }))
        .argument('<region>', 'the one that ends', wholeNumber)
        .argument('<into>', 'its neighbour, which takes its keys over', wholeNumber),
    );
}

interface RegionFlags extends ChangeFlags {
  readonly lost?: readonly number[];
  readonly observer?: boolean;
  readonly system?: boolean;
  readonly key?: string;
  readonly key64?: string;
}

function changeCommand(name: string, what: string, request: (args: Arguments, flags: RegionFlags) => object): Command {
  const command = new Command(name).description(what).option('--no-wait', 'only ask for it');
  return ctlAction<RegionFlags>(command, (admin, args, flags) => change(admin, request(args, flags), flags), {
    text: showOutcome,
  });
}

function splitKeyOf({ key, key64 }: RegionFlags): { splitKey?: string } {
  if (key !== undefined) return { splitKey: Buffer.from(key).toString('base64') };
  return key64 === undefined ? {} : { splitKey: key64 };
}

/**
 * Where regions are, as a node knows it, with what placement knows of them: it also remembers regions of which no node
 * that answers has a replica.
 */
async function regions(admin: Admin, system: boolean): Promise<Row[]> {
  const placed = await admin.placedRegions().catch((): PlacedRegion[] => []);
  if (system) placed.push(...(await placedSystemRegions(admin)));
  const byId = new Map(placed.map((region) => [region.regionId, region]));
  const routes = await admin.regions({ system });
  const rows = routes.map((route) => regionView(route, byId.get(route.regionId)));
  const missing = placed.filter((region) => !routes.some((route) => overlaps(route, region)));
  return [...rows, ...missing.map((region) => regionView(region, region))];
}

async function placedSystemRegions(admin: Admin): Promise<PlacedRegion[]> {
  const asked = Array.from({ length: LAST_SYSTEM_REGION_ID }, (_, at) => admin.placedRegion(at + 1));
  return (await Promise.allSettled(asked)).flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
}

function overlaps(route: RegionRoute, region: PlacedRegion): boolean {
  if (route.regionId <= LAST_SYSTEM_REGION_ID || region.regionId <= LAST_SYSTEM_REGION_ID) {
    return route.regionId === region.regionId;
  }
  const isBefore = (a: Region, b: Region): boolean => a.endKey.length > 0 && Buffer.compare(a.endKey, b.startKey) <= 0;
  return !isBefore(route, region) && !isBefore(region, route);
}

async function findRegion(admin: Admin, id: number): Promise<Row> {
  const placed = await admin.placedRegion(id).catch(() => undefined);
  const route = (await admin.regions({ system: true })).find((region) => region.regionId === id) ?? placed;
  if (!route) throw new InvalidArgument(`region: there is no region ${id}`, { field: 'region' });
  return regionView(route, placed);
}

function regionView(route: RegionRoute, placed: PlacedRegion | undefined): Row {
  return {
    regionId: route.regionId,
    start: showKey(route.startKey),
    end: showKey(route.endKey),
    version: route.epoch.version,
    confVersion: route.epoch.confVersion,
    leader: route.leaderNodeId === 0 ? null : route.leaderNodeId,
    peers: route.peers.map(({ peerId, nodeId, role }) => ({ peerId, nodeId, role })),
    ...(placed && reported(placed)),
  };
}

function reported({
  term,
  phase,
  sizeBytes,
  readsPerSecond,
  writesPerSecond,
  pendingPeers,
  downPeers,
}: PlacedRegion): Row {
  return { term, phase, sizeBytes, readsPerSecond, writesPerSecond, pendingPeers, downPeers };
}

/** For people: what fits a line. */
function regionRow(region: Row): Row {
  const { regionId, start, end, leader, version, confVersion, phase, sizeBytes, readsPerSecond, writesPerSecond } =
    region;
  return {
    region: regionId,
    start: start === '' ? '(first)' : start,
    end: end === '' ? '(last)' : end,
    leader: leader ?? 'none',
    replicas: replicasOf(region),
    phase,
    size: showBytes(sizeBytes),
    'reads/s': showRate(readsPerSecond),
    'writes/s': showRate(writesPerSecond),
    epoch: `${String(version)}.${String(confVersion)}`,
  };
}

/** The nodes, with what is not as usual there. */
function replicasOf({ peers, pendingPeers = [], downPeers = [] }: Row): string[] {
  const inOrder = (peers as Region['peers']).toSorted((a, b) => a.nodeId - b.nodeId);
  return inOrder.map(({ peerId, nodeId, role }) => {
    const unusual = [
      ...(role === 'voter' ? [] : [role]),
      ...((downPeers as number[]).includes(peerId) ? ['down'] : []),
      ...((pendingPeers as number[]).includes(peerId) ? ['behind'] : []),
    ];
    return unusual.length === 0 ? String(nodeId) : `${nodeId}(${unusual.join(',')})`;
  });
}
