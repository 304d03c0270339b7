/** What a replica does when an entry has changed its region: its core, its log, its checks and its shard are told. */

import type { mraft } from '../../rpc/wire/codec.ts';
import type { MraftError } from '../../rpc/wire/errors.ts';
import type { Peer, Region } from '../../rpc/wire/region.ts';
import type { ConfChange, RaftNode } from '../raft/index.ts';
import type { ChangeHooks } from './changes.ts';
import type { CommitMerge } from './commit-merge.ts';
import type { HashCheck } from './hash-check.ts';
import type { LogCutter } from './log-cutter.ts';
import type { PeerNodes } from './peer-nodes.ts';
import type { ReplicaEnvironment } from './ports.ts';
import type { RegionState } from './region-state.ts';

export interface ReplicaParts {
  readonly env: ReplicaEnvironment;
  readonly state: RegionState;
  readonly raft: RaftNode;
  readonly peerNodes: PeerNodes;
  readonly cutter: LogCutter;
  readonly hashes: HashCheck;
  /** The region is merged away, and its core takes part in nothing any more. */
  readonly isFinishing: () => boolean;
  /** Tells the other peers at once what is committed. */
  readonly tellCommit: () => void;
}

/** One object a replica, and no closures of its own: a node has thousands. */
export class ReplicaChanges implements ChangeHooks {
  readonly #parts: ReplicaParts;

  constructor(parts: ReplicaParts) {
    this.#parts = parts;
  }

  get #isLeader(): boolean {
    return this.#parts.raft.role === 'leader';
  }

  get #regionId(): number {
    return this.#parts.state.region.regionId;
  }

  applyConfChange(change: ConfChange): void {
    if (!this.#parts.isFinishing()) this.#parts.raft.applyConfChange(change);
  }

  compactTo(index: number, term: number): void {
    this.#parts.cutter.note({ index, term });
  }

  onRegionChanged(region: Region): void {
    this.#parts.peerNodes.note(region);
    this.#parts.env.onRegionChanged(region);
  }

  /** Nobody speaks to them any more, and they never campaign: this is how they hear of it. */
  onLearnersLeft(left: readonly Peer[], region: Region): void {
    if (!this.#isLeader) return;
    for (const { nodeId, peerId } of left) this.#parts.env.sendNotice(nodeId, peerId, region);
  }

  onRemoved(wasVoter: boolean): void {
    this.#parts.env.onRemoved(this.#regionId, wasVoter);
  }

  /** The others hear at once that they can apply it: the new half needs their votes. */
  onSplit(parent: Region, child: Region, isBorn: boolean): void {
    if (this.#isLeader) this.#parts.tellCommit();
    this.#parts.env.onSplit(parent, child, isBorn, this.#isLeader);
  }

  hasSource(merge: CommitMerge): boolean {
    return this.#parts.env.hasSource(this.#regionId, merge);
  }

  onAbsorbed(target: Region, source: Region): void {
    this.#parts.env.onAbsorbed(target, source);
  }

  computeHash(round: number, index: number): void {
    this.#parts.hashes.begin(round, index);
    this.#parts.env.onHashing(this.#regionId);
  }

  verifyHash(verify: mraft.IVerifyHash): void {
    this.#parts.hashes.verify(verify);
  }

  onAnomaly(error: MraftError): void {
    this.#parts.env.onAnomaly(this.#regionId, error);
  }
}
