/** Raft messages as the wire has them, and back. */

import { mraft } from '../../rpc/wire/codec.ts';
import { MalformedRequest } from '../../rpc/wire/errors.ts';
import type { Entry, EntryKind, Membership, MessageKind, RaftMessage } from '../raft/index.ts';

const { MessageKind: Wire, EntryKind: WireEntry } = mraft;

export const KIND_TO_WIRE: Readonly<Record<MessageKind, mraft.MessageKind>> = {
  append: Wire.APPEND,
  appendResponse: Wire.APPEND_RESPONSE,
  heartbeat: Wire.HEARTBEAT,
  heartbeatResponse: Wire.HEARTBEAT_RESPONSE,
  vote: Wire.VOTE,
  voteResponse: Wire.VOTE_RESPONSE,
  preVote: Wire.PRE_VOTE,
  preVoteResponse: Wire.PRE_VOTE_RESPONSE,
  timeoutNow: Wire.TIMEOUT_NOW,
  snapshot: Wire.SNAPSHOT,
  readIndex: Wire.READ_INDEX,
  readIndexResponse: Wire.READ_INDEX_RESPONSE,
  askSnapshot: Wire.ASK_SNAPSHOT,
};
/** By their numbers on the wire. */
export const KIND_FROM_WIRE: readonly (MessageKind | undefined)[] = Object.entries(KIND_TO_WIRE).reduce(
  (kinds, [kind, wire]) => {
    kinds[wire] = kind as MessageKind;
    return kinds;
  },
  [] as MessageKind[],
);
export const ENTRY_KINDS: readonly EntryKind[] = ['normal', 'confChange'];
const NO_ENTRIES: readonly Entry[] = [];
const NO_WIRE_ENTRIES: mraft.IEntry[] = [];

/** Per message, beside its entries: what the frame's size is estimated by. */
export const MESSAGE_OVERHEAD_BYTES = 64;
export const ENTRY_OVERHEAD_BYTES = 16;

/** Estimated size on the wire. */
export function messageBytes(message: RaftMessage): number {
  let size = MESSAGE_OVERHEAD_BYTES;
  for (const entry of message.entries) size += ENTRY_OVERHEAD_BYTES + entry.data.length;
  return size;
}

export function toWireMessage(regionId: number, message: RaftMessage): mraft.IRaftMessage {
  const wire: mraft.IRaftMessage = {
    regionId,
    kind: KIND_TO_WIRE[message.kind],
    from: message.from,
    to: message.to,
    term: message.term,
    index: message.index,
    logTerm: message.logTerm,
    commit: message.commit,
    reject: message.reject,
    hintIndex: message.hintIndex,
    hintTerm: message.hintTerm,
    context: message.context,
    transfer: message.transfer,
    hibernate: message.hibernate,
    entries: message.entries.length === 0 ? NO_WIRE_ENTRIES : message.entries.map(toWireEntry),
  };
  if (message.membership !== undefined) wire.membership = toWireMembership(message.membership);
  return wire;
}

function toWireEntry(entry: Entry): mraft.IEntry {
  const kind = entry.kind === 'normal' ? WireEntry.NORMAL : WireEntry.CONF_CHANGE;
  return { term: entry.term, index: entry.index, kind, data: entry.data };
}

/**
 * A message as the core takes it. Entry data aliases the frame.
 * @throws MalformedRequest when it cannot have come from a peer: unknown kind, entries that do not follow each other
 */
export function fromWireMessage(wire: mraft.RaftMessage): RaftMessage {
  const kind = KIND_FROM_WIRE[wire.kind];
  if (kind === undefined) throw new MalformedRequest(`message kind ${wire.kind} is unknown`);
  return {
    kind,
    from: wire.from,
    to: wire.to,
    term: wire.term,
    index: wire.index,
    logTerm: wire.logTerm,
    commit: wire.commit,
    reject: wire.reject,
    hintIndex: wire.hintIndex,
    hintTerm: wire.hintTerm,
    context: wire.context,
    transfer: wire.transfer,
    hibernate: wire.hibernate,
    membership: wire.membership ? fromWireMembership(wire.membership) : undefined,
    entries: wire.entries.length === 0 ? NO_ENTRIES : fromWireEntries(wire),
  };
}

function toWireMembership(membership: Membership): mraft.IMembership {
  return {
    voters: [...membership.voters],
    votersOutgoing: [...membership.votersOutgoing],
    learners: [...membership.learners],
    learnersNext: [...membership.learnersNext],
    autoLeave: membership.autoLeave,
  };
}

function fromWireMembership(wire: mraft.IMembership): Membership {
  return {
    voters: wire.voters ?? [],
    votersOutgoing: wire.votersOutgoing ?? [],
    learners: wire.learners ?? [],
    learnersNext: wire.learnersNext ?? [],
    autoLeave: wire.autoLeave ?? false,
  };
}

function fromWireEntries(wire: mraft.RaftMessage): Entry[] {
  if (wire.kind !== Wire.APPEND) throw new MalformedRequest('only an append has entries');
  let lastTerm = wire.logTerm;
  return wire.entries.map((entry, position) => {
    const { term, index, kind } = entry as mraft.Entry;
    const kindName = ENTRY_KINDS[kind];
    if (kindName === undefined) throw new MalformedRequest(`entry kind ${kind} is unknown`);
    if (index !== wire.index + 1 + position)
      throw new MalformedRequest('the entries of an append do not follow each other');
    if (term < lastTerm || term > wire.term) throw new MalformedRequest('the terms of an append fall, or pass its own');
    lastTerm = term;
    return { term, index, kind: kindName, data: entry.data ?? EMPTY };
  });
}

const EMPTY = new Uint8Array(0);
