/**
 * The last resort of a region that has lost most of its voters for good: one replica that is left goes on alone, with what
 * it has. Writes that only the others had are lost, and nothing can say which. (TiKV: unsafe recover; etcd: a snapshot
 * restored as a cluster of one.)
 */

import { ChangeRefused } from '../../rpc/wire/errors.ts';
import { canVote, type Region } from '../../rpc/wire/region.ts';
import type { RegionRecord } from '../store/region-records.ts';

/** So far ahead of what the lost peers could have gone on to, that no descriptor of theirs is ever newer. */
const EPOCHS_AHEAD = 1_000;

export interface RecoveryView {
  readonly record: RegionRecord;
  /** This node, whose replica goes on. */
  readonly nodeId: number;
  readonly isLeader: boolean;
  /** The node that leads as far as this replica knows; 0: unknown. */
  readonly leaderNodeId: number;
  /** Nodes that this one has not heard for so long that they are taken for lost. */
  readonly silentNodes: ReadonlySet<number>;
}

/**
 * The record of the region once this replica is all that is left of it. `lostNodes`: those whose loss the operator has made
 * sure of; they must not come back with their data.
 * @throws ChangeRefused while a quorum lives, or might
 */
export function recoveredRecord(view: RecoveryView, lostNodes: readonly number[]): RegionRecord {
  const { record, nodeId, isLeader, leaderNodeId, silentNodes } = view;
  const { region } = record;
  const own = region.peers.find((peer) => peer.nodeId === nodeId);
  if (!own || !canVote(own)) throw refused(region, `node ${nodeId} has no voter of it`);
  if (record.phase !== 'normal') throw refused(region, 'it is being merged');
  if (lostNodes.includes(nodeId)) throw refused(region, `node ${nodeId} is to go on, so it is not lost`);
  const speaking = lostNodes.find((lost) => !silentNodes.has(lost));
  if (speaking !== undefined) throw refused(region, `node ${speaking} was heard a moment ago`);
  if (isLeader || (leaderNodeId !== 0 && !lostNodes.includes(leaderNodeId))) {
    throw refused(region, `node ${isLeader ? nodeId : leaderNodeId} leads it`);
  }
  for (const half of halvesOf(region)) {
    const left = half.filter((peer) => !lostNodes.includes(peer.nodeId)).length;
    if (left * 2 <= half.length) return { ...record, region: alone(region, own) };
  }
  throw refused(region, 'a quorum of its voters lives: without the lost nodes, too');
}

/** The voters that must agree: of a joint configuration, those of each half. */
function halvesOf({ peers }: Region): Region['peers'][] {
  return [
    peers.filter(({ role }) => role === 'voter' || role === 'incomingVoter'),
    peers.filter(({ role }) => role === 'voter' || role === 'demotingVoter'),
  ];
}

function alone(region: Region, own: Region['peers'][number]): Region {
  const { version, confVersion } = region.epoch;
  const epoch = { version: version + EPOCHS_AHEAD, confVersion: confVersion + EPOCHS_AHEAD };
  return { ...region, epoch, peers: [{ ...own, role: 'voter' }] };
}

function refused({ regionId }: Region, why: string): ChangeRefused {
  return new ChangeRefused(`region ${regionId} is not recovered by force: ${why}`, { regionId });
}
