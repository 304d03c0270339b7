/** Regions get back what they lost: replicas of dead nodes are replaced, missing ones added, superfluous ones removed. */

import type { PlacementNode } from '../node-table.ts';
import type { Proposal } from '../operators.ts';
import { NO_NODE } from '../region-table.ts';
import { membersOf, type Round } from '../round.ts';
import { spreadOf } from '../spread.ts';
import type { NodeState } from '../types.ts';

/** Replicas of one dead node, and regions that need attention, that one round looks at. */
const LOOKED_AT = 1_024;

export function* repair(round: Round): Generator<Proposal> {
  yield* replaceDead(round);
  yield* attend(round);
}

function* replaceDead(round: Round): Generator<Proposal> {
  for (const node of round.model.nodes.all) {
    if (node.state !== 'dead' || node.replicas.length === 0) continue;
    for (const slot of round.sample(node.replicas, LOOKED_AT)) {
      if (!round.hasReceivers) return;
      if (!round.isReady(slot)) continue;
      const proposal = replace(round, slot, node, `node ${node.nodeId} is dead`);
      if (proposal) yield proposal;
    }
  }
}

function* attend(round: Round): Generator<Proposal> {
  const { attention, regions } = round.model;
  for (const regionId of firstKeys(attention, LOOKED_AT)) {
    if (!round.mayStart('replica')) return;
    const slot = regions.slotOf(regionId);
    const noted = attention.get(regionId);
    attention.delete(regionId);
    if (slot === undefined || noted === undefined || isFine(round, slot)) continue;
    // To the end of the queue.
    attention.set(regionId, noted);
    if (!round.isReady(slot)) continue;
    const proposal = remedy(round, slot, noted.sinceMs);
    if (proposal) yield proposal;
  }
}

function firstKeys(map: ReadonlyMap<number, unknown>, count: number): readonly number[] {
  const keys: number[] = [];
  for (const key of map.keys()) {
    if (keys.length === count) break;
    keys.push(key);
  }
  return keys;
}

/** Complete, and nobody down whose node is up: what is on dead nodes is found there. */
function isFine(round: Round, slot: number): boolean {
  return round.model.isComplete(slot) && brokenPeer(round, slot) === undefined;
}

/** A peer that does not answer although its node is alive. */
function brokenPeer(round: Round, slot: number): PlacementNode | undefined {
  const { regions, nodes } = round.model;
  for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
    const node = nodes.at(regions.nodeOf(at));
    if (regions.isDown(at) && node.state === 'up') return node;
  }
  return undefined;
}

function remedy(round: Round, slot: number, sinceMs: number): Proposal | undefined {
  const { voters } = membersOf(round.model, slot);
  const wanted = round.settings.replicas;
  if (voters.length < wanted) return addVoter(round, slot, `it has ${voters.length} of ${wanted} replicas`);
  if (voters.length > wanted) return removeVoter(round, slot, `it has ${voters.length} replicas, ${wanted} are wanted`);
  if (!round.model.isComplete(slot)) return round.exchange(slot, {}, 'repair', 'nobody waits for its learner');
  const broken = brokenPeer(round, slot);
  if (!broken || round.nowMs - sinceMs < round.settings.replaceAfterMs) return undefined;
  return replace(round, slot, broken, `the replica on node ${broken.nodeId} does not answer`);
}

function replace(round: Round, slot: number, node: PlacementNode, reason: string): Proposal | undefined {
  const { voters, learners } = membersOf(round.model, slot);
  const observes = learners.includes(node.nodeId);
  if (!observes && voters.length > round.settings.replicas) {
    return round.exchange(slot, { goes: node.slot }, 'repair', `${reason}, and there are enough without it`);
  }
  if (!round.maySend(slot)) return undefined;
  const comes = strayOf(round, slot) ?? round.chooseTarget(slot, { leaving: node.slot, prefer: 'spread' });
  return comes && round.exchange(slot, { goes: node.slot, comes }, 'repair', reason);
}

function addVoter(round: Round, slot: number, reason: string): Proposal | undefined {
  if (!round.maySend(slot)) return undefined;
  const comes = strayOf(round, slot) ?? round.chooseTarget(slot, { leaving: NO_NODE, prefer: 'spread' });
  return comes && round.exchange(slot, { comes }, 'repair', reason);
}

/** A node that learns without being an observer: half of the work is done there. */
function strayOf(round: Round, slot: number): PlacementNode | undefined {
  const { regions, nodes, observers } = round.model;
  for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
    const node = nodes.at(regions.nodeOf(at));
    const strays = !regions.isVoter(at) && !observers.has(regions.peerId[at] as number);
    if (strays && node.state === 'up' && !regions.isDown(at)) return node;
  }
  return undefined;
}

const REMOVED_FIRST: readonly NodeState[] = ['removed', 'dead', 'draining', 'suspect', 'up'];

/** The one that is missed least: on a node that is gone or going, not answering, close to others, on a full node. */
function removeVoter(round: Round, slot: number, reason: string): Proposal | undefined {
  const { regions, nodes } = round.model;
  const ranked: { node: PlacementNode; rank: readonly number[] }[] = [];
  for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
    if (!regions.isVoter(at)) continue;
    const node = nodes.at(regions.nodeOf(at));
    const follows = regions.isFit(at) ? 1 : 0;
    const leads = regions.leader[slot] === node.slot ? 1 : 0;
    const rank = [
      REMOVED_FIRST.indexOf(node.state),
      follows,
      spreadOf(round.model, slot, node, node.slot),
      leads,
      -node.futureFill,
    ];
    ranked.push({ node, rank });
  }
  ranked.sort((a, b) => compareRanks(a.rank, b.rank));
  const [last] = ranked;
  return last && round.exchange(slot, { goes: last.node.slot }, 'repair', reason);
}

function compareRanks(a: readonly number[], b: readonly number[]): number {
  for (const [index, value] of a.entries()) {
    const difference = value - (b[index] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}
