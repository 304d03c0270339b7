/**
 * Replicas evenly over the nodes, by what they weigh in proportion to the nodes' capacity. Only sound, cold regions move;
 * a move never brings replicas of a region closer together, and leaves the giving node at least as full as the taking one.
 */

import { REPLICA_OVERHEAD_BYTES, type PlacementNode } from '../node-table.ts';
import { showMib } from '../operator-words.ts';
import type { Proposal } from '../operators.ts';
import { replicaWeight } from '../operator.ts';
import type { Round } from '../round.ts';
import { spreadOf } from '../spread.ts';

/** Regions of a node that are looked at for one proposal. */
const SAMPLE = 16;
/** Proposals of one node in one round. */
const PER_NODE = 16;

/** By how much the fill of two nodes may differ before a replica moves. */
export function fillTolerance(round: Round): number {
  let fill = 0;
  let replicas = 0;
  for (const node of round.up) {
    fill += node.futureFill * node.weight;
    replicas += node.replicas.length + node.pending.replicas;
  }
  const mean = fill / Math.max(1, round.up.length);
  const average = replicas > 0 ? fill / replicas : REPLICA_OVERHEAD_BYTES;
  return Math.max(mean * round.settings.sizeTolerance, average);
}

export function* balanceReplicas(round: Round): Generator<Proposal> {
  if (round.up.length < 2 || !round.hasReceivers) return;
  const tolerance = fillTolerance(round);
  let lowest = round.lowestFill();
  for (const source of [...round.up].sort((a, b) => b.futureFill - a.futureFill)) {
    if (source.futureFill - lowest <= tolerance) return;
    for (let count = 0; count < PER_NODE && round.hasReceivers; count += 1) {
      const proposal = moveReplica(round, source, tolerance);
      if (!proposal) break;
      yield proposal;
      lowest = round.lowestFill();
    }
  }
}

function moveReplica(round: Round, source: PlacementNode, tolerance: number): Proposal | undefined {
  let led: number | undefined;
  for (const slot of round.sample(source.replicas, SAMPLE)) {
    if (!round.isSound(slot) || round.isHot(slot) || !round.maySend(slot)) continue;
    // The lead would have to move as well: only if there is nothing else, and never that of placement's own region.
    if (round.model.regions.leader[slot] === source.slot) led ??= round.model.regions.isSystem(slot) ? undefined : slot;
    else {
      const proposal = moveTo(round, slot, source, tolerance);
      if (proposal) return proposal;
    }
  }
  return led === undefined ? undefined : moveTo(round, led, source, tolerance);
}

function moveTo(round: Round, slot: number, source: PlacementNode, tolerance: number): Proposal | undefined {
  const weight = replicaWeight(round.model, slot);
  const target = round.chooseTarget(slot, {
    leaving: source.slot,
    prefer: 'fill',
    leastSpread: spreadOf(round.model, slot, source, source.slot),
    mostFill: source.futureFill - tolerance,
    accept: (node) => source.futureFill - node.futureFill >= weight / source.weight + weight / node.weight,
  });
  if (!target) return undefined;
  const reason = `${holds(source)} and ${holds(target)}`;
  return round.exchange(slot, { goes: source.slot, comes: target }, 'replica-balance', reason);
}

function holds({ nodeId, sizeBytes, replicas, pending }: PlacementNode): string {
  return `node ${nodeId} holds ${showMib(sizeBytes + pending.sizeBytes)} in ${replicas.length + pending.replicas} replicas`;
}
