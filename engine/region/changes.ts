/**
 * Applies the entries that change a region rather than its data. Runs the same on every replica: what cannot follow
 * from the state that the entry meets is refused, and changes nothing.
 */

import { decode, mraft } from '../../rpc/wire/codec.ts';
import {
  ChangeRefused,
  DiskFull,
  EpochNotMatch,
  Internal,
  RegionMerging,
  StorageFailure,
  asMraftError,
  type MraftError,
} from '../../rpc/wire/errors.ts';
import { fromWireRegion, sameEpoch, type Epoch, type Peer, type Region } from '../../rpc/wire/region.ts';
import type { ConfChange, Entry } from '../raft/index.ts';
import type { Store } from '../store/port.ts';
import { loadRegionRecord, loadTombstone, normalRecord, putTombstone } from '../store/region-records.ts';
import { absorbSource } from './absorption.ts';
import { commitMerge, type CommitMerge } from './commit-merge.ts';
import { changedRegion, decodeMembershipChange, toConfChange } from './membership.ts';
import { checkMerge, raiseVersion } from './merge.ts';
import type { TurnBatches } from './ports.ts';
import type { RegionState } from './region-state.ts';
import type { SessionTable } from './sessions.ts';
import { putChild, splitCommand, splitRegion } from './split.ts';

/** What the state machine works on, and the batches that it writes to. */
export interface ChangeContext {
  readonly state: RegionState;
  readonly store: Store;
  readonly sessions: SessionTable;
  readonly batches: TurnBatches;
  /** Writes everything that was applied so far, with its index. @throws DiskFull, StorageFailure */
  readonly writeOut: () => void;
}

/** Of the replica: what its core and its shard are told. Called while the entry is applied; the rest waits for the write. */
export interface ChangeHooks {
  /** Before the entry is reported as applied. */
  applyConfChange(change: ConfChange): void;
  /** The log may forget entries up to `index`. */
  compactTo(index: number, term: number): void;
  /** The region's descriptor is another from here on. Told when it is written. */
  onRegionChanged(region: Region): void;
  /** These learners belong to the region, which is this now, no longer. Told when that is written. */
  onLearnersLeft(left: readonly Peer[], region: Region): void;
  /** This peer belongs to the region no longer. Told when that is written. */
  onRemoved(wasVoter: boolean): void;
  /** The region is two from here on. `isBorn`: the new half has a replica here. Told when that is written. */
  onSplit(parent: Region, child: Region, isBorn: boolean): void;
  /** Whether the replica of the source on this node is closed and has applied its PrepareMerge; else that is asked for. */
  hasSource(merge: CommitMerge): boolean;
  /** The region has taken the source's place. Told when that is written. */
  onAbsorbed(target: Region, source: Region): void;
  /** A check of this round begins at `index`: the store holds what was applied before, and nothing newer of this region. */
  computeHash(round: number, index: number): void;
  /** What the leader's hashes of a round were. */
  verifyHash(verify: mraft.IVerifyHash): void;
  onAnomaly(error: MraftError): void;
}

/** Undefined: it took effect. `wait`: it cannot be applied yet; nothing was changed, and the same entry comes again. */
export type ChangeOutcome = MraftError | 'wait' | undefined;

export class RegionChanges {
  readonly #nodeId: number;
  readonly #hooks: ChangeHooks;
  /** A CommitMerge that cannot be applied here, and was reported. */
  #stuckAt = 0;

  constructor(nodeId: number, hooks: ChangeHooks) {
    this.#nodeId = nodeId;
    this.#hooks = hooks;
  }

  /** An entry of kind confChange. Without data it leaves a joint configuration, in whatever epoch. */
  applyMembership(entry: Entry, { state, batches }: ChangeContext): ChangeOutcome {
    const before = state.region;
    try {
      const change = entry.data.length > 0 ? decodeMembershipChange(entry.data) : undefined;
      if (change && !sameEpoch(change.epoch, before.epoch)) return epochError(before);
      const region = changedRegion(before, change);
      this.#hooks.applyConfChange(toConfChange(change));
      state.become({ ...state.record, region }, batches.applied);
      this.#tell(before, region, batches);
      return undefined;
    } catch (error) {
      return asMraftError(error);
    }
  }

