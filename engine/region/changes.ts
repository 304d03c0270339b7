/**
 * Applies the entries that change a region rather than its data. Runs the same on every replica: what cannot follow
 * from the state that the entry meets is refused, and changes nothing.
 */

import { decode, mraft } from '../../rpc/wire/codec.ts';
import { ChangeRefused, EpochNotMatch, asMraftError, type MraftError } from '../../rpc/wire/errors.ts';
import { sameEpoch, type Epoch, type Region } from '../../rpc/wire/region.ts';
import type { ConfChange, Entry } from '../raft/index.ts';
import type { Store } from '../store/port.ts';
import { changedRegion, decodeMembershipChange, toConfChange } from './membership.ts';
import type { TurnBatches } from './ports.ts';
import type { RegionState } from './region-state.ts';
import type { SessionTable } from './sessions.ts';

/** What the state machine works on, and the batches that it writes to. */
export interface ChangeContext {
  readonly state: RegionState;
  readonly store: Store;
  readonly sessions: SessionTable;
  readonly batches: TurnBatches;
}

/** Of the replica: what its core and its shard are told. Called while the entry is applied; the rest waits for the write. */
export interface ChangeHooks {
  /** Before the entry is reported as applied. */
  applyConfChange(change: ConfChange): void;
  /** The log may forget entries up to `index`. */
  compactTo(index: number, term: number): void;
  /** The region's descriptor is another from here on. Told when it is written. */
  onRegionChanged(region: Region): void;
  /** This peer belongs to the region no longer. Told when that is written. */
  onRemoved(wasVoter: boolean): void;
}

/** Undefined: it took effect. `wait`: it cannot be applied yet; nothing was changed, and the same entry comes again. */
export type ChangeOutcome = MraftError | 'wait' | undefined;

export class RegionChanges {
  readonly #nodeId: number;
  readonly #hooks: ChangeHooks;

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
    batches.written.push(() => {
      this.#hooks.onRegionChanged(region);
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
      this.#hooks.compactTo(command.compactLog.index ?? 0, command.compactLog.term ?? 0);
      return undefined;
    }
    const { region } = context.state;
    if (!sameEpoch(epoch, region.epoch)) return epochError(region);
    return new ChangeRefused(`entry ${entry.index} asks for a change that this version does not know`, {
      regionId: region.regionId,
    });
  }
}

function epochError(region: Region): EpochNotMatch {
  return new EpochNotMatch(`region ${region.regionId} has changed since this change of it was asked for`, {
    regionId: region.regionId,
    regions: [region],
  });
}
