/** What must be true of a cluster to which nothing is done any more. */

import type { NodeStatus } from '../../../tools/admin.ts';
import type { PlacedRegion, PlacementView } from '../placement-view.ts';

const POLL_MS = 500;
const LOG_LINES_SHOWN = 30;
/** It is at rest when it was so often in a row. */
const QUIET_POLLS = 6;
/** For so long it was at rest when `untilAtRest` says so. */
export const SEEN_AT_REST_MS = QUIET_POLLS * POLL_MS;

interface ReplicaView {
  readonly nodeId?: number;
  readonly phase: string;
  readonly pendingProposals: number;
  readonly raft: { readonly applied: number; readonly commit: number; readonly role: string };
}

/** Waits until the cluster is at rest on these nodes; what it still lacks when it is not in time. */
export async function untilAtRest(
  view: PlacementView,
  nodes: readonly number[],
  timeoutMs: number,
): Promise<{ readonly tookMs: number; readonly problem: string | undefined }> {
  const startedMs = performance.now();
  let quiet = 0;
  let problem: string | undefined;
  while (quiet < QUIET_POLLS) {
    problem = await unrest(view, nodes).catch((error: Error) => `placement: ${error.message}`);
    quiet = problem === undefined ? quiet + 1 : 0;
    if (performance.now() - startedMs > timeoutMs) break;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return { tookMs: Math.round(performance.now() - startedMs), problem };
}

async function unrest(view: PlacementView, nodes: readonly number[]): Promise<string | undefined> {
  const { operators } = await view.operators();
  if (operators.length > 0) return `operators run: ${JSON.stringify(operators.slice(0, 3))}`;
  const placed = await view.nodes();
  const missing = nodes.find((nodeId) => placed.find((node) => node.nodeId === nodeId)?.state !== 'up');
  if (missing !== undefined) return `node ${missing} is not up: ${JSON.stringify(placed)}`;
  const regions = await view.regions();
  return regions.map((region) => misplaced(region, nodes)).find(Boolean) ?? untiled(regions);
}

function misplaced({ regionId, peers, leaderNodeId }: PlacedRegion, nodes: readonly number[]): string | undefined {
  const isRight = peers.length === 3 && peers.every(({ role, nodeId }) => role === 'voter' && nodes.includes(nodeId));
  if (!isRight) return `region ${regionId} has ${JSON.stringify(peers)}`;
  return nodes.includes(leaderNodeId) ? undefined : `region ${regionId} is led by node ${leaderNodeId}`;
}

/** Regions of users must cover every key once, in order. */
export function untiled(regions: readonly PlacedRegion[]): string | undefined {
  const users = regions
    .filter(({ regionId }) => regionId > 1)
    .sort((a, b) => Buffer.compare(Buffer.from(a.startKey, 'base64'), Buffer.from(b.startKey, 'base64')));
  let end: string | undefined = '';
  for (const { regionId, startKey, endKey } of users) {
    if (startKey !== end) return `region ${regionId} begins at ${startKey}, the one before ends at ${end}`;
    end = endKey;
  }
  return users.length > 0 && end === '' ? undefined : `the last region ends at ${end}`;
}

/** Until replicas are as they should be: phase, how far they have applied, who leads; what is wrong when they are not in time. */
export async function untilReplicasEven(view: PlacementView, timeoutMs: number): Promise<string | undefined> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const problem = await unevenReplicas(view).catch((error: Error) => error.message);
    if (problem === undefined || performance.now() > deadlineMs) return problem;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

async function unevenReplicas(view: PlacementView): Promise<string | undefined> {
  for (const { regionId, peers } of await view.regions()) {
    const replicas = (await view.admin.replicas(regionId)) as ReplicaView[];
    const shown = JSON.stringify(replicas.map(({ phase, raft }) => ({ phase, ...raft })));
    if (replicas.length !== peers.length) return `region ${regionId} has ${replicas.length} replicas: ${shown}`;
    if (replicas.some(({ phase }) => phase !== 'normal')) return `region ${regionId} is not normal: ${shown}`;
    if (replicas.filter(({ raft }) => raft.role === 'leader').length !== 1) return `region ${regionId}: ${shown}`;
    const applied = replicas.map(({ raft }) => raft.applied);
    if (Math.min(...applied) !== Math.max(...applied)) return `region ${regionId} is not level: ${shown}`;
  }
  return undefined;
}

/** Every region that no node leads, as all nodes have it. */
export async function describeRegions(view: PlacementView): Promise<string> {
  const lines: string[] = [];
  for (const { regionId } of await view.admin.regions({ system: true })) {
    const replicas = (await view.admin.replicas(regionId)) as ReplicaView[];
    if (replicas.some(({ raft }) => raft.role === 'leader')) continue;
    lines.push(`region ${regionId}: ${JSON.stringify(replicas)}`);
  }
  return lines.join('\n') || 'every region has a leader';
}

/** What placement has to say about what it does. */
export async function describePlacement(view: PlacementView): Promise<string> {
  const [nodes, regions, { operators, log }] = await Promise.all([view.nodes(), view.regions(), view.operators()]);
  const lines = [...nodes, ...regions, ...operators, ...log.slice(-LOG_LINES_SHOWN)];
  return lines.map((line) => JSON.stringify(line)).join('\n');
}

/** Until nodes count nothing that should not be; what they count when they still do at the end. */
export async function untilUntroubled(
  view: PlacementView,
  nodes: readonly number[],
  timeoutMs: number,
): Promise<string[]> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    const statuses = await view.admin.nodes({ expected: nodes.length }).catch(() => []);
    const found = troubled(statuses, nodes);
    if (found.length === 0 || performance.now() > deadlineMs) return found;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function troubled(statuses: readonly NodeStatus[], nodes: readonly number[]): string[] {
  const silent = nodes.filter((nodeId) => !statuses.some((status) => status.nodeId === nodeId));
  const found = silent.map((nodeId) => `node ${nodeId} does not answer`);
  for (const status of statuses) {
    for (const field of ['differences', 'inboxFrames', 'leaderlessRegions']) {
      if (status[field] !== 0) found.push(`node ${status.nodeId}: ${field} is ${String(status[field])}`);
    }
  }
  return found;
}
