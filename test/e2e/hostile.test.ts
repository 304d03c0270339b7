/** Whatever is sent to a cluster: it answers with a code, or drops and counts it, and serves on in bounded memory. */

import { readFileSync } from 'node:fs';

import { connect, type Client } from '../../rpc/client/index.ts';
import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { subjects } from '../../rpc/wire/subjects.ts';
import { Admin, type NodeStatus, type RegionRoute } from '../../tools/admin.ts';
import { startLocalCluster, type LocalCluster } from '../../tools/local-cluster.ts';
import { assert, eventually, note, suite } from '../harness.ts';
import { seededRandom } from '../linearizability/random-history.ts';
import { RawClient } from './raw-client.ts';

const test = suite('hostile input', { timeoutMs: 60_000 });

const CLUSTER = 'hostile';
const WORKERS = 2;

let cluster: LocalCluster;
let raw: RawClient;
let admin: Admin;
let kv: Client;
let region: RegionRoute;

test.before(async () => {
  cluster = await startLocalCluster({ cluster: CLUSTER, workers: WORKERS, regions: 8 });
  raw = await RawClient.connect(cluster.url);
  admin = await Admin.connect({ cluster: CLUSTER, nats: cluster.url });
  kv = await connect({ servers: cluster.url, cluster: CLUSTER });
  region = (await admin.regions())[0] as RegionRoute;
});
test.after(async () => {
  await Promise.all([raw.close(), admin.close(), kv.close()]);
  await cluster.stop();
});
test.after.each(async () => {
  // Everybody lives, and serves.
  assert.ok(
    cluster.nodes.every((node) => node.isRunning),
    'a node died',
  );
  await kv.put('alive', 'yes');
  assert.is((await kv.get('alive'))?.length, 3);
  // After a flood each node has thousands of questions to answer before this one.
  const statuses = await eventually('all nodes answer', async () => {
    const answers = await admin.nodes({ expected: cluster.nodes.length });
    return answers.length === cluster.nodes.length && answers;
  });
  assert.equal(
    (statuses || []).map(({ workerRestarts }) => workerRestarts),
    [0, 0, 0],
    'a worker died',
  );
});

const bigValue = 'v'.repeat(LIMITS.valueBytes);

