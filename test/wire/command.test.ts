import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import {
  CommandCursor,
  encodeCommand,
  encodedCallBytes,
  encodePayload,
  PayloadCursor,
  type Call,
  type Mutation,
  type Operation,
} from '../../rpc/wire/command.ts';
import { MalformedRequest } from '../../rpc/wire/errors.ts';
import { assert, suite } from '../harness.ts';
import { seeded, type Seeded } from './seeded.ts';

const test = suite('command and payload');

function randomMutation(random: Seeded): Mutation {
  const key = random.bytes(1 + random.below(20));
  return random.below(2) === 0 ? { kind: 'put', key, value: random.bytes(random.below(300)) } : { kind: 'delete', key };
}

function randomOperation(random: Seeded): Operation {
  const optional = (): Buffer | undefined => (random.below(3) === 0 ? undefined : random.bytes(random.below(40)));
  switch (random.below(5)) {
    case 0:
      return { kind: 'put', key: random.bytes(1 + random.below(20)), value: random.bytes(random.below(300)) };
    case 1:
      return { kind: 'delete', key: random.bytes(1 + random.below(20)) };
    case 2:
      return { kind: 'compareAndSwap', key: random.bytes(8), expected: optional(), value: optional() };
    case 3:
      return { kind: 'deleteRange', start: random.bytes(random.below(9)), end: random.bytes(random.below(9)) };
    default:
      return { kind: 'batch', mutations: Array.from({ length: random.below(6) }, () => randomMutation(random)) };
  }
}

interface Sample {
  session: Buffer;
  floor: number;
  calls: Call[];
}

function randomCommand(random: Seeded): Sample {
  return {
    session: random.bytes(random.pick([0, 1, 16, 64])),
    floor: random.pick([0, 1, 127, 128, 2 ** 40]),
    calls: Array.from({ length: random.below(8) }, () => ({
      seq: random.pick([0, 1, 300, 2 ** 33]),
      operation: randomOperation(random),
    })),
  };
}

/** What a cursor finds, as plain objects. */
function walk(cursor: CommandCursor): Sample {
  const calls: Call[] = [];
  const bytes = (span: { of(of: Buffer): Buffer }): Buffer => span.of(cursor.bytes);
  while (cursor.next()) {
    assert.is(cursor.position, calls.length);
    calls.push({ seq: cursor.seq, operation: operationOf(cursor, bytes) });
  }
  assert.not(cursor.next());
  return { session: cursor.session, floor: cursor.floor, calls };
}

function operationOf(cursor: CommandCursor, bytes: (span: { of(of: Buffer): Buffer }) => Buffer): Operation {
  switch (cursor.kind) {
    case 'put':
      return { kind: 'put', key: bytes(cursor.key), value: bytes(cursor.value) };
    case 'delete':
      return { kind: 'delete', key: bytes(cursor.key) };
    case 'compareAndSwap':
      return {
        kind: 'compareAndSwap',
        key: bytes(cursor.key),
        expected: cursor.hasExpected ? bytes(cursor.expected) : undefined,
        value: cursor.hasValue ? bytes(cursor.value) : undefined,
      };
    case 'deleteRange':
      return { kind: 'deleteRange', start: bytes(cursor.key), end: bytes(cursor.value) };
    case 'batch': {
      const mutations: Mutation[] = [];
      while (cursor.nextMutation()) {
        const key = bytes(cursor.key);
        if (cursor.mutationKind === 'put') mutations.push({ kind: 'put', key, value: bytes(cursor.value) });
        else mutations.push({ kind: 'delete', key });
      }
      return { kind: 'batch', mutations };
    }
  }
}

function toWireMutation(mutation: Mutation): mraft.IMutation {
  return mutation.kind === 'put'
    ? { put: { key: mutation.key, value: mutation.value } }
    : { delete: { key: mutation.key } };
}

