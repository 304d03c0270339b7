/**
 * Exactly once: which sequences of which session took effect in this region (thesis section 6.3, with a window of
 * calls in flight instead of one). It is replicated state: changed only by applying entries, in the same way on every
 * replica, stored with the data it guards, copied when the region splits and united when it is merged.
 *
 * A compare-and-swap that did not swap is remembered too: its caller may have heard so, and a second copy of the request
 * must not swap behind that answer. Of a range delete it is remembered which keys it deleted: its parts share a sequence.
 */

import { encode, decode, mraft } from '../../rpc/wire/codec.ts';
import { invariant } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { boundsBytes, uniteRanges, type DeletedRange } from './deleted-ranges.ts';

/** A session of the client library is 16 bytes that begin with its time of creation, so sessions can be ordered. */
const ORDERED_SESSION_BYTES = 16;

/** refused: a compare-and-swap that did not swap. */
export type Standing = 'new' | 'applied' | 'refused' | 'stale';

/** One session's window in one region. */
export class Session {
  floor: number;
  lastIndex: number;
  /** Of applied and of refused calls; ascending, all at or above the floor. */
  readonly #applied: number[];
  /** Those of them that were refused. */
  readonly #refused: Set<number>;
  /** Of applied range deletes. Those that are forgotten (LIMITS.sessionDeletedBytes) are applied and not here. */
  readonly #deleted = new Map<number, readonly DeletedRange[]>();
  #deletedBytes = 0;

  constructor(
    readonly name: Buffer,
    floor = 0,
    lastIndex = 0,
    applied: number[] = [],
    refused: readonly number[] = [],
  ) {
    this.floor = floor;
    this.lastIndex = lastIndex;
    this.#applied = applied;
    this.#refused = new Set(refused);
  }

