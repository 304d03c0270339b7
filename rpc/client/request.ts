/** Requests on the wire: calls of one region that travel together. */

import { encode, mraft } from '../wire/codec.ts';
import { encodeCommand } from '../wire/command.ts';
import { invariant } from '../wire/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import type { ReadMode } from './kv.ts';
import type { SentFrame } from './lane.ts';
import type { PendingCall, ReadCall, ScanCall, WriteCall } from './pending-call.ts';
import type { Route } from './router.ts';
import type { Session } from './session.ts';
import type { KeyRange } from './validate.ts';

const NO_BYTES = new Uint8Array(0);

const WIRE_MODE: Record<ReadMode, mraft.ReadMode> = {
  linearizable: mraft.ReadMode.LINEARIZABLE,
  lease: mraft.ReadMode.LEASE,
  stale: mraft.ReadMode.STALE,
  replica: mraft.ReadMode.REPLICA,
};

export class Request {
  readonly id: number;
  readonly kind: PendingCall['kind'];
  readonly route: Route;
  readonly nodeId: number;
  readonly mode: ReadMode;
  readonly session: Session | undefined;
  readonly calls: PendingCall[] = [];
  /** Keys of a read. */
  keyCount = 0;
  /** Of a scan: the part of its range that lies in this region. */
  clip: KeyRange | undefined = undefined;
  lastDeadlineMs = 0;
  frame: SentFrame | undefined = undefined;

  constructor(id: number, call: PendingCall, route: Route, nodeId: number) {
    this.id = id;
    this.kind = call.kind;
    this.route = route;
    this.nodeId = nodeId;
    this.mode = call.kind === 'write' ? 'linearizable' : call.mode;
    this.session = call.kind === 'write' ? call.session : undefined;
  }

  /** Whether a call of the same region, that does not travel alone, can join. */
  takes(call: PendingCall): boolean {
    if (call.kind === 'write') return this.kind === 'write' && this.session === call.session;
    return (
      this.kind === 'read' &&
      call.kind === 'read' &&
      this.mode === call.mode &&
      this.keyCount + call.keys.length <= LIMITS.readKeys
    );
  }

  add(call: PendingCall): void {
    this.calls.push(call);
    if (call.kind === 'read') this.keyCount += call.keys.length;
    if (call.deadlineMs > this.lastDeadlineMs) this.lastDeadlineMs = call.deadlineMs;
  }
}

/**
 * Whether calls of its kind share a request. A scan has a page of its own; a deleteRange is an entry of its own in the
 * log; a call of a user's own session is alone in its command.
 */
export function travelsAlone(call: PendingCall): boolean {
  if (call.kind === 'read') return false;
  return call.kind === 'scan' || call.operation.kind === 'deleteRange' || call.session!.foreign;
}

/** @param longestWaitMs bounds what a server is asked to wait; each request also ends with its calls' deadlines */
export function encodeFrame(
  cluster: string,
  requests: readonly Request[],
  nowMs: number,
  longestWaitMs: number,
): Uint8Array {
  const wire = requests.map((request): mraft.IRequest => {
    const { id, route } = request;
    const waitMs = Math.min(longestWaitMs, request.lastDeadlineMs - nowMs);
    const head = { id, regionId: route.regionId, epoch: route.epoch, timeoutMs: Math.max(1, Math.ceil(waitMs)) };
    switch (request.kind) {
      case 'write':
        return { ...head, write: commandOf(request) };
      case 'read':
        return { ...head, read: { mode: WIRE_MODE[request.mode], keys: keysOf(request) } };
      case 'scan':
        return { ...head, scan: scanOf(request) };
    }
  });
  return encode(mraft.RequestFrame, { cluster, requests: wire });
}

function commandOf(request: Request): Uint8Array {
  const { session } = request;
  invariant(session !== undefined, 'a write has a session when it is sent');
  return encodeCommand(session.id, session.floor, request.calls as WriteCall[]);
}

function keysOf(request: Request): Uint8Array[] {
  const keys = new Array<Uint8Array>(request.keyCount);
  let at = 0;
  for (const call of request.calls as ReadCall[]) for (const key of call.keys) keys[at++] = key;
  return keys;
}

function scanOf(request: Request): mraft.IScan {
  const call = request.calls[0] as ScanCall;
  const clip = request.clip!;
  return {
    mode: WIRE_MODE[request.mode],
    start: clip.start,
    end: clip.end ?? NO_BYTES,
    reverse: call.reverse,
    limit: call.limit,
  };
}
