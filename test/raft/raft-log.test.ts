/** The log of a replica: what is durable, what may be applied, what may be replaced, and what stays in memory. */

import type { Entry, RaftConfig } from '../../engine/raft/index.ts';
import { RaftLog, entriesBytes } from '../../engine/raft/raft-log.ts';
import { assert, suite } from '../harness.ts';
import { bytes } from './group.ts';
import { Disk } from './disk.ts';
import { DEFAULT_CONFIG } from './replica.ts';

const test = suite('raft log');
const CONFIG = { ...DEFAULT_CONFIG, peerId: 1, random: () => 0 };

function entries(first: number, ...terms: number[]): Entry[] {
  return terms.map((term, at) => ({ term, index: first + at, kind: 'normal', data: bytes(`${first + at}/${term}`) }));
}

function logWith(stored: readonly Entry[], config: RaftConfig = CONFIG): { log: RaftLog; disk: Disk } {
  const disk = new Disk();
  disk.write(stored, undefined);
  return { log: new RaftLog(disk, 0, 0, config), disk };
}

/** Writes and syncs what the log hands out. */
function persist(log: RaftLog, disk: Disk): void {
  const taken = log.takeUnstable();
  disk.write(taken, undefined);
  const last = taken.at(-1);
  if (last !== undefined) log.stableTo(last.index, last.term);
}

test('committed entries are handed out only as far as they are durable here', () => {
  const { log, disk } = logWith([]);
  log.replace(entries(1, 1, 1, 1), 0);
  log.commitTo(3);
  assert.not.ok(log.hasCommitted);
  persist(log, disk);
  assert.ok(log.hasCommitted);
  assert.is(log.takeCommitted(1000).length, 3);
  assert.not.ok(log.hasCommitted);
});

test('at least one entry is handed out, whatever its size', () => {
  const { log, disk } = logWith([]);
  log.replace(entries(1, 1, 1), 0);
  persist(log, disk);
  log.commitTo(2);
  assert.is(log.takeCommitted(1).length, 1);
  assert.is(log.takeCommitted(1).length, 1);
  assert.not.ok(log.hasCommitted);
});

test('replaced entries are handed out again from where they differ', () => {
  const { log, disk } = logWith(entries(1, 1, 1, 1));
  const news = entries(2, 1, 2, 2);
  assert.is(log.firstNew(news), 1);
  log.replace(news, 1);
  assert.equal(
    log.takeUnstable().map((entry) => [entry.index, entry.term]),
    [
      [3, 2],
      [4, 2],
    ],
  );
  assert.is(log.stable, 2);
  assert.is(log.term(3), 2);
  assert.is(log.term(2), 1);
  assert.is(disk.term(3), 1);
});

test('a late report of a write that was replaced makes nothing durable', () => {
  const { log } = logWith([]);
  log.replace(entries(1, 1, 1), 0);
  log.takeUnstable();
  log.replace(entries(2, 2), 0);
  log.stableTo(2, 1);
  assert.is(log.stable, 0);
  assert.equal(
    log.takeUnstable().map((entry) => entry.term),
    [2],
  );
  log.stableTo(2, 2);
  assert.is(log.stable, 2);
});

test('what is committed cannot be replaced, nor commit move beyond the log', () => {
  const { log } = logWith(entries(1, 1, 1));
  log.commitTo(2);
  assert.throws(() => log.replace(entries(2, 2), 0), /committed/);
  assert.throws(() => log.commitTo(3), /beyond the log/);
  assert.not.ok(log.commitTo(1));
  assert.is(log.commit, 2);
});

test('what was not handed out cannot be applied', () => {
  const { log } = logWith(entries(1, 1, 1));
  log.commitTo(2);
  log.takeCommitted(1);
  assert.throws(() => log.appliedTo(2, 1), /not handed out/);
});

test('a start whose applied index is beyond its log is refused', () => {
  assert.throws(() => new RaftLog(new Disk(), 0, 5, CONFIG), /applied 5 is beyond the log/);
  assert.throws(() => new RaftLog(new Disk(), 5, 0, CONFIG), /commit 5 is beyond the log/);
});

