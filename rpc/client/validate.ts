/** What a caller may pass: checked in the public methods, so that everything behind them can rely on it. */

import { BatchTooLarge, InvalidArgument, KeyEmpty, KeyTooLong, ValueTooLarge } from '../wire/errors.ts';
import { LIMITS } from '../wire/limits.ts';
import { compareKeys } from '../wire/region.ts';
import type { Mutation } from '../wire/command.ts';
import type { BatchOperation, ReadMode, ScanOptions } from './kv.ts';

/** @throws KeyEmpty, KeyTooLong, InvalidArgument */
export function checkKey(key: unknown, field = 'key'): Uint8Array {
  const bytes = checkBound(key, field);
  if (bytes.length === 0) throw new KeyEmpty(`${field} is empty: a key has at least one byte`, { field });
  return bytes;
}

/** A bound of a range: a key, or empty. */
function checkBound(key: unknown, field: string): Uint8Array {
  const bytes = toBytes(key);
  if (bytes === undefined) throw new InvalidArgument(`${field} must be a Uint8Array or a string`, { field });
  if (bytes.length > LIMITS.keyBytes) {
    throw new KeyTooLong(`${field} has ${bytes.length} bytes, the most is ${LIMITS.keyBytes}`, { field });
  }
  return bytes;
}

/** @throws ValueTooLarge, InvalidArgument */
export function checkValue(value: unknown, field = 'value'): Uint8Array {
  const bytes = toBytes(value);
  if (bytes === undefined) throw new InvalidArgument(`${field} must be a Uint8Array or a string`, { field });
  if (bytes.length > LIMITS.valueBytes) {
    throw new ValueTooLarge(`${field} has ${bytes.length} bytes, the most is ${LIMITS.valueBytes}`, { field });
  }
  return bytes;
}

/** Expected and new value of a compare-and-swap travel in one entry, so they share the limit of a batch. */
export function checkSwapSize(expected: Uint8Array | undefined, value: Uint8Array | undefined): void {
  const size = (expected?.length ?? 0) + (value?.length ?? 0);
  if (size > LIMITS.batchBytes) {
    const message = `expected and value have ${size} bytes together, the most is ${LIMITS.batchBytes}`;
    throw new ValueTooLarge(message, { field: 'value' });
  }
}

function toBytes(input: unknown): Uint8Array | undefined {
  if (typeof input === 'string') return Buffer.from(input);
  return input instanceof Uint8Array ? input : undefined;
}

/** @throws InvalidArgument unless `timeoutMs` is undefined or in (0, LIMITS.timeoutMs] */
export function checkTimeout(timeoutMs: unknown, fallbackMs: number, field = 'timeoutMs'): number {
  if (timeoutMs === undefined) return fallbackMs;
  if (typeof timeoutMs === 'number' && timeoutMs > 0 && timeoutMs <= LIMITS.timeoutMs) return timeoutMs;
  const message = `${field} must be a number of milliseconds above 0 and at most ${LIMITS.timeoutMs}`;
  throw new InvalidArgument(message, { field });
}

/** @throws InvalidArgument */
export function checkReadMode(mode: unknown): ReadMode {
  if (mode === undefined) return 'linearizable';
  if (mode === 'linearizable' || mode === 'lease' || mode === 'stale' || mode === 'replica') return mode;
  throw new InvalidArgument('read must be "linearizable", "lease", "stale" or "replica"', { field: 'read' });
}

export interface CheckedKeys {
  readonly keys: readonly Uint8Array[];
  readonly sizeBytes: number;
}

export function checkKeys(keys: unknown): CheckedKeys {
  if (!Array.isArray(keys)) throw new InvalidArgument('keys must be an array', { field: 'keys' });
  let sizeBytes = 0;
  const checked = keys.map((key, i) => {
    const bytes = checkKey(key, `keys[${i}]`);
    sizeBytes += bytes.length;
    return bytes;
  });
  return { keys: checked, sizeBytes };
}

export interface CheckedBatch {
  readonly mutations: readonly Mutation[];
  readonly sizeBytes: number;
}

