/** Exactly once over split and merge: what both halves remember, and what the whole does. */

import { SessionTable, type Session } from '../../engine/region/sessions.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, suite } from '../harness.ts';

const test = suite('sessions over split and merge');

const ordered = (number: number): Buffer => {
  const name = Buffer.alloc(16);
  name.writeUInt32BE(number, 0);
  return name;
};

interface Record {
  readonly name: Buffer;
  readonly record: Uint8Array;
}

/** What the store would hold after commits. */
class Records {
  readonly byName = new Map<string, Record>();

  take(table: SessionTable): void {
    table.commit({
      putSession: (name, record) => this.byName.set(name.toString('hex'), { name: Buffer.from(name), record }),
      deleteSession: (name) => this.byName.delete(name.toString('hex')),
    });
  }

  get sorted(): string[] {
    return [...this.byName.values()]
      .map(({ name, record }) => `${name.toString('hex')}=${Buffer.from(record).toString('hex')}`)
      .sort();
  }
}

function apply(table: SessionTable, name: Buffer, seqs: number[], index: number, floor = 1): void {
  const session = table.touch(name, floor, index)!;
  for (const seq of seqs) session.markApplied(seq);
}

test('the new half of a split knows every call that the whole had decided', () => {
  const whole = new SessionTable();
  apply(whole, ordered(1), [1, 2, 5], 900_000);
  whole.touch(ordered(1), 1, 900_001)!.markRefused(7);
  const child = SessionTable.load(whole.copy(5));
  const session = child.touch(ordered(1), 1, 6)!;
  assert.equal(
    [1, 2, 3, 5, 7].map((seq) => session.standing(seq)),
    ['applied', 'applied', 'new', 'applied', 'refused'],
  );
});

test('who writes to the new half is younger than everything that was copied', () => {
  const whole = new SessionTable();
  for (let i = 0; i < LIMITS.sessionsPerRegion; i++) apply(whole, ordered(10 + i), [1], 900_000 + i);
  const child = SessionTable.load(whole.copy(5));
  apply(child, ordered(5_000_000), [1], 6);
  apply(child, ordered(5_000_001), [1], 7);
  assert.is(child.touch(ordered(5_000_000), 1, 8)!.standing(1), 'applied');
});

test('the whole of a merge knows what either had decided', () => {
  const target = new SessionTable();
  const source = new SessionTable();
  apply(target, ordered(1), [4, 6], 10, 4);
  apply(source, ordered(1), [5, 9], 20, 5);
  apply(source, ordered(2), [1], 21);
  target.unite(source, 33);
  const session = target.touch(ordered(1), 1, 34)!;
  assert.is(session.floor, 5, 'what one side knows to be answered is answered');
  assert.equal(
    [4, 5, 6, 7, 9].map((seq) => session.standing(seq)),
    ['stale', 'applied', 'applied', 'new', 'applied'],
  );
  assert.is(target.touch(ordered(2), 1, 35)!.standing(1), 'applied');
});

const range = (start: string, end: string) => ({ start: Buffer.from(start), end: Buffer.from(end) });

/** What is known to be deleted under a sequence, as `a-c e-`. */
function deleted(session: Session, seq: number): string | undefined {
  return session
    .deletedBy(seq)
    ?.map(({ start, end }) => `${Buffer.from(start).toString()}-${Buffer.from(end).toString()}`)
    .join(' ');
}

test('the parts of a range delete that regions did before they were merged are known apart', () => {
  const target = new SessionTable();
  const source = new SessionTable();
  const name = Buffer.from('a user');
  target.touch(name, 1, 10)!.markDeleted(7, range('a', 'c'));
  source.touch(name, 1, 20)!.markDeleted(7, range('e', ''));
  source.touch(name, 1, 21)!.markDeleted(8, range('f', 'g'));
  target.unite(source, 33);
  const records = new Records();
  records.take(target);
  const session = SessionTable.load(records.byName.values()).touch(name, 1, 34)!;
  assert.equal([deleted(session, 7), deleted(session, 8)], ['a-c e-', 'f-g'], 'also after a restart');
  session.markDeleted(7, range('c', 'e'));
  assert.is(deleted(session, 7), 'a-');
  session.raiseFloor(8);
  assert.equal([session.standing(7), deleted(session, 7)], ['stale', undefined]);
});

test('what a session remembers of its range deletes is bounded, and what it forgot is not taken for undone', () => {
  const table = new SessionTable();
  const session = table.touch(Buffer.from('a user'), 1, 1)!;
  const long = 'k'.repeat(LIMITS.keyBytes - 1);
  const most = Math.floor(LIMITS.sessionDeletedBytes / (2 * LIMITS.keyBytes));
  for (let seq = 1; seq <= most + 1; seq++) session.markDeleted(seq, range(`${long}a`, `${long}b`));
  assert.equal([session.standing(1), deleted(session, 1)], ['applied', undefined]);
  assert.ok(deleted(session, 2));
  // One side of a merge has forgotten what it deleted: the whole cannot know.
  const other = new SessionTable();
  other.touch(Buffer.from('a user'), 1, 1)!.markDeleted(1, range('a', 'b'));
  other.unite(table, 9);
  const whole = other.touch(Buffer.from('a user'), 1, 10)!;
  assert.equal([whole.standing(1), deleted(whole, 1)], ['applied', undefined]);
});

test('a session that one side forgot is forgotten by the whole: what it did there is unknown', () => {
  const forgetful = (): SessionTable => {
    const table = new SessionTable();
    for (let i = 0; i < LIMITS.sessionsPerRegion + 1; i++) apply(table, ordered(100 + i), [1], 10 + i);
    return table;
  };
  const lost = ordered(100);
  const target = new SessionTable();
  apply(target, lost, [3], 10);
  target.unite(forgetful(), 50);
  assert.is(target.touch(lost, 1, 51), undefined, 'the source had forgotten it');
  const other = forgetful();
  const source = new SessionTable();
  apply(source, lost, [3], 10);
  other.unite(source, 50);
  assert.is(other.touch(lost, 1, 51), undefined, 'the target had forgotten it');
});

test('the whole is bounded, and all replicas keep the same, however they came to their tables', () => {
  const build = (): { target: SessionTable; source: SessionTable } => {
    const target = new SessionTable();
    const source = new SessionTable();
    for (let i = 0; i < LIMITS.sessionsPerRegion; i++) {
      apply(target, ordered(2 * i + 1), [i + 1], 100 + (i % 7));
      apply(source, ordered(2 * i), [i + 1], 100 + (i % 5));
    }
    return { target, source };
  };
  const applied = build();
  const records = new Records();
  records.take(applied.target);
  applied.target.unite(applied.source, 500);
  records.take(applied.target);
  assert.is(applied.target.size, LIMITS.sessionsPerRegion);

  // Another replica starts from the records of both, in another order.
  const again = build();
  const before = new Records();
  before.take(again.target);
  const reloaded = SessionTable.load([...before.byName.values()].reverse());
  const sources = new Records();
  sources.take(again.source);
  reloaded.unite(SessionTable.load([...sources.byName.values()].reverse()), 500);
  before.take(reloaded);
  assert.equal(before.sorted, records.sorted);
  assert.is(records.byName.size, LIMITS.sessionsPerRegion + 1, 'the sessions and the horizon');
});
