/**
 * The state machine: turns committed entries into writes of a batch that also holds the applied index, so that data and
 * index are never apart. Runs the same on every replica: nothing but the entry and the replicated state decides.
 */

import { PayloadCursor, type CommandCursor, type PayloadNature } from '../../rpc/wire/command.ts';
import type { mraft } from '../../rpc/wire/codec.ts';
import {
  DiskFull,
  EpochNotMatch,
  SequenceSpent,
  SessionExpired,
  StaleSequence,
  StorageFailure,
  asMraftError,
  type MraftError,
} from '../../rpc/wire/errors.ts';
import { toWireError } from '../../rpc/wire/error-codec.ts';
import type { Entry } from '../raft/index.ts';
import type { Store, WriteBatch } from '../store/port.ts';
import { deleteSession, putApplied, putSession } from '../store/region-records.ts';
import type { ChangeContext, ChangeOutcome, RegionChanges } from './changes.ts';
import { missingFrom } from './deleted-ranges.ts';
import type { TurnBatches } from './ports.ts';
import type { RegionState } from './region-state.ts';
import type { Session, SessionTable, Standing } from './sessions.ts';

/** What a command came to: calls that are not listed took effect and have nothing to say. */
export type CommandOutcome = readonly mraft.ICallResult[] | MraftError;

const ALL_DONE: readonly mraft.ICallResult[] = [];
const PLAIN: PayloadNature = { conditional: false, exclusive: false };

export class Applier {
  readonly #store: Store;
  readonly #state: RegionState;
  readonly #sessions: SessionTable;
  readonly #changes: RegionChanges;
  /**
   * What this call of `apply` has added to the batch and the store does not have yet, by key; kept only while some call must
   * read it. It is of one call: behind a merge that had to wait, keys come back that another region has written meanwhile.
   */
  #overlay: Map<string, Uint8Array | undefined> | undefined;
  #appliedIndex: number;
  #appliedTerm: number;
  /** Entries of the run that were applied before it ran into a full disk, or had to wait. */
  #doneOfRun = 0;
  /** `appliedWrites` of the batches when something of this region was added to them last; -1: it has been written. */
  #addedUnder = -1;
  readonly #onAnomaly: (error: MraftError) => void;
  /** Calls applied since the replica was opened. */
  appliedCalls = 0;

  constructor(
    store: Store,
    state: RegionState,
    sessions: SessionTable,
    changes: RegionChanges,
    applied: { readonly index: number; readonly term: number },
    onAnomaly: (error: MraftError) => void,
  ) {
    this.#store = store;
    this.#state = state;
    this.#sessions = sessions;
    this.#changes = changes;
    this.#appliedIndex = applied.index;
    this.#appliedTerm = applied.term;
    this.#onAnomaly = onAnomaly;
  }

  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  get appliedTerm(): number {
    return this.#appliedTerm;
  }

  get sessionCount(): number {
    return this.#sessions.size;
  }

  /**
   * Adds the entries' writes and the new applied state to the applied batch, and tells what each entry's commands came to.
   * A turn may apply several runs before it writes the batch. False: an entry cannot be applied yet; the same call again
   * goes on with it.
   * @throws DiskFull when there was no room before or for a range delete: the same call again goes on from there, with
   *   the batch as it was left. StorageFailure
   */
  apply(
    entries: readonly Entry[],
    batches: TurnBatches,
    tell: (entry: Entry, outcomes: CommandOutcome[]) => void,
  ): boolean {
    const natures = entries.map((entry) => this.#natureOf(entry));
    const hasSwaps = natures.some((nature) => nature.conditional);
    if (hasSwaps) this.#writeOut(batches);
    this.#overlay = hasSwaps ? new Map() : undefined;
    for (let i = this.#doneOfRun; i < entries.length; i++) {
      const entry = entries[i]!;
      if (natures[i]!.exclusive) this.#writeOut(batches);
      const outcomes = this.#applyEntry(entry, batches);
      if (outcomes === 'wait') {
        this.#commit(batches);
        return false;
      }
      this.#appliedIndex = entry.index;
      this.#appliedTerm = entry.term;
      this.#doneOfRun = i + 1;
      this.#addedUnder = batches.appliedWrites;
      tell(entry, outcomes);
    }
    this.#commit(batches);
    this.#overlay = undefined;
    this.#doneOfRun = 0;
    return true;
  }

  #applyEntry(entry: Entry, batches: TurnBatches): CommandOutcome[] | 'wait' {
    if (entry.kind === 'confChange') {
      return changeOutcomes(this.#changes.applyMembership(entry, this.#changeContext(batches)));
    }
    return entry.data.length > 0 ? this.#applyPayload(entry, batches) : [];
  }

  #changeContext(batches: TurnBatches): ChangeContext {
    return {
      state: this.#state,
      store: this.#store,
      sessions: this.#sessions,
      batches,
      writeOut: () => this.#writeOut(batches),
    };
  }