const json: readonly (readonly [verb: string, request: unknown, code: string, field?: string])[] = [
  ['get', '', 'MalformedRequest'],
  ['get', '{', 'MalformedRequest'],
  ['get', '[]', 'InvalidArgument'],
  ['get', 'null', 'InvalidArgument'],
  ['get', Buffer.from([0xff, 0xfe]).toString('latin1'), 'MalformedRequest'],
  ['get', {}, 'InvalidArgument', 'key'],
  ['get', { key: '' }, 'KeyEmpty'],
  ['get', { key: 5 }, 'InvalidArgument', 'key'],
  ['get', { key: 'k'.repeat(LIMITS.keyBytes + 1) }, 'KeyTooLong'],
  ['get', { key: 'a', kye: 'b' }, 'InvalidArgument', 'kye'],
  ['get', { key: 'a', key64: 'YQ==' }, 'InvalidArgument', 'key'],
  ['get', { key64: '!' }, 'InvalidArgument', 'key64'],
  ['get', { key: 'a', read: 'quick' }, 'InvalidArgument', 'read'],
  ['get', { key: 'a', timeoutMs: 0 }, 'InvalidArgument', 'timeoutMs'],
  ['get', { key: 'a', timeoutMs: -1 }, 'InvalidArgument', 'timeoutMs'],
  ['get', '{"key": "a", "timeoutMs": 1e999}', 'InvalidArgument', 'timeoutMs'],
  ['put', { key: 'a' }, 'InvalidArgument', 'value'],
  ['put', { key: 'a', value: null }, 'InvalidArgument', 'value'],
  ['put', { key: 'a', value: `${bigValue}v` }, 'ValueTooLarge'],
  ['put', { key: 'a', value: 'b', session: 's' }, 'InvalidArgument', 'seq'],
  ['put', { key: 'a', value: 'b', session: 's', seq: -1 }, 'InvalidArgument', 'seq'],
  ['put', { key: 'a', value: 'b', session: 's', seq: 0.5 }, 'InvalidArgument', 'seq'],
  ['put', { key: 'a', value: 'b', session: 's'.repeat(65), seq: 1 }, 'InvalidArgument', 'session'],
  ['cas', { key: 'a', value: 'b' }, 'InvalidArgument', 'expected'],
  ['batch', { ops: {} }, 'InvalidArgument', 'ops'],
  ['batch', { ops: [{ put: { key: 'a' } }] }, 'InvalidArgument'],
  ['batch', { ops: [{ increment: { key: 'a' } }] }, 'InvalidArgument'],
  ['batch', { ops: Array.from({ length: LIMITS.batchOps + 1 }, () => ({ delete: { key: 'a' } })) }, 'BatchTooLarge'],
  ['batch', { ops: [{ delete: { key: '\u0001' } }, { delete: { key: '\u{1f600}' } }] }, 'BatchCrossesRegions'],
  ['scan', { gte: 'b', lt: 'a' }, 'InvalidArgument'],
  ['scan', { gte: 'a', gt: 'a' }, 'InvalidArgument'],
  ['scan', { limit: -1 }, 'InvalidArgument', 'limit'],
  ['scan', { limit: 1e9 }, 'InvalidArgument', 'limit'],
  ['scan', { reverse: 'yes' }, 'InvalidArgument', 'reverse'],
  ['deleteRange', { start: 'b', end: 'a' }, 'InvalidArgument'],
  ['deleteRange', { start: 'a' }, 'InvalidArgument', 'end'],
  ['increment', { key: 'a' }, 'UnknownVerb'],
];
test('the JSON service answers every wrong request with its code, and names the field', async () => {
  for (const [verb, request, code, field] of json) {
    const shown = `${verb} ${JSON.stringify(request).slice(0, 80)}`;
    const answer = await raw.askJson(subjects.kv(CLUSTER, verb), request);
    const error = answer['error'] as { code: string; message: string; retryable: boolean; field?: string } | undefined;
    assert.is(error?.code, code, `${shown}: ${JSON.stringify(answer).slice(0, 200)}`);
    assert.is(error?.retryable, false, shown);
    if (field !== undefined) assert.ok(error?.field?.includes(field), `${shown} names ${error?.field}`);
  }
});

test('a question about a region that is none is answered with its code', async () => {
  const wrong: readonly (readonly [question: unknown, code: string])[] = [
    ['', 'MalformedRequest'],
    ['{', 'MalformedRequest'],
    ['null', 'InvalidArgument'],
    [{}, 'InvalidArgument'],
    [{ regionId: 'x' }, 'InvalidArgument'],
  ];
  for (const [question, code] of wrong) {
    const { error } = await raw.askJson(subjects.admin(CLUSTER, 'region'), question);
    assert.is((error as { code?: string } | undefined)?.code, code, JSON.stringify(question));
  }
});

test('a range delete from the first key and a read of long keys work as everywhere', async () => {
  const keys = Array.from({ length: 200 }, (_, i) => `\u0001${i}`.padEnd(LIMITS.keyBytes, '-'));
  await kv.put(keys[0] as string, 'v');
  const values = await kv.batchGet(keys);
  assert.is(values.filter((value) => value !== undefined).length, 1);
  await kv.deleteRange('', '\u0002');
  assert.is(await kv.get(keys[0] as string), undefined);
});

test('a stock client discovers the service and uses it', async () => {
  const put = await raw.askJson(subjects.kv(CLUSTER, 'put'), { key: 'json', value: 'works' });
  assert.equal(put, { ok: true });
  assert.equal(await raw.askJson(subjects.kv(CLUSTER, 'get'), { key: 'json' }), { value: 'works' });
  const ping = await raw.askJson('$SRV.PING', '');
  assert.match(String(ping['type']), 'ping_response');
  assert.match(String((await raw.askJson('$SRV.INFO', ''))['type']), 'info_response');
  assert.match(String((await raw.askJson('$SRV.STATS', ''))['type']), 'stats_response');
});

