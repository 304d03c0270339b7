/**
 * Bugs to be planted, one at a time: a text of a built module and what takes its place. The simulator must notice each,
 * or it would not notice the same bug if somebody made it. A text that is not there exactly once is an error: the code
 * has moved on, and the mutant has to follow it.
 */

import type { ProfileChoice } from './batch.ts';
import type { Mutant } from './mutant.ts';
import { NODE_MUTANTS } from './node-mutants.ts';
import { REGION_MUTANTS } from './region-mutants.ts';

const RAFT = 'engine/raft';

function mutant(name: string, file: string, find: string, replace: string, profile?: ProfileChoice): Mutant {
  return { name, replacements: [{ file, find, replace }], ...(profile ? { profile } : {}) };
}

const DURABILITY: readonly Mutant[] = [
  mutant(
    'acknowledges before the sync',
    'engine/region/replica.js',
    'this.#voice.send(this.#ready.messages);',
    'this.#voice.send(this.#ready.messages); this.#voice.send(this.#ready.durableMessages);',
  ),
  mutant('does not sync', 'engine/shard/turn.js', 'write(batch, { sync });', 'write(batch, { sync: false });'),
  mutant(
    'forgets its vote',
    `${RAFT}/raft-node.js`,
    'return { term: this.termValue, vote: this.vote, commit: this.log.commit };',
    'return { term: this.termValue, vote: 0, commit: this.log.commit };',
  ),
  mutant(
    'does not sync a vote alone',
    `${RAFT}/raft-node.js`,
    'mustSync: hardState !== undefined || entries.length > 0,',
    'mustSync: entries.length > 0,',
  ),
  mutant(
    'tells of a term that it could forget',
    `${RAFT}/raft-node.js`,
    'if (hardState !== undefined && atOnce.length > 0) {',
    'if (false) {',
  ),
  mutant(
    'counts its own entries before they are durable',
    `${RAFT}/leadership.js`,
    'this.uncommittedBytes += entryBytes(entry);',
    'this.uncommittedBytes += entryBytes(entry); this.progress[this.selfSlot].accepted(entry.index);',
  ),
  mutant(
    'writes the applied index apart from the data',
    'engine/region/applier.js',
    'putApplied(batch, regionId, { index: this.#appliedIndex, term: this.#appliedTerm });',
    `const apart = this.#store.createBatch();
        putApplied(apart, regionId, { index: this.#appliedIndex, term: this.#appliedTerm });
        this.#store.write(apart, { sync: false });`,
  ),
  mutant(
    'leaves the overwritten tail of a log behind',
    'engine/store/log-store.js',
    'stale <= oldLast; stale++)',
    'stale < 0; stale++)',
  ),
  mutant(
    'tries again after a failed sync',
    'engine/shard/event-loop.js',
    'if (error instanceof DiskFull)',
    "if (error instanceof DiskFull || error.code === 'StorageFailure')",
    'disk',
  ),
  mutant('drops the turn that met a full disk', 'engine/shard/turn.js', 'this.#stalled = open;', '', 'disk'),
  mutant(
    'takes a range delete for done that met a full disk',
    'engine/region/applier.js',
    'if (error instanceof DiskFull || error instanceof StorageFailure)',
    'if (false)',
    'disk',
  ),
];

