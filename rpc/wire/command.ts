/**
 * Commands and payloads (mraft.proto: Command, Call, Payload) without an object per call. A client writes each command
 * once; the leader checks it and copies it, unparsed, into an entry; every replica walks it when it applies it.
 * The bytes are plain protobuf: the generated codec reads the same (test/wire/command.test.ts).
 */

import { MalformedRequest } from './errors.ts';
import { VarintReader, varintBytes, writeVarint } from './varint.ts';

export type Mutation =
  | { readonly kind: 'put'; readonly key: Uint8Array; readonly value: Uint8Array }
  | { readonly kind: 'delete'; readonly key: Uint8Array };

export type Operation =
  | Mutation
  | {
      readonly kind: 'compareAndSwap';
      readonly key: Uint8Array;
      readonly expected: Uint8Array | undefined;
      readonly value: Uint8Array | undefined;
    }
  | { readonly kind: 'batch'; readonly mutations: readonly Mutation[] }
  | { readonly kind: 'deleteRange'; readonly start: Uint8Array; readonly end: Uint8Array };

export interface Call {
  readonly seq: number;
  readonly operation: Operation;
}

// Field numbers of mraft.proto, as tags (number << 3 | wire type).
const COMMAND_SESSION = (1 << 3) | 2;
const COMMAND_FLOOR = (2 << 3) | 0;
const COMMAND_CALL = (3 << 3) | 2;
const CALL_SEQ = (1 << 3) | 0;
const CALL_PUT = (2 << 3) | 2;
const CALL_DELETE = (3 << 3) | 2;
const CALL_CAS = (4 << 3) | 2;
const CALL_BATCH = (5 << 3) | 2;
const CALL_DELETE_RANGE = (6 << 3) | 2;
const FIRST_BYTES = (1 << 3) | 2;
const SECOND_BYTES = (2 << 3) | 2;
const THIRD_BYTES = (3 << 3) | 2;
const PAYLOAD_EPOCH = (1 << 3) | 2;
const PAYLOAD_COMMAND = (2 << 3) | 2;
const PAYLOAD_CONDITIONAL = (3 << 3) | 0;
const PAYLOAD_EXCLUSIVE = (4 << 3) | 0;
const PAYLOAD_ADMIN = (5 << 3) | 2;
const EPOCH_VERSION = (1 << 3) | 0;
const EPOCH_CONF_VERSION = (2 << 3) | 0;

// --- writing -------------------------------------------------------------------------------------------------------

function fieldBytes(length: number): number {
  return 1 + varintBytes(length) + length;
}

function optionalBytes(bytes: Uint8Array | undefined): number {
  return bytes === undefined ? 0 : fieldBytes(bytes.length);
}

/** Size of the operation's own message, without its tag and length. */
function operationBytes(operation: Operation): number {
  switch (operation.kind) {
    case 'put':
      return fieldBytes(operation.key.length) + fieldBytes(operation.value.length);
    case 'delete':
      return fieldBytes(operation.key.length);
    case 'compareAndSwap':
      return fieldBytes(operation.key.length) + optionalBytes(operation.expected) + optionalBytes(operation.value);
    case 'deleteRange':
      return fieldBytes(operation.start.length) + fieldBytes(operation.end.length);
    case 'batch': {
      let size = 0;
      for (const mutation of operation.mutations) size += fieldBytes(fieldBytes(operationBytes(mutation)));
      return size;
    }
  }
}

function callBytes(call: Call): number {
  return 1 + varintBytes(call.seq) + fieldBytes(operationBytes(call.operation));
}

/** Bytes that `call` adds to a command. */
export function encodedCallBytes(call: Call): number {
  return fieldBytes(callBytes(call));
}

function writeHeader(target: Uint8Array, at: number, tag: number, length: number): number {
  target[at++] = tag;
  return writeVarint(target, at, length);
}

function writeBytes(target: Uint8Array, at: number, tag: number, bytes: Uint8Array): number {
  at = writeHeader(target, at, tag, bytes.length);
  target.set(bytes, at);
  return at + bytes.length;
}

const OPERATION_TAG: Record<Operation['kind'], number> = {
  put: CALL_PUT,
  delete: CALL_DELETE,
  compareAndSwap: CALL_CAS,
  batch: CALL_BATCH,
  deleteRange: CALL_DELETE_RANGE,
};

