/** How a snapshot travels: what is lost, repeated, reordered or damaged costs a resend, and what is wrong ends it. */

import { encodeEntries, encodeTail, type SnapshotChunk } from '../../engine/region/snapshot-chunk.ts';
import { readHead, type SnapshotReceiver } from '../../engine/region/snapshot-receiver.ts';
import { SnapshotSender } from '../../engine/region/snapshot-sender.ts';
import { SnapshotSource } from '../../engine/region/snapshot-source.ts';
import { PLAIN_CODEC, type BodyCodec } from '../../engine/region/snapshot-chunk.ts';
import { stagingKey } from '../../engine/store/keys.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import { mraft } from '../../rpc/wire/codec.ts';
import { DeadlineExceeded, SnapshotCorrupt } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, suite } from '../harness.ts';
import { pseudoRandom, thrownBy } from '../store/fixtures.ts';
import { MESSAGE, NAME, RECORD, REGION, chunkOf, chunksOf, receiverOf, sourceStore } from './snapshot-fixtures.ts';

const test = suite('the transfer of a snapshot');

function senderOf(store: MemoryStore, codec: BodyCodec = PLAIN_CODEC): SnapshotSender {
  return new SnapshotSender(NAME.snapshotId, new SnapshotSource(store, RECORD, MESSAGE), codec, 0);
}

function readAll(sender: SnapshotSender): void {
  while (sender.wantsRead()) sender.read();
}

/** Everything that may leave now. */
function takeAll(sender: SnapshotSender, nowMs: number): SnapshotChunk[] {
  const chunks: SnapshotChunk[] = [];
  readAll(sender);
  for (let chunk = sender.peek(); chunk; chunk = sender.peek()) {
    chunks.push(chunk);
    sender.sent(nowMs);
  }
  return chunks;
}

function stageAll(receiver: SnapshotReceiver, store: MemoryStore): void {
  const batch = store.createBatch();
  receiver.stage(batch);
  store.write(batch, { sync: false });
}

function stagedBodies(store: MemoryStore): Uint8Array[] {
  return store.scan('staging', { limit: 100_000, maxBytes: 2 ** 31 }).entries.map(({ value }) => value);
}

test('a region becomes a head, its keys and sessions in order, and a tail; a neighbour is not in it', () => {
  const chunks = chunksOf(sourceStore(5_000));
  assert.ok(chunks.length > 4);
  const receiver = receiverOf(chunks[0]!);
  const staged = new MemoryStore();
  for (const chunk of chunks.slice(1)) {
    assert.is(receiver.onChunk(chunk, 0), 'taken');
    stageAll(receiver, staged);
  }
  assert.ok(receiver.isComplete, receiver.error?.message);
  assert.equal(stagedBodies(staged).length, chunks.length);
  assert.equal(receiver.head.record, RECORD);
});

test('every chunk is below what a frame may have, also with the largest values', () => {
  const store = sourceStore(0);
  const batch = store.createBatch();
  for (let n = 0; n < 5; n++) {
    batch.put('data', Buffer.from(`d${n}`.padEnd(LIMITS.keyBytes, 'x')), Buffer.alloc(LIMITS.valueBytes));
    for (let small = 0; small < 500; small++) batch.put('data', Buffer.from(`d${n}y${small}`), Buffer.alloc(350));
  }
  store.write(batch, { sync: true });
  for (const { body } of chunksOf(store)) assert.ok(body.length < LIMITS.frameBytes - 1_000, `${body.length}`);
  for (const { body } of chunksOf(sourceStore(5_000))) assert.ok(body.length < LIMITS.frameTargetBytes);
});

test('an empty region is a head, and a tail', () => {
  const chunks = chunksOf(new MemoryStore());
  assert.is(chunks.length, 2);
  const receiver = receiverOf(chunks[0]!);
  assert.is(receiver.onChunk(chunks[1]!, 0), 'taken');
  stageAll(receiver, new MemoryStore());
  assert.ok(receiver.isComplete);
});

test('no more than a window is sent before something is acknowledged', () => {
  const sender = senderOf(sourceStore(500, 200 * 1024));
  assert.is(takeAll(sender, 0).length, LIMITS.snapshotWindowChunks);
  sender.onAck({ next: 3, resend: false, stage: mraft.SnapshotStage.RECEIVING }, 1);
  assert.is(takeAll(sender, 1).length, 3);
});

