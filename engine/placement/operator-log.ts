/** What placement did and why, the latest entries. Each lies under one of a fixed number of keys, so that old ones go. */

import { LIMITS } from '../../rpc/wire/limits.ts';
import type { OperatorLogEntry } from './types.ts';

export class OperatorLog {
  /** In a ring: the entry of sequence s is at s modulo its length. */
  private readonly entries: OperatorLogEntry[] = [];
  private lastSequence = 0;

  add(entry: Omit<OperatorLogEntry, 'sequence'>): OperatorLogEntry {
    const added = { sequence: ++this.lastSequence, ...entry };
    this.entries[placeOf(added.sequence)] = added;
    return added;
  }

  restore(entry: OperatorLogEntry): void {
    this.entries[placeOf(entry.sequence)] = entry;
    this.lastSequence = Math.max(this.lastSequence, entry.sequence);
  }

  /** How an operator ended; undefined: it runs, or that was too long ago. */
  endOf(operatorId: number): OperatorLogEntry | undefined {
    return this.entries.find((entry) => entry?.operatorId === operatorId && entry.event !== 'started');
  }

  /** Oldest first. */
  last(count: number): readonly OperatorLogEntry[] {
    return this.after(this.lastSequence - count, count);
  }

  /** Oldest first, at most so many. */
  after(sequence: number, limit: number): readonly OperatorLogEntry[] {
    const oldest = Math.max(sequence + 1, this.lastSequence - LIMITS.operatorLogEntries + 1, 1);
    const found: OperatorLogEntry[] = [];
    for (let wanted = oldest; wanted <= this.lastSequence && found.length < limit; wanted += 1) {
      const entry = this.entries[placeOf(wanted)];
      if (entry?.sequence === wanted) found.push(entry);
    }
    return found;
  }
}

/** Under which of the fixed keys an entry is kept. */
export function placeOf(sequence: number): number {
  return sequence % LIMITS.operatorLogEntries;
}