function toWireCall({ seq, operation }: Call): mraft.ICall {
  switch (operation.kind) {
    case 'compareAndSwap': {
      const { key, expected, value } = operation;
      return { seq, compareAndSwap: { key, ...(expected && { expected }), ...(value && { value }) } };
    }
    case 'batch':
      return { seq, batch: { mutations: operation.mutations.map(toWireMutation) } };
    case 'deleteRange':
      return { seq, deleteRange: { start: operation.start, end: operation.end } };
    default:
      return { seq, ...toWireMutation(operation) };
  }
}

/** Buffers and Uint8Arrays compare alike, absent and undefined too. */
function plain(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_key, item: unknown) =>
      item instanceof Uint8Array || (item as { type?: string } | null)?.type === 'Buffer'
        ? Buffer.from(item as Uint8Array).toString('hex')
        : item,
    ),
  );
}

test('what is written by hand is what the generated codec reads', () => {
  const random = seeded(11);
  for (let round = 0; round < 400; round++) {
    const { session, floor, calls } = randomCommand(random);
    const wire = decode(mraft.Command, encodeCommand(session, floor, calls));
    const wanted = decode(mraft.Command, encode(mraft.Command, { session, floor, calls: calls.map(toWireCall) }));
    assert.equal(plain(wire), plain(wanted), `round ${round}`);
  }
});

test('what the generated codec writes is what the cursor reads', () => {
  const random = seeded(12);
  for (let round = 0; round < 400; round++) {
    const sample = randomCommand(random);
    const { session, floor, calls } = sample;
    const ours = walk(new CommandCursor(encodeCommand(session, floor, calls)));
    const theirs = walk(new CommandCursor(encode(mraft.Command, { session, floor, calls: calls.map(toWireCall) })));
    assert.equal(plain(ours), plain(sample), `round ${round}`);
    assert.equal(plain(theirs), plain(sample), `round ${round}`);
  }
});

test('the size of a call is known before it is written', () => {
  const random = seeded(13);
  for (let round = 0; round < 200; round++) {
    const call = { seq: random.below(1_000_000), operation: randomOperation(random) };
    const empty = encodeCommand(Buffer.alloc(0), 0, []);
    assert.is(encodeCommand(Buffer.alloc(0), 0, [call]).length - empty.length, encodedCallBytes(call));
  }
});

test('a batch may be left unread; the next call is found all the same', () => {
  const put = (key: string): Operation => ({ kind: 'put', key: Buffer.from(key), value: Buffer.from('v') });
  const mutations: Mutation[] = ['x', 'y', 'z'].map((key) => ({ kind: 'delete', key: Buffer.from(key) }));
  const command = encodeCommand(Buffer.from('s'), 1, [
    { seq: 1, operation: { kind: 'batch', mutations } },
    { seq: 2, operation: put('a') },
  ]);
  for (const read of [0, 1, 3]) {
    const cursor = new CommandCursor(command);
    assert.ok(cursor.next());
    for (let i = 0; i < read; i++) assert.ok(cursor.nextMutation());
    assert.ok(cursor.next());
    assert.is(cursor.seq, 2);
    assert.is(cursor.key.of(cursor.bytes).toString(), 'a');
  }
});

test('a payload gives back its epoch, its nature and its commands', () => {
  const random = seeded(14);
  for (let round = 0; round < 100; round++) {
    const samples = Array.from({ length: random.below(5) }, () => randomCommand(random));
    const commands = samples.map(({ session, floor, calls }) => encodeCommand(session, floor, calls));
    const epoch = { version: random.below(1000), confVersion: random.below(1000) };
    const nature = { conditional: random.below(2) === 1, exclusive: random.below(2) === 1 };
    const payload = encodePayload(epoch, nature, commands);

    const cursor = new PayloadCursor(payload);
    assert.equal({ version: cursor.version, confVersion: cursor.confVersion }, epoch);
    assert.equal({ conditional: cursor.conditional, exclusive: cursor.exclusive }, nature);
    for (const sample of samples) assert.equal(plain(walk(cursor.next()!)), plain(sample));
    assert.is(cursor.next(), undefined);

    const wire = decode(mraft.Payload, payload);
    assert.is(wire.commands?.length ?? 0, samples.length);
    assert.is(wire.epoch?.version ?? 0, epoch.version);
  }
});

