/**
 * Carries each call from its beginning to its end: admits it, routes it by its keys before every attempt, waits
 * between attempts, and ends it with an answer, a final error, or its deadline. A call that is not done is in exactly
 * one place: a lane of the batcher, a request in flight, `#waiting`, or `#unrouted`.
 */

import type { mraft } from '../wire/codec.ts';
import {
  asMraftError,
  BatchCrossesRegions,
  Closed,
  DeadlineExceeded,
  errorFromCode,
  SequenceSpent,
  ServerBusy,
  SessionExpired,
  Unavailable,
  type MraftError,
} from '../wire/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import { compareKeys, type Region } from '../wire/region.ts';
import { Batcher, type CallOutcomes } from './batcher.ts';
import { PendingList, ReadCall, WriteCall, type PendingCall } from './pending-call.ts';
import type { Request } from './request.ts';
import { backoffMs, decideRetry, decideUnsent } from './retry.ts';
import { Router, type KeySpace, type Route } from './router.ts';
import type { ClientRuntime } from './runtime.ts';
import { OwnSession, type Session } from './session.ts';
import { newClientStats, type ClientStats } from './stats.ts';
import type { ClientTransport } from './transport.ts';

/** How often deadlines, pauses and silent peers are looked after, while calls are pending. */
const SWEEP_MS = 10;
/** Between two questions for routes. */
const ROUTES_PAUSE_MS = 50;
/** Routes younger than this are believed when they say that a batch crosses regions. */
const FRESH_ROUTES_MS = 1_000;

export interface DispatcherOptions {
  readonly cluster: string;
  readonly attemptTimeoutMs: number;
  readonly inflightFrames: number;
  readonly session: Uint8Array | undefined;
  readonly keySpace: KeySpace;
}

export class Dispatcher implements CallOutcomes {
  readonly stats: ClientStats = newClientStats();
  readonly router: Router;
  readonly #batcher: Batcher;
  readonly #transport: ClientTransport;
  readonly #runtime: ClientRuntime;
  readonly #options: DispatcherOptions;

  readonly #pending = new PendingList();
  /** No pending call's deadline is earlier. */
  #earliestDeadlineMs = Infinity;
  /** Until `wakeAtMs`. */
  #waiting: PendingCall[] = [];
  /** Until the routes are known, or known anew. */
  #unrouted: PendingCall[] = [];
  #session: Session;
  #cancelTimer: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  #routesWanted = true;
  #routesAsked = false;
  #routesLearnedAtMs = -Infinity;
  #nextFetchAtMs = -Infinity;
  /** Questions for routes in a row that helped no call. */
  #fruitless = 0;

  constructor(transport: ClientTransport, runtime: ClientRuntime, options: DispatcherOptions) {
    this.#transport = transport;
    this.#runtime = runtime;
    this.#options = options;
    this.router = new Router(options.keySpace);
    this.#session = new OwnSession(options.session ?? runtime.newSession());
    this.#batcher = new Batcher(transport, this.router, runtime, this, this.stats, options);
    this.#fetchRoutes();
  }

  get pendingCalls(): number {
    return this.#pending.count;
  }

  nowMs(): number {
    return this.#runtime.now();
  }

  // --- beginning and end ---------------------------------------------------------------------------------------------

  /** Begins a call; rejects at once with Closed or ServerBusy, or else ends at its deadline at the latest. */
  begin<T>(call: PendingCall): Promise<T> {
    if (this.#closing) return Promise.reject(new Closed('the client is closed'));
    if (
      this.#pending.count >= LIMITS.clientPendingCalls ||
      this.#pending.bytes + call.sizeBytes > LIMITS.clientPendingBytes
    ) {
      const message = `${this.#pending.count} calls (${this.#pending.bytes} bytes) are pending in this client`;
      return Promise.reject(new ServerBusy(message));
    }
    const promise = new Promise<T>((resolve, reject) => {
      call.resolve = resolve as (result: unknown) => void;
      call.reject = reject;
    });
    this.stats.calls++;
    this.#admit(call);
    this.redispatch(call);
    return promise;
  }

  #admit(call: PendingCall): void {
    this.#pending.add(call);
    if (call.deadlineMs < this.#earliestDeadlineMs) this.#earliestDeadlineMs = call.deadlineMs;
    this.#cancelTimer ??= this.#runtime.after(SWEEP_MS, this.#sweep);
  }

  /** A piece of `call` that lies elsewhere; it shares the call's promise and deadline. */
  #admitPiece(piece: ReadCall | WriteCall, call: ReadCall | WriteCall): void {
    piece.resolve = call.resolve;
    piece.reject = call.reject;
    piece.lastError = call.lastError;
    this.#admit(piece);
  }

