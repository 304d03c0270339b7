import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { fromWireError, toWireError } from '../../rpc/wire/error-codec.ts';
import * as errors from '../../rpc/wire/errors.ts';
import { asMraftError, EpochNotMatch, errorFromCode, Internal, MraftError, NotLeader } from '../../rpc/wire/errors.ts';
import { assert, suite } from '../harness.ts';

const test = suite('errors on the wire');

type ErrorClass = new (message: string) => MraftError;

const classes = (Object.values(errors) as unknown[]).filter(
  (value): value is ErrorClass =>
    typeof value === 'function' &&
    value.prototype instanceof MraftError &&
    value !== errors.RetryableError &&
    value !== errors.PermanentError,
);

function overTheWire(error: unknown): MraftError {
  return fromWireError(decode(mraft.Error, encode(mraft.Error, toWireError(error))));
}

test('every class arrives as itself, with its message and whether a retry can help', () => {
  assert.ok(classes.length > 20);
  for (const type of classes) {
    const sent = new type('what happened');
    const got = overTheWire(sent);
    assert.instance(got, type);
    assert.is(got.code, sent.code);
    assert.is(got.code, type.name);
    assert.is(got.retryable, sent.retryable);
    assert.is(got instanceof errors.RetryableError, sent.retryable);
    assert.is(got.message, 'what happened');
    assert.equal(got.details, {});
  }
});

test('details arrive: the field, the leader, the regions', () => {
  const region = {
    regionId: 7,
    startKey: Buffer.from('a'),
    endKey: Buffer.from('m'),
    epoch: { version: 3, confVersion: 1 },
    peers: [{ peerId: 1, nodeId: 2, role: 'voter' as const }],
  };
  const hint = overTheWire(new NotLeader('no', { regionId: 7, leaderNodeId: 3 }));
  assert.equal(hint.details, { regionId: 7, leaderNodeId: 3 });
  const moved = overTheWire(new EpochNotMatch('no', { field: 'epoch', regions: [region] }));
  assert.is(moved.details.field, 'epoch');
  assert.equal(moved.details.regions, [region]);
});

test('what is no error of mraft, or of a newer version, arrives as Internal', () => {
  assert.instance(overTheWire(new TypeError('oops')), Internal);
  assert.instance(overTheWire('just text'), Internal);
  for (const code of ['FromTheFuture', 'constructor', '__proto__', '']) {
    const error = errorFromCode(code, 'message');
    assert.instance(error, Internal);
    assert.match(error.message, code);
  }
  const cause = new RangeError('x');
  assert.is(asMraftError(cause).cause, cause);
  const own = new NotLeader('x');
  assert.is(asMraftError(own), own);
});

test('a message of any length fits into a frame', () => {
  assert.ok(overTheWire(new Internal('x'.repeat(1_000_000))).message.length <= 512);
});
