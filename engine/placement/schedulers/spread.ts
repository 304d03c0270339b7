/** Replicas of one region apart, as the labels of their nodes ask for: one moves when another place is strictly better. */

import { NO_NODE } from '../region-table.ts';
import type { Proposal } from '../operators.ts';
import type { Round } from '../round.ts';
import { isWidest, spreadOf } from '../spread.ts';

/** Searches through all nodes that one round may afford. */
const SEARCHES = 256;

export function* spreadReplicas(round: Round): Generator<Proposal> {
  if (!isLabelled(round)) return;
  let searches = 0;
  for (const slot of round.patrolled) {
    if (searches >= SEARCHES || !round.hasReceivers) return;
    if (!round.isSound(slot) || isWidest(round.model, slot) || !round.maySend(slot)) continue;
    searches += 1;
    const proposal = widen(round, slot);
    if (proposal) yield proposal;
  }
}

/** Whether any two nodes differ. */
function isLabelled({ up }: Round): boolean {
  const first = up[0]?.location.join();
  return up.some(({ location }) => location.join() !== first);
}

function widen(round: Round, slot: number): Proposal | undefined {
  const { regions, nodes } = round.model;
  let closest = NO_NODE;
  let least = Number.POSITIVE_INFINITY;
  for (let at = regions.firstPeer(slot); at < regions.endPeer(slot); at += 1) {
    const node = nodes.at(regions.nodeOf(at));
    const spread = spreadOf(round.model, slot, node, node.slot);
    // Of equals a follower: the lead need not move then.
    const better = spread < least || (spread === least && closest === regions.leader[slot]);
    if (better) [closest, least] = [node.slot, spread];
  }
  const comes = round.chooseTarget(slot, { leaving: closest, prefer: 'spread', leastSpread: least + 1 });
  const reason = 'its replicas are closer together than they need be';
  return comes && round.exchange(slot, { goes: closest, comes }, 'spread', reason);
}