  #tell(before: Region, region: Region, batches: TurnBatches): void {
    const own = before.peers.find((peer) => peer.nodeId === this.#nodeId);
    const stays = region.peers.some((peer) => peer.nodeId === this.#nodeId);
    // The descriptor does not say any more who was here: a start that finds it removes the rest.
    if (own && !stays) putTombstone(batches.applied, { peerId: own.peerId, region });
    batches.written.push(() => {
      this.#hooks.onRegionChanged(region);
      const left = before.peers.filter(
        ({ peerId, role }) => role === 'learner' && !region.peers.some((peer) => peer.peerId === peerId),
      );
      if (left.length > 0) this.#hooks.onLearnersLeft(left, region);
      if (!stays) this.#hooks.onRemoved(own !== undefined && own.role !== 'learner');
    });
  }

  /**
   * An admin command. `epoch` is the one it was proposed at.
   * @throws StorageFailure, DiskFull
   */
  applyAdmin(entry: Entry, epoch: Epoch, bytes: Uint8Array, context: ChangeContext): ChangeOutcome {
    const command = decode(mraft.AdminCommand, bytes);
    if (command.compactLog) {
      // What is behind the minimum of a PrepareMerge may have to travel with the merge.
      if (context.state.phase === 'merging') return mergingError(context.state.region);
      this.#hooks.compactTo(command.compactLog.index ?? 0, command.compactLog.term ?? 0);
      return undefined;
    }
    const { region, phase } = context.state;
    if (!sameEpoch(epoch, region.epoch)) return epochError(region);
    if (command.rollbackMerge) return this.#rollbackMerge(command.rollbackMerge.commit ?? 0, context);
    if (phase !== 'normal') return mergingError(region);
    try {
      if (command.split) return this.#split(command.split, context);
      if (command.prepareMerge) return this.#prepareMerge(entry.index, command.prepareMerge, context);
      if (command.commitMerge) return this.#commitMerge(entry.index, commitMerge(command.commitMerge), context);
    } catch (error) {
      if (error instanceof DiskFull || error instanceof StorageFailure) throw error;
      return asMraftError(error);
    }
    if (command.computeHash) {
      context.writeOut();
      this.#hooks.computeHash(command.computeHash.round ?? 0, entry.index);
      return undefined;
    }
    if (command.verifyHash) {
      this.#hooks.verifyHash(command.verifyHash);
      return undefined;
    }
    return new ChangeRefused(`entry ${entry.index} asks for a change that this version does not know`, {
      regionId: region.regionId,
    });
  }

  /** Both halves change with one write: parent, child and the parent's applied index. */
  #split(wire: mraft.ISplit, { state, store, sessions, batches }: ChangeContext): ChangeOutcome {
    const { parent, child } = splitRegion(state.region, splitCommand(wire));
    const { absorbed } = state.record;
    const isBorn = this.#canBeBorn(store, child);
    if (isBorn) putChild(batches.applied, normalRecord(child, absorbed), sessions);
    state.become({ ...state.record, region: parent }, batches.applied);
    state.sibling = child;
    batches.written.push(() => {
      if (!isBorn) this.#dropRange(store, state, child);
      this.#hooks.onSplit(parent, child, isBorn);
    });
    return undefined;
  }

  /** A peer that was removed from the new half, before this node heard that there is one, does not come back. */
  #canBeBorn(store: Store, child: Region): boolean {
    const own = child.peers.find((peer) => peer.nodeId === this.#nodeId);
    if (!own || loadRegionRecord(store, child.regionId)) return false;
    const tombstone = loadTombstone(store, child.regionId);
    return tombstone === undefined || tombstone.peerId < own.peerId;
  }

  /** Nobody here holds the range any more. What a full disk leaves of it is swept at the next start. */
  #dropRange(store: Store, state: RegionState, { startKey, endKey }: Region): void {
    try {
      store.deleteRange(state.column, startKey, endKey.length > 0 ? endKey : undefined);
    } catch (error) {
      this.#hooks.onAnomaly(asMraftError(error));
    }
  }

  #prepareMerge(index: number, wire: mraft.IPrepareMerge, { state, batches }: ChangeContext): ChangeOutcome {
    const target = fromWireRegion(wire.target ?? {});
    checkMerge(state.region, target);
    const region = raiseVersion(state.region);
    const merge = { target, minIndex: wire.minIndex ?? 0, index };
    state.become({ ...state.record, region, phase: 'merging', merge }, batches.applied);
    batches.written.push(() => this.#hooks.onRegionChanged(region));
    return undefined;
  }

  #rollbackMerge(commit: number, { state, batches }: ChangeContext): ChangeOutcome {
    const { merge } = state.record;
    if (state.phase !== 'merging' || merge?.index !== commit) {
      return new ChangeRefused(`region ${state.region.regionId} is not in the merge that is to be given up`, {
        regionId: state.region.regionId,
      });
    }
    const region = raiseVersion(state.region);
    state.become({ ...state.record, region, phase: 'normal', merge: undefined }, batches.applied);
    batches.written.push(() => this.#hooks.onRegionChanged(region));
    return undefined;
  }

  #commitMerge(index: number, merge: CommitMerge, { state, store, sessions, batches }: ChangeContext): ChangeOutcome {
    checkMerge(merge.source, state.region);
    if (!this.#hooks.hasSource(merge)) return 'wait';
    const source = loadRegionRecord(store, merge.source.regionId);
    try {
      if (!source) throw new Internal(`region ${merge.source.regionId}, which is to be merged, is not on this node`);
      const region = absorbSource({ index, merge, source, nodeId: this.#nodeId, state, store, sessions, batches });
      batches.written.push(() => this.#hooks.onAbsorbed(region, merge.source));
      return undefined;
    } catch (error) {
      // On the other nodes it is merged. To go on here without its data would make the replicas differ.
      if (!(error instanceof Internal)) throw error;
      if (this.#stuckAt !== index) this.#hooks.onAnomaly(error);
      this.#stuckAt = index;
      return 'wait';
    }
  }
}

function mergingError({ regionId }: Region): RegionMerging {
  return new RegionMerging(`region ${regionId} is being merged into its neighbour`, { regionId });
}

function epochError(region: Region): EpochNotMatch {
  return new EpochNotMatch(`region ${region.regionId} has changed since this change of it was asked for`, {
    regionId: region.regionId,
    regions: [region],
  });
}
