/** Changes of the membership as tests write them: `simple +4`, `joint +4 ~5 -1`; + is a voter, ~ a learner, - removed. */

import type { ConfChange, Membership, PeerChange } from '../../engine/raft/index.ts';

const ACTIONS: Record<string, PeerChange['action']> = { '+': 'addVoter', '~': 'addLearner', '-': 'remove' };

/** What an entry of kind confChange says; without data it leaves a joint configuration. */
export function decodeChange(data: Uint8Array): ConfChange {
  if (data.length === 0) return { mode: 'leave', changes: [] };
  const [mode, ...words] = Buffer.from(data).toString().split(' ');
  const changes = words.map((word): PeerChange => ({ action: ACTIONS[word[0]!]!, peerId: Number(word.slice(1)) }));
  return { mode: mode as ConfChange['mode'], changes };
}

export function describeMembership({ voters, votersOutgoing, learners, learnersNext, autoLeave }: Membership): string {
  const parts = [`voters ${voters.join(' ')}`];
  if (votersOutgoing.length > 0) parts.push(`outgoing ${votersOutgoing.join(' ')}`);
  if (learners.length > 0) parts.push(`learners ${learners.join(' ')}`);
  if (learnersNext.length > 0) parts.push(`to learn ${learnersNext.join(' ')}`);
  if (autoLeave) parts.push('leaves by itself');
  return parts.join(', ');
}
