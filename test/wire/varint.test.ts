import protobuf from 'protobufjs/minimal.js';
import { MalformedRequest } from '../../rpc/wire/errors.ts';
import { VarintReader, varintBytes, writeVarint } from '../../rpc/wire/varint.ts';
import { assert, suite } from '../harness.ts';
import { seeded } from './seeded.ts';

const test = suite('varint');

const BOUNDARIES = [
  0,
  1,
  127,
  128,
  16_383,
  16_384,
  2 ** 28 - 1,
  2 ** 28,
  2 ** 31,
  2 ** 32,
  2 ** 35,
  2 ** 49,
  2 ** 53 - 1,
];

function encoded(value: number): Buffer {
  const target = Buffer.alloc(10);
  return target.subarray(0, writeVarint(target, 0, value));
}

test('a number is read as it was written, and as protobufjs writes it', () => {
  const random = seeded(1);
  const values = [...BOUNDARIES];
  for (let bits = 1; bits <= 53; bits++) {
    for (let i = 0; i < 20; i++) values.push(Math.floor((random.below(2 ** 32) / 2 ** 32) * 2 ** bits));
  }
  for (const value of values) {
    const bytes = encoded(value);
    assert.is(bytes.length, varintBytes(value), `size of ${value}`);
    assert.is(new VarintReader(bytes).next(), value);
    assert.ok(bytes.equals(protobuf.Writer.create().uint64(value).finish()), `bytes of ${value}`);
  }
});

test('a number that is cut short, or does not fit in 53 bits, is malformed', () => {
  for (const value of BOUNDARIES.filter((boundary) => boundary >= 128)) {
    const bytes = encoded(value);
    for (let cut = 0; cut < bytes.length; cut++) {
      assert.throws(
        () => new VarintReader(bytes, 0, cut).next(),
        (error: Error) => error instanceof MalformedRequest,
      );
    }
  }
  const tooLarge = [
    protobuf.Writer.create()
      .uint64(2 ** 53)
      .finish(),
    Buffer.alloc(10, 0xff),
    Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
  ];
  for (const bytes of tooLarge) {
    assert.throws(
      () => new VarintReader(bytes).next(),
      (error: Error) => error instanceof MalformedRequest,
    );
  }
});

test('a length that passes the end is malformed, and so is a skipped field', () => {
  const malformed = (error: Error): boolean => error instanceof MalformedRequest;
  assert.throws(() => new VarintReader(Buffer.from([5, 1, 2])).length(), malformed);
  assert.is(new VarintReader(Buffer.from([2, 1, 2])).length(), 2);
  assert.throws(() => new VarintReader(Buffer.alloc(7)).skip(1), malformed);
  assert.throws(() => new VarintReader(Buffer.alloc(3)).skip(5), malformed);
  for (const wireType of [3, 4, 6, 7]) assert.throws(() => new VarintReader(Buffer.alloc(8)).skip(wireType), malformed);
});
