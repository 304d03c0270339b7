/** Bugs to be planted into what changes a region: membership, snapshots and cut logs, splits, merges. */

import type { ProfileChoice } from './batch.ts';
import type { Mutant } from './mutant.ts';

function mutant(profile: ProfileChoice, name: string, file: string, find: string, replace: string): Mutant {
  return { name, replacements: [{ file, find, replace }], profile };
}

const MEMBERSHIP: readonly Mutant[] = [
  {
    name: 'a configuration takes effect when it is appended',
    replacements: [
      {
        file: 'engine/region/replica.js',
        find: 'return this.raft.proposeConfChange(encodeMembershipChange(epoch, change), nowMs);',
        replace: `const proposed = this.raft.proposeConfChange(encodeMembershipChange(epoch, change), nowMs);
        const changes = change.changes.map(({ action, peerId }) => ({ action, peerId }));
        if (proposed.ok) this.raft.applyConfChange({ mode: change.joint ? 'joint' : 'simple', changes });
        return proposed;`,
      },
      {
        file: 'engine/region/replica-changes.js',
        find: 'this.#parts.raft.applyConfChange(change);',
        replace: 'try { this.#parts.raft.applyConfChange(change); } catch { /* it was already */ }',
      },
    ],
    profile: 'changes',
  },
  mutant(
    'changes',
    'a joint configuration asks one half alone',
    'engine/raft/quorum.js',
    'votersOutgoing.length > 0 ? [voters, votersOutgoing] : [voters]',
    '[voters]',
  ),
  mutant('changes', 'learners are counted', 'engine/raft/quorum.js', ': [voters];', ': [[...voters, ...learners]];'),
  mutant(
    'changes',
    'a peer without a log votes',
    'engine/region/membership.js',
    'checkPromotion(region, one, hasLog);',
    '{}',
  ),
  mutant(
    'changes',
    'a leader tells of a change that it could forget',
    'engine/raft/raft-node.js',
    'this.vote !== this.savedVote || this.isChangeToBeTold;',
    'this.vote !== this.savedVote;',
  ),
  mutant(
    'changes',
    'a descriptor is not written',
    'engine/region/region-state.js',
    'putRegionRecord(batch, record);',
    '',
  ),
  {
    name: 'a removed peer comes back by a stale message',
    replacements: [
      {
        file: 'engine/shard/peer-frames.js',
        find: 'tombstone !== undefined && message.to <= tombstone.peerId',
        replace: 'false',
      },
      { file: 'engine/shard/snapshot-desk.js', find: 'tombstone && message.to <= tombstone.peerId', replace: 'false' },
    ],
    profile: 'changes',
  },
];

const LOGS: readonly Mutant[] = [
  mutant(
    'changes',
    'a snapshot is installed over a longer log',
    'engine/shard/snapshot-desk.js',
    "isSame && replica.hasEntry(message.index, message.logTerm) ? 'needless' : 'wanted'",
    "'wanted'",
  ),
  mutant(
    'changes',
    'a snapshot forgets the hard state',
    'engine/region/snapshot-install.js',
    'const before = loadHardState(this.#store, this.regionId) ?? { term: 0, vote: 0, commit: 0 };',
    'const before = { term: 0, vote: 0, commit: 0 };',
  ),
  mutant(
    'changes',
    'a log is cut beyond what it is told',
    'engine/region/replica-changes.js',
    'compactTo(index, term) {',
    'compactTo(told, term, index = told + 2) {',
  ),
  mutant(
    'changes',
    'a snapshot is opened before all of it is there',
    'engine/region/snapshot-install.js',
    'const isLast = this.#next >= this.#chunks;',
    'const isLast = this.#next >= this.#chunks - 2;',
  ),
];

const SPLITS: readonly Mutant[] = [
  mutant(
    'regions',
    'sessions are not copied at a split',
    'engine/region/split.js',
    'putSession(batch, regionId, session.name, session.record);',
    '{}',
  ),
  mutant(
    'regions',
    'the new half has the range of its parent',
    'engine/region/split.js',
    'startKey: splitKey,',
    'startKey: region.startKey,',
  ),
  mutant(
    'regions',
    'an epoch is not compared when a write is applied',
    'engine/region/applier.js',
    'payload.version === epoch.version && payload.confVersion === epoch.confVersion;',
    'true;',
  ),
  mutant(
    'regions',
    'an epoch is not compared when a read is served',
    'engine/region/read-side.js',
    'checkEpoch(this.#state, request.epoch);\n            checkPhase(this.#state);',
    '',
  ),
  mutant(
    'regions',
    'a snapshot takes a range that another region has',
    'engine/shard/range-ledger.js',
    'return { conflicts: [...new Set(conflicts)] };',
    'this.#claimed.set(region.regionId, region); return { conflicts: [] };',
  ),
];

const MERGES: readonly Mutant[] = [
  mutant(
    'regions',
    'sessions are not united at a merge',
    'engine/region/absorption.js',
    'sessions.unite(SessionTable.load(records), index);',
    '',
  ),
  mutant(
    'regions',
    'a region that prepared to be merged goes on serving',
    'engine/region/refusals.js',
    "if (phase === 'normal')\n        return;",
    'return;',
  ),
  mutant(
    'regions',
    'a target takes over before its source has caught up',
    'engine/shard/merges.js',
    'if (this.#ready.has(regionId))',
    'if (true)',
  ),
  mutant(
    'regions',
    'a source goes on although its target may still take it over',
    'engine/region/merge.js',
    "if (!isNewerEpoch(region.epoch, prepared.epoch))\n            return 'waiting';",
    '',
  ),
  mutant(
    'regions',
    'a source that was merged leaves no tombstone',
    'engine/region/absorption.js',
    'putTombstone(batch, { peerId: own?.peerId ?? 0, region: source.region });',
    '',
  ),
];

export const REGION_MUTANTS: readonly Mutant[] = [...MEMBERSHIP, ...LOGS, ...SPLITS, ...MERGES];
