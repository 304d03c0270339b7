/**
 * Leaders evenly over the nodes, by number; among regions that would serve equally, the one that evens out the load.
 * A leader moves only where the difference stays on the same side afterwards, so that none moves back. A hot region goes
 * to a node that is busy already only when the numbers are far apart, or it would be sent on at once. The lead of placement's
 * own region is never moved for balance: whoever takes it over has to hear of the whole cluster first.
 */

import type { PlacementNode } from '../node-table.ts';
import type { Proposal } from '../operators.ts';
import type { Round } from '../round.ts';

/** Regions of a node that are looked at for one proposal. */
const SAMPLE = 24;
/** Proposals of one node in one round. */
const PER_NODE = 32;

/** How many leaders two nodes may differ by before one moves. */
export function leaderTolerance(round: Round): number {
  let leaders = 0;
  for (const node of round.up) leaders += node.futureLeaders;
  return Math.max(1, Math.floor((leaders / Math.max(1, round.up.length)) * round.settings.leaderTolerance));
}

export function* balanceLeaders(round: Round): Generator<Proposal> {
  if (round.up.length < 2) return;
  const tolerance = leaderTolerance(round);
  const nodes = [...round.up].sort((a, b) => b.futureLeaders - a.futureLeaders);
  const most = nodes[0] as PlacementNode;
  const least = nodes.at(-1) as PlacementNode;
  for (const source of nodes) {
    if (source.futureLeaders - least.futureLeaders <= tolerance) break;
    yield* repeatedly(round, source, () => giveLeader(round, source, tolerance));
  }
  // A new node is found among the followers of few regions: it looks for them itself.
  for (const target of nodes.reverse()) {
    if (most.futureLeaders - target.futureLeaders <= tolerance) break;
    yield* repeatedly(round, target, () => takeLeader(round, target, tolerance));
  }
}

function* repeatedly(round: Round, node: PlacementNode, propose: () => Proposal | undefined): Generator<Proposal> {
  for (let count = 0; count < PER_NODE && round.mayTransfer(node) && round.mayStart('leader'); count += 1) {
    const proposal = propose();
    if (!proposal) return;
    yield proposal;
  }
}

interface Choice {
  readonly slot: number;
  readonly from: PlacementNode;
  readonly to: PlacementNode;
  readonly difference: number;
  /** Load of the fuller of both nodes afterwards. */
  readonly load: number;
}

function giveLeader(round: Round, source: PlacementNode, tolerance: number): Proposal | undefined {
  let best: Choice | undefined;
  for (const slot of round.sample(source.leaders, SAMPLE)) {
    if (!round.isReady(slot)) continue;
    const to = round.chooseLeader(slot, (node) => isUseful(round, slot, source, node, tolerance));
    if (to) best = better(best, choice(round, slot, source, to));
  }
  return best && proposalOf(round, best);
}

function takeLeader(round: Round, target: PlacementNode, tolerance: number): Proposal | undefined {
  const { regions, nodes } = round.model;
  let best: Choice | undefined;
  for (const slot of round.sample(target.replicas, SAMPLE)) {
    const at = regions.peerOnNode(slot, target.slot);
    if (at === undefined || !regions.isFit(at) || !round.isReady(slot)) continue;
    const from = nodes.at(regions.leader[slot] as number);
    if (from === target || !isUseful(round, slot, from, target, tolerance)) continue;
    if (round.mayTransfer(from)) best = better(best, choice(round, slot, from, target));
  }
  return best && proposalOf(round, best);
}

function isUseful(round: Round, slot: number, from: PlacementNode, to: PlacementNode, tolerance: number): boolean {
  const difference = from.futureLeaders - to.futureLeaders;
  if (difference <= tolerance || round.model.regions.isSystem(slot)) return false;
  return difference > 2 * tolerance + 2 || !round.isHot(slot) || to.futureLoad < from.futureLoad;
}

function choice(round: Round, slot: number, from: PlacementNode, to: PlacementNode): Choice {
  const moved = round.model.loadOf(slot, true) - round.model.loadOf(slot, false);
  return {
    slot,
    from,
    to,
    difference: from.futureLeaders - to.futureLeaders,
    load: Math.max(from.futureLoad - moved, to.futureLoad + moved),
  };
}

function better(a: Choice | undefined, b: Choice): Choice {
  if (!a || b.difference > a.difference) return b;
  return b.difference === a.difference && b.load < a.load ? b : a;
}

function proposalOf(round: Round, { slot, from, to }: Choice): Proposal {
  const reason = `node ${from.nodeId} leads ${from.futureLeaders} regions and node ${to.nodeId} leads ${to.futureLeaders}`;
  return round.transfer(slot, to, 'leader-balance', reason);
}
