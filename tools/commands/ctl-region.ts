/** `mraft ctl region`: where regions are, and changes of them by hand. */

import { Command, Option } from 'commander';

import { InvalidArgument } from '../../rpc/wire/errors.ts';
import type { Admin, RegionRoute } from '../admin.ts';
import { ctlAction, showKey, type Arguments, type Row } from './ctl-action.ts';
import { wholeNumbers, wholeNumber } from './flags.ts';
import { change, showOutcome, type ChangeFlags } from './operator-progress.ts';

export function regionCommand(): Command {
  return new Command('region')
    .description('regions: ranges, peers, leaders; and changes of them')
    .addCommand(
      ctlAction<RegionFlags>(new Command('list'), async (admin, _args, { system = false }) =>
        (await admin.regions({ system })).map(regionView),
      )
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

async function findRegion(admin: Admin, id: number): Promise<Row> {
  const found = (await admin.regions({ system: true })).find((region) => region.regionId === id);
  if (!found) throw new InvalidArgument(`region: there is no region ${id}`, { field: 'region' });
  const known = await admin.placement('region.show', { regionId: id }).catch(() => undefined);
  return { ...regionView(found), ...placementView(known) };
}

function placementView(known: unknown): Row {
  if (known === undefined) return {};
  const { sizeBytes, readsPerSecond, writesPerSecond, pendingPeers, downPeers, phase, term } = known as Row;
  return { term, phase, sizeBytes, readsPerSecond, writesPerSecond, pendingPeers, downPeers };
}

function regionView(region: RegionRoute): Row {
  return {
    regionId: region.regionId,
    start: showKey(region.startKey),
    end: showKey(region.endKey),
    version: region.epoch.version,
    confVersion: region.epoch.confVersion,
    leader: region.leaderNodeId === 0 ? null : region.leaderNodeId,
    peers: region.peers.map(({ peerId, nodeId, role }) => ({ peerId, nodeId, role })),
  };
}
