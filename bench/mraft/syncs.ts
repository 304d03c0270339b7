/** How often the nodes of a mraft cluster have synced their logs, from what they say about themselves. */

import type { Admin, NodeStatus } from '../../tools/admin.ts';

/** Over all nodes; undefined when a node does not say. */
export async function storeSyncs(admin: Admin | undefined): Promise<number | undefined> {
  const nodes = await admin?.nodes().catch(() => undefined);
  return nodes === undefined ? undefined : sumOfSyncs(nodes);
}

/** `storeSyncs` of every node's status, added up. */
export function sumOfSyncs(nodes: readonly NodeStatus[]): number | undefined {
  let sum = 0;
  for (const { storeSyncs: syncs } of nodes) {
    if (typeof syncs !== 'number') return undefined;
    sum += syncs;
  }
  return sum;
}
