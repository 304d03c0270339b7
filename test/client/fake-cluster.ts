/** Nodes in memory behind a client's transport: they take real frames and answer real frames, and misbehave on demand. */

import { decode, encode, mraft } from '../../rpc/wire/codec.ts';
import { CommandCursor } from '../../rpc/wire/command.ts';
import { toWireError } from '../../rpc/wire/error-codec.ts';
import {
  EpochNotMatch,
  KeyEmpty,
  KeyNotInRegion,
  MalformedRequest,
  NotLeader,
  RegionNotFound,
  SessionExpired,
  StaleSequence,
  Unavailable,
} from '../../rpc/wire/errors.ts';
import { compareKeys, containsKey, sameEpoch, toWireRegion, type Region } from '../../rpc/wire/region.ts';
import { homeWorker, slotOfRegion } from '../../rpc/wire/slots.ts';
import type { ClientTransport } from '../../rpc/client/index.ts';

export interface FakeRegion extends Region {
  leaderNodeId: number;
  /** Applied sequences by session. */
  sessions: Map<string, FakeSession>;
}

interface DeletedKeys {
  readonly start: Buffer;
  /** Empty: all that follows. */
  readonly end: Buffer;
}

interface FakeSession {
  floor: number;
  /** What range deletes have deleted. */
  deleted: (DeletedKeys & { readonly seq: number })[];
  applied: Map<number, mraft.ICallResult | undefined>;
}

/** What a node does with a request: undefined: it answers; 'drop': silence; otherwise the answer given instead. */
export type Interception = 'drop' | 'duplicate' | 'apply-and-drop' | Error | Partial<mraft.IResponse> | undefined;

export interface Asked {
  readonly nodeId: number;
  readonly worker: number;
  readonly request: mraft.IRequest;
}

export class FakeCluster implements ClientTransport {
  onResponse: (frame: Uint8Array) => void = () => {};
  onUnreachable: (nodeId: number, worker: number) => void = () => {};
  readonly regions: FakeRegion[] = [];
  /** Hex of key → value. */
  readonly data = new Map<string, Buffer>();
  readonly asked: Asked[] = [];
  frames = 0;
  /** How often a write took effect, by hex of its key. */
  readonly effects = new Map<string, number>();
  workers = 2;
  nodes = [1, 2, 3];
  /** Nodes without a listener: a frame to them is answered by the broker. */
  readonly gone = new Set<number>();
  connected = true;
  closed = false;
  routesAnswer: 'answer' | 'silence' | 'nobody' = 'answer';
  routesAsked = 0;
  /** What routes say, where they are to differ from the truth. */
  staleRoutes: mraft.IRoutesResponse | undefined;
  intercept: (asked: Asked) => Interception = () => undefined;
  /** Values in one answer to a read. */
  readValues = Infinity;
  scanPage = 3;
  answerAfterMs = 0;
  #nextPeerId = 1;

  /** Cuts the key space at `splits`; regions are led by the nodes in turn. */
  constructor(splits: readonly string[] = []) {
    const bounds = ['', ...splits, ''];
    for (let i = 0; i < bounds.length - 1; i++) this.addRegion(i + 2, bounds[i]!, bounds[i + 1]!, (i % 3) + 1);
  }