function writeOperation(target: Uint8Array, at: number, operation: Operation): number {
  switch (operation.kind) {
    case 'put':
      at = writeBytes(target, at, FIRST_BYTES, operation.key);
      return writeBytes(target, at, SECOND_BYTES, operation.value);
    case 'delete':
      return writeBytes(target, at, FIRST_BYTES, operation.key);
    case 'compareAndSwap':
      at = writeBytes(target, at, FIRST_BYTES, operation.key);
      if (operation.expected !== undefined) at = writeBytes(target, at, SECOND_BYTES, operation.expected);
      if (operation.value !== undefined) at = writeBytes(target, at, THIRD_BYTES, operation.value);
      return at;
    case 'deleteRange':
      at = writeBytes(target, at, FIRST_BYTES, operation.start);
      return writeBytes(target, at, SECOND_BYTES, operation.end);
    case 'batch':
      for (const mutation of operation.mutations) {
        const size = operationBytes(mutation);
        at = writeHeader(target, at, FIRST_BYTES, fieldBytes(size));
        at = writeHeader(target, at, mutation.kind === 'put' ? FIRST_BYTES : SECOND_BYTES, size);
        at = writeOperation(target, at, mutation);
      }
      return at;
  }
}

/** Encodes a Command. An empty `session` asks for no exactly-once; then `seq` and `floor` are 0. */
export function encodeCommand(session: Uint8Array, floor: number, calls: readonly Call[]): Uint8Array {
  let size = 0;
  if (session.length > 0) size += fieldBytes(session.length);
  if (floor > 0) size += 1 + varintBytes(floor);
  const sizes = new Array<number>(calls.length);
  for (let i = 0; i < calls.length; i++) {
    const bytes = callBytes(calls[i]!);
    sizes[i] = bytes;
    size += fieldBytes(bytes);
  }
  const target = Buffer.allocUnsafe(size);
  let at = 0;
  if (session.length > 0) at = writeBytes(target, at, COMMAND_SESSION, session);
  if (floor > 0) {
    target[at++] = COMMAND_FLOOR;
    at = writeVarint(target, at, floor);
  }
  for (let i = 0; i < calls.length; i++) {
    const call = calls[i]!;
    at = writeHeader(target, at, COMMAND_CALL, sizes[i]!);
    target[at++] = CALL_SEQ;
    at = writeVarint(target, at, call.seq);
    at = writeHeader(target, at, OPERATION_TAG[call.operation.kind], operationBytes(call.operation));
    at = writeOperation(target, at, call.operation);
  }
  return target;
}

export interface EpochNumbers {
  readonly version: number;
  readonly confVersion: number;
}

/** What whoever applies an entry must know before it begins. */
export interface PayloadNature {
  /** Some call reads before it writes, so it must see the writes that came before it and are not in the store yet. */
  readonly conditional: boolean;
  /** One deleteRange and nothing else, so everything before it must be in the store. */
  readonly exclusive: boolean;
}

/** Joins encoded commands into the payload of one entry; the commands are copied. */
export function encodePayload(epoch: EpochNumbers, nature: PayloadNature, commands: readonly Uint8Array[]): Uint8Array {
  const epochSize = 2 + varintBytes(epoch.version) + varintBytes(epoch.confVersion);
  let size = fieldBytes(epochSize) + (nature.conditional ? 2 : 0) + (nature.exclusive ? 2 : 0);
  for (const command of commands) size += fieldBytes(command.length);
  const target = Buffer.allocUnsafe(size);
  let at = writeHeader(target, 0, PAYLOAD_EPOCH, epochSize);
  target[at++] = EPOCH_VERSION;
  at = writeVarint(target, at, epoch.version);
  target[at++] = EPOCH_CONF_VERSION;
  at = writeVarint(target, at, epoch.confVersion);
  if (nature.conditional) {
    target[at++] = PAYLOAD_CONDITIONAL;
    target[at++] = 1;
  }
  if (nature.exclusive) {
    target[at++] = PAYLOAD_EXCLUSIVE;
    target[at++] = 1;
  }
  for (const command of commands) at = writeBytes(target, at, PAYLOAD_COMMAND, command);
  return target;
}

/** The payload of an entry that holds one AdminCommand, given in its encoded form. */
export function encodeAdminPayload(epoch: EpochNumbers, admin: Uint8Array): Uint8Array {
  const head = encodePayload(epoch, { conditional: false, exclusive: false }, []);
  const target = Buffer.allocUnsafe(head.length + fieldBytes(admin.length));
  target.set(head, 0);
  writeBytes(target, head.length, PAYLOAD_ADMIN, admin);
  return target;
}

