/** The value of a log entry: its kind (one byte), its term (varint), its data. The index is in the key. */

import { Internal, StorageFailure } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { VarintReader, varintBytes, writeVarint } from '../../rpc/wire/varint.ts';

export type EntryKind = 'normal' | 'confChange';

/** An entry as the Raft core has it (engine/raft/types.ts), which lies above this layer. */
export interface Entry {
  readonly term: number;
  readonly index: number;
  readonly kind: EntryKind;
  readonly data: Uint8Array;
}

/** On disk: never renumbered. */
const KIND_BYTE: Readonly<Record<EntryKind, number>> = { normal: 0, confChange: 1 };
const KINDS: readonly EntryKind[] = ['normal', 'confChange'];

let scratch = Buffer.allocUnsafe(64 * 1024);

/** Encodes into memory that the next call overwrites: for a batch, which copies it at once. */
export function encodeEntry(entry: Entry): Uint8Array {
  const { term, kind, data } = entry;
  const size = 1 + varintBytes(term) + data.length;
  const target = size <= scratch.length ? scratch : larger(size);
  target[0] = KIND_BYTE[kind];
  const at = writeVarint(target, 1, term);
  target.set(data, at);
  return target.subarray(0, size);
}

/** Memory for a large entry; it is kept for the next one where it is within what an entry may have. */
function larger(size: number): Buffer {
  const target = Buffer.allocUnsafe(size);
  if (size <= LIMITS.entryBytes) scratch = target;
  return target;
}

/**
 * The entry of a stored value; its data aliases the value.
 * @throws StorageFailure when the bytes are no entry
 */
export function decodeEntry(index: number, value: Uint8Array): Entry {
  const { kind, term, at } = decodeHead(index, value);
  return { term, index, kind, data: value.subarray(at) };
}

/** The term alone. */
export function decodeTerm(index: number, value: Uint8Array): number {
  return decodeHead(index, value).term;
}

function decodeHead(index: number, value: Uint8Array): { kind: EntryKind; term: number; at: number } {
  const kind = KINDS[value[0] ?? KINDS.length];
  if (kind === undefined) throw damaged(index, new Internal('no such kind of entry'));
  const reader = new VarintReader(value, 1);
  try {
    const term = reader.next();
    return { kind, term, at: reader.at };
  } catch (cause) {
    throw damaged(index, cause);
  }
}

function damaged(index: number, cause: unknown): StorageFailure {
  return new StorageFailure(`log entry ${index} is damaged: remove this node and let it join again under a new id`, {
    cause,
  });
}
