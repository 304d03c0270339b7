/** One replica under test: a node, a disk that may forget what was not synced, and what was applied. */

import { RaftNode } from '../../engine/raft/index.ts';
import type {
  Entry,
  Membership,
  RaftConfig,
  RaftMessage,
  ReadState,
  Ready,
  Snapshot,
} from '../../engine/raft/index.ts';
import { InvalidArgument } from '../../rpc/wire/errors.ts';
import { decodeChange } from './changes.ts';
import { Disk } from './disk.ts';

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
  hibernateAfterMs: 0,
} as const;

/** A snapshot on its way: the message, and what was applied when it was taken. */
interface SnapshotInTransit extends RaftMessage {
  readonly applied: readonly Entry[];
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
  /** Snapshots that were stepped, and that no Ready has asked for yet. */
  private arrived: SnapshotInTransit[] = [];
  /** Handed out and not applied: empty unless `appliesLater`. */
  private backlog: Entry[] = [];
  /** What is handed out is applied by `apply`, not with the Ready. */
  appliesLater = false;

  constructor(config: RaftConfig, membership: Membership, nowMs: number, prepare?: (disk: Disk) => void) {
    this.config = config;
    prepare?.(this.disk);
    this.disk.apply(this.disk.applied, membership);
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

  /** The snapshot of the Ready that is out. */
  get snapshotOut(): Snapshot | undefined {
    return this.unsynced?.snapshot;
  }

  step(message: RaftMessage, nowMs: number): void {
    if (message.kind === 'snapshot' && 'applied' in message) this.arrived.push(message as SnapshotInTransit);
    this.node.step(message, nowMs);
  }

  /** Takes a Ready up to its write: returns what may leave before the sync. */
  begin(nowMs: number): readonly RaftMessage[] {
    if (this.unsynced !== undefined || !this.node.hasReady()) return [];
    const ready = this.node.ready(nowMs);
    if (ready.snapshot !== undefined) {
      const { index, term, membership } = ready.snapshot;
      this.apply();
      this.disk.install(index, term, membership);
    }
    this.disk.write(ready.entries, ready.hardState);
    this.unsynced = ready;
    return this.withData(ready.messages);
  }

  /** Syncs and ends the Ready: returns what had to wait. */
  finish(): readonly RaftMessage[] {
    const ready = this.unsynced;
    if (ready === undefined) return [];
    this.unsynced = undefined;
    this.disk.sync();
    this.takeSnapshotData(ready);
    const last = ready.entries.at(-1) ?? ready.snapshot;
    if (last !== undefined) this.node.persisted(last.index, last.term);
    for (const entry of ready.committed) this.backlog.push(entry);
    if (!this.appliesLater) this.apply();
    this.reads.push(...ready.readStates);
    return this.withData(ready.durableMessages);
  }

  /** Applies what was handed out. */
  apply(): void {
    const last = this.backlog.at(-1);
    if (last === undefined) return;
    let { membership } = this.disk;
    for (const entry of this.backlog) {
      this.applied[entry.index - 1] = entry;
      if (entry.kind === 'confChange') membership = this.applyChange(entry) ?? membership;
    }
    this.backlog = [];
    this.disk.apply(last.index, membership);
    this.node.appliedTo(last.index, last.term);
  }

  /** Forgets the log up to `index`. */
  compact(index: number): void {
    this.node.compactTo(index);
    this.disk.compact(index);
  }

  /** The process dies: what was not synced is gone. */
  crash(): void {
    this.unsynced = undefined;
    this.arrived = [];
    this.backlog = [];
    this.disk.crash();
    this.applied.length = this.disk.applied;
    this.reads.length = 0;
  }

  restart(nowMs: number): void {
    this.node = this.start(nowMs, true);
  }

  /** The data of a snapshot: all that is applied at its index. */
  private withData(messages: readonly RaftMessage[]): readonly RaftMessage[] {
    return messages.map((message) =>
      message.kind === 'snapshot' ? { ...message, applied: this.applied.slice(0, message.index) } : message,
    );
  }

  private takeSnapshotData({ snapshot }: Ready): void {
    if (snapshot === undefined) return;
    const data = this.arrived.find(({ index, logTerm }) => index === snapshot.index && logTerm === snapshot.term);
    if (data === undefined) throw new Error(`${this.id} has no data of the snapshot at ${snapshot.index}`);
    this.arrived = this.arrived.filter(({ index }) => index > snapshot.index);
    this.applied.splice(0, Infinity, ...data.applied);
  }

  /** Undefined: it cannot follow the configuration, which every replica finds. */
  private applyChange(entry: Entry): Membership | undefined {
    try {
      return this.node.applyConfChange(decodeChange(entry.data));
    } catch (error) {
      if (error instanceof InvalidArgument) return undefined;
      throw error;
    }
  }

  private start(nowMs: number, restarted: boolean): RaftNode {
    const { hardState, applied, membership } = this.disk;
    return new RaftNode(this.config, { hardState, applied, membership, log: this.disk, nowMs, restarted });
  }
}
