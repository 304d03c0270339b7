import { decodePeerFrame, encodePeerFrame, type FrameHead } from '../../engine/shard/peer-frame.ts';
import { fromWireMessage, toWireMessage } from '../../engine/shard/raft-wire.ts';
import type { Entry, MessageKind, RaftMessage } from '../../engine/raft/index.ts';
import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { MalformedRequest } from '../../rpc/wire/errors.ts';
import { assert, suite } from '../harness.ts';
import { seeded, type Seeded } from '../wire/seeded.ts';

const test = suite('peer frame');

const HEAD: FrameHead = {
  cluster: 'test',
  fromNode: 3,
  bootEpoch: 1_700_000_000_000,
  incarnation: 5,
  sequence: 77,
  fromWorker: 1,
  workers: 4,
  unheard: true,
};

const KINDS: readonly MessageKind[] = [
  'append',
  'appendResponse',
  'heartbeat',
  'heartbeatResponse',
  'vote',
  'voteResponse',
  'preVote',
  'preVoteResponse',
  'timeoutNow',
  'readIndex',
  'readIndexResponse',
];

function randomNumber(random: Seeded): number {
  return random.pick([0, 1, 127, 128, 16_384, 2 ** 28, 2 ** 40, Number.MAX_SAFE_INTEGER]);
}

function randomEntries(random: Seeded, index: number, logTerm: number): Entry[] {
  return Array.from({ length: random.below(4) }, (_, at) => ({
    term: logTerm,
    index: index + 1 + at,
    kind: random.pick(['normal', 'confChange'] as const),
    data: random.bytes(random.pick([0, 1, 127, 128, 400])),
  }));
}

function randomMessage(random: Seeded): RaftMessage {
  const kind = random.pick(KINDS);
  const index = random.pick([0, 9, 500, 2 ** 30]);
  const logTerm = random.below(300);
  return {
    kind,
    from: randomNumber(random),
    to: randomNumber(random),
    term: logTerm + random.below(300),
    index,
    logTerm,
    commit: randomNumber(random),
    entries: kind === 'append' ? randomEntries(random, index, logTerm) : [],
    reject: random.below(2) === 1,
    hintIndex: randomNumber(random),
    hintTerm: randomNumber(random),
    context: randomNumber(random),
    transfer: random.below(2) === 1,
    hibernate: random.below(2) === 1,
    membership: undefined,
  };
}

function randomMessages(random: Seeded): { regionIds: number[]; messages: RaftMessage[] } {
  const messages = Array.from({ length: random.below(6) }, () => randomMessage(random));
  return { regionIds: messages.map(() => 1 + random.below(100_000)), messages };
}

const NOTICE: mraft.IRegionNotice = { toPeer: 12, region: { regionId: 4, epoch: { version: 2, confVersion: 3 } } };

/** Data as plain buffers, whatever memory they lie in. */
function plain(messages: readonly RaftMessage[]): unknown[] {
  return messages.map((message) => ({
    ...message,
    entries: message.entries.map((entry) => ({ ...entry, data: Buffer.from(entry.data).toString('hex') })),
  }));
}

test('the generated codec reads what is written by hand', () => {
  for (let seed = 0; seed < 500; seed++) {
    const random = seeded(seed);
    const { regionIds, messages } = randomMessages(random);
    const frame = decode(mraft.PeerFrame, encodePeerFrame(HEAD, regionIds, messages, [NOTICE]));
    const { cluster, fromNode, bootEpoch, incarnation, sequence, fromWorker, workers, unheard } = frame;
    assert.equal({ cluster, fromNode, bootEpoch, incarnation, sequence, fromWorker, workers, unheard }, HEAD);
    assert.is(frame.notices.length, 1);
    const wires = frame.messages as mraft.RaftMessage[];
    assert.equal(
      wires.map((wire) => wire.regionId),
      regionIds,
    );
    assert.equal(plain(wires.map(fromWireMessage)), plain(messages), `seed ${seed}`);
  }
});

test('what the generated codec writes is read by hand', () => {
  for (let seed = 0; seed < 500; seed++) {
    const random = seeded(seed);
    const { regionIds, messages } = randomMessages(random);
    const wires = messages.map((message, at) => toWireMessage(regionIds[at]!, message));
    const frame = decodePeerFrame(encode(mraft.PeerFrame, { ...HEAD, messages: wires, notices: [NOTICE] }));
    const { head, messages: read, refused, notices, snapshot } = frame;
    assert.equal(head, HEAD);
    assert.is(refused, 0);
    assert.is(notices[0]?.toPeer, NOTICE.toPeer);
    assert.is(snapshot, undefined);
    const expected = messages.map((message, at) => ({ ...message, regionId: regionIds[at]! }));
    assert.equal(plain(read), plain(expected), `seed ${seed}`);
  }
});

test('a message that no peer sends is refused, and those beside it are read', () => {
  const good: mraft.IRaftMessage = { regionId: 2, from: 1, to: 2, term: 4, index: 6, logTerm: 3 };
  const entry = { term: 4, index: 7, data: Buffer.from('x') };
  const bad: mraft.IRaftMessage[] = [
    { ...good, kind: 99 as mraft.MessageKind },
    { ...good, kind: mraft.MessageKind.HEARTBEAT, entries: [entry] },
    { ...good, entries: [{ ...entry, index: 8 }] },
    { ...good, entries: [{ ...entry, term: 2 }] },
    { ...good, entries: [{ ...entry, term: 5 }] },
    { ...good, entries: [{ ...entry, kind: 9 as mraft.EntryKind }] },
  ];
  const frame = decodePeerFrame(encode(mraft.PeerFrame, { ...HEAD, messages: [good, ...bad, good] }));
  assert.is(frame.messages.length, 2);
  assert.is(frame.refused, bad.length);
});

test('a newer peer may say more: fields that are unknown here are passed over', () => {
  const unknown = Buffer.from([...[0xa0, 0x06, 0x05], ...[0xaa, 0x06, 0x02, 0xff, 0xff]]);
  const message = Buffer.concat([encode(mraft.RaftMessage, { regionId: 7, term: 2 }), unknown]);
  const field = Buffer.concat([Buffer.from([(7 << 3) | 2, message.length]), message]);
  const frame = decodePeerFrame(Buffer.concat([encode(mraft.PeerFrame, HEAD), unknown, field]));
  assert.is(frame.messages[0]?.regionId, 7);
  assert.is(frame.messages[0]?.term, 2);
  assert.is(frame.head.sequence, HEAD.sequence);
});

test('whatever bytes come in, they end in a frame or in MalformedRequest', () => {
  const random = seeded(7);
  const tried = (bytes: Uint8Array): void => {
    try {
      decodePeerFrame(bytes);
    } catch (error) {
      assert.instance(error, MalformedRequest);
    }
  };
  for (let round = 0; round < 300; round++) {
    const { regionIds, messages } = randomMessages(random);
    const whole = Buffer.from(encodePeerFrame(HEAD, regionIds, messages, [NOTICE]));
    tried(whole.subarray(0, random.below(whole.length)));
    const changed = Buffer.from(whole);
    for (let i = 0; i < 3; i++) changed[random.below(changed.length)] = random.below(256);
    tried(changed);
    tried(random.bytes(random.below(200)));
  }
});
