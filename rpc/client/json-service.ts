/**
 * The service for any NATS client: `mraft.<cluster>.kv.<verb>`, JSON in and out, protobuf (KvRequest, KvResponse) when
 * the Content-Type says `application/x-protobuf`. Any node answers; the work is that of a client beside it.
 *
 * Bytes are text under their name where they are UTF-8, and base64 under the name and "64" (`value64`) where not.
 */

import { isUtf8 } from 'node:buffer';
import type { Link, ServiceRequest as LinkRequest } from '../nats/index.ts';
import { encode, mraft } from '../wire/codec.ts';
import { toWireError } from '../wire/error-codec.ts';
import { asMraftError, Closed, ServerBusy, Unavailable, type MraftError } from '../wire/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import { QUEUE_GROUP, subjects } from '../wire/subjects.ts';
import type { CallOptions, KeyValue, Kv, ReadOptions } from './kv.ts';
import {
  checkVerb,
  parseJsonRequest,
  parseProtobufRequest,
  VERBS,
  type ServiceRequest,
  type Verb,
} from './service-request.ts';

/** A key-value interface that lets a caller bring a session and a sequence (client.ts). */
export interface SessionedKv extends Kv {
  withSession(session: Uint8Array, seq: number): Kv;
}

export interface ServiceAnswer {
  readonly payload: Uint8Array;
  /** Of an error: what a NATS service says in its headers. */
  readonly headers?: Readonly<Record<string, string>>;
}

type Result =
  | { readonly kind: 'value'; readonly value: Uint8Array | undefined }
  | { readonly kind: 'ok' }
  | { readonly kind: 'swap'; readonly swapped: boolean; readonly current: Uint8Array | undefined }
  | { readonly kind: 'page'; readonly entries: readonly KeyValue[]; readonly next: Uint8Array | undefined };

const PROTOBUF = 'application/x-protobuf';

/** Answers one request; never rejects. */
export async function handleJson(kv: SessionedKv, verb: string, payload: Uint8Array): Promise<ServiceAnswer> {
  try {
    const known = checkVerb(verb);
    const result = await execute(kv, known, parseJsonRequest(known, payload));
    return { payload: Buffer.from(JSON.stringify(toJson(result))) };
  } catch (thrown) {
    return jsonError(asServiceError(thrown));
  }
}

/** The same in protobuf. */
export async function handleProtobuf(kv: SessionedKv, verb: string, payload: Uint8Array): Promise<ServiceAnswer> {
  try {
    const known = checkVerb(verb);
    const result = await execute(kv, known, parseProtobufRequest(known, payload));
    return { payload: encode(mraft.KvResponse, toWire(result)), headers: { 'Content-Type': PROTOBUF } };
  } catch (thrown) {
    return protobufError(asServiceError(thrown));
  }
}

/** The client that is closed is this node's own, which leaves: any other node would answer. */
function asServiceError(thrown: unknown): MraftError {
  const error = asMraftError(thrown);
  if (!(error instanceof Closed)) return error;
  return new Unavailable('this node is leaving: ask again', { ...error.details, cause: error });
}

// --- doing -----------------------------------------------------------------------------------------------------------

async function execute(kv: SessionedKv, verb: Verb, request: ServiceRequest): Promise<Result> {
  const { key, value, session, seq } = request;
  const options = optionsOf(request);
  const writer = session === undefined ? kv : kv.withSession(session, seq!);
  switch (verb) {
    case 'get':
      return { kind: 'value', value: await kv.get(key!, options) };
    case 'put':
      await writer.put(key!, value!, options);
      return { kind: 'ok' };
    case 'delete':
      await writer.delete(key!, options);
      return { kind: 'ok' };
    case 'cas': {
      const { expected } = request;
      return {
        kind: 'swap',
        ...(await writer.compareAndSwap(key!, expected ?? undefined, value ?? undefined, options)),
      };
    }
    case 'batch':
      await writer.batch(request.ops!, options);
      return { kind: 'ok' };
    case 'deleteRange':
      await writer.deleteRange(request.start!, request.end!, options);
      return { kind: 'ok' };
    case 'scan':
      return scanPage(kv, request, options);
  }
}

function optionsOf(request: ServiceRequest): CallOptions & ReadOptions {
  return {
    ...(request.timeoutMs === undefined ? {} : { timeoutMs: request.timeoutMs }),
    ...(request.read === undefined ? {} : { read: request.read }),
  };
}

/** One page, and the first key that is not on it: where `gte` (reversed: `lte`) goes on. */
async function scanPage(kv: Kv, request: ServiceRequest, options: ReadOptions): Promise<Result> {
  const { gt, gte, lt, lte, reverse = false, limit = LIMITS.scanPageEntries } = request;
  const bounds = { ...(gt && { gt }), ...(gte && { gte }), ...(lt && { lt }), ...(lte && { lte }) };
  const entries: KeyValue[] = [];
  let sizeBytes = 0;
  if (limit === 0) return { kind: 'page', entries, next: undefined };
  // One more than asked for tells whether there is more; what is no limit stays as it is, to be refused by its name.
  const most = Number.isSafeInteger(limit) && limit > 0 ? limit + 1 : limit;
  for await (const entry of kv.scan({ ...options, ...bounds, reverse, limit: most })) {
    sizeBytes += entry.key.length + entry.value.length;
    if (entries.length === limit || (entries.length > 0 && sizeBytes > LIMITS.scanPageBytes)) {
      return { kind: 'page', entries, next: entry.key };
    }
    entries.push(entry);
  }
  return { kind: 'page', entries, next: undefined };
}