const ELECTIONS: readonly Mutant[] = [
  mutant(
    'votes twice in a term',
    `${RAFT}/raft-node.js`,
    'const granted = free && this.log.isUpToDate(',
    'const granted = this.log.isUpToDate(',
  ),
  mutant(
    'votes for a log that lacks entries',
    `${RAFT}/raft-log.js`,
    'return term > this.lastTermValue || (term === this.lastTermValue && index >= this.lastIndexValue);',
    'return true;',
  ),
  mutant(
    'compares logs by length alone',
    `${RAFT}/raft-log.js`,
    'return term > this.lastTermValue || (term === this.lastTermValue && index >= this.lastIndexValue);',
    'return index >= this.lastIndexValue;',
  ),
  mutant(
    'is elected by half of the voters',
    `${RAFT}/quorum.js`,
    'const majority = (half.length >> 1) + 1;',
    'const majority = half.length >> 1;',
  ),
  mutant(
    'counts a refused vote as granted',
    `${RAFT}/raft-node.js`,
    'const result = campaign.record(slot, !message.reject);',
    'const result = campaign.record(slot, true);',
  ),
  mutant(
    'votes at once after a restart',
    `${RAFT}/raft-node.js`,
    'start.restarted ? start.nowMs + config.electionTimeoutMs : -Infinity',
    '-Infinity',
  ),
  mutant(
    'votes although it hears a leader',
    `${RAFT}/raft-node.js`,
    'if (!message.transfer && (this.leadership !== undefined || now < this.promisedUntilMs))',
    'if (!message.transfer && this.leadership !== undefined)',
  ),
  mutant(
    'believes a late timer',
    'engine/shard/event-loop.js',
    'this.#awaitQuiet(lateMs > this.#tickMs);',
    'this.#awaitQuiet(false);',
    'process',
  ),
];

const REPLICATION: readonly Mutant[] = [
  mutant(
    'commits entries of older terms by counting',
    `${RAFT}/leadership.js`,
    'if (agreed <= before || this.log.term(agreed) !== this.term)',
    'if (agreed <= before)',
  ),
  mutant(
    'commits what half of the voters have',
    `${RAFT}/quorum.js`,
    'return sorted[count >> 1];',
    'return sorted[(count - 1) >> 1];',
  ),
  mutant('commits what one voter has', `${RAFT}/quorum.js`, 'return sorted[count >> 1];', 'return sorted[0];'),
  mutant(
    'heartbeat names a commit that the follower may not have',
    `${RAFT}/leadership.js`,
    'const commit = Math.min(this.log.commit, progress.match);',
    'const commit = this.log.commit;',
  ),
  mutant(
    'takes an append whose predecessor it has with another term',
    `${RAFT}/follower.js`,
    'if (log.term(index) !== logTerm) {',
    'if (log.term(index) === undefined) {',
  ),
  {
    name: 'truncates past the commit',
    replacements: [
      {
        file: `${RAFT}/raft-log.js`,
        find: 'if (index <= this.commitValue)\n            broken(',
        replace: 'if (false) broken(',
      },
      { file: `${RAFT}/raft-log.js`, find: 'if (this.term(entry.index) !== entry.term)', replace: 'if (true)' },
    ],
  },
  mutant(
    'sends a rejected append again unchanged',
    `${RAFT}/progress.js`,
    'this.next = Math.max(Math.min(rejectedIndex, hintIndex + 1), this.match + 1);',
    'this.next = rejectedIndex + 1;',
  ),
  {
    name: 'answers a proposal by its index alone',
    replacements: [
      { file: 'engine/region/proposals.js', find: '|| head.term !== term', replace: '' },
      { file: 'engine/region/proposals.js', find: 'this.#pending.length = 0;', replace: 'return [];' },
    ],
  },
];

const READS: readonly Mutant[] = [
  mutant(
    'begins its term without a no-op',
    `${RAFT}/leadership.js`,
    "this.termStart = log.append(term, 'normal', NO_DATA).index;",
    'this.termStart = log.lastIndex + 1;',
  ),
  mutant(
    'read index without a quorum',
    `${RAFT}/leadership.js`,
    'if (this.alone && this.committedInTerm)',
    'if (this.committedInTerm)',
  ),
  mutant(
    'read index before a commit of its own term (no no-op)',
    `${RAFT}/leadership.js`,
    'return this.log.commit >= this.termStart;',
    'return true;',
  ),
  mutant(
    'asks for the lease again behind the quorum',
    'engine/region/reads.js',
    "return { ...request, mode: 'linearizable' };",
    'return request;',
  ),
  {
    name: 'counts the lease from the receipt',
    replacements: [
      {
        file: `${RAFT}/leadership.js`,
        find: 'progress.heardMs = nowMs;',
        replace: 'progress.heardMs = nowMs; this.heardAtMs = nowMs;',
      },
      {
        file: `${RAFT}/leadership.js`,
        find: 'this.lease.renew(this.rounds.sentMs(round));',
        replace: 'this.lease.renew(this.heardAtMs ?? -Infinity);',
      },
    ],
  },
  {
    name: 'keeps the lease while it hands over',
    replacements: [
      { file: `${RAFT}/leadership.js`, find: 'this.lease.suspend();', replace: '' },
      {
        file: `${RAFT}/leadership.js`,
        find: '|| this.transferTargetId !== 0)\n            return -Infinity;',
        replace: ')\n            return -Infinity;',
      },
    ],
  },
  mutant('takes the lease back after a hand-over', `${RAFT}/leadership.js`, 'this.lease.suspend();', ''),
  mutant(
    'gives the lease twice its length',
    `${RAFT}/lease.js`,
    'electionTimeoutMs * (1 - maxClockDrift)',
    'electionTimeoutMs * 2',
  ),
  mutant(
    'ignores the drift of clocks',
    `${RAFT}/lease.js`,
    'electionTimeoutMs * (1 - maxClockDrift)',
    'electionTimeoutMs',
  ),
];

