/** A node that is to leave hands its leaders over first; then its replicas are replaced. */

import type { PlacementNode } from '../node-table.ts';
import type { Proposal } from '../operators.ts';
import { membersOf, type Round } from '../round.ts';

/** Regions of one node that one round looks at. */
const LOOKED_AT = 1_024;

export function* drain(round: Round): Generator<Proposal> {
  const draining = round.model.nodes.all.filter((node) => node.state === 'draining');
  for (const node of draining) yield* handOver(round, node);
  for (const node of draining) yield* moveAway(round, node);
}

function* handOver(round: Round, node: PlacementNode): Generator<Proposal> {
  for (const slot of round.sample(node.leaders, LOOKED_AT)) {
    if (!round.mayStart('leader') || !round.mayTransfer(node)) return;
    if (!round.isReady(slot)) continue;
    const to = round.chooseLeader(slot);
    if (to) yield round.transfer(slot, to, 'drain', `node ${node.nodeId} is draining`);
  }
}

function* moveAway(round: Round, node: PlacementNode): Generator<Proposal> {
  const { regions } = round.model;
  for (const slot of round.sample(node.replicas, LOOKED_AT)) {
    if (!round.hasReceivers) return;
    if (!round.isReady(slot)) continue;
    // While somebody can take the lead over, that comes first.
    const leads = regions.leader[slot] === node.slot;
    if (leads && regions.voters(slot) > 1) continue;
    const proposal = replace(round, slot, node);
    if (proposal) yield proposal;
  }
}

function replace(round: Round, slot: number, node: PlacementNode): Proposal | undefined {
  const { voters, learners } = membersOf(round.model, slot);
  const reason = `node ${node.nodeId} is draining`;
  if (!learners.includes(node.nodeId) && voters.length > round.settings.replicas) {
    return round.exchange(slot, { goes: node.slot }, 'drain', reason);
  }
  if (!round.maySend(slot)) return undefined;
  const comes = round.chooseTarget(slot, { leaving: node.slot, prefer: 'spread' });
  return comes && round.exchange(slot, { goes: node.slot, comes }, 'drain', reason);
}