  #natureOf(entry: Entry): PayloadNature {
    if (!carriesPayload(entry)) return PLAIN;
    try {
      return new PayloadCursor(entry.data);
    } catch {
      return PLAIN; // bytes that are no payload are reported when they are applied
    }
  }

  /**
   * Writes what the batch has of this region, with its index: for whoever looks at the store, and so that a range delete can
   * follow it in the store's own order.
   */
  #writeOut(batches: TurnBatches): void {
    if (this.#addedUnder !== batches.appliedWrites) return;
    this.#commit(batches);
    this.#store.write(batches.applied, { sync: false });
    this.#overlay?.clear();
    this.#addedUnder = -1;
  }

  #commit(batches: TurnBatches): void {
    const batch = batches.applied;
    this.#addedUnder = batches.appliedWrites;
    const { regionId } = this.#state.region;
    this.#sessions.commit({
      putSession: (name, record) => putSession(batch, regionId, name, record),
      deleteSession: (name) => deleteSession(batch, regionId, name),
    });
    putApplied(batch, regionId, { index: this.#appliedIndex, term: this.#appliedTerm });
  }

  #applyPayload(entry: Entry, batches: TurnBatches): CommandOutcome[] | 'wait' {
    const batch = batches.applied;
    const outcomes: CommandOutcome[] = [];
    try {
      const payload = new PayloadCursor(entry.data);
      if (payload.admin) {
        const context = this.#changeContext(batches);
        return changeOutcomes(this.#changes.applyAdmin(entry, payload, payload.admin, context));
      }
      const { epoch } = this.#state.region;
      const sameEpoch = payload.version === epoch.version && payload.confVersion === epoch.confVersion;
      for (let command = payload.next(); command; command = payload.next()) {
        if (!sameEpoch) outcomes.push(this.#epochError());
        else outcomes.push(this.#applyCommand(entry.index, command, batch));
      }
    } catch (error) {
      if (error instanceof DiskFull || error instanceof StorageFailure) throw error;
      // Admission keeps such bytes out of the log. Should some get in, every replica stops at the same byte.
      this.#onAnomaly(asMraftError(error));
      outcomes.push(asMraftError(error));
    }
    return outcomes;
  }

  #epochError(): EpochNotMatch {
    const { region, current } = this.#state;
    return new EpochNotMatch(`region ${region.regionId} has changed since the request was routed`, {
      regionId: region.regionId,
      regions: current,
    });
  }

  #applyCommand(index: number, command: CommandCursor, batch: WriteBatch): CommandOutcome {
    let session: Session | undefined;
    if (command.session.length > 0) {
      session = this.#sessions.touch(command.session, command.floor, index);
      if (!session) return new SessionExpired('the region no longer remembers this session; open a new one');
    }
    let results: mraft.ICallResult[] | undefined;
    while (command.next()) {
      const result = this.#applyCall(session, command, batch);
      if (result) (results ??= []).push(result);
    }
    return results ?? ALL_DONE;
  }

  /** Undefined: took effect, now or earlier, and has nothing to say. */
  #applyCall(session: Session | undefined, call: CommandCursor, batch: WriteBatch): mraft.ICallResult | undefined {
    const standing = session ? session.standing(call.seq) : 'new';
    if (standing === 'stale') {
      const error = new StaleSequence('the session has declared this sequence answered', { field: 'seq' });
      return { position: call.position, error: toWireError(error) };
    }
    if (call.kind === 'deleteRange') return this.#deleteRange(session, standing, call);
    if (standing === 'applied') {
      return call.kind === 'compareAndSwap' ? { position: call.position, swapped: true } : undefined;
    }
    if (standing === 'refused') return this.#refusedBefore(call);
    this.appliedCalls++;
    if (call.kind === 'compareAndSwap') return this.#compareAndSwap(session, call, batch);
    session?.markApplied(call.seq);
    switch (call.kind) {
      case 'put':
        this.#put(batch, call);
        break;
      case 'delete':
        this.#delete(batch, call);
        break;
      case 'batch':
        while (call.nextMutation()) {
          if (call.mutationKind === 'put') this.#put(batch, call);
          else this.#delete(batch, call);
        }
        break;
    }
    return undefined;
  }

  #put(batch: WriteBatch, call: CommandCursor): void {
    const key = call.key.of(call.bytes);
    const value = call.value.of(call.bytes);
    batch.put(this.#state.column, key, value);
    this.#overlay?.set(key.toString('latin1'), value);
  }

  #delete(batch: WriteBatch, call: CommandCursor): void {
    const key = call.key.of(call.bytes);
    batch.delete(this.#state.column, key);
    this.#overlay?.set(key.toString('latin1'), undefined);
  }

  #compareAndSwap(session: Session | undefined, call: CommandCursor, batch: WriteBatch): mraft.ICallResult {
    const current = this.#current(call);
    if (!isExpected(call, current)) {
      session?.markRefused(call.seq);
      return notSwapped(call, current);
    }
    session?.markApplied(call.seq);
    if (call.hasValue) this.#put(batch, call);
    else this.#delete(batch, call);
    return { position: call.position, swapped: true };
  }

  /**
   * An earlier attempt of this call did not swap, and its caller may have heard so: it never swaps. Where it would not swap
   * now either, that is an answer too.
   */
  #refusedBefore(call: CommandCursor): mraft.ICallResult {
    const current = call.kind === 'compareAndSwap' ? this.#current(call) : undefined;
    if (call.kind === 'compareAndSwap' && !isExpected(call, current)) return notSwapped(call, current);
    const error = new SequenceSpent(
      'an earlier attempt did not swap, and now it would: make the call under a new sequence',
    );
    return { position: call.position, error: toWireError(error) };
  }

  /** What the key of a compare-and-swap holds. */
  #current(call: CommandCursor): Uint8Array | undefined {
    const key = call.key.of(call.bytes);
    const overlayKey = key.toString('latin1');
    const overlay = this.#overlay;
    return overlay?.has(overlayKey) ? overlay.get(overlayKey) : this.#store.get(this.#state.column, key);
  }

  /**
   * A range delete is not part of a batch. It stands alone in its entry, and all that was applied before it has been
   * written, so a crash behind it only means that it is done again. It is cut along the regions under one sequence: of
   * regions that were merged one may have done its part and another not, so what is done is what is left of it.
   */
  #deleteRange(session: Session | undefined, standing: Standing, call: CommandCursor): mraft.ICallResult | undefined {
    const end = call.value.length > 0 ? call.value.of(call.bytes) : this.#state.region.endKey;
    const range = { start: Buffer.from(call.key.of(call.bytes)), end: Buffer.from(end) };
    const done = standing === 'new' ? [] : session!.deletedBy(call.seq);
    if (!done) {
      const error = new StaleSequence('what was deleted under this sequence is forgotten', { field: 'seq' });
      return { position: call.position, error: toWireError(error) };
    }
    const missing = missingFrom(done, range);
    if (missing.length === 0) return undefined;
    this.appliedCalls++;
    for (const part of missing) {
      this.#store.deleteRange(this.#state.column, part.start, part.end.length > 0 ? part.end : undefined);
    }
    // It can run into a full disk and be done again, so it is remembered only when it is done.
    session?.markDeleted(call.seq, range);
    return undefined;
  }
}

function changeOutcomes(outcome: ChangeOutcome): CommandOutcome[] | 'wait' {
  if (outcome === 'wait') return outcome;
  return [outcome ?? ALL_DONE];
}

function carriesPayload(entry: Entry): boolean {
  return entry.kind === 'normal' && entry.data.length > 0;
}

function isExpected(call: CommandCursor, current: Uint8Array | undefined): boolean {
  const expected = call.hasExpected ? call.expected.of(call.bytes) : undefined;
  return current === undefined || expected === undefined ? current === expected : expected.equals(current);
}

function notSwapped(call: CommandCursor, current: Uint8Array | undefined): mraft.ICallResult {
  return { position: call.position, swapped: false, ...(current === undefined ? {} : { current }) };
}
