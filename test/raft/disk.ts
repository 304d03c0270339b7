/** What a replica's disk holds, and what of it a crash leaves. */

import type { Entry, HardState, LogReader, Membership } from '../../engine/raft/index.ts';
import { votersOnly } from '../../engine/raft/index.ts';

interface Contents {
  readonly truncatedIndex: number;
  readonly truncatedTerm: number;
  /** From `truncatedIndex` + 1 on. */
  readonly entries: readonly Entry[];
  readonly hardState: HardState;
  readonly applied: number;
  /** At `applied`. */
  readonly membership: Membership;
}

const EMPTY: Contents = {
  truncatedIndex: 0,
  truncatedTerm: 0,
  entries: [],
  hardState: { term: 0, vote: 0, commit: 0 },
  applied: 0,
  membership: votersOnly([]),
};

export class Disk implements LogReader {
  private now = EMPTY;
  private synced = EMPTY;
  /** Whether a crash also undoes what was applied since the last sync. */
  losesApplied = false;
  private installed = false;

  get firstIndex(): number {
    return this.now.truncatedIndex + 1;
  }

  get lastIndex(): number {
    return this.now.truncatedIndex + this.now.entries.length;
  }

  get hardState(): HardState {
    return this.now.hardState;
  }

  get applied(): number {
    return this.now.applied;
  }

  get membership(): Membership {
    return this.now.membership;
  }

  get syncedIndex(): number {
    return this.synced.truncatedIndex + this.synced.entries.length;
  }

  get syncedHardState(): HardState {
    return this.synced.hardState;
  }

  syncedTerm(index: number): number | undefined {
    return termIn(this.synced, index);
  }

  term(index: number): number | undefined {
    return termIn(this.now, index);
  }

  entries(from: number, to: number, maxBytes: number): Entry[] {
    const { truncatedIndex, entries } = this.now;
    if (from <= truncatedIndex) throw new Error(`entry ${from} is compacted away, up to ${truncatedIndex}`);
    const taken: Entry[] = [];
    let sizeBytes = 0;
    for (const entry of entries.slice(from - truncatedIndex - 1, to - truncatedIndex - 1)) {
      sizeBytes += entry.data.length;
      if (taken.length > 0 && sizeBytes > maxBytes) break;
      taken.push(entry);
    }
    return taken;
  }

  write(entries: readonly Entry[], hardState: HardState | undefined): void {
    const first = entries[0];
    if (first !== undefined) {
      const kept = this.now.entries.slice(0, first.index - 1 - this.now.truncatedIndex);
      this.now = { ...this.now, entries: kept.concat(entries) };
    }
    if (hardState !== undefined) this.now = { ...this.now, hardState };
  }

  /** The applied index, and the configuration at it, in one write. */
  apply(applied: number, membership: Membership): void {
    this.now = { ...this.now, applied, membership };
  }

  /** Replaces log and data. */
  install(index: number, term: number, membership: Membership): void {
    const { hardState } = this.now;
    this.installed = true;
    this.now = { truncatedIndex: index, truncatedTerm: term, entries: [], hardState, applied: index, membership };
  }

  compact(index: number): void {
    const { truncatedIndex, entries } = this.now;
    if (index <= truncatedIndex) return;
    const truncatedTerm = this.term(index)!;
    this.now = { ...this.now, truncatedIndex: index, truncatedTerm, entries: entries.slice(index - truncatedIndex) };
  }

  sync(): void {
    this.installed = false;
    this.synced = this.now;
  }

  crash(): void {
    const { applied, membership } = this.now;
    // What is applied was durable in the log before, unless it is of a snapshot that was not synced.
    const kept = !this.losesApplied && !this.installed;
    this.installed = false;
    this.now = kept ? { ...this.synced, applied, membership } : this.synced;
    this.synced = this.now;
  }

  /** The entries that are kept. */
  all(): readonly Entry[] {
    return this.now.entries;
  }
}

function termIn({ truncatedIndex, truncatedTerm, entries }: Contents, index: number): number | undefined {
  return index === truncatedIndex ? truncatedTerm : entries[index - truncatedIndex - 1]?.term;
}
