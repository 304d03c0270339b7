/** `mraft ctl raft`: the Raft group of a region, replica by replica. */

import { Command } from 'commander';

import { RegionNotFound } from '../../rpc/wire/errors.ts';
import type { Peer } from '../../rpc/wire/region.ts';
import type { Admin } from '../admin.ts';
import { ctlAction, type Row } from './ctl-action.ts';
import { wholeNumber } from './flags.ts';

export function raftCommand(): Command {
  const show = ctlAction(new Command('show'), (admin, [regionId]) => replicas(admin, regionId as number), {
    row: replicaRow,
  })
    .description('the state of every replica of a region')
    .argument('<region>', 'its id', wholeNumber);
  return new Command('raft').description('Raft groups').addCommand(show);
}

/** @throws RegionNotFound where no node that answers knows the region */
async function replicas(admin: Admin, regionId: number): Promise<Row[]> {
  const isKnown = (await admin.regions({ system: true })).some((region) => region.regionId === regionId);
  if (!isKnown) throw new RegionNotFound(`no node that answers knows a region ${regionId}`, { regionId });
  const answers = (await admin.replicas(regionId)) as Row[];
  return answers.filter((answer) => answer['raft'] !== undefined).sort((a, b) => nodeOf(a) - nodeOf(b));
}

/** 0: the replica is in no descriptor that it knows. */
function nodeOf({ raft, region }: Row): number {
  const { peerId } = raft as { peerId: number };
  return (region as { peers: readonly Peer[] }).peers.find((peer) => peer.peerId === peerId)?.nodeId ?? 0;
}

function replicaRow(replica: Row): Row {
  const { phase, raft, region } = replica;
  const { peerId, role, term, leader, commit, applied, lastIndex, hibernating } = raft as Row;
  const { version, confVersion } = (region as { epoch: { version: number; confVersion: number } }).epoch;
  return {
    node: nodeOf(replica) || undefined,
    peer: peerId,
    role,
    term,
    'leader (peer)': leader === 0 ? 'none' : leader,
    last: lastIndex,
    commit,
    applied,
    phase,
    epoch: `${version}.${confVersion}`,
    sleeps: hibernating === true ? 'yes' : 'no',
  };
}
