/** What operators do, as the log tells people. */

import { showKey } from '../../rpc/wire/region.ts';
import type { OperatorRecord } from './operator.ts';
import type { Step } from './types.ts';

/** Longer keys are cut: the log holds thousands of lines. */
const SHOWN_KEY_CHARS = 48;

export function describe({ regionId, steps }: Pick<OperatorRecord, 'regionId' | 'steps'>): string {
  return `region ${regionId}: ${steps.map(describeStep).join(', ')}`;
}

export function describeStep(step: Step | undefined): string {
  switch (step?.kind) {
    case undefined:
      return 'end';
    case 'addLearner':
      return `add a replica on node ${step.peer.nodeId}`;
    case 'promote':
      return step.demote
        ? `give the vote of node ${step.demote.nodeId} to node ${step.peer.nodeId}`
        : `give node ${step.peer.nodeId} a vote`;
    case 'removePeer':
      return `remove the replica on node ${step.peer.nodeId}`;
    case 'transferLeader':
      return `move the lead to node ${step.to.nodeId}`;
    case 'split':
      return `split off region ${step.childRegionId} ${step.splitKey ? `at '${shortKey(step.splitKey)}'` : 'in the middle'}`;
    case 'merge':
      return `merge into region ${step.targetRegionId}`;
  }
}

function shortKey(key: Uint8Array): string {
  const shown = showKey(key.subarray(0, SHOWN_KEY_CHARS + 1));
  return shown.length > SHOWN_KEY_CHARS ? `${shown.slice(0, SHOWN_KEY_CHARS)}…` : shown;
}

/** Sizes in the reasons of schedulers. */
export function showMib(sizeBytes: number): string {
  return `${(sizeBytes / (1024 * 1024)).toFixed(1)} MiB`;
}

export function showTook(durationMs: number): string {
  return durationMs < 1_000 ? `${Math.round(durationMs)} ms` : `${(durationMs / 1_000).toFixed(1)} s`;
}