/** @throws BatchTooLarge, InvalidArgument and what checkKey and checkValue throw; the field names the operation */
export function checkBatch(operations: unknown): CheckedBatch {
  if (!Array.isArray(operations)) throw new InvalidArgument('operations must be an array', { field: 'operations' });
  if (operations.length > LIMITS.batchOps) {
    const message = `a batch of ${operations.length} operations, the most is ${LIMITS.batchOps}`;
    throw new BatchTooLarge(message, { field: 'operations' });
  }
  let sizeBytes = 0;
  const mutations = new Array<Mutation>(operations.length);
  for (let i = 0; i < operations.length; i++) {
    const mutation = checkMutation(operations[i] as BatchOperation, i);
    sizeBytes += mutation.key.length + (mutation.kind === 'put' ? mutation.value.length : 0);
    mutations[i] = mutation;
  }
  if (sizeBytes > LIMITS.batchBytes) {
    const message = `a batch of ${sizeBytes} bytes of keys and values, the most is ${LIMITS.batchBytes}`;
    throw new BatchTooLarge(message, { field: 'operations' });
  }
  return { mutations, sizeBytes };
}

function checkMutation(operation: BatchOperation | null | undefined, position: number): Mutation {
  switch (operation?.type) {
    case 'put':
      return {
        kind: 'put',
        key: toBytesInBatch(operation.key, position, 'key'),
        value: toBytesInBatch(operation.value, position, 'value'),
      };
    case 'delete':
      return { kind: 'delete', key: toBytesInBatch(operation.key, position, 'key') };
    default: {
      const field = `operations[${position}].type`;
      throw new InvalidArgument(`${field} must be "put" or "delete"`, { field });
    }
  }
}

/** As checkKey and checkValue; the field's name is only put together where it is needed. */
function toBytesInBatch(input: unknown, position: number, name: 'key' | 'value'): Uint8Array {
  const bytes = toBytes(input);
  const isKey = name === 'key';
  const longest = isKey ? LIMITS.keyBytes : LIMITS.valueBytes;
  if (bytes && bytes.length <= longest && !(isKey && bytes.length === 0)) return bytes;
  const field = `operations[${position}].${name}`;
  return isKey ? checkKey(input, field) : checkValue(input, field);
}

/** A range with an inclusive start and an exclusive end; undefined: to the last key. */
export interface KeyRange {
  readonly start: Uint8Array;
  readonly end: Uint8Array | undefined;
}

/** True where no key can be in the range. */
export function isEmptyRange(range: KeyRange): boolean {
  return range.end !== undefined && compareKeys(range.start, range.end) >= 0;
}

/** @throws InvalidArgument for contradictory bounds and for a start behind the end */
export function checkScanRange(options: ScanOptions): KeyRange {
  const { gt, gte, lt, lte } = options;
  if (gt !== undefined && gte !== undefined) {
    throw new InvalidArgument('gt and gte cannot be used together', { field: 'gt' });
  }
  if (lt !== undefined && lte !== undefined) {
    throw new InvalidArgument('lt and lte cannot be used together', { field: 'lt' });
  }
  const lower = gt ?? gte;
  const upper = lt ?? lte;
  const lowerBytes = lower === undefined ? EMPTY : checkBound(lower, gt === undefined ? 'gte' : 'gt');
  const upperBytes = upper === undefined ? undefined : checkBound(upper, lt === undefined ? 'lte' : 'lt');
  if (upperBytes !== undefined && compareKeys(lowerBytes, upperBytes) > 0) {
    throw new InvalidArgument('the start of the range lies behind its end', { field: gt === undefined ? 'gte' : 'gt' });
  }
  return {
    start: gt === undefined ? lowerBytes : keyAfter(lowerBytes),
    end: upperBytes !== undefined && lte !== undefined ? keyAfter(upperBytes) : upperBytes,
  };
}

/** @throws KeyEmpty for an empty end, InvalidArgument for a start behind the end */
export function checkDeleteRange(start: unknown, end: unknown): KeyRange & { readonly end: Uint8Array } {
  const bound = checkBound(start, 'start');
  // On the wire a range starts at a key.
  const range = { start: bound.length === 0 ? FIRST_KEY : bound, end: checkKey(end, 'end') };
  if (compareKeys(range.start, range.end) > 0) {
    throw new InvalidArgument('the start of the range lies behind its end', { field: 'start' });
  }
  return range;
}

/** @throws InvalidArgument unless `limit` is undefined or an integer from 0 */
export function checkLimit(limit: unknown): number {
  if (limit === undefined) return Infinity;
  if (typeof limit === 'number' && Number.isSafeInteger(limit) && limit >= 0) return limit;
  throw new InvalidArgument('limit must be a whole number, 0 or more', { field: 'limit' });
}

/** The smallest key that is larger. */
export function keyAfter(key: Uint8Array): Uint8Array {
  const after = Buffer.alloc(key.length + 1);
  after.set(key);
  return after;
}

const EMPTY = new Uint8Array(0);
const FIRST_KEY = Uint8Array.of(0);