/** Whether a payload holds an admin command: a look at two bytes. */
export function isAdminPayload(payload: Uint8Array): boolean {
  return payload.length > 2 && payload[2 + payload[1]!] === PAYLOAD_ADMIN;
}

// --- reading -------------------------------------------------------------------------------------------------------

/** A stretch of the bytes being read; copied into, never replaced, so that walking allocates nothing. */
export class Span {
  start = 0;
  end = 0;

  set(start: number, end: number): void {
    this.start = start;
    this.end = end;
  }

  get length(): number {
    return this.end - this.start;
  }

  of(bytes: Buffer): Buffer {
    return bytes.subarray(this.start, this.end);
  }
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Walks the calls of an encoded Command: `while (cursor.next()) switch (cursor.kind) …`. Of `key`, `value` and
 * `expected` only those that the kind has are set; `hasValue` and `hasExpected` tell empty from absent.
 * For a deleteRange `key` is the start and `value` the end. A batch is walked by `nextMutation`.
 * Every method throws MalformedRequest where the bytes are no Command.
 */
export class CommandCursor {
  readonly bytes: Buffer;
  session: Buffer = EMPTY;
  floor = 0;
  /** Position of the current call in the command, from 0. */
  position = -1;
  seq = 0;
  kind: Operation['kind'] = 'put';
  readonly key = new Span();
  readonly value = new Span();
  readonly expected = new Span();
  hasValue = false;
  hasExpected = false;
  /** Of the current mutation of a batch. */
  mutationKind: Mutation['kind'] = 'put';

  readonly #reader: VarintReader;
  readonly #end: number;
  readonly #batch = new Span();

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = asBuffer(bytes);
    this.#end = end;
    this.#reader = new VarintReader(this.bytes, start, end);
    this.#readHead();
  }

  /** Reads session and floor, which are written before the calls, and stops in front of the first call. */
  #readHead(): void {
    const reader = this.#reader;
    while (reader.at < this.#end) {
      const tag = this.bytes[reader.at]!;
      if (tag === COMMAND_CALL) return;
      reader.next();
      if (tag === COMMAND_SESSION) {
        const length = reader.length();
        this.session = this.bytes.subarray(reader.at, reader.at + length);
        reader.at += length;
      } else if (tag === COMMAND_FLOOR) {
        this.floor = reader.next();
      } else {
        throw new MalformedRequest('a command begins with an unknown field');
      }
    }
  }

  /** Moves to the next call; false behind the last. */
  next(): boolean {
    const reader = this.#reader;
    reader.end = this.#end;
    if (reader.at >= this.#end) return false;
    if (reader.next() !== COMMAND_CALL) throw new MalformedRequest('a command holds something that is no call');
    const callEnd = reader.length() + reader.at;
    reader.end = callEnd;
    this.position++;
    this.seq = 0;
    let found = false;
    while (reader.at < callEnd) {
      const tag = reader.next();
      if (tag === CALL_SEQ) {
        this.seq = reader.next();
        continue;
      }
      if (found) throw new MalformedRequest('a call has more than one operation');
      found = true;
      const length = reader.length();
      this.#readOperation(tag, reader.at + length);
    }
    if (!found) throw new MalformedRequest('a call has no operation');
    return true;
  }

  #readOperation(tag: number, end: number): void {
    const reader = this.#reader;
    switch (tag) {
      case CALL_PUT:
        this.kind = 'put';
        break;
      case CALL_DELETE:
        this.kind = 'delete';
        break;
      case CALL_DELETE_RANGE:
        this.kind = 'deleteRange';
        break;
      case CALL_CAS:
        this.kind = 'compareAndSwap';
        this.#readFields(end, this.expected, this.value);
        return;
      case CALL_BATCH:
        this.kind = 'batch';
        this.#batch.set(reader.at, end);
        reader.at = end;
        return;
      default:
        throw new MalformedRequest(`a call has an unknown operation (tag ${tag})`);
    }
    this.#readFields(end, this.value, undefined);
  }

  /** Reads key (field 1), `second` (field 2) and `third` (field 3) up to `end`. */
  #readFields(end: number, second: Span, third: Span | undefined): void {
    const reader = this.#reader;
    this.key.set(reader.at, reader.at);
    this.value.set(reader.at, reader.at);
    this.expected.set(reader.at, reader.at);
    let hasSecond = false;
    let hasThird = false;
    while (reader.at < end) {
      const tag = reader.next();
      const length = reader.length();
      const start = reader.at;
      if (start + length > end) throw new MalformedRequest('a field is longer than its operation');
      reader.at = start + length;
      if (tag === FIRST_BYTES) this.key.set(start, reader.at);
      else if (tag === SECOND_BYTES) {
        second.set(start, reader.at);
        hasSecond = true;
      } else if (tag === THIRD_BYTES && third) {
        third.set(start, reader.at);
        hasThird = true;
      } else throw new MalformedRequest(`an operation has an unknown field (tag ${tag})`);
    }
    this.hasExpected = third !== undefined && hasSecond;
    this.hasValue = third === undefined ? hasSecond : hasThird;
  }

  /** Moves to the next mutation of the current batch; false behind the last. Sets mutationKind, key and value. */
  nextMutation(): boolean {
    const reader = this.#reader;
    if (this.#batch.start >= this.#batch.end) return false;
    const resume = reader.at;
    reader.at = this.#batch.start;
    reader.end = this.#batch.end;
    if (reader.next() !== FIRST_BYTES) throw new MalformedRequest('a batch holds something that is no mutation');
    const mutationEnd = reader.length() + reader.at;
    reader.end = mutationEnd;
    const tag = reader.next();
    if (tag !== FIRST_BYTES && tag !== SECOND_BYTES) throw new MalformedRequest('a mutation is neither put nor delete');
    this.mutationKind = tag === FIRST_BYTES ? 'put' : 'delete';
    const length = reader.length();
    if (reader.at + length !== mutationEnd) throw new MalformedRequest('a mutation has more than one operation');
    this.#readFields(mutationEnd, this.value, undefined);
    this.#batch.start = mutationEnd;
    reader.at = resume;
    return true;
  }
}