const EXACTLY_ONCE: readonly Mutant[] = [
  mutant(
    'forgets its sessions at a restart',
    'engine/region/replica.js',
    'SessionTable.load(listSessions(store, regionId))',
    'SessionTable.load([])',
  ),
  mutant('applies a sequence again', 'engine/region/applier.js', "if (standing === 'applied') {", 'if (false) {'),
  mutant('takes a late duplicate for new', 'engine/region/sessions.js', "return 'stale';", "return 'new';"),
  mutant(
    'lets a refused compare-and-swap swap later',
    'engine/region/applier.js',
    'session?.markRefused(call.seq);',
    '',
  ),
  mutant(
    'client gives a retried write a new sequence',
    'rpc/client/dispatcher.js',
    'if (call.seq !== 0)\n            return true;',
    '',
  ),
  mutant(
    'compare-and-swap does not see its own batch',
    'engine/region/applier.js',
    "this.#overlay?.set(key.toString('latin1'), value);",
    '',
  ),
  mutant(
    'deletes a range before what comes before it',
    'engine/region/applier.js',
    'if (natures[i].exclusive)\n                this.#writeOut(batches);',
    '',
  ),
];

const LOSSES: readonly Mutant[] = [
  {
    name: 'does not notice amnesia',
    replacements: [
      {
        file: 'engine/store/fence.js',
        find: 'if (fence === undefined ? mark > 0 : mark < fence)',
        replace: 'if (false)',
      },
      { file: 'engine/store/fence.js', find: 'this.#mark >= keeper.passed', replace: 'true' },
    ],
  },
  mutant(
    'passes the fence before the sync',
    'engine/shard/turn.js',
    'fence?.addMark(batch);',
    '(fence?.addMark(batch), fence?.pass());',
  ),
  mutant(
    'marks only the batches of a vote',
    'engine/store/fence.js',
    "batch.put('meta', this.#key, this.#value);",
    "if (batch.count < 2) batch.put('meta', this.#key, this.#value);",
  ),
  mutant(
    'listens to a node that came back without its data',
    'engine/shard/directory.js',
    'if (known.incarnation !== 0)\n            return false;',
    '',
  ),
];

export const MUTANTS: readonly Mutant[] = [
  ...DURABILITY,
  ...LOSSES,
  ...ELECTIONS,
  ...REPLICATION,
  ...READS,
  ...EXACTLY_ONCE,
  ...REGION_MUTANTS,
  ...NODE_MUTANTS,
];

/** The files that a mutant changes. */
export function filesOf(mutant: Mutant): string[] {
  return [...new Set(mutant.replacements.map(({ file }) => file))];
}

/** The mutated source of a file. @throws when a text is not there exactly once */
export function mutate({ name, replacements }: Mutant, file: string, source: string): string {
  let mutated = source;
  for (const { find, replace } of replacements.filter((replacement) => replacement.file === file)) {
    const parts = mutated.split(find);
    if (parts.length !== 2) {
      throw new Error(`mutant '${name}': its text is ${parts.length - 1} times in ${file}, not once:\n${find}`);
    }
    mutated = parts.join(replace);
  }
  return mutated;
}