  addRegion(regionId: number, start: string, end: string, leaderNodeId: number, version = 1): FakeRegion {
    const region: FakeRegion = {
      regionId,
      startKey: Buffer.from(start),
      endKey: Buffer.from(end),
      epoch: { version, confVersion: 1 },
      peers: this.nodes.map((nodeId) => ({ peerId: this.#nextPeerId++, nodeId, role: 'voter' as const })),
      leaderNodeId,
      sessions: new Map(),
    };
    this.regions.push(region);
    return region;
  }

  /** Splits a region as the servers do: both get the new version, and both remember the sessions. */
  split(regionId: number, at: string, childId: number): void {
    const index = this.regions.findIndex((region) => region.regionId === regionId);
    const parent = this.regions[index]!;
    const version = parent.epoch.version + 1;
    this.regions[index] = { ...parent, endKey: Buffer.from(at), epoch: { version, confVersion: 1 } };
    const child = this.addRegion(childId, at, Buffer.from(parent.endKey).toString(), parent.leaderNodeId, version);
    for (const [session, known] of parent.sessions) {
      const applied = new Map(known.applied);
      child.sessions.set(session, { floor: known.floor, applied, deleted: [...known.deleted] });
    }
  }

  /** Merges a region into its neighbour as the servers do: the whole remembers what both did. */
  merge(sourceId: number, targetId: number): void {
    const source = this.region(sourceId);
    const target = this.region(targetId);
    const isLeft = compareKeys(source.startKey, target.startKey) < 0;
    const version = Math.max(source.epoch.version, target.epoch.version) + 1;
    const merged: FakeRegion = {
      ...target,
      startKey: isLeft ? source.startKey : target.startKey,
      endKey: isLeft ? target.endKey : source.endKey,
      epoch: { version, confVersion: 1 },
    };
    for (const [name, known] of source.sessions) {
      const own = merged.sessions.get(name);
      if (!own) merged.sessions.set(name, known);
      else {
        own.floor = Math.max(own.floor, known.floor);
        for (const [seq, result] of known.applied) own.applied.set(seq, result);
        own.deleted.push(...known.deleted);
      }
    }
    this.regions.splice(this.regions.indexOf(target), 1, merged);
    this.regions.splice(this.regions.indexOf(source), 1);
  }

  region(regionId: number): FakeRegion {
    return this.regions.find((region) => region.regionId === regionId)!;
  }

  requestsTo(nodeId: number): Asked[] {
    return this.asked.filter((asked) => asked.nodeId === nodeId);
  }

  // --- ClientTransport -----------------------------------------------------------------------------------------------

  send(nodeId: number, worker: number, frame: Uint8Array): boolean {
    if (!this.connected) return false;
    this.frames++;
    const bytes = Buffer.from(frame);
    if (this.gone.has(nodeId)) setImmediate(() => this.onUnreachable(nodeId, worker));
    else if (this.answerAfterMs > 0) setTimeout(() => this.#serve(nodeId, worker, bytes), this.answerAfterMs);
    else setImmediate(() => this.#serve(nodeId, worker, bytes));
    return true;
  }

  async fetchRoutes(timeoutMs: number): Promise<mraft.IRoutesResponse> {
    this.routesAsked++;
    if (this.routesAnswer === 'nobody') throw new Unavailable('no node is there');
    if (this.routesAnswer === 'silence') {
      await new Promise((resolve) => setTimeout(resolve, timeoutMs));
      throw new Unavailable('no node answered');
    }
    const answer = this.staleRoutes ?? this.routes();
    return decode(mraft.RoutesResponse, encode(mraft.RoutesResponse, answer));
  }

  routes(): mraft.IRoutesResponse {
    return {
      regions: this.regions.map((region) => toWireRegion(region, region.leaderNodeId)),
      nodes: this.nodes.map((nodeId) => ({ nodeId, workers: this.workers })),
      fromNode: 1,
    };
  }

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }

  // --- a node --------------------------------------------------------------------------------------------------------

  #serve(nodeId: number, worker: number, bytes: Buffer): void {
    const frame = decode(mraft.RequestFrame, bytes);
    const responses: mraft.IResponse[] = [];
    for (const request of frame.requests ?? []) {
      const asked = { nodeId, worker, request };
      this.asked.push(asked);
      const interception = this.intercept(asked);
      if (interception === 'drop') continue;
      const response = this.#answerOrRefuse(asked, interception);
      if (interception === 'apply-and-drop') continue;
      responses.push(response);
      if (interception === 'duplicate') responses.push(response, this.#answerOrRefuse(asked, undefined));
    }
    if (responses.length > 0) this.onResponse(encode(mraft.ResponseFrame, { responses }));
  }

  #answerOrRefuse(asked: Asked, interception: Interception): mraft.IResponse {
    const id = asked.request.id ?? 0;
    try {
      if (interception instanceof Error) throw interception;
      if (typeof interception === 'object') return { id, ...interception };
      return { id, ...this.#answer(asked) };
    } catch (error) {
      return { id, error: toWireError(error) };
    }
  }

  #answer({ nodeId, worker, request }: Asked): mraft.IResponse {
    const region = this.regions.find((candidate) => candidate.regionId === request.regionId);
    if (region === undefined) throw new RegionNotFound('no such region');
    if (worker !== homeWorker(slotOfRegion(region.regionId), this.workers)) throw new RegionNotFound('wrong worker');
    if (!sameEpoch(region.epoch, { version: 0, confVersion: 0, ...request.epoch })) {
      throw new EpochNotMatch('another epoch', { regions: this.#regionsOf(request) });
    }
    const mode = request.read?.mode ?? request.scan?.mode;
    if (mode !== mraft.ReadMode.STALE && region.leaderNodeId !== nodeId) {
      throw new NotLeader('not the leader', region.leaderNodeId > 0 ? { leaderNodeId: region.leaderNodeId } : {});
    }
    if (request.write) return { write: this.#write(region, request.write) };
    if (request.read) return { read: this.#read(region, request.read) };
    if (request.scan) return { scan: this.#scan(region, request.scan) };
    throw new MalformedRequest('a request without a body');
  }

  /** The current regions of the range that the request meant. */
  #regionsOf(request: mraft.IRequest): Region[] {
    const named = this.regions.find((region) => region.regionId === request.regionId)!;
    return this.regions.filter((region) => region === named || region.epoch.version === named.epoch.version);
  }

  #write(region: FakeRegion, bytes: Uint8Array): mraft.IWriteResult {
    const cursor = new CommandCursor(bytes);
    const name = cursor.session.toString('hex');
    let session = region.sessions.get(name);
    if (session === undefined) region.sessions.set(name, (session = { floor: 0, applied: new Map(), deleted: [] }));
    const results: mraft.ICallResult[] = [];
    while (cursor.next()) {
      let result: mraft.ICallResult | undefined;
      if (session.applied.has(cursor.seq) && cursor.kind !== 'deleteRange') result = session.applied.get(cursor.seq);
      else if (cursor.seq < session.floor) result = { error: toWireError(new StaleSequence('a late duplicate')) };
      else {
        result = this.#apply(region, cursor, session);
        session.applied.set(cursor.seq, result);
      }
      if (result) results.push({ ...result, position: cursor.position });
    }
    session.floor = Math.max(session.floor, cursor.floor);
    for (const seq of session.applied.keys()) if (seq < session.floor) session.applied.delete(seq);
    return { results };
  }

  #apply(region: FakeRegion, cursor: CommandCursor, session: FakeSession): mraft.ICallResult | undefined {
    const key = cursor.kind === 'batch' ? Buffer.alloc(0) : cursor.key.of(cursor.bytes);
    switch (cursor.kind) {
      case 'put':
        this.#set(region, key, cursor.value.of(cursor.bytes));
        return undefined;
      case 'delete':
        this.#set(region, key, undefined);
        return undefined;
      case 'compareAndSwap': {
        const current = this.data.get(key.toString('hex'));
        const expected = cursor.hasExpected ? cursor.expected.of(cursor.bytes) : undefined;
        const matches =
          current === undefined ? expected === undefined : expected !== undefined && current.equals(expected);
        if (!matches) return { swapped: false, ...(current ? { current } : {}) };
        this.#set(region, key, cursor.hasValue ? cursor.value.of(cursor.bytes) : undefined);
        return { swapped: true };
      }
      case 'batch':
        while (cursor.nextMutation()) {
          const value = cursor.mutationKind === 'put' ? cursor.value.of(cursor.bytes) : undefined;
          this.#set(region, cursor.key.of(cursor.bytes), value);
        }
        return undefined;
      case 'deleteRange': {
        if (key.length === 0) throw new KeyEmpty('a range starts at a key of at least one byte');
        const range = { seq: cursor.seq, start: Buffer.from(key), end: Buffer.from(cursor.value.of(cursor.bytes)) };
        const done = session.deleted.filter((one) => one.seq === cursor.seq);
        for (const stored of this.#sorted()) {
          if (liesIn(range, stored) && !done.some((one) => liesIn(one, stored))) this.#set(region, stored, undefined);
        }
        session.deleted.push(range);
        return undefined;
      }
    }
  }

  #set(region: FakeRegion, key: Buffer, value: Buffer | undefined): void {
    if (!containsKey(region, key)) throw new KeyNotInRegion('key not in region');
    const name = key.toString('hex');
    this.effects.set(name, (this.effects.get(name) ?? 0) + 1);
    if (value === undefined) this.data.delete(name);
    else this.data.set(name, Buffer.from(value));
  }

  #read(region: FakeRegion, read: mraft.IRead): mraft.IReadResult {
    const values = (read.keys ?? []).slice(0, this.readValues).map((key): mraft.IValue => {
      if (!containsKey(region, key)) throw new KeyNotInRegion('key not in region');
      const value = this.data.get(Buffer.from(key).toString('hex'));
      return value === undefined ? {} : { value };
    });
    return { values };
  }

  #scan(region: FakeRegion, scan: mraft.IScan): mraft.IScanResult {
    const start = scan.start ?? new Uint8Array(0);
    const end = scan.end ?? new Uint8Array(0);
    const keys = this.#sorted().filter(
      (key) =>
        containsKey(region, key) && compareKeys(key, start) >= 0 && (end.length === 0 || compareKeys(key, end) < 0),
    );
    if (scan.reverse) keys.reverse();
    const page = keys.slice(0, Math.min(this.scanPage, scan.limit || Infinity));
    return {
      entries: page.map((key) => ({ key, value: this.data.get(key.toString('hex'))! })),
      more: page.length < keys.length,
    };
  }

  #sorted(): Buffer[] {
    return [...this.data.keys()].map((hex) => Buffer.from(hex, 'hex')).sort(compareKeys);
  }
}

function liesIn({ start, end }: DeletedKeys, key: Buffer): boolean {
  return compareKeys(key, start) >= 0 && (end.length === 0 || compareKeys(key, end) < 0);
}

/** The session's expiry, as a region says it. */
export function expired(): SessionExpired {
  return new SessionExpired('the region no longer remembers the session');
}
