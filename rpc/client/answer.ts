/** Hands the answer to a request to its calls. */

import type { mraft } from '../wire/codec.ts';
import { fromWireError } from '../wire/error-codec.ts';
import { Internal, type MraftError } from '../wire/errors.ts';
import type { CompareAndSwapResult, KeyValue } from './kv.ts';
import type { PendingCall, ReadCall, ScanCall, ScanPage, WriteCall } from './pending-call.ts';
import type { Request } from './request.ts';
import { restOfScan } from './scan.ts';

export interface AnswerSink {
  succeed(call: PendingCall, result: unknown): void;
  /** The read was answered in part; it goes on with its keys from `answered` on. */
  continueRead(call: ReadCall, answered: number, request: Request): void;
  /** An attempt failed; `request` undefined: it was not sent. Calls whose latest attempt is another are not meant. */
  failAttempt(calls: readonly PendingCall[], error: MraftError, request: Request | undefined): void;
}

const SWAPPED: CompareAndSwapResult = { swapped: true, current: undefined };

export function readAnswer(request: Request, response: mraft.IResponse, sink: AnswerSink): void {
  if (request.kind === 'write' && response.write) readWrite(request, response.write, sink);
  else if (request.kind === 'read' && response.read) readRead(request, response.read, sink);
  else if (request.kind === 'scan' && response.scan) readScan(request, response.scan, sink);
  else sink.failAttempt(request.calls, new Internal(`the answer to a ${request.kind} is none`), request);
}

/** Only calls that have something to say are named; the others took effect. */
function readWrite(request: Request, write: mraft.IWriteResult, sink: AnswerSink): void {
  const calls = request.calls as WriteCall[];
  const named = write.results ?? [];
  const saidAll = named.length === 0 ? undefined : new Uint8Array(calls.length);
  for (const result of named) {
    const position = result.position ?? 0;
    const call = calls[position];
    if (call === undefined) continue;
    saidAll![position] = 1;
    if (result.error) sink.failAttempt([call], fromWireError(result.error), request);
    else sink.succeed(call, resultOf(call, result));
  }
  for (let i = 0; i < calls.length; i++) {
    if (saidAll === undefined || saidAll[i] === 0) sink.succeed(calls[i]!, resultOf(calls[i]!, undefined));
  }
}

function resultOf(call: WriteCall, result: mraft.ICallResult | undefined): CompareAndSwapResult | undefined {
  if (call.operation.kind !== 'compareAndSwap') return undefined;
  if (result === undefined || result.swapped) return SWAPPED;
  return { swapped: false, current: result.current ?? undefined };
}

/** Fewer values than keys: the answer would not have fitted into a frame. */
function readRead(request: Request, read: mraft.IReadResult, sink: AnswerSink): void {
  const values = read.values ?? [];
  if (values.length === 0 || values.length > request.keyCount) {
    sink.failAttempt(request.calls, new Internal(`${values.length} values for ${request.keyCount} keys`), request);
    return;
  }
  let at = 0;
  for (const call of request.calls as ReadCall[]) {
    const here = Math.min(call.keys.length, values.length - at);
    if (!call.done) readValues(call, values, at, here, request, sink);
    at += here;
  }
}

function readValues(
  call: ReadCall,
  values: readonly mraft.IValue[],
  from: number,
  count: number,
  request: Request,
  sink: AnswerSink,
): void {
  const { gather, positions } = call;
  if (gather !== undefined) {
    for (let i = 0; i < count; i++) gather.result[positions[i]!] = values[from + i]!.value ?? undefined;
  }
  if (count < call.keys.length) sink.continueRead(call, count, request);
  else sink.succeed(call, gather === undefined ? (values[from]!.value ?? undefined) : undefined);
}

function readScan(request: Request, scan: mraft.IScanResult, sink: AnswerSink): void {
  const call = request.calls[0] as ScanCall;
  const entries = (scan.entries ?? []) as KeyValue[];
  if (scan.more && entries.length === 0) {
    sink.failAttempt(request.calls, new Internal('a page of a scan is empty and says that there is more'), request);
    return;
  }
  const page: ScanPage = { entries, rest: restOfScan(call, request.clip!, entries, scan.more ?? false) };
  sink.succeed(call, page);
}