test('nobody answers for a cluster that is not there', async () => {
  const lost = await connect({ servers: cluster.url, cluster: 'elsewhere', timeoutMs: 500 });
  try {
    const error = await lost.get('a').then(
      () => undefined,
      (thrown: unknown) => thrown as { code?: string; retryable?: boolean },
    );
    assert.is(error?.retryable, true);
    assert.ok(['Unavailable', 'DeadlineExceeded'].includes(error?.code ?? ''), String(error));
  } finally {
    await lost.close();
  }
});

/** What one request, sent to the region's leader as a frame, is answered with. */
async function askLeader(request: mraft.IRequest, frame: Partial<mraft.IRequestFrame> = {}): Promise<mraft.IResponse> {
  const regions = await admin.regions();
  const { leaderNodeId } = regions.find(({ regionId }) => regionId === region.regionId) as RegionRoute;
  const bytes = encode(mraft.RequestFrame, {
    cluster: CLUSTER,
    requests: [{ id: 7, timeoutMs: 2_000, ...request }],
    ...frame,
  });
  const { data } = await raw.ask(subjects.client(CLUSTER, leaderNodeId, 0), bytes);
  const response = decode(mraft.ResponseFrame, data).responses?.[0];
  assert.ok(response, 'an answer without a response');
  return response as mraft.IResponse;
}

const read = (key: Uint8Array): mraft.IRead => ({ mode: mraft.ReadMode.LINEARIZABLE, keys: [key] });
const NEAR = Uint8Array.of(1);
const FAR = Uint8Array.of(255);

test('frames of clients that are wrong get their codes', async () => {
  const { regionId, epoch } = region;
  const { version, confVersion } = epoch;
  const right = await askLeader({ regionId, epoch, read: read(NEAR) });
  assert.ok(right.read, JSON.stringify(right));
  assert.is(right.id, 7);

  const wrong: readonly (readonly [what: string, request: mraft.IRequest, code: string])[] = [
    ['a stale epoch', { regionId, epoch: { version: version - 1, confVersion }, read: read(NEAR) }, 'EpochNotMatch'],
    ['a future epoch', { regionId, epoch: { version: version + 9, confVersion }, read: read(NEAR) }, 'EpochNotMatch'],
    ['no epoch', { regionId, read: read(NEAR) }, 'EpochNotMatch'],
    ['an unknown region', { regionId: 4_711, epoch, read: read(NEAR) }, 'RegionNotFound'],
    ['no region', { epoch, read: read(NEAR) }, 'RegionNotFound'],
    ['a key of another region', { regionId, epoch, read: read(FAR) }, 'KeyNotInRegion'],
    ['an empty key', { regionId, epoch, read: read(new Uint8Array()) }, 'KeyEmpty'],
    ['an over-long key', { regionId, epoch, read: read(new Uint8Array(LIMITS.keyBytes + 1)) }, 'KeyTooLong'],
    ['no body', { regionId, epoch }, 'InvalidArgument'],
    ['a command that is none', { regionId, epoch, write: Uint8Array.of(255, 255, 255) }, 'MalformedRequest'],
    ['an empty command', { regionId, epoch, write: new Uint8Array() }, 'InvalidArgument'],
  ];
  for (const [what, request, code] of wrong) {
    const { error } = await askLeader(request);
    assert.is(error?.code, code, `${what}: ${error?.message}`);
  }
  const { error } = await askLeader({ regionId, epoch, read: read(NEAR) }, { cluster: 'other' });
  assert.is(error?.code, 'ClusterMismatch');
});

async function droppedTotal(reason: string): Promise<number> {
  const statuses = await admin.nodes();
  return statuses.reduce((sum, status) => sum + (droppedOf(status)[reason] ?? 0), 0);
}

function droppedOf(status: NodeStatus): Record<string, number> {
  return (status['dropped'] ?? {}) as Record<string, number>;
}

/** A frame as node 2 would send it to node 1, worker 0; `changed` makes it wrong. */
function peerFrame(changed: Partial<mraft.IPeerFrame> = {}): Uint8Array {
  return encode(mraft.PeerFrame, {
    cluster: CLUSTER,
    fromNode: 2,
    bootEpoch: Date.now() * 2,
    sequence: 1,
    fromWorker: 0,
    workers: WORKERS,
    messages: [],
    ...changed,
  });
}

