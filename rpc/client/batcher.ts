/**
 * The hot path: calls gather per worker ("lane") and leave as one frame a lane and turn of the event loop, the calls
 * of one region in one request of it. While LIMITS.clientInflightFrames frames of a lane are unanswered its calls keep
 * gathering, as bytes do behind Nagle's algorithm: load makes batches, and a lone call does not wait.
 */

import { decode, mraft } from '../wire/codec.ts';
import { fromWireError } from '../wire/error-codec.ts';
import { Unavailable, type MraftError } from '../wire/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import { readAnswer, type AnswerSink } from './answer.ts';
import { Lane } from './lane.ts';
import type { PendingCall, WriteCall } from './pending-call.ts';
import { encodeFrame, Request, travelsAlone } from './request.ts';
import { laneKey, type LaneKey, type Route, type Router } from './router.ts';
import type { ClientRuntime } from './runtime.ts';
import { clipRange } from './scan.ts';
import type { ClientStats } from './stats.ts';
import type { ClientTransport } from './transport.ts';

/** What becomes of calls (dispatcher.ts). */
export interface CallOutcomes extends AnswerSink {
  /** Its region is not where it was routed: route it again. */
  redispatch(call: PendingCall): void;
  /** Gives a write its sequence, if it has none; false: it has to wait for older ones. */
  giveSequence(call: WriteCall): boolean;
}

export interface BatcherOptions {
  readonly cluster: string;
  readonly attemptTimeoutMs: number;
  readonly inflightFrames: number;
}

/** A server is asked to wait this many attempts long, in case its answer is only slow. */
const ATTEMPTS_OF_PATIENCE = 2;

export class Batcher {
  readonly #transport: ClientTransport;
  readonly #router: Router;
  readonly #runtime: ClientRuntime;
  readonly #outcomes: CallOutcomes;
  readonly #stats: ClientStats;
  readonly #options: BatcherOptions;

  readonly #lanes = new Map<LaneKey, Lane>();
  #dirtyLanes: Lane[] = [];
  #flushIsDue = false;
  #nextRequestId = 1;
  /** In the order in which they were sent. */
  readonly #inflight = new Map<number, Request>();
  /** Given up, but a good answer would still be taken: under load answers are late for all, and would never be in time. */
  readonly #late = new Map<number, Request>();
  /** Writes that wait for their session's window. */
  #held: PendingCall[] = [];

  constructor(
    transport: ClientTransport,
    router: Router,
    runtime: ClientRuntime,
    outcomes: CallOutcomes,
    stats: ClientStats,
    options: BatcherOptions,
  ) {
    this.#transport = transport;
    this.#router = router;
    this.#runtime = runtime;
    this.#outcomes = outcomes;
    this.#stats = stats;
    this.#options = options;
    transport.onResponse = (frame) => this.#onResponse(frame);
    transport.onUnreachable = (nodeId, worker) => this.#onUnreachable(nodeId, worker);
  }

  // --- gathering -----------------------------------------------------------------------------------------------------

  /** Takes a call that lies in `route` alone; it leaves with the next frame to whoever answers it. */
  enqueue(call: PendingCall, route: Route): void {
    call.route = route;
    const lane = this.#lane(isForAnyone(call) ? this.#router.staleLaneOf(route) : this.#router.laneOf(route));
    lane.push(call);
    this.#markDirty(lane);
  }