  /** Forgets what the client has declared answered. */
  raiseFloor(floor: number): void {
    if (floor <= this.floor) return;
    this.floor = floor;
    const keepFrom = this.#position(floor);
    if (keepFrom === 0) return;
    const forgotten = this.#applied.splice(0, keepFrom);
    if (this.#refused.size > 0) for (const seq of forgotten) this.#refused.delete(seq);
    if (this.#deleted.size > 0) for (const seq of forgotten) this.#setDeleted(seq, undefined);
  }

  standing(seq: number): Standing {
    if (seq < this.floor) return 'stale';
    if (this.#applied[this.#position(seq)] !== seq) return 'new';
    return this.#refused.has(seq) ? 'refused' : 'applied';
  }

  markRefused(seq: number): void {
    this.markApplied(seq);
    this.#refused.add(seq);
  }

  markApplied(seq: number): void {
    const last = this.#applied.at(-1);
    if (last === undefined || last < seq) this.#applied.push(seq);
    else this.#applied.splice(this.#position(seq), 0, seq);
    invariant(this.#applied.length <= LIMITS.sessionWindow, 'a session remembers no more than its window');
  }

  /** What a range delete of this sequence has deleted; undefined: it was none, or that is forgotten. */
  deletedBy(seq: number): readonly DeletedRange[] | undefined {
    return this.#deleted.get(seq);
  }

  /** A range delete, or another part of one, took effect. The bytes of the range are kept. */
  markDeleted(seq: number, range: DeletedRange): void {
    if (this.standing(seq) === 'new') this.markApplied(seq);
    this.#setDeleted(seq, uniteRanges([...(this.#deleted.get(seq) ?? []), range]));
    this.#boundDeleted();
  }

  #setDeleted(seq: number, ranges: readonly DeletedRange[] | undefined): void {
    this.#deletedBytes -= boundsBytes(this.#deleted.get(seq) ?? []);
    this.#deleted.delete(seq);
    if (!ranges) return;
    this.#deleted.set(seq, ranges);
    this.#deletedBytes += boundsBytes(ranges);
  }

  /** Whoever asks for a part of a forgotten one is told that it is not known. */
  #boundDeleted(): void {
    while (this.#deletedBytes > LIMITS.sessionDeletedBytes)
      this.#setDeleted(Math.min(...this.#deleted.keys()), undefined);
  }

  /** First position whose sequence is at or above `seq`. */
  #position(seq: number): number {
    const applied = this.#applied;
    let low = 0;
    let high = applied.length;
    if (high > 0 && applied[high - 1]! < seq) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (applied[middle]! < seq) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /**
   * Takes in what another region decided for the same session: each call was decided by one of them, or by both alike, but
   * for range deletes, of which each may have done a part.
   */
  unite(other: Session): void {
    this.raiseFloor(other.floor);
    for (const seq of other.#applied) {
      const standing = this.standing(seq);
      if (standing === 'stale') continue;
      const ours = this.#deleted.get(seq);
      const theirs = other.#deleted.get(seq);
      if (standing === 'new' && other.#refused.has(seq)) this.markRefused(seq);
      else if (standing === 'new') this.markApplied(seq);
      if (standing === 'new') this.#setDeleted(seq, theirs);
      else this.#setDeleted(seq, ours && theirs && uniteRanges([...ours, ...theirs]));
    }
    this.#boundDeleted();
  }

  encode(lastIndex = this.lastIndex): Uint8Array {
    const { floor } = this;
    const applied = stepsOf(this.#applied, floor);
    const refused =
      this.#refused.size === 0
        ? []
        : stepsOf(
            this.#applied.filter((seq) => this.#refused.has(seq)),
            floor,
          );
    const deleted = [...this.#deleted]
      .sort(([a], [b]) => a - b)
      .map(([seq, ranges]) => ({ seq, bounds: ranges.flatMap(({ start, end }) => [start, end]) }));
    return encode(mraft.SessionRecord, { floor, lastIndex, applied, refused, deleted });
  }

  static decode(name: Buffer, bytes: Uint8Array): Session {
    const record = decode(mraft.SessionRecord, bytes);
    const { floor, lastIndex } = record;
    const { applied, refused } = record;
    const session = new Session(name, floor, lastIndex, fromSteps(applied, floor), fromSteps(refused, floor));
    for (const { seq, bounds } of record.deleted) session.#setDeleted(seq ?? 0, fromBounds(bounds ?? []));
    return session;
  }
}

/** Ascending numbers, each as its distance from the one before: most fit a byte. */
function stepsOf(numbers: readonly number[], from: number): number[] {
  let before = from;
  return numbers.map((number) => {
    const step = number - before;
    before = number;
    return step;
  });
}

function fromSteps(steps: readonly number[], from: number): number[] {
  let number = from;
  return steps.map((step) => (number += step));
}

/** In memory of their own. */
function fromBounds(bounds: readonly Uint8Array[]): DeletedRange[] {
  const ranges: DeletedRange[] = [];
  for (let at = 0; at + 1 < bounds.length; at += 2) {
    ranges.push({ start: Buffer.from(bounds[at]!), end: Buffer.from(bounds[at + 1]!) });
  }
  return ranges;
}

/** What `SessionTable.commit` wants written or removed. */
export interface SessionWriter {
  putSession(name: Buffer, record: Uint8Array): void;
  deleteSession(name: Buffer): void;
}

/** All sessions of one region. At most LIMITS.sessionsPerRegion; the one that wrote longest ago goes first. */
export class SessionTable {
  readonly #sessions = new Map<string, Session>();
  readonly #dirty = new Set<Session>();
  readonly #removed: Buffer[] = [];
  /** No ordered session at or below this name is taken for a new one: it may have been here and be forgotten. */
  #horizon: Buffer = Buffer.alloc(0);
  #horizonMoved = false;

  /** The records of the store; the horizon is kept under the empty name. */
  static load(records: Iterable<{ readonly name: Buffer; readonly record: Uint8Array }>): SessionTable {
    const table = new SessionTable();
    for (const { name, record } of records) {
      if (name.length === 0) table.#horizon = Buffer.from(record);
      else table.#sessions.set(name.toString('latin1'), Session.decode(name, record));
    }
    return table;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /**
   * The session under which a command of the entry at `index` is applied, begun if it is new.
   * Undefined: it was forgotten, so what it applied before is unknown.
   */
  touch(name: Buffer, floor: number, index: number): Session | undefined {
    const key = name.toString('latin1');
    let session = this.#sessions.get(key);
    if (!session) {
      if (this.#hasForgotten(name)) return undefined;
      session = new Session(Buffer.from(name));
      this.#sessions.set(key, session);
      if (this.#sessions.size > LIMITS.sessionsPerRegion) this.#forgetOne(session);
    }
    session.raiseFloor(floor);
    session.lastIndex = index;
    this.#dirty.add(session);
    return session;
  }

  // --- split and merge ---------------------------------------------------------------------------------------------

  /**
   * Everything that is remembered, for a region that begins with it; its log begins behind `index`, so that whoever writes
   * there is younger than what is copied.
   */
  *copy(index: number): Generator<{ readonly name: Buffer; readonly record: Uint8Array }> {
    for (const session of this.#sessions.values()) yield { name: session.name, record: session.encode(index) };
    if (this.#horizon.length > 0) yield { name: Buffer.alloc(0), record: this.#horizon };
  }

  /**
   * Takes in what the region that was merged by the entry at `index` remembers. A session that one of both has forgotten
   * is forgotten by the whole, because what it did there is unknown.
   */
  unite(other: SessionTable, index: number): void {
    const ours = [...this.#sessions.values()].filter((session) => other.#hasForgotten(session.name));
    const known = [...other.#sessions].filter(([, theirs]) => !this.#hasForgotten(theirs.name));
    for (const session of ours) this.#forget(session);
    for (const [key, theirs] of known) {
      let session = this.#sessions.get(key);
      if (!session) this.#sessions.set(key, (session = new Session(theirs.name)));
      session.unite(theirs);
      session.lastIndex = index;
      this.#dirty.add(session);
    }
    if (Buffer.compare(other.#horizon, this.#horizon) > 0) this.#raiseHorizon(other.#horizon);
    const surplus = this.#sessions.size - LIMITS.sessionsPerRegion;
    if (surplus <= 0) return;
    const oldestFirst = [...this.#sessions.values()].sort(
      (a, b) => a.lastIndex - b.lastIndex || Buffer.compare(a.name, b.name),
    );
    for (const session of oldestFirst.slice(0, surplus)) this.#forget(session);
  }

  /** Whether a session of that name, unknown here, may have been here. */
  #hasForgotten(name: Buffer): boolean {
    if (name.length !== ORDERED_SESSION_BYTES || this.#sessions.has(name.toString('latin1'))) return false;
    return Buffer.compare(name, this.#horizon) <= 0;
  }

  #forget(session: Session): void {
    this.#sessions.delete(session.name.toString('latin1'));
    this.#dirty.delete(session);
    this.#removed.push(session.name);
    if (session.name.length !== ORDERED_SESSION_BYTES) return;
    if (Buffer.compare(session.name, this.#horizon) > 0) this.#raiseHorizon(session.name);
  }

  #raiseHorizon(name: Buffer): void {
    this.#horizon = name;
    this.#horizonMoved = true;
  }

  /** Forgets the session with the lowest last index; the name decides between equals, so every replica picks the same. */
  #forgetOne(except: Session): void {
    let oldest: Session | undefined;
    for (const session of this.#sessions.values()) {
      if (session === except) continue;
      if (
        !oldest ||
        session.lastIndex < oldest.lastIndex ||
        (session.lastIndex === oldest.lastIndex && Buffer.compare(session.name, oldest.name) < 0)
      ) {
        oldest = session;
      }
    }
    if (oldest) this.#forget(oldest);
  }

  /** Hands over what changed since the last commit, to be written with the data it guards. */
  commit(writer: SessionWriter): void {
    for (const name of this.#removed) writer.deleteSession(name);
    for (const session of this.#dirty) writer.putSession(session.name, session.encode());
    if (this.#horizonMoved) writer.putSession(Buffer.alloc(0), this.#horizon);
    this.#removed.length = 0;
    this.#dirty.clear();
    this.#horizonMoved = false;
  }
}
