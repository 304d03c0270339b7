/** `mraft ctl node`: the nodes of a cluster, and how one leaves it. */

import { Command } from 'commander';

import { DeadlineExceeded, InvalidArgument } from '../../rpc/wire/errors.ts';
import type { Admin } from '../admin.ts';
import { ctlAction, type Row } from './ctl-action.ts';
import { wholeNumber } from './flags.ts';
import type { ChangeFlags } from './operator-progress.ts';

/** Of all that is known of a node, what fits a line; --json says all. */
const COLUMNS = [
  'nodeId',
  'state',
  'version',
  'uptimeMs',
  'workers',
  'workerRestarts',
  'regions',
  'leaders',
  'anomalies',
];
const POLL_MS = 500;

interface DrainFlags extends ChangeFlags {
  readonly leave?: boolean;
}

export function nodeCommand(): Command {
  return new Command('node')
    .description('nodes: state, workers, regions, leaders; and how one leaves')
    .addCommand(ctlAction(new Command('list'), nodes, { columns: COLUMNS }).description('all nodes'))
    .addCommand(
      ctlAction(new Command('show'), (admin, [id]) => findNode(admin, id as number))
        .description('one node')
        .argument('<node>', 'its id', wholeNumber),
    )
    .addCommand(
      ctlAction<DrainFlags>(new Command('drain'), (admin, [id], flags) => drain(admin, id as number, flags), {
        text: showDrained,
      })
        .description('moves everything away from a node: its leaders first, then its replicas')
        .argument('<node>', 'its id', wholeNumber)
        .option('--leave', 'remove it from the cluster when it is empty')
        .option('--no-wait', 'only ask for it'),
    )
    .addCommand(
      ctlAction(new Command('undrain'), (admin, [nodeId]) => admin.placement('node.undrain', { nodeId }))
        .description('ends the draining: the node takes replicas again')
        .argument('<node>', 'its id', wholeNumber),
    )
    .addCommand(
      ctlAction(new Command('remove'), (admin, [nodeId]) => admin.placement('node.remove', { nodeId }), {
        text: () => 'removed: its id is never used again',
      })
        .description('takes an empty or dead node out of the cluster for good')
        .argument('<node>', 'its id', wholeNumber),
    );
}

/** What the nodes say of themselves, with what placement says of them; either may know of more. */
async function nodes(admin: Admin): Promise<Row[]> {
  const [said, placed] = await Promise.allSettled([admin.nodes(), admin.placement('node.list')]);
  if (said.status === 'rejected' && placed.status === 'rejected') throw said.reason;
  const byId = new Map<number, Row>();
  const add = (row: Row): void => {
    const nodeId = row['nodeId'] as number;
    byId.set(nodeId, { ...byId.get(nodeId), ...row });
  };
  if (placed.status === 'fulfilled') for (const row of placed.value as Row[]) add({ ...row, regions: row['replicas'] });
  if (said.status === 'fulfilled') for (const row of said.value) add({ ...row });
  return [...byId.values()].sort((a, b) => (a['nodeId'] as number) - (b['nodeId'] as number));
}

async function findNode(admin: Admin, id: number): Promise<Row> {
  const found = (await nodes(admin)).find((node) => node['nodeId'] === id);
  if (!found) throw new InvalidArgument(`node: no node ${id} is known`, { field: 'node' });
  return found;
}

async function drain(admin: Admin, nodeId: number, flags: DrainFlags): Promise<unknown> {
  let node = (await admin.placement('node.drain', { nodeId, leave: flags.leave === true })) as Row;
  if (flags.wait === false) return node;
  const deadlineMs = performance.now() + flags.waitMs;
  for (let told = ''; !isDrained(node);) {
    const left = leftOn(node);
    if (left !== told && flags.json !== true) process.stderr.write(`node ${nodeId}: ${left} left\n`);
    told = left;
    if (performance.now() > deadlineMs) {
      throw new DeadlineExceeded(`node ${nodeId} is being drained still (${left} left): give it a longer --timeout-ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    node = (await admin.placement('node.show', { nodeId })) as Row;
  }
  return node;
}

function isDrained(node: Row): boolean {
  return node['state'] === 'removed' || (node['leaders'] === 0 && node['replicas'] === 0 && node['leaving'] !== true);
}

function leftOn(node: Row): string {
  return `${String(node['leaders'])} leaders, ${String(node['replicas'])} replicas`;
}

function showDrained(answer: unknown): string {
  const node = answer as Row;
  if (!isDrained(node)) return `node ${String(node['nodeId'])} is being drained: ${leftOn(node)} left`;
  const end = node['state'] === 'removed' ? 'has left the cluster' : 'is empty: it can be removed';
  return `node ${String(node['nodeId'])} ${end}`;
}