test('frames on peer subjects that are wrong are dropped and counted', async () => {
  const subject = subjects.peer(CLUSTER, 1, 0, 'raft', 2);
  const vote: mraft.IRaftMessage = { regionId: 4_711, kind: mraft.MessageKind.VOTE, from: 1, to: 2, term: 99 };
  const wrong: readonly (readonly [what: string, frame: Uint8Array, reason: string, subject?: string])[] = [
    ['noise', Buffer.from('not a frame at all \u0000\u0001'), 'malformed'],
    ['another cluster', peerFrame({ cluster: 'other' }), 'otherCluster'],
    ['a sender that is not the subject says', peerFrame({ fromNode: 3 }), 'otherSender'],
    ['a sender that is oneself', peerFrame({ fromNode: 1 }), 'otherSender', subjects.peer(CLUSTER, 1, 0, 'raft', 1)],
    ['0 workers', peerFrame({ workers: 0 }), 'malformed'],
    ['an older boot', peerFrame({ bootEpoch: 1 }), 'olderBoot'],
  ];
  for (const [what, frame, reason, to] of wrong) {
    const before = await droppedTotal(reason);
    raw.send(to ?? subject, frame);
    await eventually(`${what} is counted as ${reason}`, async () => (await droppedTotal(reason)) > before);
  }
  // These pass for the real node 2 of a later boot; its own frames are then dropped until it takes over again.
  const before = await droppedTotal('notMember');
  raw.send(subjects.peer(CLUSTER, 1, 0, 'raft', 9), peerFrame({ fromNode: 9, messages: [vote] }));
  await eventually('who is no member is counted', async () => (await droppedTotal('notMember')) > before);
});

test('raft messages from who is no peer change nothing', async () => {
  const termsBefore = await leaderTerms();
  const kinds = [mraft.MessageKind.VOTE, mraft.MessageKind.APPEND, mraft.MessageKind.TIMEOUT_NOW];
  const messages = kinds.map((kind) => ({
    regionId: region.regionId,
    kind,
    from: 77,
    to: region.peers[0]?.peerId ?? 0,
    term: 1e9,
  }));
  const before = await droppedTotal('notMember');
  for (const node of [1, 2, 3]) {
    for (let worker = 0; worker < WORKERS; worker++) {
      const frame = peerFrame({ fromNode: 9, messages });
      raw.send(subjects.peer(CLUSTER, node, worker, 'raft', 9), frame);
    }
  }
  await eventually('they are counted', async () => (await droppedTotal('notMember')) > before);
  assert.equal(await leaderTerms(), termsBefore);
});

async function leaderTerms(): Promise<unknown> {
  const status = await raw.askJson(subjects.admin(CLUSTER, 'region'), { regionId: region.regionId });
  return (status['raft'] as { term?: number } | undefined)?.term ?? status['term'];
}

