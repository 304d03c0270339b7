/** The calls that gather for one worker of one node, and the frames that are on their way to it. */

import { LIMITS } from '../wire/limits.ts';
import type { PendingCall } from './pending-call.ts';
import type { LaneKey } from './router.ts';

/** Calls that left the queue before its array is cut. */
const CUT_AFTER = 4096;

/** A frame that was sent; it is answered when all its requests are. */
export interface SentFrame {
  readonly lane: Lane;
  readonly sentAtMs: number;
  readonly sizeBytes: number;
  readonly calls: number;
  openRequests: number;
  /** Whether it still holds back further frames of its lane. */
  counted: boolean;
}

export class Lane {
  readonly key: LaneKey;
  readonly nodeId: number;
  readonly worker: number;
  /** It is on the list of lanes to be flushed. */
  dirty = false;
  queuedBytes = 0;
  /** Of the frames that are counted. */
  inflightFrames = 0;
  inflightBytes = 0;
  inflightCalls = 0;
  /** In the order in which they were sent. */
  readonly countedFrames = new Set<SentFrame>();
  #queue: PendingCall[] = [];
  #head = 0;

  constructor(key: LaneKey) {
    this.key = key;
    this.worker = key % LIMITS.workersPerNode;
    this.nodeId = (key - this.worker) / LIMITS.workersPerNode;
  }

  get isEmpty(): boolean {
    return this.#head === this.#queue.length;
  }

  push(call: PendingCall): void {
    this.#queue.push(call);
    this.queuedBytes += call.sizeBytes;
  }

  peek(): PendingCall | undefined {
    return this.#queue[this.#head];
  }

  shift(): void {
    this.queuedBytes -= this.#queue[this.#head]!.sizeBytes;
    this.#head++;
    if (this.isEmpty) {
      this.#queue = [];
      this.#head = 0;
    } else if (this.#head >= CUT_AFTER && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  /**
   * Few callers are served soonest by several small frames, many callers by one that they all share. A full frame gains
   * nothing by waiting; only the bytes in flight hold it back.
   */
  maySend(mostFrames: number): boolean {
    if (this.inflightFrames === 0) return true;
    if (this.inflightFrames < mostFrames && this.inflightCalls < LIMITS.clientBusyCalls) return true;
    return this.queuedBytes >= LIMITS.frameTargetBytes && this.inflightBytes < LIMITS.clientInflightBytes;
  }

  sent(sentAtMs: number, sizeBytes: number, requests: number, calls: number): SentFrame {
    const frame: SentFrame = { lane: this, sentAtMs, sizeBytes, calls, openRequests: requests, counted: true };
    this.inflightFrames++;
    this.inflightBytes += sizeBytes;
    this.inflightCalls += calls;
    this.countedFrames.add(frame);
    return frame;
  }

  /** The frame was answered, or has gone unanswered for so long that nothing waits for it any more. */
  uncount(frame: SentFrame): void {
    if (!frame.counted) return;
    frame.counted = false;
    this.inflightFrames--;
    this.inflightBytes -= frame.sizeBytes;
    this.inflightCalls -= frame.calls;
    this.countedFrames.delete(frame);
  }
}
