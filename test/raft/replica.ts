/** One replica under test: a node, a disk that may forget what was not synced, and what was applied. */

import { RaftNode } from '../../engine/raft/index.ts';
import type {
  Entry,
  HardState,
  LogReader,
  RaftConfig,
  RaftMessage,
  ReadState,
  Ready,
} from '../../engine/raft/index.ts';

export const DEFAULT_CONFIG = {
  electionTimeoutMs: 1000,
  heartbeatMs: 100,
  maxAppendBytes: 4096,
  maxInflightAppends: 8,
  maxInflightBytes: 16384,
  maxUncommittedBytes: 65536,
  entryCacheBytes: 4096,
  maxApplyBytes: 65536,
  maxClockDrift: 0.1,
} as const;

/** What a replica's disk holds. `synced` is what a crash leaves. */
export class Disk implements LogReader {
  private entryList: Entry[] = [];
  private syncedList: Entry[] = [];
  syncedHardState: HardState = { term: 0, vote: 0, commit: 0 };
  hardState: HardState = this.syncedHardState;
  applied = 0;

  get firstIndex(): number {
    return 1;
  }

  get lastIndex(): number {
    return this.entryList.length;
  }

  get syncedIndex(): number {
    return this.syncedList.length;
  }

  syncedTerm(index: number): number | undefined {
    return this.syncedList[index - 1]?.term;
  }

  term(index: number): number | undefined {
    return index === 0 ? 0 : this.entryList[index - 1]?.term;
  }

  entries(from: number, to: number, maxBytes: number): Entry[] {
    const taken: Entry[] = [];
    let sizeBytes = 0;
    for (const entry of this.entryList.slice(from - 1, to - 1)) {
      sizeBytes += entry.data.length;
      if (taken.length > 0 && sizeBytes > maxBytes) break;
      taken.push(entry);
    }
    return taken;
  }

  write(entries: readonly Entry[], hardState: HardState | undefined): void {
    const first = entries[0];
    if (first !== undefined) this.entryList = this.entryList.slice(0, first.index - 1).concat(entries);
    if (hardState !== undefined) this.hardState = hardState;
  }

  sync(): void {
    this.syncedList = this.entryList;
    this.syncedHardState = this.hardState;
  }

  crash(): void {
    this.entryList = this.syncedList;
    this.hardState = this.syncedHardState;
    this.applied = Math.min(this.applied, this.syncedList.length);
  }

  all(): readonly Entry[] {
    return this.entryList;
  }
}

export class Replica {
  readonly disk = new Disk();
  readonly config: RaftConfig;
  node: RaftNode;
  /** Applied entries of this life of the process, with those of earlier lives below them. */
  readonly applied: Entry[] = [];
  readonly reads: ReadState[] = [];
  /** A Ready whose write has been made and not synced. */
  private unsynced: Ready | undefined;

  constructor(config: RaftConfig, nowMs: number, prepare?: (disk: Disk) => void) {
    this.config = config;
    prepare?.(this.disk);
    this.disk.sync();
    this.node = this.start(nowMs, false);
  }

  get id(): number {
    return this.config.peerId;
  }

  get hasUnsynced(): boolean {
    return this.unsynced !== undefined;
  }

  /** The committed entries of the Ready that is out. */
  get applying(): readonly Entry[] {
    return this.unsynced?.committed ?? [];
  }

  /** Takes a Ready up to its write: returns what may leave before the sync. */
  begin(nowMs: number): readonly RaftMessage[] {
    if (this.unsynced !== undefined || !this.node.hasReady()) return [];
    const ready = this.node.ready(nowMs);
    this.disk.write(ready.entries, ready.hardState);
    this.unsynced = ready;
    return ready.messages;
  }

  /** Syncs and ends the Ready: returns what had to wait. */
  finish(): readonly RaftMessage[] {
    const ready = this.unsynced;
    if (ready === undefined) return [];
    this.unsynced = undefined;
    this.disk.sync();
    const last = ready.entries.at(-1);
    if (last !== undefined) this.node.persisted(last.index, last.term);
    for (const entry of ready.committed) this.applied[entry.index - 1] = entry;
    const applied = ready.committed.at(-1);
    if (applied !== undefined) {
      this.disk.applied = applied.index;
      this.node.appliedTo(applied.index);
    }
    this.reads.push(...ready.readStates);
    return ready.durableMessages;
  }

  /** The process dies: what was not synced is gone. */
  crash(): void {
    this.unsynced = undefined;
    this.disk.crash();
    this.applied.length = this.disk.applied;
    this.reads.length = 0;
  }

  restart(nowMs: number): void {
    this.node = this.start(nowMs, true);
  }

  private start(nowMs: number, restarted: boolean): RaftNode {
    const { hardState, applied } = this.disk;
    return new RaftNode(this.config, { hardState, applied, log: this.disk, nowMs, restarted });
  }
}
