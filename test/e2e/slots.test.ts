/** Slots move between the worker threads of nodes that serve; callers must not notice, whatever dies in the middle. */

// First, so that it sees the threads that the engine starts.
import { liveThreads, throwIn } from './threads.ts';

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { InvalidArgument, open, type Db } from '../../engine/index.ts';
import { connect, type Kv } from '../../rpc/client/index.ts';
import { LAST_SYSTEM_REGION_ID } from '../../rpc/wire/region.ts';
import { slotOfRegion } from '../../rpc/wire/slots.ts';
import { startBroker, type Broker } from '../../tools/broker.ts';
import { assert, eventually, note, suite } from '../harness.ts';
import { Load } from './load.ts';

const WORKERS = 2;
const REGIONS = 12;
/** An election by time-out takes longer than callers wait; so they would notice one, and on a slow machine nothing else. */
const ELECTION_TIMEOUT_MS = 4_000;
const DEADLINE_MS = 3_800;

const test = suite('slots of three nodes', { timeoutMs: 150_000 });
let dir: string;
let broker: Broker;
let nodes: Db[];
let kv: Kv;

test.before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'mraft-slots-'));
  broker = await startBroker({ dir });
  nodes = await Promise.all(
    [1, 2, 3].map((nodeId) =>
      open({
        dataDir: join(dir, `node-${nodeId}`),
        cluster: 'slots',
        nodeId,
        initialNodes: [1, 2, 3],
        nats: broker.url,
        workers: WORKERS,
        regions: REGIONS,
        electionTimeoutMs: ELECTION_TIMEOUT_MS,
        logLevel: 'silent',
      }),
    ),
  );
  kv = await connect({ servers: broker.url, cluster: 'slots' });
});
test.after(async () => {
  await kv.close();
  await Promise.all(nodes.map((node) => node.close()));
  await broker.stop();
  rmSync(dir, { recursive: true });
});

const slots = Array.from({ length: REGIONS + 1 }, (_, at) => slotOfRegion(LAST_SYSTEM_REGION_ID + at));

interface Moves {
  made: number;
  refused: number;
}

/** Moves slots to and fro on all nodes, in turn, for `durationMs`. */
async function moveAbout(durationMs: number, pauseMs: number): Promise<Moves> {
  const moves: Moves = { made: 0, refused: 0 };
  const endMs = performance.now() + durationMs;
  for (let at = 0; performance.now() < endMs; at++) {
    const node = nodes[at % nodes.length]!;
    const slot = slots[Math.floor(at / nodes.length) % slots.length]!;
    const round = Math.floor(at / nodes.length / slots.length);
    await node.admin.moveSlot(slot, (slot + round + 1) % WORKERS).then(
      () => moves.made++,
      () => moves.refused++,
    );
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  return moves;
}

test('move under load without an error to callers who wait less than an election takes, and nothing is lost', async () => {
  await Promise.all(Array.from({ length: 64 }, (_, at) => kv.put(Uint8Array.of(at * 4), 'warm')));
  const load = Load.start([kv], { writers: 16, recorded: 8, timeoutMs: DEADLINE_MS });
  const moves = await moveAbout(4_000, 20);
  await load.stop();
  note(`${moves.made} moves, ${load.acknowledgedWrites} writes`);
  assert.ok(moves.made > 20);
  assert.is(moves.refused, 0);
  assert.equal([...load.recorder.errors], []);
  await load.verify(kv);
});

test('are where they belong after a worker died in the middle of moves', async () => {
  const load = Load.start([kv], { writers: 8, recorded: 8, timeoutMs: 60_000 });
  const moving = moveAbout(3_000, 5);
  for (let i = 0; i < 4; i++) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    // The oldest, so that it is one that serves.
    throwIn(liveThreads()[0]!);
  }
  const moves = await moving;
  await load.stop();
  note(`${moves.made} moves, ${moves.refused} could not be`);
  assert.equal([...load.recorder.errors], []);
  await load.verify(kv);
  for (const node of nodes) {
    let regionIds: number[] = [];
    await eventually(
      'all workers are there again',
      async () => {
        regionIds = (await node.admin.regions()).map(({ region }) => region.regionId);
        return regionIds.length >= REGIONS + 1;
      },
      30_000,
    );
    assert.is(new Set(regionIds).size, regionIds.length, 'no two workers have the same region');
    assert.is(regionIds.length, REGIONS + 1);
  }
});

test('that do not exist, or workers that do not, are refused', async () => {
  const [node] = nodes as [Db];
  for (const [slot, worker] of [
    [-1, 0],
    [16_384, 0],
    [0.5, 0],
    [0, WORKERS],
    [0, -1],
  ] as const) {
    const error = await node.admin.moveSlot(slot, worker).catch((thrown: unknown) => thrown);
    assert.instance(error, InvalidArgument);
  }
});