  #end(call: PendingCall): void {
    call.done = true;
    this.#pending.remove(call);
    if (call.kind === 'write' && call.seq !== 0) this.#settleSequence(call);
    call.route = undefined;
    call.requestId = 0;
  }

  #settleSequence(call: WriteCall): void {
    if (call.sharedSequence && --call.sharedSequence.open > 0) return;
    call.session!.settle(call.seq);
  }

  succeed(call: PendingCall, result: unknown): void {
    if (call.done) return;
    this.#end(call);
    if (call.kind === 'scan' || call.gather === undefined) call.resolve(result);
    else if (--call.gather.open === 0) call.resolve(call.gather.result);
  }

  #fail(call: PendingCall, error: MraftError): void {
    if (call.done) return;
    this.#end(call);
    call.reject(error);
  }

  /** An error that tells whether the write may have taken effect. */
  #withOutcome(call: PendingCall, error: MraftError): MraftError {
    if (call.kind !== 'write' || call.sends < 2) return error;
    const { cause, details } = error;
    return errorFromCode(error.code, error.message, { ...details, cause, outcomeUnknown: true });
  }

  // --- routing -------------------------------------------------------------------------------------------------------

  /** Routes a call by its keys, as the cache now has them, and queues it; without a route it waits for the routes. */
  redispatch(call: PendingCall): void {
    if (call.done) return;
    const route = this.#routeOf(call);
    if (call.done) return;
    if (route !== undefined) {
      this.#batcher.enqueue(call, route);
      return;
    }
    this.#unrouted.push(call);
    this.#routesWanted = true;
    this.#fetchRoutes();
  }

  #routeOf(call: PendingCall): Route | undefined {
    switch (call.kind) {
      case 'write':
        return this.#routeOfWrite(call);
      case 'read':
        return call.gather === undefined ? this.router.find(call.keys[0]!) : this.#routeOfKeys(call);
      case 'scan':
        return call.reverse ? this.router.findBelow(call.range.end) : this.router.find(call.range.start);
    }
  }

  #routeOfWrite(call: WriteCall): Route | undefined {
    const { operation } = call;
    switch (operation.kind) {
      case 'batch':
        return this.#routeOfBatch(call);
      case 'deleteRange':
        return this.#routeOfRange(call);
      default:
        return this.router.find(operation.key);
    }
  }

  #routeOfBatch(call: WriteCall): Route | undefined {
    if (call.operation.kind !== 'batch') return undefined;
    const { mutations } = call.operation;
    const route = this.router.find(mutations[0]!.key);
    if (route === undefined || mutations.every((mutation) => route.contains(mutation.key))) return route;
    if (this.nowMs() - this.#routesLearnedAtMs > FRESH_ROUTES_MS) return undefined;
    const message = 'the keys of the batch lie in several regions; only the operations of one region are atomic';
    const details = { field: 'operations', ...(call.sends > 0 ? { outcomeUnknown: true } : {}) };
    this.#fail(call, new BatchCrossesRegions(message, details));
    return undefined;
  }

  /** Cuts off what lies behind the region of the range's start, and sends it on its own way. */
  #routeOfRange(call: WriteCall): Route | undefined {
    if (call.operation.kind !== 'deleteRange') return undefined;
    const { start, end } = call.operation;
    const route = this.router.find(start);
    if (route === undefined || route.endKey.length === 0 || compareKeys(end, route.endKey) <= 0) return route;
    call.operation = { kind: 'deleteRange', start, end: route.endKey };
    const operation = { kind: 'deleteRange', start: route.endKey, end } as const;
    const piece = new WriteCall(call.deadlineMs, start.length + end.length, operation);
    piece.gather = call.gather;
    call.gather!.open++;
    if (call.seq !== 0) {
      // It was sent before. The regions remember which keys were deleted under the sequence, whoever they come from.
      call.sharedSequence ??= { open: 1 };
      call.sharedSequence.open++;
      piece.sharedSequence = call.sharedSequence;
      piece.session = call.session;
      piece.seq = call.seq;
      piece.sends = call.sends;
    }
    this.#admitPiece(piece, call);
    this.redispatch(piece);
    return route;
  }

  /** Undefined, and the call is ended in favour of its pieces, where its keys lie in several regions. */
  #routeOfKeys(call: ReadCall): Route | undefined {
    const byRoute = new Map<Route | undefined, number[]>();
    call.keys.forEach((key, i) => {
      const route = this.router.find(key);
      const members = byRoute.get(route);
      if (members) members.push(i);
      else byRoute.set(route, [i]);
    });
    const pieces = [...byRoute.values()].flatMap((members) => cutToRequests(members, call.keys));
    if (pieces.length === 1) return this.router.find(call.keys[0]!);
    this.#replaceRead(call, pieces);
    return undefined;
  }

  #replaceRead(call: ReadCall, pieces: readonly (readonly number[])[]): void {
    call.gather!.open += pieces.length - 1;
    this.#end(call);
    for (const members of pieces) {
      const keys = members.map((i) => call.keys[i]!);
      const sizeBytes = keys.reduce((sum, key) => sum + key.length, 0);
      const piece = new ReadCall(call.deadlineMs, sizeBytes, call.mode, keys);
      piece.gather = call.gather;
      piece.positions = members.map((i) => call.positions[i]!);
      piece.attempts = call.attempts;
      this.#admitPiece(piece, call);
      this.redispatch(piece);
    }
  }

  continueRead(call: ReadCall, answered: number, request: Request): void {
    if (call.gather !== undefined) {
      const rest = call.keys.map((_, i) => i).slice(answered);
      this.#replaceRead(call, [rest]);
    } else if (call.requestId === request.id) {
      call.requestId = 0;
      this.redispatch(call);
    }
  }

  // --- failed attempts -----------------------------------------------------------------------------------------------

  failAttempt(calls: readonly PendingCall[], error: MraftError, request: Request | undefined): void {
    if (request !== undefined) this.#heal(error, request);
    const random = this.#runtime.random();
    const nowMs = this.nowMs();
    for (const call of calls) {
      if (call.done || (request !== undefined && call.requestId !== request.id)) continue;
      call.requestId = 0;
      call.lastError = error;
      if (error instanceof SessionExpired && call.kind === 'write') this.#onSessionExpired(call, error);
      else if (error instanceof SequenceSpent && call.kind === 'write') this.#onSequenceSpent(call, error);
      else this.#decide(call, error, request !== undefined, random, nowMs);
    }
  }

  #decide(call: PendingCall, error: MraftError, sent: boolean, random: number, nowMs: number): void {
    const decision = sent ? decideRetry(error, call.attempts, random) : decideUnsent(call.attempts, random);
    if (!decision.retry) {
      this.#fail(call, this.#withOutcome(call, error));
      return;
    }
    this.stats.retries[error.code] = (this.stats.retries[error.code] ?? 0) + 1;
    if (decision.refresh) this.#routesWanted = true;
    if (decision.delayMs === 0) {
      this.redispatch(call);
    } else {
      call.wakeAtMs = nowMs + decision.delayMs;
      this.#waiting.push(call);
    }
  }

  /** Learns from an error, once for all calls of the request. */
  #heal(error: MraftError, request: Request): void {
    const { route, nodeId } = request;
    const { leaderNodeId, regions } = error.details;
    for (const region of (regions ?? []) as readonly Region[]) this.router.learn(region, 0);
    const nowMs = this.nowMs();
    if (error.code === 'NotLeader' && leaderNodeId && leaderNodeId !== nodeId) {
      // A follower names a leader that has just died until it misses its heartbeats.
      if (this.router.isGone(route, leaderNodeId, nowMs)) this.router.leave(route, nodeId, nowMs);
      else this.router.setLeader(route, leaderNodeId);
    } else if (decideRetry(error, 1, 0).turn) {
      this.router.leave(route, nodeId, nowMs);
    }
  }

  /** What was never tried before goes on under a new session; of the rest nobody can tell whether it took effect. */
  #onSessionExpired(call: WriteCall, error: MraftError): void {
    if (call.session === this.#session) {
      this.#session = new OwnSession(this.#runtime.newSession());
      this.stats.sessions++;
    }
    if (call.session!.foreign || call.sends > 1 || call.sharedSequence) {
      const details = { ...error.details, outcomeUnknown: call.sends > 1 };
      this.#fail(call, new SessionExpired(error.message, { ...details, cause: error.cause }));
      return;
    }
    this.#settleSequence(call);
    call.seq = 0;
    call.session = undefined;
    call.sends = 0;
    this.stats.retries[error.code] = (this.stats.retries[error.code] ?? 0) + 1;
    this.redispatch(call);
  }

  /**
   * Under its sequence the call has had no effect and never will. Another takes its place under a new sequence, so that no
   * late answer to the old one is taken for its own.
   */
  #onSequenceSpent(call: WriteCall, error: MraftError): void {
    if (call.session!.foreign) {
      this.#fail(call, error);
      return;
    }
    const again = new WriteCall(call.deadlineMs, 0, call.operation);
    again.sizeBytes = call.sizeBytes;
    again.attempts = call.attempts;
    this.#end(call);
    this.#admitPiece(again, call);
    this.stats.retries[error.code] = (this.stats.retries[error.code] ?? 0) + 1;
    this.redispatch(again);
  }

  giveSequence(call: WriteCall): boolean {
    if (call.seq !== 0) return true;
    const seq = this.#session.take();
    if (seq === 0) return false;
    call.seq = seq;
    call.session = this.#session;
    return true;
  }

  // --- time ----------------------------------------------------------------------------------------------------------

  readonly #sweep = (): void => {
    this.#cancelTimer = undefined;
    const nowMs = this.nowMs();
    this.#batcher.sweep(nowMs);
    this.#wake(nowMs);
    if (nowMs >= this.#earliestDeadlineMs) this.#endOverdue(nowMs);
    // Also where no call waits any more: whoever comes next should find the routes in order.
    this.#fetchRoutes();
    if (this.#pending.count === 0) {
      this.#batcher.forget();
      this.#unrouted = [];
      this.#waiting = [];
      return;
    }
    this.#cancelTimer = this.#runtime.after(SWEEP_MS, this.#sweep);
  };

  #wake(nowMs: number): void {
    if (this.#waiting.length === 0) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const call of waiting) {
      if (call.done) continue;
      if (call.wakeAtMs > nowMs) this.#waiting.push(call);
      else this.redispatch(call);
    }
  }

  #endOverdue(nowMs: number): void {
    this.#earliestDeadlineMs = Infinity;
    this.#pending.forEach((call) => {
      if (call.deadlineMs <= nowMs) this.#fail(call, overdue(call));
      else if (call.deadlineMs < this.#earliestDeadlineMs) this.#earliestDeadlineMs = call.deadlineMs;
    });
    this.#unrouted = this.#unrouted.filter((call) => !call.done);
  }

  // --- routes --------------------------------------------------------------------------------------------------------

  /** Asks for the routes if they are wanted; one question at a time. */
  #fetchRoutes(): void {
    if (!this.#routesWanted || this.#routesAsked || this.#closing) return;
    if (this.nowMs() < this.#nextFetchAtMs) return;
    this.#routesWanted = false;
    this.#routesAsked = true;
    this.stats.routeFetches++;
    void this.#transport.fetchRoutes(this.#options.attemptTimeoutMs).then(
      (response) => this.#onRoutes(response, undefined),
      (error: unknown) => this.#onRoutes(undefined, asMraftError(error)),
    );
  }

  #onRoutes(response: mraft.IRoutesResponse | undefined, error: MraftError | undefined): void {
    this.#routesAsked = false;
    const waiting = this.#unrouted;
    this.#unrouted = [];
    if (response !== undefined) {
      this.router.learnRoutes(response);
      this.#routesLearnedAtMs = this.nowMs();
    } else {
      this.#routesWanted = true;
    }
    this.#fruitless++;
    const pauseMs = backoffMs(this.#fruitless, this.#runtime.random());
    this.#nextFetchAtMs = this.nowMs() + Math.max(pauseMs, ROUTES_PAUSE_MS);
    for (const call of waiting) {
      call.lastError = error ?? new Unavailable(`no region is known for the keys of the call`);
      this.redispatch(call);
    }
    if (this.#unrouted.length === 0 && error === undefined) this.#fruitless = 0;
  }

  // --- closing -------------------------------------------------------------------------------------------------------

  /** Rejects what is pending with Closed, and closes the transport. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#cancelTimer?.();
    this.#pending.forEach((call) => {
      const outcomeUnknown = call.kind === 'write' && call.sends > 0;
      this.#fail(call, new Closed('the client was closed before the call was answered', { outcomeUnknown }));
    });
    this.#batcher.forget();
    await this.#transport.close();
  }
}

/** Cuts `members`, places in `keys`, so that each part fits a request and its frame. A part is not cut again. */
function cutToRequests(members: readonly number[], keys: readonly Uint8Array[]): number[][] {
  const cut: number[][] = [];
  let part: number[] = [];
  let sizeBytes = 0;
  for (const member of members) {
    const keyBytes = keys[member]!.length;
    if (part.length > 0 && (part.length === LIMITS.readKeys || sizeBytes + keyBytes > LIMITS.frameTargetBytes)) {
      cut.push(part);
      part = [];
      sizeBytes = 0;
    }
    part.push(member);
    sizeBytes += keyBytes;
  }
  cut.push(part);
  return cut;
}

function overdue(call: PendingCall): DeadlineExceeded {
  const outcomeUnknown = call.kind === 'write' && call.sends > 0;
  const outcome =
    call.kind !== 'write' ? '' : outcomeUnknown ? ': the write may have taken effect' : ': the write was not sent';
  const reason = call.lastError === undefined ? '' : ` (${call.lastError.message})`;
  return new DeadlineExceeded(`the deadline passed after ${call.attempts} attempts${outcome}${reason}`, {
    ...(call.lastError?.details.regionId === undefined ? {} : { regionId: call.lastError.details.regionId }),
    ...(call.kind === 'write' ? { outcomeUnknown } : {}),
    cause: call.lastError,
  });
}
