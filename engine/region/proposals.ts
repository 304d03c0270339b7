/**
 * The writes of one region on their way: gathered during a turn, joined into as few entries as fit, and remembered until
 * their entry is applied or can no longer be.
 */

import { encodePayload } from '../../rpc/wire/command.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Epoch } from '../../rpc/wire/region.ts';
import type { AdmittedCommand } from './admission.ts';
import type { Origin } from './ports.ts';

export interface Proposal {
  readonly origin: Origin;
  /** The client's correlation. */
  readonly requestId: number;
  readonly command: AdmittedCommand;
}

/** An entry's worth of proposals, in the order of its commands. */
export interface Bundle {
  readonly proposals: readonly Proposal[];
  readonly payload: Uint8Array;
}

interface Pending {
  readonly index: number;
  readonly term: number;
  readonly proposals: readonly Proposal[];
  readonly sizeBytes: number;
}

export class ProposalQueue {
  #gathered: Proposal[] = [];
  readonly #pending: Pending[] = [];
  #count = 0;
  #sizeBytes = 0;

  /** Proposals that were taken and not answered, and the bytes of their commands. */
  get count(): number {
    return this.#count;
  }

  get hasGathered(): boolean {
    return this.#gathered.length > 0;
  }

  /** False when the region has as much under way as it may. */
  gather(proposal: Proposal): boolean {
    const sizeBytes = proposal.command.bytes.length;
    if (this.#count >= LIMITS.regionPendingProposals || this.#sizeBytes + sizeBytes > LIMITS.regionPendingBytes) {
      return false;
    }
    this.#gathered.push(proposal);
    this.#count++;
    this.#sizeBytes += sizeBytes;
    return true;
  }

  /** Joins what the turn gathered into payloads, each for one entry. */
  bundle(epoch: Epoch): Bundle[] {
    const bundles: Bundle[] = [];
    let proposals: Proposal[] = [];
    let sizeBytes = 0;
    const close = (): void => {
      if (proposals.length === 0) return;
      const commands = proposals.map((proposal) => proposal.command);
      const nature = {
        conditional: commands.some((command) => command.conditional),
        exclusive: commands.some((command) => command.exclusive),
      };
      const bytes = commands.map((command) => command.bytes);
      bundles.push({ proposals, payload: encodePayload(epoch, nature, bytes) });
      proposals = [];
      sizeBytes = 0;
    };
    for (const proposal of this.#gathered) {
      const { bytes, exclusive } = proposal.command;
      if (exclusive || sizeBytes + bytes.length > LIMITS.entryBytes) close();
      proposals.push(proposal);
      sizeBytes += bytes.length;
      if (exclusive) close();
    }
    close();
    this.#gathered = [];
    return bundles;
  }

  /** Remembers that a bundle became the entry at `index`. Entries are awaited in the order of their indexes. */
  await(index: number, term: number, bundle: Bundle): void {
    this.#pending.push({ index, term, proposals: bundle.proposals, sizeBytes: sizeOf(bundle.proposals) });
  }

  /** The proposals whose entry is the applied one; undefined when it was somebody else's. */
  takeApplied(index: number, term: number): readonly Proposal[] | undefined {
    const head = this.#pending[0];
    if (!head || head.index !== index || head.term !== term) return undefined;
    this.#pending.shift();
    this.#settle(head.proposals, head.sizeBytes);
    return head.proposals;
  }

  /** Gives up a bundle that could not be proposed. */
  drop(bundle: Bundle): readonly Proposal[] {
    this.#settle(bundle.proposals, sizeOf(bundle.proposals));
    return bundle.proposals;
  }

  /** Gives up everything: this peer leads no more. */
  takeAll(): Proposal[] {
    const all = this.#pending.flatMap((pending) => pending.proposals).concat(this.#gathered);
    this.#pending.length = 0;
    this.#gathered = [];
    this.#count = 0;
    this.#sizeBytes = 0;
    return all;
  }

  #settle(proposals: readonly Proposal[], sizeBytes: number): void {
    this.#count -= proposals.length;
    this.#sizeBytes -= sizeBytes;
  }
}

function sizeOf(proposals: readonly Proposal[]): number {
  let sizeBytes = 0;
  for (const proposal of proposals) sizeBytes += proposal.command.bytes.length;
  return sizeBytes;
}