  #lane(key: LaneKey): Lane {
    let lane = this.#lanes.get(key);
    if (lane === undefined) this.#lanes.set(key, (lane = new Lane(key)));
    return lane;
  }

  #markDirty(lane: Lane): void {
    if (lane.dirty) return;
    lane.dirty = true;
    this.#dirtyLanes.push(lane);
    if (this.#flushIsDue) return;
    this.#flushIsDue = true;
    this.#runtime.defer(this.#flush);
  }

  readonly #flush = (): void => {
    this.#flushIsDue = false;
    const lanes = this.#dirtyLanes;
    this.#dirtyLanes = [];
    for (const lane of lanes) {
      lane.dirty = false;
      while (!lane.isEmpty && lane.maySend(this.#options.inflightFrames)) this.#sendFrame(lane);
    }
  };

  // --- sending -------------------------------------------------------------------------------------------------------

  #sendFrame(lane: Lane): void {
    const requests = this.#takeRequests(lane);
    if (requests.length === 0) return;
    const nowMs = this.#runtime.now();
    const longestWaitMs = this.#options.attemptTimeoutMs * ATTEMPTS_OF_PATIENCE;
    const bytes = encodeFrame(this.#options.cluster, requests, nowMs, longestWaitMs);
    if (!this.#transport.send(lane.nodeId, lane.worker, bytes)) {
      this.#stats.framesRefused++;
      const error = new Unavailable('there is no connection, or too much is waiting to be sent');
      for (const request of requests) this.#outcomes.failAttempt(request.calls, error, undefined);
      return;
    }
    this.#stats.frames++;
    this.#stats.requests += requests.length;
    const calls = requests.reduce((sum, request) => sum + request.calls.length, 0);
    const frame = lane.sent(nowMs, bytes.length, requests.length, calls);
    for (const request of requests) {
      request.frame = frame;
      this.#inflight.set(request.id, request);
      for (const call of request.calls) {
        call.sends++;
        call.requestId = request.id;
      }
    }
  }

  /** Takes calls off the lane's queue, up to a frame's worth, and groups them by region. */
  #takeRequests(lane: Lane): Request[] {
    const requests: Request[] = [];
    const open = new Map<Route, Request[]>();
    let sizeBytes = 0;
    for (let call = lane.peek(); call && requests.length < LIMITS.requestsPerFrame; call = lane.peek()) {
      if (sizeBytes > 0 && sizeBytes + call.sizeBytes > LIMITS.frameTargetBytes) break;
      lane.shift();
      if (call.done) continue;
      if (this.#isMisrouted(call, lane)) {
        this.#outcomes.redispatch(call);
      } else if (call.kind === 'write' && !this.#outcomes.giveSequence(call)) {
        this.#held.push(call);
      } else {
        sizeBytes += call.sizeBytes;
        call.attempts++;
        this.#place(call, lane, requests, open);
      }
    }
    return requests;
  }

  #isMisrouted(call: PendingCall, lane: Lane): boolean {
    const route = call.route!;
    if (route.replaced) return true;
    return !isForAnyone(call) && this.#router.laneOf(route) !== lane.key;
  }

  #place(call: PendingCall, lane: Lane, requests: Request[], open: Map<Route, Request[]>): void {
    const route = call.route!;
    const alone = travelsAlone(call);
    let ofRoute = open.get(route);
    if (!alone) {
      const joined = ofRoute?.find((request) => request.takes(call));
      if (joined) {
        joined.add(call);
        return;
      }
      if (ofRoute === undefined) open.set(route, (ofRoute = []));
    }
    const request = new Request(this.#nextRequestId++, call, route, lane.nodeId);
    if (call.kind === 'scan') request.clip = clipRange(call.range, route);
    request.add(call);
    requests.push(request);
    if (!alone) ofRoute!.push(request);
  }

  // --- answers -------------------------------------------------------------------------------------------------------

  #onResponse(bytes: Uint8Array): void {
    let frame: mraft.IResponseFrame;
    try {
      frame = decode(mraft.ResponseFrame, bytes);
    } catch {
      this.#stats.malformedFrames++;
      return;
    }
    for (const response of frame.responses ?? []) this.#onAnswer(response);
  }

  #onAnswer(response: mraft.IResponse): void {
    const id = response.id ?? 0;
    const request = this.#inflight.get(id);
    if (request === undefined) {
      this.#onLateAnswer(id, response);
      return;
    }
    this.#inflight.delete(id);
    this.#countAnswered(request);
    if (response.error) this.#outcomes.failAttempt(request.calls, fromWireError(response.error), request);
    else readAnswer(request, response, this.#outcomes);
  }

  /** The calls went on without this answer. Bad news is no news by now; good news ends them all the same. */
  #onLateAnswer(id: number, response: mraft.IResponse): void {
    const request = this.#late.get(id);
    if (request === undefined) {
      this.#stats.unknownAnswers++;
      return;
    }
    this.#late.delete(id);
    if (response.error) return;
    this.#stats.lateAnswers++;
    readAnswer(request, response, this.#outcomes);
  }

  #countAnswered(request: Request): void {
    const frame = request.frame!;
    if (--frame.openRequests > 0) return;
    frame.lane.uncount(frame);
    if (!frame.lane.isEmpty) this.#markDirty(frame.lane);
  }

  // --- silence -------------------------------------------------------------------------------------------------------

  /** Called every few milliseconds while calls are pending. */
  sweep(nowMs: number): void {
    this.#losePatience(nowMs);
    this.#endAttempts(nowMs);
    this.#forgetLate(nowMs);
    if (this.#held.length > 0) {
      const held = this.#held;
      this.#held = [];
      for (const call of held) if (!call.done) this.#outcomes.redispatch(call);
    }
  }

  /** One slow region must not hold back the other regions of its worker. */
  #losePatience(nowMs: number): void {
    for (const lane of this.#lanes.values()) {
      for (const frame of lane.countedFrames) {
        if (nowMs - frame.sentAtMs < LIMITS.clientFramePatienceMs) break;
        lane.uncount(frame);
        if (!lane.isEmpty) this.#markDirty(lane);
      }
    }
  }

  #endAttempts(nowMs: number): void {
    const sentBeforeMs = nowMs - this.#options.attemptTimeoutMs;
    for (const request of this.#inflight.values()) {
      if (request.frame!.sentAtMs > sentBeforeMs) break;
      this.#stats.attemptTimeouts++;
      const message = `node ${request.nodeId} did not answer within ${this.#options.attemptTimeoutMs} ms`;
      this.#giveUp(request, new Unavailable(message, { regionId: request.route.regionId }));
    }
  }

  #giveUp(request: Request, error: MraftError): void {
    this.#inflight.delete(request.id);
    this.#late.set(request.id, request);
    this.#countAnswered(request);
    this.#outcomes.failAttempt(request.calls, error, request);
  }

  #forgetLate(nowMs: number): void {
    for (const request of this.#late.values()) {
      if (request.lastDeadlineMs > nowMs && this.#late.size <= LIMITS.clientLateRequests) break;
      this.#late.delete(request.id);
    }
  }

  #onUnreachable(nodeId: number, worker: number): void {
    this.#stats.unreachable++;
    this.#router.leaveLane(laneKey(nodeId, worker), this.#runtime.now());
    for (const request of this.#inflight.values()) {
      if (request.nodeId !== nodeId || request.frame!.lane.worker !== worker) continue;
      const message = `nobody listens on worker ${worker} of node ${nodeId}`;
      this.#giveUp(request, new Unavailable(message, { regionId: request.route.regionId }));
    }
  }

  /** Nothing is pending any more: what is remembered for late answers can go. */
  forget(): void {
    this.#late.clear();
    this.#inflight.clear();
    this.#held = [];
  }
}

/** Any replica may answer it. */
function isForAnyone(call: PendingCall): boolean {
  return call.kind !== 'write' && (call.mode === 'stale' || call.mode === 'replica');
}