test('two logs agree at best where the term is not above the other side’s', () => {
  const { log } = logWith(entries(1, 1, 1, 1, 4, 4, 5, 5, 6, 6, 6));
  assert.equal(log.agreement(10, 5), { index: 7, term: 5 });
  assert.equal(log.agreement(10, 3), { index: 3, term: 1 });
  assert.equal(log.agreement(99, 9), { index: 10, term: 6 });
  assert.equal(log.agreement(6, 5), { index: 6, term: 5 });
  assert.equal(log.agreement(10, 0), { index: 0, term: 0 });
});

/** A log whose 100 entries of 10 bytes are durable and handed out to be applied. */
function appliedLog(entryCacheBytes: number): { log: RaftLog; window: () => readonly Entry[] } {
  const { log, disk } = logWith([], { ...CONFIG, entryCacheBytes });
  for (let index = 1; index <= 100; index++) log.append(1, 'normal', bytes('0123456789'));
  persist(log, disk);
  log.commitTo(100);
  log.takeCommitted(1e6);
  return { log, window: () => (log as unknown as { window: Entry[] }).window };
}

test('a follower keeps in memory what is not applied, and nothing else', () => {
  const { log, window } = appliedLog(1e6);
  assert.is(window().length, 100);
  log.appliedTo(50, 1);
  assert.is(window().length, 50);
  log.appliedTo(100, 1);
  assert.is(window().length, 0);
  // The rest comes from the store, but for the term that the next append follows.
  assert.is(log.slice(1, 101, 1e6).length, 100);
  assert.is(log.term(1), 1);
  log.append(2, 'normal', bytes('x'));
  assert.is(log.term(100), 1);
});

test('a leader keeps applied entries for its peers, within the cache and until all have them', () => {
  const { log, window } = appliedLog(300);
  log.servePeers(true);
  log.appliedTo(100, 1);
  assert.ok(window().length > 0 && entriesBytes(window()) <= 300 * 1.125);
  log.peersHave(99);
  assert.is(window().length, 1);
  log.servePeers(false);
  assert.is(window().length, 0);
});

test('entries that lie partly in the store come in one piece', () => {
  const { log } = appliedLog(1e6);
  log.appliedTo(50, 1);
  assert.is(log.slice(1, 101, 1e6).length, 100);
  assert.is(log.slice(1, 60, 1e6).length, 59);
  const some = log.slice(41, 101, 15 * 34);
  assert.is(some.length, 15);
  assert.is(some.at(-1)?.index, 55);
});

test('a message of tiny entries is bounded as well', () => {
  const { log } = logWith([]);
  for (let index = 1; index <= 1000; index++) log.append(1, 'normal', new Uint8Array(0));
  assert.ok(log.slice(1, 1001, 1000).length < 50);
});

test('a term that changes twice makes nothing durable that is not', () => {
  const { log } = logWith([]);
  log.replace(entries(1, 1, 1), 0);
  log.takeUnstable();
  // 2/1 is being written. It is replaced, and the leader after that puts it back and goes on.
  log.replace(entries(2, 2), 0);
  log.replace(entries(2, 1, 3), 0);
  log.stableTo(2, 1);
  assert.is(log.stable, 2, 'the write that was out has it');
  assert.equal(
    log.takeUnstable().map((entry) => `${entry.index}/${entry.term}`),
    ['3/3'],
  );
});

test('only what is applied is compacted, and the term of its last entry stays known', () => {
  const { log, disk } = logWith(entries(1, 1, 1, 2, 2));
  log.commitTo(4);
  log.takeCommitted(1e6);
  log.appliedTo(3, 2);
  assert.throws(() => log.compactTo(4), /compacted/);
  log.compactTo(3);
  disk.compact(3);
  assert.is(log.firstIndex, 4);
  assert.is(log.term(3), 2);
  assert.is(log.term(2), undefined);
  assert.equal(
    log.slice(4, 5, 1000).map((entry) => entry.index),
    [4],
  );
  assert.throws(() => log.slice(3, 5, 1000), /compacted/);
  log.compactTo(2);
  assert.is(log.firstIndex, 4);
});

