/** Noise on every subject that a node listens to: bytes without a meaning, JSON that is wrong, frames that come again or late. */

import { subjects } from '../../../rpc/wire/subjects.ts';
import type { RawClient } from '../raw-client.ts';

const WORKERS = 2;
const NOWHERE = '_INBOX.nobody';
const LARGEST_NOISE = 32 * 1024;
/** Frames of peers that were overheard, to be sent once more. */
const OVERHEARD = 64;

const JSON_QUESTIONS: readonly unknown[] = [
  null,
  [],
  {},
  'x',
  -1,
  { key: 5 },
  { key: '' },
  { key: 'a', value: null },
  { ops: [{ put: {} }] },
  { nodeId: 'one' },
  { nodeId: 4_711 },
  { nodeId: 1, incarnation: 'not that of node 1', workers: 1, labels: {} },
  { nodeId: 1, incarnation: 'not that of node 1', regions: [] },
  { nodeId: 1, incarnation: 'x', regions: [{}] },
  { kind: 'explode', regionId: 2 },
  { kind: 'split', regionId: 4_711_000, splitKey: 'YQ==' },
  { regionId: 'x' },
  { name: 'nothing' },
  { patch: { replicas: 'many' } },
  { operatorId: 999_999_999 },
  order({ kind: 'merge' }),
  order({ kind: 'removePeer', peer: { nodeId: 1, peerId: 0 } }),
  order({ kind: 'merge', targetRegionId: 2 }),
  order({ kind: 'transferLeader', to: { nodeId: 77, peerId: 77 } }),
];

/** An order that was decided by an epoch that is long past. */
function order(step: object): object {
  return { operatorId: 1, regionId: 2, toNodeId: 1, epoch: { version: 0, confVersion: 0 }, step };
}

const PLACEMENT_VERBS = ['join', 'heartbeat', 'reports', 'operator.add', 'operator.cancel', 'node.show', 'region.show'];
const KV_VERBS = ['get', 'put', 'delete', 'cas', 'batch', 'scan', 'nothing'];
const ADMIN_VERBS = ['routes', 'status', 'region', 'nothing'];

/** Publishes for so long. */
export async function publishGarbage(
  raw: RawClient,
  options: { cluster: string; nodes: readonly number[]; random: () => number; durationMs: number },
): Promise<void> {
  const { cluster, nodes, random, durationMs } = options;
  const targets = targetsOf(cluster, nodes);
  const overheard: { subject: string; frame: Uint8Array }[] = [];
  const ear = raw.link.subscribe(`mraft.${cluster}.p.*.*.raft.*`, (frame, subject) => {
    if (random() < 0.05) overheard[Math.floor(random() * OVERHEARD)] = { subject, frame: Uint8Array.from(frame) };
  });
  const block = Uint8Array.from({ length: 2 * LARGEST_NOISE }, () => random() * 256);
  const untilMs = performance.now() + durationMs;
  while (performance.now() < untilMs) {
    for (const subject of targets) {
      const sizeBytes = Math.floor(random() ** 4 * LARGEST_NOISE);
      const from = Math.floor(random() * (block.length - sizeBytes));
      const isJson = random() < 0.5;
      const question = JSON_QUESTIONS[Math.floor(random() * JSON_QUESTIONS.length)];
      const data = isJson ? Buffer.from(JSON.stringify(question)) : block.subarray(from, from + sizeBytes);
      raw.link.publish(subject, data, random() < 0.5 ? NOWHERE : undefined);
    }
    for (const { subject, frame } of overheard.filter(Boolean)) {
      // Whole, as a network may deliver it twice and late, or cut off.
      raw.link.publish(subject, random() < 0.5 ? frame : frame.subarray(0, Math.floor(random() * frame.length)));
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  ear.close();
}

function targetsOf(cluster: string, nodes: readonly number[]): string[] {
  const workers = Array.from({ length: WORKERS }, (_, worker) => worker);
  const ofNodes = nodes.flatMap((id) => [
    ...workers.flatMap((worker) => [
      subjects.peer(cluster, id, worker, 'raft', (id % 3) + 1),
      subjects.peer(cluster, id, worker, 'snap', (id % 3) + 1),
      subjects.peer(cluster, id, worker, 'raft', 9_999),
      subjects.client(cluster, id, worker),
    ]),
    subjects.node(cluster, id, 'order'),
    subjects.gossip(cluster, id, (id % 3) + 1),
    subjects.gossip(cluster, id, 9_999),
  ]);
  return [
    ...ofNodes,
    ...KV_VERBS.map((verb) => subjects.kv(cluster, verb)),
    ...ADMIN_VERBS.map((verb) => subjects.admin(cluster, verb)),
    ...PLACEMENT_VERBS.map((verb) => subjects.placement(cluster, verb)),
  ];
}