// --- saying ----------------------------------------------------------------------------------------------------------

/** Control characters take six bytes each in JSON: what would grow beyond base64 is sent as base64. */
const ESCAPED = /\p{Cc}|["\\]/gu;
const MOST_ESCAPED = 0.06;

function bytesAs(name: string, bytes: Uint8Array): Record<string, string> {
  if (isUtf8(bytes)) {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
    if ((text.match(ESCAPED)?.length ?? 0) <= bytes.length * MOST_ESCAPED + 16) return { [name]: text };
  }
  return { [`${name}64`]: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64') };
}

function bytesOrNull(name: string, bytes: Uint8Array | undefined): Record<string, string | null> {
  return bytes === undefined ? { [name]: null } : bytesAs(name, bytes);
}

function toJson(result: Result): unknown {
  switch (result.kind) {
    case 'value':
      return bytesOrNull('value', result.value);
    case 'ok':
      return { ok: true };
    case 'swap':
      return { swapped: result.swapped, ...(result.swapped ? {} : bytesOrNull('current', result.current)) };
    case 'page': {
      const entries = result.entries.map(({ key, value }) => ({ ...bytesAs('key', key), ...bytesAs('value', value) }));
      return { entries, ...bytesOrNull('next', result.next) };
    }
  }
}

function toWire(result: Result): mraft.IKvResponse {
  switch (result.kind) {
    case 'value':
      return result.value === undefined ? {} : { value: result.value };
    case 'ok':
      return {};
    case 'swap':
      return { swapped: result.swapped, ...(result.current === undefined ? {} : { current: result.current }) };
    case 'page':
      return { entries: [...result.entries], ...(result.next === undefined ? {} : { next: result.next }) };
  }
}

function jsonError(error: MraftError): ServiceAnswer {
  const { code, message, retryable, details } = error;
  const body = {
    code,
    message,
    retryable,
    ...(details.field === undefined ? {} : { field: details.field }),
    ...(details.outcomeUnknown === undefined ? {} : { outcomeUnknown: details.outcomeUnknown }),
  };
  return { payload: Buffer.from(JSON.stringify({ error: body })), headers: errorHeaders(error) };
}

function protobufError(error: MraftError): ServiceAnswer {
  const payload = encode(mraft.KvResponse, { error: toWireError(error) });
  return { payload, headers: { ...errorHeaders(error), 'Content-Type': PROTOBUF } };
}

function errorHeaders(error: MraftError): Record<string, string> {
  return {
    // A header is one line of printable characters.
    'Nats-Service-Error': `${error.code}: ${error.message}`.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 256),
    'Nats-Service-Error-Code': String(statusOf(error)),
  };
}

/** As HTTP counts: the request is wrong, or the service is not able to, or not in time. */
function statusOf(error: MraftError): number {
  if (error.code === 'DeadlineExceeded') return 504;
  if (error.retryable) return 503;
  return error.code === 'Internal' || error.code === 'StorageFailure' ? 500 : 400;
}

// --- serving ---------------------------------------------------------------------------------------------------------

export interface KvServiceOptions {
  /** Version of the program, as NATS shows it. */
  readonly version: string;
  /** Requests at once; further ones are answered ServerBusy. Default LIMITS.serviceRequests. */
  readonly requests?: number;
}

export interface KvService {
  /** Requests that are being worked on. */
  readonly pending: number;
  close(): Promise<void>;
}

/** Registers the service on a link, in the queue group that all nodes of the cluster share. */
export async function serveKv(
  link: Link,
  cluster: string,
  kv: SessionedKv,
  options: KvServiceOptions,
): Promise<KvService> {
  const most = options.requests ?? LIMITS.serviceRequests;
  let pending = 0;
  const prefixLength = subjects.kv(cluster, '').length;
  const handler = (request: LinkRequest): void => {
    const isProtobuf = request.header('Content-Type') === PROTOBUF;
    if (pending >= most) {
      const busy = new ServerBusy(`${pending} requests are being worked on`);
      const answer = isProtobuf ? protobufError(busy) : jsonError(busy);
      request.respond(answer.payload, answer.headers);
      return;
    }
    pending++;
    const handle = isProtobuf ? handleProtobuf : handleJson;
    void handle(kv, request.subject.slice(prefixLength), request.data).then((answer) => {
      pending--;
      request.respond(answer.payload, answer.headers);
    });
  };
  const service = await link.addService({
    name: 'mraft-kv',
    version: options.version,
    description: `mraft, a distributed ordered key-value engine: cluster ${cluster}`,
    metadata: { cluster, verbs: VERBS.join(',') },
    queue: QUEUE_GROUP,
    // One endpoint for all verbs, so that an unknown verb is answered too.
    endpoints: [{ name: 'kv', subject: subjects.kv(cluster, '*'), handler }],
  });
  return {
    get pending() {
      return pending;
    },
    close: () => service.close(),
  };
}
