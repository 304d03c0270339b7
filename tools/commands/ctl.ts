/** `mraft ctl`: what a cluster says about its regions and its nodes. */

import { Command } from 'commander';

import { InvalidArgument } from '../../rpc/wire/errors.ts';
import { Admin, type NodeStatus, type RegionRoute } from '../admin.ts';
import { wholeNumber, withClusterFlags, type ClusterFlags } from './flags.ts';
import { formatTable } from './table.ts';

interface CtlFlags extends ClusterFlags {
  readonly json?: boolean;
}

export function ctlCommand(): Command {
  return new Command('ctl')
    .description('look at a cluster')
    .addCommand(
      new Command('region')
        .description('regions: ranges, peers, leaders')
        .addCommand(listCommand('all regions', async (admin) => (await admin.regions()).map(regionView)))
        .addCommand(showCommand('one region', async (admin, id) => regionView(await findRegion(admin, id)))),
    )
    .addCommand(
      new Command('node')
        .description('nodes: workers, regions, leaders')
        .addCommand(listCommand('all nodes that answer', (admin) => admin.nodes(), NODE_COLUMNS))
        .addCommand(showCommand('one node', findNode)),
    );
}

/** Of all that a node says, what fits a line; --json says all. */
const NODE_COLUMNS = ['nodeId', 'version', 'uptimeMs', 'workers', 'workerRestarts', 'regions', 'leaders', 'anomalies'];

function listCommand(what: string, ask: (admin: Admin) => Promise<object[]>, columns?: readonly string[]): Command {
  return withCtlFlags(new Command('list'))
    .description(what)
    .action(async (flags: CtlFlags) => {
      const rows = await withAdmin(flags, ask);
      if (flags.json) console.log(JSON.stringify(rows));
      else process.stdout.write(formatTable((rows as Record<string, unknown>[]).map((row) => only(row, columns))));
    });
}

function only(row: Record<string, unknown>, columns: readonly string[] | undefined): Record<string, unknown> {
  return columns ? Object.fromEntries(columns.map((column) => [column, row[column]])) : row;
}

function showCommand(what: string, ask: (admin: Admin, id: number) => Promise<object>): Command {
  return withCtlFlags(new Command('show'))
    .description(what)
    .argument('<id>', 'its id', wholeNumber)
    .action(async (id: number, flags: CtlFlags) => {
      const found = await withAdmin(flags, (admin) => ask(admin, id));
      console.log(JSON.stringify(found, null, flags.json ? 0 : 2));
    });
}

function withCtlFlags(command: Command): Command {
  return withClusterFlags(command).option('--json', 'answer in JSON');
}

async function withAdmin<T>(flags: CtlFlags, ask: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = await Admin.connect(flags);
  try {
    return await ask(admin);
  } finally {
    await admin.close();
  }
}

async function findRegion(admin: Admin, id: number): Promise<RegionRoute> {
  const found = (await admin.regions()).find((region) => region.regionId === id);
  if (!found) throw new InvalidArgument(`id: there is no region ${id}`, { field: 'id' });
  return found;
}

async function findNode(admin: Admin, id: number): Promise<NodeStatus> {
  const found = (await admin.nodes()).find((node) => node.nodeId === id);
  if (!found) throw new InvalidArgument(`id: no node ${id} answers`, { field: 'id' });
  return found;
}

function regionView(region: RegionRoute): Record<string, unknown> {
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

/** Printable ASCII as it is, other bytes as \xNN; unambiguous, because a backslash is one of the others. */
function showKey(key: Uint8Array): string {
  return Array.from(key, (byte) =>
    byte >= 0x20 && byte < 0x7f && byte !== 0x5c
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, '0')}`,
  ).join('');
}
