/**
 * Nodes that do much more than the others give hot regions away: the lead where a follower has room, else the replica. It
 * leaves the numbers of leaders and the fill of nodes within what the other balancers tolerate (a cold region comes back in
 * exchange where it must), so that nobody undoes it; and a node counts as hot only after several rounds in a row.
 */

import type { PlacementNode } from '../node-table.ts';
import type { Proposal } from '../operators.ts';
import { replicaWeight } from '../operator.ts';
import type { Round } from '../round.ts';
import type { PlacementSettings } from '../settings.ts';
import { spreadOf } from '../spread.ts';
import { leaderTolerance } from './leader-balance.ts';
import { fillTolerance } from './replica-balance.ts';

/** Rounds above the others before a node is relieved. */
const HOT_ROUNDS = 3;
const NODES_PER_ROUND = 64;
const PER_NODE = 4;
/** Regions of a node that are looked at, and the hottest of them that are tried. */
const LOOKED_AT = 4_096;
const TRIED = 16;
/** Regions that are looked at to find a cold one for the way back. */
const SWAP_SAMPLE = 64;

/** Counts for how many rounds each node has been hot. Once a round, before the schedulers. */
export function countHotRounds(up: readonly PlacementNode[], settings: PlacementSettings): void {
  const threshold = meanLoad(up) * (1 + settings.loadTolerance);
  for (const node of up) {
    const hot = node.futureLoad > threshold && node.futureLoad > settings.hotPerSecond;
    node.hotRounds = hot ? node.hotRounds + 1 : 0;
  }
}

export function* spreadHot(round: Round): Generator<Proposal> {
  if (round.up.length < 2) return;
  const hot = round.up.filter((node) => node.hotRounds >= HOT_ROUNDS).sort((a, b) => b.futureLoad - a.futureLoad);
  if (hot.length === 0) return;
  const limits = {
    leaders: leaderTolerance(round),
    fill: fillTolerance(round),
    load: meanLoad(round.up) * (1 + round.settings.loadTolerance),
  };
  for (const source of hot.slice(0, NODES_PER_ROUND)) {
    for (let count = 0; count < PER_NODE && source.futureLoad > limits.load; count += 1) {
      const proposals = relieve(round, source, limits);
      if (proposals.length === 0) break;
      yield* proposals;
    }
  }
}

interface HotLimits {
  readonly leaders: number;
  readonly fill: number;
  readonly load: number;
}

function meanLoad(up: readonly PlacementNode[]): number {
  return up.reduce((sum, node) => sum + node.futureLoad, 0) / Math.max(1, up.length);
}

function relieve(round: Round, source: PlacementNode, limits: HotLimits): readonly Proposal[] {
  for (const slot of hottest(round, source)) {
    const leads = round.model.regions.leader[slot] === source.slot;
    const proposals =
      (leads && giveLead(round, slot, source, limits)) || giveReplica(round, slot, source, leads, limits);
    if (proposals) return proposals;
  }
  return [];
}

/** Regions that cost the node most, the hottest first. */
function hottest(round: Round, source: PlacementNode): readonly number[] {
  const { model } = round;
  const top: { slot: number; load: number }[] = [];
  for (const slot of round.sample(source.replicas, LOOKED_AT)) {
    const load = model.loadOf(slot, model.regions.leader[slot] === source.slot);
    if (model.regions.isSystem(slot)) continue;
    if (load <= (top.length < TRIED ? 0 : (top.at(-1)?.load ?? 0)) || !round.isSound(slot)) continue;
    if (top.some((other) => other.slot === slot)) continue;
    top.push({ slot, load });
    top.sort((a, b) => b.load - a.load);
    if (top.length > TRIED) top.pop();
  }
  return top.map(({ slot }) => slot);
}

/** Whether `moved` may go from one to the other without the other being the hotter one then. */
function helps(from: PlacementNode, to: PlacementNode, moved: number, limits: HotLimits): boolean {
  return to.futureLoad + moved <= from.futureLoad - moved && to.futureLoad + moved <= limits.load;
}