test('over a network that loses, repeats, reorders and damages, everything arrives as it was sent', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = pseudoRandom(seed);
    const source = sourceStore(12_000);
    const sender = senderOf(source);
    const target = new MemoryStore();
    let receiver: SnapshotReceiver | undefined;
    const network: SnapshotChunk[] = [];
    let nowMs = 0;
    for (let round = 0; round < 5_000 && !receiver?.isComplete; round++) {
      nowMs += 40;
      sender.tick(nowMs);
      for (const chunk of takeAll(sender, nowMs)) {
        if (random() < 0.15) continue;
        network.push(chunk);
        if (random() < 0.15) network.push(chunk);
      }
      if (random() < 0.3) network.reverse();
      for (const chunk of network.splice(0, 1 + Math.floor(random() * 6))) {
        const arrives = random() < 0.1 ? damaged(chunk) : chunk;
        if (!receiver) {
          if (arrives === chunk && chunk.sequence === 0) receiver = receiverOf(chunk);
          continue;
        }
        const verdict = receiver.onChunk(arrives, nowMs);
        assert.is.not(arrives !== chunk && verdict === 'taken', true, 'a damaged chunk is not taken');
        stageAll(receiver, target);
        if (random() < 0.2) continue;
        sender.onAck(receiver.ack(verdict !== 'taken' && verdict !== 'repeated'), nowMs);
      }
    }
    assert.ok(receiver?.isComplete, `seed ${seed}: ${receiver?.error?.message ?? ''} ${String(sender.outcome)}`);
    const expected = chunksOf(source).map(({ body }) => Buffer.from(body));
    assert.equal(
      stagedBodies(target).map((body) => Buffer.from(body)),
      expected,
    );
    sender.onAck({ next: 0, resend: false, stage: mraft.SnapshotStage.INSTALLED }, nowMs);
    assert.is(sender.outcome, 'installed');
  }
});

function damaged(chunk: SnapshotChunk): SnapshotChunk {
  const body = Buffer.from(chunk.body);
  body[body.length >>> 1]! ^= 1;
  return { ...chunk, body };
}

test('a damaged, repeated or early chunk is named, and changes nothing', () => {
  const chunks = chunksOf(sourceStore(12_000));
  const receiver = receiverOf(chunks[0]!);
  const target = new MemoryStore();
  stageAll(receiver, target);
  assert.is(receiver.onChunk(damaged(chunks[1]!), 0), 'corrupt');
  assert.is(receiver.onChunk({ ...chunks[2]!, sequence: 1 }, 0), 'corrupt', 'the checksum knows the place');
  assert.is(receiver.onChunk(chunks[2]!, 0), 'outOfOrder');
  assert.is(receiver.onChunk(chunks[0]!, 0), 'repeated');
  assert.is(receiver.onChunk({ ...chunks[1]!, plainBytes: 2 ** 31 }, 0), 'corrupt');
  stageAll(receiver, target);
  assert.is(stagedBodies(target).length, 1);
  assert.is(receiver.onChunk(chunks[1]!, 0), 'taken');
  assert.equal(receiver.ack(), { next: 1, resend: false, stage: mraft.SnapshotStage.RECEIVING });
  stageAll(receiver, target);
  assert.is(receiver.ack().next, 2);
  assert.is(receiver.error, undefined);
});

test('chunks that are opened late and in another order are staged in theirs', () => {
  const late: (() => void)[] = [];
  const codec: BodyCodec = { ...PLAIN_CODEC, open: (sealed, done) => void late.push(() => done(sealed.body)) };
  const chunks = chunksOf(sourceStore(6_000));
  const receiver = receiverOf(chunks[0]!, codec);
  const target = new MemoryStore();
  for (const chunk of chunks.slice(1)) assert.is(receiver.onChunk(chunk, 0), 'taken');
  stageAll(receiver, target);
  assert.is(receiver.ack().next, 1, 'what is not staged is not acknowledged');
  for (const open of late.reverse()) open();
  stageAll(receiver, target);
  assert.ok(receiver.isComplete);
  assert.equal(stagedBodies(target)[1], Buffer.from(chunks[1]!.body));
});

