/**
 * Reads are fresh: whoever answers a linearizable or lease read has applied everything that anybody knew as committed when
 * the read came in. That is more than clients can see, so it needs no luck with keys and times.
 */

import { decode, mraft } from '../../rpc/wire/codec.ts';

const { ReadMode } = mraft;

export interface FreshReadsOptions {
  /** Lease reads are promised too. */
  readonly checkLeases: boolean;
  readonly report: (check: string, message: string) => void;
  /** The highest index that anybody knows as committed. */
  readonly committedIndex: (regionId: number) => number;
  readonly appliedIndex: (regionId: number, nodeId: number) => number;
}

interface OpenRead {
  readonly regionId: number;
  readonly committed: number;
  readonly mode: string;
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
      if (!isPromised || (!request.read && !request.scan)) continue;
      const key = `${nodeId} ${origin} ${request.id}`;
      const regionId = request.regionId ?? 0;
      // Of a request that came twice the first counts: it asks for less.
      if (this.#open.has(key)) continue;
      this.#open.set(key, { regionId, committed: this.#options.committedIndex(regionId), mode: ReadMode[mode] });
    }
  }

  /** Answers leave a node. */
  onResponses(nodeId: number, origin: string, bytes: Uint8Array): void {
    for (const response of decode(mraft.ResponseFrame, bytes).responses) {
      if (!response.read && !response.scan) continue;
      const open = this.#open.get(`${nodeId} ${origin} ${response.id}`);
      if (!open) continue;
      const applied = this.#options.appliedIndex(open.regionId, nodeId);
      if (applied >= open.committed) continue;
      const where = `node ${nodeId}, region ${open.regionId}`;
      this.#options.report(
        'reads are fresh',
        `${where}: ${open.mode} read at ${applied}, ${open.committed} was committed`,
      );
    }
  }
}