/** Reads everything; only MalformedRequest may come out of it, and no span may leave the bytes. */
function readsOrRefuses(read: () => void, what: string): boolean {
  try {
    read();
    return true;
  } catch (error) {
    assert.instance(error, MalformedRequest, `${what}: ${String(error)}`);
    return false;
  }
}

function readCommand(bytes: Buffer): void {
  const cursor = new CommandCursor(bytes);
  const inside = (span: { start: number; end: number }): void => {
    if (span.start < 0 || span.end > bytes.length || span.start > span.end)
      throw new RangeError('a span leaves the bytes');
  };
  let steps = 0;
  while (cursor.next()) {
    if (++steps > bytes.length) throw new RangeError('the cursor does not end');
    for (const span of [cursor.key, cursor.value, cursor.expected]) inside(span);
    if (cursor.kind !== 'batch') continue;
    while (cursor.nextMutation()) {
      if (++steps > bytes.length) throw new RangeError('the batch does not end');
      for (const span of [cursor.key, cursor.value]) inside(span);
    }
  }
}

test('cut, changed and random bytes are read or refused as MalformedRequest, and nothing else', () => {
  const random = seeded(15);
  let refused = 0;
  let read = 0;
  const count = (readable: boolean): void => void (readable ? read++ : refused++);
  for (let round = 0; round < 300; round++) {
    const { session, floor, calls } = randomCommand(random);
    const command = Buffer.from(encodeCommand(session, floor, calls));
    for (let i = 0; i < 20; i++) {
      const cut = command.subarray(0, random.below(command.length + 1));
      count(readsOrRefuses(() => readCommand(cut), `round ${round} cut ${cut.length}`));
      const changed = Buffer.from(command);
      for (let flips = 0; flips <= random.below(3) && changed.length > 0; flips++) {
        changed[random.below(changed.length)] = random.below(256);
      }
      count(readsOrRefuses(() => readCommand(changed), `round ${round} change ${i}`));
      const noise = random.bytes(random.below(60));
      count(readsOrRefuses(() => readCommand(noise), `round ${round} noise ${i}`));
      count(
        readsOrRefuses(() => {
          const cursor = new PayloadCursor(noise);
          for (let inner = cursor.next(); inner; inner = cursor.next()) while (inner.next());
        }, `round ${round} payload ${i}`),
      );
    }
  }
  assert.ok(read > 100 && refused > 1_000, `${read} read, ${refused} refused`);
});

test('every byte of a command that is cut short is missed', () => {
  const command = encodeCommand(Buffer.from('session'), 3, [
    { seq: 5, operation: { kind: 'put', key: Buffer.from('key'), value: Buffer.from('value') } },
  ]);
  const whole = Buffer.from(command);
  const firstCall =
    whole.length -
    encodedCallBytes({ seq: 5, operation: { kind: 'put', key: Buffer.from('key'), value: Buffer.from('value') } });
  for (let length = firstCall + 1; length < whole.length; length++) {
    assert.throws(
      () => readCommand(whole.subarray(0, length)),
      (error: Error) => error instanceof MalformedRequest,
      `${length} of ${whole.length}`,
    );
  }
});

test('a call without an operation, or with two, is malformed', () => {
  const malformed = (error: Error): boolean => error instanceof MalformedRequest;
  const none = encode(mraft.Command, { calls: [{ seq: 1 }] });
  assert.throws(() => readCommand(Buffer.from(none)), malformed);
  const put = encode(mraft.Call, { seq: 1, put: { key: Buffer.from('a') } });
  const remove = encode(mraft.Call, { delete: { key: Buffer.from('a') } });
  const call = Buffer.concat([put, remove]);
  const two = Buffer.concat([Buffer.from([(3 << 3) | 2, call.length]), call]);
  assert.throws(() => readCommand(two), malformed);
});