test('what is intact and wrong ends the snapshot', () => {
  const entry = (key: string) => ({ key: Buffer.from(key), value: Buffer.from('v') });
  const wrong: [string, Uint8Array[]][] = [
    ['keys that fall', [encodeEntries('data', [entry('d'), entry('c')])]],
    ['keys that fall from chunk to chunk', [encodeEntries('data', [entry('d')]), encodeEntries('data', [entry('d')])]],
    ['a key of a neighbour', [encodeEntries('data', [entry('z')])]],
    ['data behind sessions', [encodeEntries('sessions', [entry('s')]), encodeEntries('data', [entry('d')])]],
    ['totals that differ', [encodeEntries('data', [entry('d')]), encodeTail({ chunks: 2, entries: 9, bytes: 2 })]],
    ['a chunk that is missing', [encodeEntries('data', [entry('d')]), encodeTail({ chunks: 3, entries: 1, bytes: 2 })]],
    ['no known part', [Buffer.from([9, 1, 1])]],
    ['an entry that ends behind its chunk', [Buffer.from([2, 1, 5, 0x64, 0x64])]],
    ['a head in the middle', [chunksOf(new MemoryStore())[0]!.body]],
    ['nothing', [new Uint8Array(0)]],
  ];
  for (const [what, bodies] of wrong) {
    const receiver = receiverOf(chunksOf(new MemoryStore())[0]!);
    bodies.forEach((body, at) => receiver.onChunk(chunkOf(at + 1, body), 0));
    assert.instance(receiver.error, SnapshotCorrupt, what);
    assert.not(receiver.isComplete, what);
  }
});

test('a head that contradicts itself is refused', () => {
  const heads: mraft.IRaftMessage[] = [
    { index: 0 },
    { logTerm: 0 },
    { logTerm: 9, term: 8 },
    { regionId: REGION.regionId + 1 },
    { kind: mraft.MessageKind.APPEND },
  ];
  for (const change of heads) {
    const head = chunksOf(new MemoryStore(), { ...MESSAGE, ...change })[0]!;
    assert.instance(
      thrownBy(() => readHead(head)),
      SnapshotCorrupt,
      JSON.stringify(change),
    );
  }
  for (const body of [chunksOf(sourceStore(3))[1]!.body, Buffer.from([1, 0xff, 0xff])]) {
    assert.instance(
      thrownBy(() => readHead(chunkOf(0, body))),
      SnapshotCorrupt,
    );
  }
});

test('a receiver that falls silent, or has lost what it had, is given up', () => {
  const silent = senderOf(sourceStore(10));
  takeAll(silent, 0);
  silent.tick(LIMITS.snapshotIdleMs);
  assert.instance(silent.outcome, DeadlineExceeded);

  const forgotten = senderOf(sourceStore(10));
  takeAll(forgotten, 0);
  forgotten.onAck({ next: 2, resend: false, stage: mraft.SnapshotStage.RECEIVING }, 1);
  forgotten.onAck({ next: 1, resend: false, stage: mraft.SnapshotStage.RECEIVING }, 2);
  assert.is(forgotten.outcome, undefined, 'a late acknowledgement says nothing');
  forgotten.onAck({ next: 0, resend: true, stage: mraft.SnapshotStage.RECEIVING }, 3);
  assert.is((forgotten.outcome as Error).name, 'SnapshotRefused');
});

test('an acknowledgement of what was never sent is nothing', () => {
  const sender = senderOf(sourceStore(200, 200 * 1024));
  takeAll(sender, 0);
  sender.onAck({ next: 1_000, resend: false, stage: mraft.SnapshotStage.RECEIVING }, 1);
  assert.is(takeAll(sender, 1).length, 0);
  assert.is(sender.outcome, undefined);
});

test('staged chunks lie under their region and number', () => {
  const chunks = chunksOf(sourceStore(10));
  const receiver = receiverOf(chunks[0]!);
  const target = new MemoryStore();
  stageAll(receiver, target);
  assert.equal(target.get('staging', stagingKey(REGION.regionId, 0)), Buffer.from(chunks[0]!.body));
});
