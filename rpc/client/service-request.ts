/** Requests of the service for any NATS client: JSON or protobuf in, checked and brought to one form. */

import { decode, mraft } from '../wire/codec.ts';
import { InvalidArgument, MalformedRequest, UnknownVerb } from '../wire/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import type { BatchOperation, ReadMode } from './kv.ts';

export const VERBS = ['get', 'put', 'delete', 'cas', 'batch', 'scan', 'deleteRange'] as const;
export type Verb = (typeof VERBS)[number];

/** What a verb reads; only its own fields are set. */
export interface ServiceRequest {
  key?: Uint8Array;
  value?: Uint8Array | null;
  expected?: Uint8Array | null;
  ops?: BatchOperation[];
  gt?: Uint8Array;
  gte?: Uint8Array;
  lt?: Uint8Array;
  lte?: Uint8Array;
  reverse?: boolean;
  limit?: number;
  start?: Uint8Array;
  end?: Uint8Array;
  session?: Uint8Array;
  seq?: number;
  timeoutMs?: number;
  read?: ReadMode;
}

type Field = keyof ServiceRequest;

/** Required fields first; the others may be absent. */
const FIELDS: Record<Verb, { required: readonly Field[]; optional: readonly Field[] }> = {
  get: { required: ['key'], optional: ['read', 'timeoutMs'] },
  put: { required: ['key', 'value'], optional: ['session', 'seq', 'timeoutMs'] },
  delete: { required: ['key'], optional: ['session', 'seq', 'timeoutMs'] },
  cas: { required: ['key', 'expected', 'value'], optional: ['session', 'seq', 'timeoutMs'] },
  batch: { required: ['ops'], optional: ['session', 'seq', 'timeoutMs'] },
  scan: { required: [], optional: ['gt', 'gte', 'lt', 'lte', 'reverse', 'limit', 'read', 'timeoutMs'] },
  deleteRange: { required: ['start', 'end'], optional: ['session', 'seq', 'timeoutMs'] },
};

/** Fields whose bytes are text under their name, and base64 under their name and "64". */
const BYTES = new Set<string>(['key', 'value', 'expected', 'gt', 'gte', 'lt', 'lte', 'start', 'end']);
const READ_MODES = new Set<unknown>(['linearizable', 'lease', 'stale', 'replica']);

/** @throws UnknownVerb */
export function checkVerb(verb: string): Verb {
  if ((VERBS as readonly string[]).includes(verb)) return verb as Verb;
  throw new UnknownVerb(`there is no verb ${JSON.stringify(verb.slice(0, 64))}, only ${VERBS.join(', ')}`, {
    field: 'verb',
  });
}

// --- JSON ------------------------------------------------------------------------------------------------------------

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

type JsonObject = Record<string, unknown>;

/** @throws MalformedRequest, InvalidArgument (the field is named) */
export function parseJsonRequest(verb: Verb, payload: Uint8Array): ServiceRequest {
  const input = asObject(parseJson(payload), 'the request');
  const { required, optional } = FIELDS[verb];
  const request: JsonObject = {};
  for (const [name, value] of Object.entries(input)) {
    const field = name.endsWith('64') ? name.slice(0, -2) : name;
    const isKnown = required.includes(field as Field) || optional.includes(field as Field);
    if (!isKnown || (field !== name && !BYTES.has(field))) throw unknownField(verb, name);
    if (Object.hasOwn(request, field)) {
      throw new InvalidArgument(`${field} and ${field}64 cannot be used together`, { field });
    }
    request[field] = parseField(verb, field as Field, name, value);
  }
  for (const field of required) if (!Object.hasOwn(request, field)) throw missing(verb, field);
  return checkTogether(request as ServiceRequest);
}

function parseJson(payload: Uint8Array): unknown {
  try {
    return JSON.parse(UTF8.decode(payload)) as unknown;
  } catch (cause) {
    throw new MalformedRequest(`the request is no JSON: ${(cause as Error).message}`, { cause });
  }
}

function asObject(value: unknown, field: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  throw new InvalidArgument(`${field} must be an object`, { field });
}

function unknownField(verb: string, name: string): InvalidArgument {
  const shown = name.slice(0, 64);
  return new InvalidArgument(`${verb} has no field ${JSON.stringify(shown)}`, { field: shown });
}

function missing(verb: Verb, field: string): InvalidArgument {
  return new InvalidArgument(`${verb} needs ${field}`, { field });
}

function parseField(verb: Verb, field: Field, name: string, value: unknown): unknown {
  switch (field) {
    case 'ops':
      return parseOperations(value);
    case 'reverse':
      if (typeof value === 'boolean') return value;
      throw new InvalidArgument('reverse must be true or false', { field });
    case 'limit':
    case 'seq':
    case 'timeoutMs':
      if (typeof value === 'number') return value;
      throw new InvalidArgument(`${field} must be a number`, { field });
    case 'read':
      if (READ_MODES.has(value)) return value;
      throw new InvalidArgument('read must be "linearizable", "lease", "replica" or "stale"', { field });
    case 'session':
      return toBytes(name, value);
    default:
      if (value === null && verb === 'cas' && (field === 'expected' || field === 'value')) return null;
      return toBytes(name, value);
  }
}

