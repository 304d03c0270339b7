/** What a frame promises its receiver must be on the sender's disk before it leaves (thesis 3.8): a crash forgets the rest. */

import { decode, mraft } from '../../rpc/wire/codec.ts';
import type { HardStateMark, LogImage, ReplicaImage } from './replica-image.ts';

const { MessageKind } = mraft;

export function checkPromises(
  nodeId: number,
  bytes: Uint8Array,
  imageOf: (regionId: number) => ReplicaImage | undefined,
  report: (check: string, message: string) => void,
): void {
  const frame = decode(mraft.PeerFrame, bytes) as mraft.PeerFrame;
  for (const wire of frame.messages as mraft.RaftMessage[]) {
    const image = imageOf(wire.regionId);
    if (image) checkMessage(nodeId, wire, image, report);
  }
}

function checkMessage(
  nodeId: number,
  wire: mraft.RaftMessage,
  { durableHardState: durable, durableLog }: ReplicaImage,
  report: (check: string, message: string) => void,
): void {
  const { kind, term, reject, from, to, index, context } = wire;
  // They promise nothing: the term is one that nobody has entered yet, or, of a question, one that others told.
  const { PRE_VOTE, PRE_VOTE_RESPONSE, READ_INDEX } = MessageKind;
  if (kind === PRE_VOTE || kind === PRE_VOTE_RESPONSE || kind === READ_INDEX) return;
  // The word of a node whose replica is not open yet: it is of no round, so it counts for no quorum and no lease.
  const isOfNobody = kind === MessageKind.HEARTBEAT_RESPONSE || (kind === MessageKind.APPEND_RESPONSE && reject);
  if (isOfNobody && context === 0) return;
  const where = (): string => `node ${nodeId}, region ${wire.regionId}, ${MessageKind[kind]} of term ${term}`;
  const votesFor = kind === MessageKind.VOTE ? from : kind === MessageKind.VOTE_RESPONSE && !reject ? to : 0;
  if (votesFor !== 0 && !isKept(durable, term, votesFor)) {
    const has = `term ${durable.term}, vote ${durable.vote}`;
    report('a vote is durable before it is given', `${where()}: for ${votesFor}, the disk has ${has}`);
  }
  if (kind === MessageKind.APPEND_RESPONSE && !reject && durableLog.last < index && !isReplaced(durableLog, term)) {
    const has = `up to ${index}, the disk has ${durableLog.last}`;
    report('entries are durable before they are acknowledged', `${where()}: ${has}`);
  }
  if (term > durable.term) {
    report('a term is durable before it is told', `${where()}: the disk has term ${durable.term}`);
  }
}

/**
 * The entries were replaced by a later term's leader in the very write that the word of them waited for. That leader was
 * elected by a majority that did not have them and can no longer acknowledge them in the older term, so that the old
 * leader cannot commit them, whatever it counts (thesis 3.6.3).
 */
function isReplaced(log: LogImage, term: number): boolean {
  return (log.at(log.last)?.term ?? 0) > term;
}

/** A vote is kept when it is on disk, or when the disk has a higher term: then it can never be given again. */
function isKept(durable: HardStateMark, term: number, vote: number): boolean {
  return durable.term > term || (durable.term === term && durable.vote === vote);
}
