/**
 * What may enter a region's log. The leader walks each command once before it proposes it, so that applying never meets
 * a bad one; the client library checks the same before it sends, so honest callers never see these errors come back.
 */

import { CommandCursor, type Span } from '../../rpc/wire/command.ts';
import {
  BatchCrossesRegions,
  BatchTooLarge,
  InvalidArgument,
  KeyEmpty,
  KeyNotInRegion,
  KeyTooLong,
  ValueTooLarge,
} from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { containsKey, type Region } from '../../rpc/wire/region.ts';

export interface AdmittedCommand {
  readonly bytes: Uint8Array;
  readonly calls: number;
  /** Some call reads before it writes. */
  readonly conditional: boolean;
  /** Must be alone in its entry: a range delete is ordered by the store, not part of a batch. */
  readonly exclusive: boolean;
}

/**
 * Checks an encoded Command for `region`.
 * @throws MalformedRequest, InvalidArgument, KeyEmpty, KeyTooLong, ValueTooLarge, BatchTooLarge, BatchCrossesRegions,
 *   KeyNotInRegion
 */
export function admitCommand(region: Region, bytes: Uint8Array): AdmittedCommand {
  if (bytes.length > LIMITS.entryBytes) {
    throw new BatchTooLarge(`a command has ${bytes.length} bytes, the limit is ${LIMITS.entryBytes}; send fewer calls`);
  }
  const cursor = new CommandCursor(bytes);
  if (cursor.session.length > LIMITS.sessionBytes) {
    throw new InvalidArgument(`a session has at most ${LIMITS.sessionBytes} bytes`, { field: 'session' });
  }
  let conditional = false;
  let exclusive = false;
  while (cursor.next()) {
    if (cursor.session.length > 0) checkSequence(cursor);
    switch (cursor.kind) {
      case 'compareAndSwap':
        conditional = true;
        checkLength(cursor.expected, 'expected');
        checkLength(cursor.value, 'value');
        checkKey(region, cursor, cursor.key);
        break;
      case 'deleteRange':
        exclusive = true;
        checkRange(region, cursor);
        break;
      case 'batch':
        checkBatch(region, cursor);
        break;
      default:
        checkLength(cursor.value, 'value');
        checkKey(region, cursor, cursor.key);
    }
  }
  const calls = cursor.position + 1;
  if (calls === 0) throw new InvalidArgument('a command needs at least one call', { field: 'calls' });
  if (exclusive && calls > 1) {
    throw new InvalidArgument('a deleteRange travels alone in its command', { field: 'deleteRange' });
  }
  return { bytes, calls, conditional, exclusive };
}

/**
 * Checks the keys of a point read.
 * @throws KeyEmpty, KeyTooLong, KeyNotInRegion, InvalidArgument
 */
export function admitReadKeys(region: Region, keys: readonly Uint8Array[]): void {
  if (keys.length > LIMITS.readKeys) {
    throw new InvalidArgument(`a read has at most ${LIMITS.readKeys} keys`, { field: 'keys' });
  }
  for (const key of keys) {
    checkKeyLength(key.length);
    if (!containsKey(region, key)) throw outside(region);
  }
}

function checkSequence(cursor: CommandCursor): void {
  if (cursor.seq < 1 || cursor.seq - cursor.floor >= LIMITS.sessionWindow) {
    throw new InvalidArgument(
      `seq must be at least 1 and less than ${LIMITS.sessionWindow} above the lowest unanswered one`,
      { field: 'seq' },
    );
  }
}

function checkLength(value: Span, field: string): void {
  if (value.length > LIMITS.valueBytes) {
    throw new ValueTooLarge(`a value has ${value.length} bytes, the limit is ${LIMITS.valueBytes}`, { field });
  }
}

function checkKey(region: Region, cursor: CommandCursor, key: Span): void {
  checkKeyLength(key.length);
  if (!isInside(region, cursor.bytes, key)) throw outside(region);
}

function checkKeyLength(sizeBytes: number): void {
  if (sizeBytes === 0) throw new KeyEmpty('a key has at least one byte', { field: 'key' });
  if (sizeBytes > LIMITS.keyBytes) {
    throw new KeyTooLong(`a key has ${sizeBytes} bytes, the limit is ${LIMITS.keyBytes}`, { field: 'key' });
  }
}

function outside(region: Region): KeyNotInRegion {
  return new KeyNotInRegion(`a key is outside of region ${region.regionId}`, { regionId: region.regionId });
}

/** As containsKey, without a buffer for the key. */
function isInside(region: Region, bytes: Buffer, key: Span): boolean {
  const { startKey, endKey } = region;
  if (bytes.compare(startKey, 0, startKey.length, key.start, key.end) < 0) return false;
  return endKey.length === 0 || bytes.compare(endKey, 0, endKey.length, key.start, key.end) < 0;
}

function checkRange(region: Region, cursor: CommandCursor): void {
  const { key: start, value: end, bytes } = cursor;
  if (start.length === 0) throw new KeyEmpty('a range starts at a key of at least one byte', { field: 'start' });
  if (start.length > LIMITS.keyBytes || end.length > LIMITS.keyBytes) {
    throw new KeyTooLong(`a key has at most ${LIMITS.keyBytes} bytes`, { field: 'start' });
  }
  if (end.length > 0 && bytes.compare(bytes, end.start, end.end, start.start, start.end) >= 0) {
    throw new InvalidArgument('a range starts before it ends', { field: 'end' });
  }
  if (!isInside(region, bytes, start)) {
    throw new KeyNotInRegion(`a range starts outside of region ${region.regionId}`, { regionId: region.regionId });
  }
  const { endKey } = region;
  const endsInside =
    endKey.length === 0 || (end.length > 0 && bytes.compare(endKey, 0, endKey.length, end.start, end.end) <= 0);
  if (!endsInside) {
    throw new KeyNotInRegion(`a range ends outside of region ${region.regionId}`, { regionId: region.regionId });
  }
}

function checkBatch(region: Region, cursor: CommandCursor): void {
  let mutations = 0;
  let sizeBytes = 0;
  while (cursor.nextMutation()) {
    mutations++;
    sizeBytes += cursor.key.length + cursor.value.length;
    checkLength(cursor.value, 'value');
    try {
      checkKey(region, cursor, cursor.key);
    } catch (error) {
      if (!(error instanceof KeyNotInRegion)) throw error;
      throw new BatchCrossesRegions('the keys of a batch must lie in one region; write them in several batches', {
        regionId: region.regionId,
        cause: error,
      });
    }
  }
  if (mutations === 0) throw new InvalidArgument('a batch needs at least one operation', { field: 'operations' });
  if (mutations > LIMITS.batchOps || sizeBytes > LIMITS.batchBytes) {
    throw new BatchTooLarge(
      `a batch has at most ${LIMITS.batchOps} operations and ${LIMITS.batchBytes} bytes, this one has ${mutations} and ${sizeBytes}`,
      { field: 'operations' },
    );
  }
}