function parseOperations(value: unknown): BatchOperation[] {
  if (!Array.isArray(value)) throw new InvalidArgument('ops must be an array', { field: 'ops' });
  return value.map((item, i) => {
    const field = `ops[${i}]`;
    const entries = Object.entries(asObject(item, field));
    const [type, body] = entries[0] ?? [];
    if (entries.length !== 1 || (type !== 'put' && type !== 'delete')) {
      throw new InvalidArgument(`${field} must be {"put": …} or {"delete": …}`, { field });
    }
    return parseOperation(type, asObject(body, `${field}.${type}`), `${field}.${type}`);
  });
}

function parseOperation(type: 'put' | 'delete', body: JsonObject, path: string): BatchOperation {
  const found: { key?: Uint8Array; value?: Uint8Array } = {};
  for (const [name, value] of Object.entries(body)) {
    const field = name.endsWith('64') ? name.slice(0, -2) : name;
    if (field !== 'key' && !(field === 'value' && type === 'put')) throw unknownField(path, name);
    if (found[field] !== undefined) {
      throw new InvalidArgument(`${field} and ${field}64 cannot be used together`, { field: `${path}.${field}` });
    }
    found[field] = toBytes(name, value, `${path}.${name}`);
  }
  const { key, value } = found;
  if (key === undefined) throw new InvalidArgument(`${path} needs key`, { field: `${path}.key` });
  if (type === 'delete') return { type, key };
  if (value === undefined) throw new InvalidArgument(`${path} needs value`, { field: `${path}.value` });
  return { type, key, value };
}

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
/** Half of a pair: it has no UTF-8, and would silently become another character. */
const LONE_SURROGATE = /\p{Surrogate}/u;

function toBytes(name: string, value: unknown, field = name): Uint8Array {
  if (typeof value !== 'string') throw new InvalidArgument(`${field} must be a string`, { field });
  if (name.endsWith('64')) {
    if (BASE64.test(value)) return Buffer.from(value, 'base64');
    throw new InvalidArgument(`${field} must be base64 with padding`, { field });
  }
  if (!LONE_SURROGATE.test(value)) return Buffer.from(value);
  throw new InvalidArgument(`${field} holds half of a surrogate pair; send bytes as ${field}64`, { field });
}

// --- protobuf --------------------------------------------------------------------------------------------------------

const WIRE_FIELDS: readonly Field[] = [
  'key',
  'value',
  'expected',
  'gt',
  'gte',
  'lt',
  'lte',
  'start',
  'end',
  'limit',
  'session',
  'seq',
  'timeoutMs',
];
const READ_MODE: readonly ReadMode[] = ['linearizable', 'lease', 'stale', 'replica'];

/** @throws MalformedRequest, InvalidArgument (the field is named) */
export function parseProtobufRequest(verb: Verb, payload: Uint8Array): ServiceRequest {
  const wire = decode(mraft.KvRequest, payload);
  const { required, optional } = FIELDS[verb];
  const request: JsonObject = {};
  const set = (field: Field, value: unknown): void => {
    if (!required.includes(field) && !optional.includes(field)) throw unknownField(verb, field);
    request[field] = value;
  };
  for (const field of WIRE_FIELDS) {
    const value = (wire as unknown as JsonObject)[field];
    if (value !== undefined && value !== null) set(field, value);
  }
  if (wire.ops && wire.ops.length > 0) set('ops', wire.ops.map(fromWireMutation));
  if (wire.reverse) set('reverse', true);
  if (wire.read) {
    if (READ_MODE[wire.read] === undefined) throw new InvalidArgument('read is no read mode', { field: 'read' });
    set('read', READ_MODE[wire.read]);
  }
  if (verb === 'cas') {
    request['expected'] ??= null;
    request['value'] ??= null;
  }
  if (verb === 'batch') request['ops'] ??= [];
  for (const field of required) if (!Object.hasOwn(request, field)) throw missing(verb, field);
  return checkTogether(request as ServiceRequest);
}

function fromWireMutation(mutation: mraft.IMutation, i: number): BatchOperation {
  if (mutation.put) {
    return { type: 'put', key: mutation.put.key ?? NO_BYTES, value: mutation.put.value ?? NO_BYTES };
  }
  if (mutation.delete) return { type: 'delete', key: mutation.delete.key ?? NO_BYTES };
  throw new InvalidArgument(`ops[${i}] must be a put or a delete`, { field: `ops[${i}]` });
}

const NO_BYTES = new Uint8Array(0);

/** What concerns several fields, or a bound that only the service has. */
function checkTogether(request: ServiceRequest): ServiceRequest {
  if ((request.session === undefined) !== (request.seq === undefined)) {
    const field = request.session === undefined ? 'session' : 'seq';
    throw new InvalidArgument('session and seq are used together', { field });
  }
  if (request.limit !== undefined && request.limit > LIMITS.scanPageEntries) {
    throw new InvalidArgument(`limit is at most ${LIMITS.scanPageEntries}`, { field: 'limit' });
  }
  return request;
}
