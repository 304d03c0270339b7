/** `mraft ctl node`: the nodes of a cluster, and how one leaves it. */

import { Command } from 'commander';

import { DeadlineExceeded, InvalidArgument } from '../../rpc/wire/errors.ts';
import type { Admin } from '../admin.ts';
import { ctlAction, type Row } from './ctl-action.ts';
import { wholeNumber } from './flags.ts';
import { unlessLeaderless, type ChangeFlags } from './operator-progress.ts';
import { showBytes, showDuration, showRate } from './units.ts';

const POLL_MS = 500;

interface DrainFlags extends ChangeFlags {
  readonly leave?: boolean;
}

export function nodeCommand(): Command {
  return new Command('node')
    .description('nodes: state, workers, regions, leaders; and how one leaves')
    .addCommand(
      ctlAction(new Command('list'), nodes, { row: nodeRow }).description('all nodes, also those that do not answer'),
    )
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

/**
 * What the nodes say of themselves, with what placement says of them; either may know of more. `answers`: whether the node
 * said anything itself.
 */
async function nodes(admin: Admin): Promise<Row[]> {
  const placed = (await admin.placement('node.list').catch(() => [])) as Row[];
  const alive = placed.filter(({ state }) => state !== 'removed' && state !== 'dead').length;
  const said = await admin.nodes({ expected: alive === 0 ? Infinity : alive }).catch((error: unknown) => {
    if (placed.length === 0) throw error;
    return [];
  });
  const byId = new Map<unknown, Row>();
  for (const row of placed) byId.set(row['nodeId'], { ...row, answers: false });
  for (const row of said) byId.set(row.nodeId, { ...byId.get(row.nodeId), ...row, answers: true });
  return [...byId.values()].sort((a, b) => (a['nodeId'] as number) - (b['nodeId'] as number));
}

/** For people: what fits a line. */
function nodeRow(node: Row): Row {
  return {
    node: node['nodeId'],
    state: node['state'] ?? 'unknown',
    version: node['version'],
    up: showDuration(node['uptimeMs']),
    workers: node['workers'],
    replicas: node['regions'] ?? node['replicas'],
    leaders: node['leaders'],
    size: showBytes(node['sizeBytes']),
    'calls/s': showRate(node['load']),
    labels: Object.entries(node['labels'] ?? {}).map(([name, value]) => `${name}=${String(value)}`),
    notes: notesOn(node).join(', '),
  };
}

/** What somebody should look at. */
function notesOn(node: Row): string[] {
  if (node['state'] === 'removed') return [];
  const notes: string[] = [];
  const { error } = node as { error?: { code: string; message: string } };
  if (node['answers'] === false) notes.push('does not answer');
  if (error) notes.push(`${error.code}: ${error.message}`);
  for (const [field, what] of NOTED) {
    const count = node[field];
    if (typeof count === 'number' && count > 0) notes.push(`${count} ${what}`);
  }
  if (node['placementLeads'] === 1) notes.push('leads placement');
  return notes;
}

const NOTED: readonly (readonly [field: string, what: string])[] = [
  ['workerRestarts', 'worker restarts'],
  ['leaderlessRegions', 'regions without leader'],
  ['anomalies', 'anomalies'],
  ['differences', 'differences between replicas'],
];

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
    node = ((await unlessLeaderless(admin.placement('node.show', { nodeId }))) as Row | undefined) ?? node;
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
