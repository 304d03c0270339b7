/**
 * Changes of a region that were asked for here, until their entry is applied or can no longer be. Few at a time, so a
 * list is enough.
 */

import { encode, mraft } from '../../rpc/wire/codec.ts';
import { encodeAdminPayload } from '../../rpc/wire/command.ts';
import type { MraftError } from '../../rpc/wire/errors.ts';
import type { Epoch } from '../../rpc/wire/region.ts';
import type { MembershipChange } from './membership.ts';

/** What a leader can be asked to change. `epoch` is that of the region which the asker saw. */
export type RegionChange =
  | ({ readonly kind: 'membership' } & MembershipChange)
  | { readonly kind: 'admin'; readonly command: mraft.IAdminCommand };

/** Told once: undefined when the change took effect, else why it did not, or may not have. */
export type ChangeDone = (error: MraftError | undefined) => void;

interface PendingChange {
  readonly index: number;
  readonly term: number;
  readonly done: ChangeDone;
}

export class PendingChanges {
  #pending: PendingChange[] = [];

  get count(): number {
    return this.#pending.length;
  }

  await(index: number, term: number, done: ChangeDone): void {
    this.#pending.push({ index, term, done });
  }

  /** The one whose entry is the applied one. */
  takeApplied(index: number, term: number): ChangeDone | undefined {
    if (this.#pending.length === 0) return undefined;
    const at = this.#pending.findIndex((change) => change.index === index && change.term === term);
    if (at === -1) return undefined;
    return this.#pending.splice(at, 1)[0]!.done;
  }

  /** Gives up everything: this peer leads no more. */
  takeAll(): ChangeDone[] {
    const all = this.#pending.map((change) => change.done);
    this.#pending = [];
    return all;
  }
}

/** The payload of an entry that holds an admin command. */
export function adminPayload(epoch: Epoch, command: mraft.IAdminCommand): Uint8Array {
  return encodeAdminPayload(epoch, encode(mraft.AdminCommand, command));
}
