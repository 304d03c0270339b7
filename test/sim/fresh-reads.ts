/**
 * Reads are fresh: whoever answers a linearizable or lease read has applied everything that anybody knew as committed when
 * the read came in. That is more than clients can see, so it needs no luck with keys and times.
 */

import { decode, mraft } from '../../rpc/wire/codec.ts';
import type { RegionPhase } from '../../engine/store/region-records.ts';
import type { Epoch } from '../../rpc/wire/region.ts';

const { ReadMode } = mraft;

export interface ServingReplica {
  readonly applied: number;
  readonly epoch: Epoch;
  readonly phase: RegionPhase;
}

export interface FreshReadsOptions {
  /** Lease reads are promised too. */
  readonly checkLeases: boolean;
  readonly report: (check: string, message: string) => void;
  /** The highest index that anybody knows as committed. */
  readonly committedIndex: (regionId: number) => number;
  /** What a node's store has of a region; undefined: nothing. */
  readonly replicaOn: (regionId: number, nodeId: number) => ServingReplica | undefined;
}

interface OpenRead {
  readonly regionId: number;
  readonly committed: number;
  readonly mode: string;
  readonly isPromised: boolean;
  readonly epoch: string;
}

export class FreshReads {
  readonly #options: FreshReadsOptions;
  /** By node, client and the client's number for the request. */
  readonly #open = new Map<string, OpenRead>();

  constructor(options: FreshReadsOptions) {
    this.#options = options;
  }

  /** A frame of requests has reached a node. */
  onRequests(nodeId: number, origin: string, bytes: Uint8Array): void {
    for (const request of decode(mraft.RequestFrame, bytes).requests) {
      const mode = (request.read ?? request.scan)?.mode ?? ReadMode.LINEARIZABLE;
      const isPromised = mode === ReadMode.LINEARIZABLE || (mode === ReadMode.LEASE && this.#options.checkLeases);
      if (!request.read && !request.scan) continue;
      const key = `${nodeId} ${origin} ${request.id}`;
      const regionId = request.regionId ?? 0;
      // Of a request that came twice the first counts: it asks for less.
      if (this.#open.has(key)) continue;
      const committed = this.#options.committedIndex(regionId);
      const epoch = describeEpoch(request.epoch);
      this.#open.set(key, { regionId, committed, mode: ReadMode[mode], isPromised, epoch });
    }
  }

  /** Answers leave a node. */
  onResponses(nodeId: number, origin: string, bytes: Uint8Array): void {
    for (const response of decode(mraft.ResponseFrame, bytes).responses) {
      if (!response.read && !response.scan) continue;
      const open = this.#open.get(`${nodeId} ${origin} ${response.id}`);
      if (!open) continue;
      const where = `node ${nodeId}, region ${open.regionId}`;
      const replica = this.#options.replicaOn(open.regionId, nodeId);
      if (!replica || describeEpoch(replica.epoch) !== open.epoch) {
        const now = replica ? describeEpoch(replica.epoch) : 'gone';
        this.#options.report('reads are served in the epoch they were asked in', `${where}: ${open.epoch}, now ${now}`);
      }
      if (replica && replica.phase !== 'normal') {
        this.#options.report('a region that is being merged answers nothing', where);
      }
      const { applied } = replica ?? { applied: 0 };
      if (!open.isPromised || applied >= open.committed) continue;
      this.#options.report(
        'reads are fresh',
        `${where}: ${open.mode} read at ${applied}, ${open.committed} was committed`,
      );
    }
  }
}

function describeEpoch(epoch: mraft.IEpoch | null | undefined): string {
  return `${epoch?.version ?? 0}.${epoch?.confVersion ?? 0}`;
}
