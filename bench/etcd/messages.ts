/** The few messages of etcd's API v3 that the benchmark sends and reads, encoded by hand: they are its hot path. */

import protobuf from 'protobufjs/minimal.js';

const LENGTH_DELIMITED = 2;
const MAX_VARINT_BYTES = 5;

/** PutRequest{key = 1, value = 2}. */
export function encodePut(key: Uint8Array, value: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(putBytes(key, value));
  writePut(out, 0, key, value);
  return out;
}

/** RangeRequest{key = 1}; linearizable, because `serializable` is left at false. */
export function encodeGet(key: Uint8Array): Buffer {
  const out = Buffer.allocUnsafe(fieldBytes(key.length));
  writeField(out, 0, 1, key);
  return out;
}

/** RangeRequest{key = 1, range_end = 2, limit = 3} from `start` to the last key. */
export function encodeScan(start: Uint8Array, limit: number): Buffer {
  const lastKey = Uint8Array.of(0);
  return Buffer.from(
    protobuf.Writer.create().uint32(10).bytes(start).uint32(18).bytes(lastKey).uint32(24).int64(limit).finish(),
  );
}

/** TxnRequest{success = 2: repeated RequestOp{request_put = 2}}, a transaction without a condition. */
export function encodePuts(keys: readonly Uint8Array[], value: Uint8Array): Buffer {
  let sizeBytes = 0;
  for (const key of keys) sizeBytes += fieldBytes(fieldBytes(putBytes(key, value)));
  const out = Buffer.allocUnsafe(sizeBytes);
  let at = 0;
  for (const key of keys) {
    const put = putBytes(key, value);
    at = writeTag(out, at, 2, fieldBytes(put));
    at = writeTag(out, at, 2, put);
    at = writePut(out, at, key, value);
  }
  return out;
}

/** RangeResponse{kvs = 2: repeated KeyValue{key = 1, value = 5}}: the value of the first. */
export function decodeFirstValue(response: Uint8Array): Uint8Array | undefined {
  const reader = protobuf.Reader.create(response);
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag !== ((2 << 3) | LENGTH_DELIMITED)) {
      reader.skipType(tag & 7);
      continue;
    }
    const end = reader.uint32() + reader.pos;
    while (reader.pos < end) {
      const field = reader.uint32();
      if (field === ((5 << 3) | LENGTH_DELIMITED)) return reader.bytes();
      reader.skipType(field & 7);
    }
    return new Uint8Array(0);
  }
  return undefined;
}

/** How many entries a RangeResponse holds. */
export function countEntries(response: Uint8Array): number {
  const reader = protobuf.Reader.create(response);
  let count = 0;
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === ((2 << 3) | LENGTH_DELIMITED)) count += 1;
    reader.skipType(tag & 7);
  }
  return count;
}

/** StatusResponse{header = 1: {member_id = 2}, leader = 4}: whether the member that answered leads, and whether any does. */
export function decodeStatus(response: Uint8Array): { isLeader: boolean; hasLeader: boolean } {
  const reader = protobuf.Reader.create(response);
  let member = 0;
  let leader = 0;
  while (reader.pos < reader.len) {
    const tag = reader.uint32();
    if (tag === ((1 << 3) | LENGTH_DELIMITED)) {
      const end = reader.uint32() + reader.pos;
      while (reader.pos < end) {
        const field = reader.uint32();
        if (field === 2 << 3) member = Number(reader.uint64());
        else reader.skipType(field & 7);
      }
    } else if (tag === 4 << 3) leader = Number(reader.uint64());
    else reader.skipType(tag & 7);
  }
  // Ids are random 64-bit numbers; rounded to doubles they still differ.
  return { isLeader: leader !== 0 && leader === member, hasLeader: leader !== 0 };
}

function putBytes(key: Uint8Array, value: Uint8Array): number {
  return fieldBytes(key.length) + fieldBytes(value.length);
}

function writePut(out: Buffer, at: number, key: Uint8Array, value: Uint8Array): number {
  return writeField(out, writeField(out, at, 1, key), 2, value);
}

/** A length-delimited field with its tag and length. */
function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

function varintBytes(value: number): number {
  let bytes = 1;
  while (value >= 0x80 && bytes < MAX_VARINT_BYTES) {
    value >>>= 7;
    bytes += 1;
  }
  return bytes;
}

function writeTag(out: Buffer, at: number, field: number, length: number): number {
  out[at++] = (field << 3) | LENGTH_DELIMITED;
  while (length >= 0x80) {
    out[at++] = (length & 0x7f) | 0x80;
    length >>>= 7;
  }
  out[at++] = length;
  return at;
}

function writeField(out: Buffer, at: number, field: number, bytes: Uint8Array): number {
  const start = writeTag(out, at, field, bytes.length);
  out.set(bytes, start);
  return start + bytes.length;
}
