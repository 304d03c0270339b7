/** How often the nodes of a mraft cluster have synced their logs, from what they say about themselves. */

import type { Admin, NodeStatus } from '../../tools/admin.ts';

/** A loaded node may answer too late to be heard. */
const ATTEMPTS = 3;

/**
 * `storeSyncs` of every node's status, added up.
 * @param expectedNodes how many must have answered; a sum that leaves one out would be no figure at all
 * @returns undefined when a node is missing, or does not say
 */
export async function storeSyncs(admin: Admin | undefined, expectedNodes: number): Promise<number | undefined> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const nodes = (await admin?.nodes().catch(() => [])) ?? [];
    if (nodes.length >= expectedNodes) return sumOfSyncs(nodes);
  }
  return undefined;
}

function sumOfSyncs(nodes: readonly NodeStatus[]): number | undefined {
  let sum = 0;
  for (const { storeSyncs: syncs } of nodes) {
    if (typeof syncs !== 'number') return undefined;
    sum += syncs;
  }
  return sum;
}