function giveLead(
  round: Round,
  slot: number,
  source: PlacementNode,
  limits: HotLimits,
): readonly Proposal[] | undefined {
  if (!round.mayStart('leader') || !round.mayTransfer(source)) return undefined;
  const moved = round.model.loadOf(slot, true) - round.model.loadOf(slot, false);
  const inExchange = new Map<PlacementNode, Proposal>();
  const to = round.chooseLeader(slot, (node) => {
    if (!helps(source, node, moved, limits)) return false;
    if (keepsEven(source, node, limits.leaders)) return true;
    const cold = coldFor(round, source, node, moved);
    if (cold) inExchange.set(node, cold);
    return cold !== undefined;
  });
  if (!to) return undefined;
  const back = inExchange.get(to);
  const proposal = round.transfer(slot, to, 'hot-region', describe(round, slot, source));
  return back ? [proposal, back] : [proposal];
}

/** Whether one leader more there and one less here leaves both as even as leaders have to be. */
function keepsEven(source: PlacementNode, to: PlacementNode, tolerance: number): boolean {
  return to.futureLeaders + 1 - (source.futureLeaders - 1) <= tolerance;
}

/** A cold region that `to` leads and `source` can lead instead. */
function coldFor(round: Round, source: PlacementNode, to: PlacementNode, moved: number): Proposal | undefined {
  const { regions } = round.model;
  for (const slot of round.sample(to.leaders, SWAP_SAMPLE)) {
    const at = regions.peerOnNode(slot, source.slot);
    if (at === undefined || !regions.isFit(at) || !round.isSound(slot)) continue;
    if (round.model.loadOf(slot, true) * 4 > moved) continue;
    return round.transfer(slot, source, 'hot-region', `node ${source.nodeId} takes it in exchange for a hot region`);
  }
  return undefined;
}

function giveReplica(
  round: Round,
  slot: number,
  source: PlacementNode,
  leads: boolean,
  limits: HotLimits,
): readonly Proposal[] | undefined {
  if (!round.hasReceivers || !round.maySend(slot)) return undefined;
  const moved = round.model.loadOf(slot, leads);
  const weight = replicaWeight(round.model, slot);
  // Beyond what is tolerated by as much again: then the balancer of replicas sends cold ones back.
  const fillsEven = (node: PlacementNode): boolean =>
    node.futureFill + weight / node.weight - (source.futureFill - weight / source.weight) <= 2 * limits.fill;
  const inExchange = new Map<PlacementNode, Proposal>();
  const comes = round.chooseTarget(slot, {
    leaving: source.slot,
    prefer: 'load',
    leastSpread: spreadOf(round.model, slot, source, source.slot),
    accept: (node) => {
      if (!helps(source, node, moved, limits)) return false;
      const leadsEven = !leads || keepsEven(source, node, limits.leaders);
      if (leadsEven && fillsEven(node)) return true;
      const cold =
        (fillsEven(node) && coldFor(round, source, node, moved)) ||
        coldReplicaFor(round, source, node, leads && !leadsEven, moved);
      if (cold) inExchange.set(node, cold);
      return cold !== undefined;
    },
  });
  if (!comes) return undefined;
  const nodes = { goes: source.slot, comes, ...(leads && { leader: comes.nodeId }) };
  const proposal = round.exchange(slot, nodes, 'hot-region', describe(round, slot, source));
  const back = inExchange.get(comes);
  return back ? [proposal, back] : [proposal];
}

/** A cold replica of `from`, with the lead if `leads`, that `source` can take over. */
function coldReplicaFor(
  round: Round,
  source: PlacementNode,
  from: PlacementNode,
  leads: boolean,
  moved: number,
): Proposal | undefined {
  const { model } = round;
  for (const slot of round.sample(leads ? from.leaders : from.replicas, SWAP_SAMPLE)) {
    if (model.regions.peerOnNode(slot, source.slot) !== undefined || !round.isSound(slot)) continue;
    if (!leads && model.regions.leader[slot] === from.slot) continue;
    if (model.loadOf(slot, leads) * 4 > moved) continue;
    if (spreadOf(model, slot, source, from.slot) < spreadOf(model, slot, from, from.slot)) continue;
    const nodes = { goes: from.slot, comes: source, ...(leads && { leader: source.nodeId }) };
    return round.exchange(slot, nodes, 'hot-region', `node ${source.nodeId} takes it in exchange for a hot region`);
  }
  return undefined;
}

function describe(round: Round, slot: number, source: PlacementNode): string {
  const rate = Math.round(round.model.regions.rateOf(slot));
  return `node ${source.nodeId} serves ${Math.round(source.futureLoad)} calls a second, ${rate} of them for this region`;
}