const EMPTY = Buffer.alloc(0);

/**
 * Walks the commands of a Payload in the log.
 * @throws MalformedRequest where the bytes are no Payload
 */
export class PayloadCursor {
  readonly bytes: Buffer;
  version = 0;
  confVersion = 0;
  conditional = false;
  exclusive = false;
  /** An encoded AdminCommand; there are no commands then. It aliases the payload. */
  admin: Uint8Array | undefined;
  readonly #reader: VarintReader;

  constructor(bytes: Uint8Array) {
    this.bytes = asBuffer(bytes);
    const reader = new VarintReader(this.bytes);
    this.#reader = reader;
    if (reader.next() !== PAYLOAD_EPOCH) throw new MalformedRequest('a payload begins with its epoch');
    const end = reader.length() + reader.at;
    while (reader.at < end) {
      const tag = reader.next();
      if (tag === EPOCH_VERSION) this.version = reader.next();
      else if (tag === EPOCH_CONF_VERSION) this.confVersion = reader.next();
      else throw new MalformedRequest('an epoch has an unknown field');
    }
    this.conditional = this.#readFlag(PAYLOAD_CONDITIONAL);
    this.exclusive = this.#readFlag(PAYLOAD_EXCLUSIVE);
    if (reader.at < reader.end && this.bytes[reader.at] === PAYLOAD_ADMIN) this.admin = this.#readAdmin();
  }

  #readAdmin(): Uint8Array {
    const reader = this.#reader;
    reader.at++;
    const length = reader.length();
    const start = reader.at;
    reader.at = start + length;
    if (reader.at < reader.end) throw new MalformedRequest('an admin command travels alone');
    return this.bytes.subarray(start, reader.at);
  }

  #readFlag(tag: number): boolean {
    const reader = this.#reader;
    if (reader.at >= reader.end || this.bytes[reader.at] !== tag) return false;
    reader.at++;
    return reader.next() !== 0;
  }

  /** A cursor over the next command, undefined behind the last. */
  next(): CommandCursor | undefined {
    const reader = this.#reader;
    if (reader.at >= reader.end) return undefined;
    if (reader.next() !== PAYLOAD_COMMAND) throw new MalformedRequest('a payload holds something that is no command');
    const length = reader.length();
    const start = reader.at;
    reader.at = start + length;
    return new CommandCursor(this.bytes, start, start + length);
  }
}
