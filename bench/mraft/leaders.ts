/** A fresh cluster's leaders are where its first elections fell, until placement has spread them. */

import type { Admin } from '../../tools/admin.ts';
import { sleep } from '../generator.ts';
import { isEven } from '../scenarios/evenness.ts';

const POLL_MS = 250;
/** Placement moves some 30 leaders a second away from a node. */
const TIMEOUT_MS = 15_000;
const TIMEOUT_MS_PER_REGION = 45;

/** Waits until leaders are even over all nodes; not for ever, as they may never be. @returns whether they are */
export async function untilLeadersAreSpread(
  admin: Admin,
  { nodes, regions }: { readonly nodes: number; readonly regions: number },
  signal?: AbortSignal,
): Promise<boolean> {
  const deadlineMs = performance.now() + TIMEOUT_MS + regions * TIMEOUT_MS_PER_REGION;
  while (performance.now() < deadlineMs && !signal?.aborted) {
    const answers = await admin.nodes({ expected: nodes }).catch(() => []);
    if (answers.length >= nodes && isEven(answers.map((node) => Number(node['leaders'])))) return true;
    await sleep(POLL_MS, signal);
  }
  return false;
}
