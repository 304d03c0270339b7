/** Frames of clients: each request goes to its replica, or to the worker that has it, or is answered with what is wrong. */

import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { toWireError } from '../../rpc/wire/error-codec.ts';
import { ClusterMismatch, InvalidArgument, asMraftError, type MraftError } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Origin } from '../region/ports.ts';
import { Misdirected } from './misdirected.ts';
import type { ShardTransport } from './ports.ts';
import type { Replicas } from './replicas.ts';
import type { Responder } from './responder.ts';
import type { ShardStats } from './stats.ts';

export interface RequestFramesParts {
  readonly cluster: string;
  readonly replicas: Replicas;
  readonly responder: Responder;
  readonly transport: ShardTransport;
  readonly stats: ShardStats;
  /** The worker that has the region's slot; undefined: this one. */
  readonly workerOf: (regionId: number) => number | undefined;
  /** Why the region has no replica here. */
  readonly errorFor: (regionId: number) => MraftError;
}

export class RequestFrames {
  readonly #parts: RequestFramesParts;

  constructor(parts: RequestFramesParts) {
    this.#parts = parts;
  }

  receive(bytes: Uint8Array, origin: Origin): void {
    const { cluster, replicas, responder, transport, stats, workerOf, errorFor } = this.#parts;
    let frame: mraft.RequestFrame;
    try {
      frame = decode(mraft.RequestFrame, bytes) as mraft.RequestFrame;
      this.#check(frame);
    } catch (error) {
      stats.dropped.malformed++;
      return this.refuse(bytes, origin, asMraftError(error));
    }
    stats.requestFrames++;
    stats.requests += frame.requests.length;
    const misdirected = new Misdirected<mraft.IRequest>();
    for (const request of frame.requests) {
      const regionId = request.regionId ?? 0;
      const replica = replicas.get(regionId);
      const worker = replica ? undefined : workerOf(regionId);
      if (replica) {
        replica.request(origin, request);
        replicas.noteWork(replica);
      } else if (worker !== undefined) {
        misdirected.add(worker, request);
      } else {
        responder.add(origin, { id: request.id ?? 0, error: toWireError(errorFor(regionId)) });
      }
    }
    stats.forwarded += misdirected.count;
    for (const worker of misdirected.workers) {
      const requests = misdirected.of(worker);
      transport.forwardRequests(worker, origin, encode(mraft.RequestFrame, { cluster, requests }));
    }
  }

  #check(frame: mraft.RequestFrame): void {
    const { cluster } = this.#parts;
    if (frame.cluster !== cluster) {
      throw new ClusterMismatch(`this is cluster ${cluster}, the request is for "${frame.cluster.slice(0, 64)}"`, {
        field: 'cluster',
      });
    }
    if (frame.requests.length > LIMITS.requestsPerFrame) {
      throw new InvalidArgument(`a frame has at most ${LIMITS.requestsPerFrame} requests`, { field: 'requests' });
    }
  }

  /** Answers every request of a frame that is not taken; one that cannot be read is answered as request 0. */
  refuse(bytes: Uint8Array, origin: Origin, error: MraftError): void {
    const wire = toWireError(error);
    let ids: number[];
    try {
      ids = decode(mraft.RequestFrame, bytes).requests.map((request) => request.id ?? 0);
    } catch {
      ids = [];
    }
    if (ids.length === 0 || ids.length > LIMITS.requestsPerFrame) ids = [0];
    for (const id of ids) this.#parts.responder.add(origin, { id, error: wire });
  }
}