const toPlacement: readonly (readonly [verb: string, question: unknown, code: string])[] = [
  ['join', {}, 'InvalidArgument'],
  ['join', { nodeId: 'one', incarnation: 'x', workers: 1, labels: {} }, 'InvalidArgument'],
  ['join', { nodeId: 1, incarnation: 'not that of node 1', workers: 1, labels: {} }, 'NodeIdInUse'],
  ['join', { nodeId: 77, incarnation: 'x', workers: 1, labels: {}, clusterId: 'another' }, 'ClusterMismatch'],
  ['join', { nodeId: 77, incarnation: 'x', workers: 1, labels: { zone: 7 } }, 'InvalidArgument'],
  ['heartbeat', { nodeId: 1 }, 'InvalidArgument'],
  ['reports', { nodeId: 1, incarnation: 'not that of node 1', regions: [] }, 'NodeIdInUse'],
  ['reports', { nodeId: 1, incarnation: 'x', regions: [{}] }, 'InvalidArgument'],
  ['operator.add', { kind: 'explode', regionId: 2 }, 'InvalidArgument'],
  ['operator.add', { kind: 'split', regionId: 2, splitKey: 5 }, 'MalformedRequest'],
  ['operator.cancel', { operatorId: -1 }, 'InvalidArgument'],
  ['node.drain', {}, 'InvalidArgument'],
  ['node.show', { nodeId: 4_711 }, 'NodeNotFound'],
  ['region.show', { regionId: 4_711 }, 'RegionNotFound'],
  ['scheduler.pause', { name: 'repair', durationMs: -5 }, 'InvalidArgument'],
  ['settings.set', { patch: { replicas: 'many' } }, 'InvalidArgument'],
];
test('placement answers what is wrong with its code, and changes nothing', async () => {
  const nodes = async (): Promise<unknown> =>
    ((await admin.placement('node.list')) as { nodeId: number; incarnation: string }[]).map(
      ({ nodeId, incarnation }) => ({ nodeId, incarnation }),
    );
  const before = await eventually('placement knows all nodes', async () => {
    const known = (await nodes()) as unknown[];
    return known.length === 3 ? known : undefined;
  });
  for (const [verb, question, code] of toPlacement) {
    const answer = await raw.askJson(subjects.placement(CLUSTER, verb), question as object);
    assert.is((answer['error'] as { code?: string } | undefined)?.code, code, `${verb} ${JSON.stringify(question)}`);
  }
  const order = {
    operatorId: 1,
    regionId: 2,
    toNodeId: 2,
    epoch: { version: 1, confVersion: 1 },
    step: { kind: 'merge' },
  };
  for (const [wrong, code] of [
    [{}, 'InvalidArgument'],
    [order, 'InvalidArgument'],
    [{ ...order, step: { kind: 'removePeer', peer: { nodeId: 1, peerId: 1 } } }, 'InvalidArgument'],
  ] as const) {
    const answer = await raw.askJson(subjects.node(CLUSTER, 1, 'order'), wrong);
    assert.is((answer['error'] as { code?: string } | undefined)?.code, code);
  }
  assert.equal(await nodes(), before);
});

test('noise on every subject, in quantity, costs no node its life and no lasting memory', async () => {
  const random = seededRandom(99);
  const noise = (sizeBytes: number): Uint8Array => Uint8Array.from({ length: sizeBytes }, () => random() * 256);
  const block = noise(64 * 1024);
  const targets = cluster.nodes.flatMap(({ id }) =>
    Array.from({ length: WORKERS }, (_, worker) => [
      subjects.peer(CLUSTER, id, worker, 'raft', (id % 3) + 1),
      subjects.client(CLUSTER, id, worker),
    ]).flat(),
  );
  targets.push(...['get', 'put', 'batch', 'scan'].map((verb) => subjects.kv(CLUSTER, verb)));
  targets.push(...['routes', 'status', 'region', 'nothing'].map((verb) => subjects.admin(CLUSTER, verb)));
  targets.push(...['join', 'heartbeat', 'reports', 'operator.add'].map((verb) => subjects.placement(CLUSTER, verb)));
  targets.push(
    ...cluster.nodes.flatMap(({ id }) => [subjects.node(CLUSTER, id, 'order'), subjects.gossip(CLUSTER, id, 9)]),
  );

  const flood = async (): Promise<void> => {
    for (let round = 0; round < 60; round++) {
      for (const subject of targets) {
        const sizeBytes = round % 3 === 0 ? block.length : Math.floor(random() * 300);
        const offset = Math.floor(random() * (block.length - sizeBytes));
        raw.link.publish(subject, block.subarray(offset, offset + sizeBytes), '_INBOX.nobody');
      }
      await raw.link.flush(5_000);
    }
  };
  await flood();
  const before = cluster.nodes.map(({ pid }) => residentMib(pid));
  for (let times = 0; times < 5; times++) await flood();
  await kv.get('alive');
  const after = cluster.nodes.map(({ pid }) => residentMib(pid));
  note(`resident: ${before.join(', ')} MiB, after five more floods ${after.join(', ')} MiB`);
  after.forEach((mib, at) => assert.ok(mib - (before[at] ?? 0) < 200, `node ${at + 1} grew to ${mib} MiB`));
});

function residentMib(pid: number | undefined): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024);
}
