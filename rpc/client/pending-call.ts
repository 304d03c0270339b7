/** Calls that have begun and not ended. One object a call, of three fixed shapes; no closures beside its promise's. */

import type { Operation } from '../wire/command.ts';
import type { MraftError } from '../wire/errors.ts';
import type { KeyValue, ReadMode } from './kv.ts';
import type { KeyRange } from './validate.ts';
import type { Route } from './router.ts';
import type { Session } from './session.ts';

/** Bytes that a call's headers take on the wire, at most, beside its keys and values. */
const CALL_OVERHEAD_BYTES = 32;

abstract class CallBase {
  /** When it fails with DeadlineExceeded; of the runtime's clock. */
  readonly deadlineMs: number;
  /** What it takes in a frame, roughly, and of LIMITS.clientPendingBytes. */
  sizeBytes: number;
  done = false;
  /** Attempts that were begun. */
  attempts = 0;
  /** Attempts that left this process: from the first on, a write may have taken effect. */
  sends = 0;
  lastError: MraftError | undefined = undefined;
  /** Where it was routed last. */
  route: Route | undefined = undefined;
  /** Request of the latest attempt, 0: none; answers to earlier attempts count only if they are good. */
  requestId = 0;
  /** While it waits for its next attempt. */
  wakeAtMs = 0;
  /** Neighbours in the list of all pending calls. */
  previous: PendingCall | undefined = undefined;
  next: PendingCall | undefined = undefined;

  constructor(deadlineMs: number, sizeBytes: number) {
    this.deadlineMs = deadlineMs;
    this.sizeBytes = sizeBytes + CALL_OVERHEAD_BYTES;
  }
}

/** The pieces of one call of the user that lie in several regions; the first that fails fails the call. */
export class Gather<T> {
  open = 1;
  readonly result: T;
  constructor(result: T) {
    this.result = result;
  }
}

/** A sequence that several pieces use, because the call was cut after it had been sent; settled with the last. */
export interface SharedSequence {
  open: number;
}

export class WriteCall extends CallBase {
  readonly kind = 'write';
  operation: Operation;
  /** 0 until the first attempt; then the same for all. */
  seq = 0;
  session: Session | undefined = undefined;
  sharedSequence: SharedSequence | undefined = undefined;
  /** Of a deleteRange. */
  gather: Gather<undefined> | undefined = undefined;
  resolve!: (result: unknown) => void;
  reject!: (error: MraftError) => void;

  constructor(deadlineMs: number, sizeBytes: number, operation: Operation) {
    super(deadlineMs, sizeBytes);
    this.operation = operation;
  }
}

export class ReadCall extends CallBase {
  readonly kind = 'read';
  readonly mode: ReadMode;
  keys: readonly Uint8Array[];
  /** Of a batchGet: the values, and where those of `keys` belong. */
  gather: Gather<(Uint8Array | undefined)[]> | undefined = undefined;
  positions: readonly number[] = [];
  resolve!: (result: unknown) => void;
  reject!: (error: MraftError) => void;

  constructor(deadlineMs: number, sizeBytes: number, mode: ReadMode, keys: readonly Uint8Array[]) {
    super(deadlineMs, sizeBytes + keys.length * 4);
    this.mode = mode;
    this.keys = keys;
  }
}

export interface ScanPage {
  readonly entries: readonly KeyValue[];
  /** What is left of the range, undefined: nothing. */
  readonly rest: KeyRange | undefined;
}

export class ScanCall extends CallBase {
  readonly kind = 'scan';
  readonly mode: ReadMode;
  readonly range: KeyRange;
  readonly reverse: boolean;
  readonly limit: number;
  resolve!: (result: unknown) => void;
  reject!: (error: MraftError) => void;

  constructor(deadlineMs: number, mode: ReadMode, range: KeyRange, reverse: boolean, limit: number) {
    super(deadlineMs, range.start.length + (range.end?.length ?? 0));
    this.mode = mode;
    this.range = range;
    this.reverse = reverse;
    this.limit = limit;
  }
}

export type PendingCall = WriteCall | ReadCall | ScanCall;

/** All pending calls, in a list that is cheap to enter and to leave anywhere. */
export class PendingList {
  #first: PendingCall | undefined;
  #last: PendingCall | undefined;
  count = 0;
  bytes = 0;

  add(call: PendingCall): void {
    call.previous = this.#last;
    if (this.#last) this.#last.next = call;
    else this.#first = call;
    this.#last = call;
    this.count++;
    this.bytes += call.sizeBytes;
  }

  remove(call: PendingCall): void {
    if (call.previous) call.previous.next = call.next;
    else this.#first = call.next;
    if (call.next) call.next.previous = call.previous;
    else this.#last = call.previous;
    call.previous = undefined;
    call.next = undefined;
    this.count--;
    this.bytes -= call.sizeBytes;
  }

  /** Visits every call; the visited one may leave. */
  forEach(visit: (call: PendingCall) => void): void {
    for (let call = this.#first; call;) {
      const next: PendingCall | undefined = call.next;
      visit(call);
      call = next;
    }
  }
}
