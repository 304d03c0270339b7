/** A fresh cluster's leaders are where its first elections fell, until placement has spread them. */

import type { Admin } from '../../tools/admin.ts';
import { sleep } from '../generator.ts';
import { isEven } from '../scenarios/evenness.ts';

const POLL_MS = 250;
const TIMEOUT_MS = 15_000;

/** Waits until leaders are even over all nodes; not for long, as they may never be. @returns whether they are */
export async function untilLeadersAreSpread(admin: Admin, nodes: number, signal?: AbortSignal): Promise<boolean> {
  const deadlineMs = performance.now() + TIMEOUT_MS;
  while (performance.now() < deadlineMs && !signal?.aborted) {
    const answers = await admin.nodes({ expected: nodes }).catch(() => []);
    if (answers.length >= nodes && isEven(answers.map((node) => Number(node['leaders'])))) return true;
    await sleep(POLL_MS, signal);
  }
  return false;
}
