/** Messages between the replicas of a region beside the core, which never sees them. */

import type { RaftMessage } from '../raft/index.ts';

/** `context`: the asker's correlation. */
export function sideMessage(
  kind: 'readIndex' | 'readIndexResponse' | 'askSnapshot',
  { from, to, term }: Pick<RaftMessage, 'from' | 'to' | 'term'>,
  { context = 0, index = 0 }: Partial<Pick<RaftMessage, 'context' | 'index'>>,
): RaftMessage {
  return {
    kind,
    from,
    to,
    term,
    index,
    logTerm: 0,
    commit: 0,
    entries: [],
    reject: false,
    hintIndex: 0,
    hintTerm: 0,
    context,
    transfer: false,
    hibernate: false,
    membership: undefined,
  };
}