test('a log that was compacted starts where it ends', () => {
  const disk = new Disk();
  disk.write(entries(1, 1, 1, 2), undefined);
  disk.compact(3);
  const log = new RaftLog(disk, 0, 3, CONFIG);
  assert.equal([log.firstIndex, log.lastIndex, log.lastTerm, log.commit], [4, 3, 2, 3]);
  assert.is(log.append(3, 'normal', bytes('x')).index, 4);
  assert.throws(() => new RaftLog(disk, 0, 2, CONFIG), /begins at 4/);
});

test('below a compacted log, the logs can agree anywhere', () => {
  const disk = new Disk();
  disk.write(entries(1, 1, 1, 2, 2), undefined);
  disk.compact(3);
  const log = new RaftLog(disk, 0, 3, CONFIG);
  assert.equal(log.agreement(2, 1), { index: 2, term: 0 });
  assert.equal(log.agreement(4, 2), { index: 4, term: 2 });
});

test('a snapshot takes the place of the log, and is durable only when it is reported', () => {
  const { log } = logWith(entries(1, 1, 1, 1));
  log.restore(9, 4);
  assert.equal([log.lastIndex, log.lastTerm, log.commit, log.firstIndex], [9, 4, 9, 10]);
  assert.equal([log.applied, log.stable, log.hasCommitted, log.isRestoring], [0, 0, false, true]);
  log.replace(entries(10, 4), 0);
  log.commitTo(10);
  // A report of a write that was under way when the snapshot came, and that ended with an entry of this place and term.
  log.stableTo(9, 4);
  assert.is(log.applied, 0);
  assert.not.ok(log.hasCommitted);
  assert.not.ok(log.restored(8));
  assert.ok(log.restored(9));
  assert.equal([log.applied, log.stable, log.isRestoring], [9, 9, false]);
  log.takeUnstable();
  log.stableTo(10, 4);
  assert.equal(
    log.takeCommitted(1000).map((entry) => entry.index),
    [10],
  );
});

test('a snapshot undoes nothing that is committed', () => {
  const { log } = logWith(entries(1, 1, 1, 1));
  log.commitTo(2);
  assert.throws(() => log.restore(2, 1), /committed/);
});

test('a report of applied entries that a snapshot has overtaken says nothing', () => {
  const { log } = logWith(entries(1, 1, 1, 1));
  log.commitTo(2);
  log.takeCommitted(1000);
  log.restore(9, 4);
  assert.not.ok(log.appliedTo(2, 1));
  log.restored(9);
  assert.not.ok(log.appliedTo(2, 1));
  assert.is(log.applied, 9);
});

test('a report of applied entries names the entry that was committed', () => {
  const { log } = logWith(entries(1, 1, 1));
  log.commitTo(2);
  log.takeCommitted(1000);
  assert.throws(() => log.appliedTo(2, 2), /committed there/);
  assert.ok(log.appliedTo(2, 1));
});

test('a change of the membership that is committed and not applied is found, wherever it lies', () => {
  const { log } = logWith([...entries(1, 1, 1), { term: 1, index: 3, kind: 'confChange', data: bytes('x') }]);
  log.commitTo(2);
  assert.not.ok(log.hasUnappliedChange(1));
  log.commitTo(3);
  assert.ok(log.hasUnappliedChange(1));
  while (log.hasCommitted) log.takeCommitted(1);
  log.appliedTo(3, 1);
  assert.not.ok(log.hasUnappliedChange(1));
  log.append(2, 'normal', bytes('x'));
  log.append(2, 'confChange', bytes('x'));
  log.commitTo(4);
  assert.not.ok(log.hasUnappliedChange(1));
  log.commitTo(5);
  assert.ok(log.hasUnappliedChange(1));
});
