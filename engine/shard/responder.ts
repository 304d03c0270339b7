/** Answers to clients, gathered into frames a connection. */

import { encode, mraft } from '../../rpc/wire/codec.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import type { Origin } from '../region/ports.ts';
import type { ShardTransport } from './ports.ts';

interface Gathered {
  responses: mraft.IResponse[];
  sizeBytes: number;
}

const RESPONSE_OVERHEAD_BYTES = 16;

export class Responder {
  readonly #transport: ShardTransport;
  readonly #gathered = new Map<Origin, Gathered>();
  responsesSent = 0;
  errorsSent = 0;

  constructor(transport: ShardTransport) {
    this.#transport = transport;
  }

  add(origin: Origin, response: mraft.IResponse): void {
    let gathered = this.#gathered.get(origin);
    if (!gathered) this.#gathered.set(origin, (gathered = { responses: [], sizeBytes: 0 }));
    const sizeBytes = responseBytes(response);
    if (gathered.responses.length > 0 && gathered.sizeBytes + sizeBytes > LIMITS.frameTargetBytes) {
      this.#sendFrame(origin, gathered);
    }
    gathered.responses.push(response);
    gathered.sizeBytes += sizeBytes;
    this.responsesSent++;
    if (response.error) this.errorsSent++;
  }

  /** Sends what was gathered. False: there was nothing. */
  send(): boolean {
    if (this.#gathered.size === 0) return false;
    for (const [origin, gathered] of this.#gathered) this.#sendFrame(origin, gathered);
    this.#gathered.clear();
    return true;
  }

  #sendFrame(origin: Origin, gathered: Gathered): void {
    this.#transport.respond(origin, encode(mraft.ResponseFrame, { responses: gathered.responses }));
    gathered.responses = [];
    gathered.sizeBytes = 0;
  }
}

/** Estimated size on the wire. */
function responseBytes(response: mraft.IResponse): number {
  let size = RESPONSE_OVERHEAD_BYTES;
  for (const value of response.read?.values ?? []) size += 8 + (value.value?.length ?? 0);
  for (const entry of response.scan?.entries ?? []) size += 12 + (entry.key?.length ?? 0) + (entry.value?.length ?? 0);
  for (const result of response.write?.results ?? []) size += 16 + (result.current?.length ?? 0);
  return response.error ? size + 512 : size;
}
