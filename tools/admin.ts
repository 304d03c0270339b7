/** Questions to a cluster: its regions, how each node is, and what placement knows and does. */

import { Calls, connectLink, type Link } from '../rpc/nats/index.ts';
import { decode, encode, mraft } from '../rpc/wire/codec.ts';
import { fromWireError } from '../rpc/wire/error-codec.ts';
import { PlacementUnavailable, Unavailable, asMraftError } from '../rpc/wire/errors.ts';
import { LAST_SYSTEM_REGION_ID, fromWireRegion, type Region } from '../rpc/wire/region.ts';
import { subjects } from '../rpc/wire/subjects.ts';

export interface AdminOptions {
  readonly cluster: string;
  readonly nats: string | readonly string[];
  /** How long an answer may take. Default 2,000. */
  readonly timeoutMs?: number;
}

export interface RegionRoute extends Region {
  /** 0: the node that answered knows of no leader. */
  readonly leaderNodeId: number;
}

/** What a node says about itself; an older or newer node may say less or more. */
export interface NodeStatus {
  readonly nodeId: number;
  /** Why it cannot say more. */
  readonly error?: { readonly code: string; readonly message: string };
  readonly [field: string]: unknown;
}

/** A region as its leader last reported it to placement. */
export interface PlacedRegion extends RegionRoute {
  /** In which it is led. */
  readonly term: number;
  readonly phase: string;
  readonly sizeBytes: number;
  readonly readsPerSecond: number;
  readonly writesPerSecond: number;
  /** Peers that have not caught up, and that do not answer. */
  readonly pendingPeers: readonly number[];
  readonly downPeers: readonly number[];
}

const DEFAULT_TIMEOUT_MS = 2_000;
/** How long further nodes may take once one has answered a question to all: longer where it is known that there are more. */
const GATHER_MS = 400;
const GATHER_EXPECTED_MS = 1_500;
/** Whoever was asked may have gone silent: it is asked again after this, which may be answered by another. */
const ATTEMPT_MS = 1_500;
/** Verbs that change nothing, and may be asked twice. */
const QUESTION = /\.(list|show|get)$/;
const NO_RESPONDERS = 503;

/** A connection for questions. `close` it. */
export class Admin {
  readonly #cluster: string;
  readonly #link: Link;
  readonly #calls: Calls;
  readonly #timeoutMs: number;
  readonly #inbox = `_INBOX.mraft.${crypto.randomUUID()}`;
  #questions = 0;

  private constructor(link: Link, options: AdminOptions) {
    this.#link = link;
    this.#calls = new Calls(link);
    this.#cluster = options.cluster;
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  }

  /** @throws Unavailable when no broker answers in time */
  static async connect(options: AdminOptions): Promise<Admin> {
    const connectTimeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    return new Admin(await connectLink({ servers: options.nats, name: 'mraft-admin', connectTimeoutMs }), options);
  }

  /**
   * The regions of users' keys as one node knows them, in key order; with `system`, those of the system before them.
   * @throws Unavailable when no node answers
   */
  async regions({ system = false } = {}): Promise<RegionRoute[]> {
    const regions: mraft.IRegion[] = [];
    let fromKey = new Uint8Array(0);
    do {
      const [answer] = await this.#ask('routes', encode(mraft.RoutesRequest, { cluster: this.#cluster, fromKey }), 1);
      const page = decode(mraft.RoutesResponse, answer as Uint8Array);
      if (page.error) throw fromWireError(page.error);
      regions.push(...page.regions);
      fromKey = Uint8Array.from(page.nextKey);
    } while (fromKey.length > 0);
    return regions
      .map((wire) => ({ ...fromWireRegion(wire), leaderNodeId: wire.leaderNodeId ?? 0 }))
      .filter((region) => system || region.regionId > LAST_SYSTEM_REGION_ID)
      .sort((a, b) => Buffer.compare(a.startKey, b.startKey) || a.regionId - b.regionId);
  }

  /**
   * What every node that answers says about itself, by node id. Where it is known how many there are, slow ones are waited for
   * a little longer, and nobody waits for more.
   * @throws Unavailable when none answers
   */
  async nodes({ expected = Infinity } = {}): Promise<NodeStatus[]> {
    const answers = await this.#ask('status', new Uint8Array(), expected);
    return answers
      .map((answer) => JSON.parse(new TextDecoder().decode(answer)) as NodeStatus)
      .filter(({ nodeId }) => Number.isSafeInteger(nodeId))
      .sort((a, b) => a.nodeId - b.nodeId);
  }

  /**
   * All regions of users' keys as placement knows them, in key order.
   * @throws PlacementUnavailable
   */
  async placedRegions(): Promise<PlacedRegion[]> {
    const regions = new Map<number, PlacedRegion>();
    for (let fromKey: string | undefined = ''; fromKey !== undefined;) {
      // A page begins with the region that holds the key: the last one again, where it has changed meanwhile.
      const page = (await this.placement('region.list', { fromKey })) as PlacedRegionJson[];
      for (const region of page) regions.set(region.regionId, placedFromJson(region));
      const endKey: string | undefined = page.at(-1)?.endKey;
      fromKey = endKey === '' ? undefined : endKey;
    }
    return [...regions.values()].sort((a, b) => Buffer.compare(a.startKey, b.startKey));
  }

  /** One of them, or one of the system. @throws PlacementUnavailable, RegionNotFound */
  async placedRegion(regionId: number): Promise<PlacedRegion> {
    return placedFromJson((await this.placement('region.show', { regionId })) as PlacedRegionJson);
  }

  /**
   * What every node that has a replica of the region says of it.
   * @throws Unavailable when none answers
   */
  async replicas(regionId: number): Promise<object[]> {
    const question = new TextEncoder().encode(JSON.stringify({ regionId }));
    const answers = await this.#ask('region', question, Infinity);
    return answers.map((answer) => JSON.parse(new TextDecoder().decode(answer)) as object);
  }

  /**
   * Asks placement; the verbs are those of engine/node/placement-host.ts.
   * @throws PlacementUnavailable when nobody leads it, and what it answers
   */
  async placement(verb: string, question: object = {}): Promise<unknown> {
    const deadlineMs = performance.now() + this.#timeoutMs;
    for (;;) {
      const leftMs = Math.max(1, deadlineMs - performance.now());
      const isLast = !QUESTION.test(verb) || leftMs <= ATTEMPT_MS;
      const answer = await this.#askPlacement(verb, question, isLast ? leftMs : ATTEMPT_MS, isLast);
      if (answer !== undefined) return answer;
    }
  }

  /** Undefined: nobody answered in time, and this was not the last attempt. */
  async #askPlacement(verb: string, question: object, timeoutMs: number, isLast: boolean): Promise<unknown> {
    try {
      return await this.#calls.ask(subjects.placement(this.#cluster, verb), question, timeoutMs);
    } catch (thrown) {
      const error = asMraftError(thrown);
      if (error.code !== 'Unavailable' && error.code !== 'DeadlineExceeded') throw error;
      if (error.code === 'DeadlineExceeded' && !isLast) return undefined;
      const message = `cluster '${this.#cluster}': nobody leads placement at the moment; try again`;
      throw new PlacementUnavailable(message, { cause: error });
    }
  }

  /**
   * Asks one node, which need not be led by anybody.
   * @throws Unavailable when it does not answer, and what it answers
   */
  async node(nodeId: number, verb: string, question: object): Promise<unknown> {
    try {
      return await this.#calls.ask(subjects.node(this.#cluster, nodeId, verb), question, this.#timeoutMs);
    } catch (thrown) {
      const error = asMraftError(thrown);
      if (error.code !== 'DeadlineExceeded') throw error;
      throw new Unavailable(`node ${nodeId} of cluster '${this.#cluster}' does not answer`, { cause: error });
    }
  }

  async close(): Promise<void> {
    this.#calls.close();
    await this.#link.close();
  }

  /** At least one answer, at most `wanted`. */
  #ask(verb: string, question: Uint8Array, wanted: number): Promise<Uint8Array[]> {
    const answers: Uint8Array[] = [];
    const replyTo = `${this.#inbox}.${++this.#questions}`;
    const gatherMs = wanted === Infinity ? GATHER_MS : GATHER_EXPECTED_MS;
    return new Promise((resolve, reject) => {
      let timer = setTimeout(() => end('no node answered in time'), this.#timeoutMs);
      // One of several is asked, and may have stopped in the middle: then another one.
      const again = wanted === 1 ? setInterval(() => ask(), ATTEMPT_MS) : undefined;
      const subscription = this.#link.subscribe(replyTo, (data, _subject, _replyTo, status) => {
        if (status === NO_RESPONDERS) return end('no node of this cluster is connected to the broker');
        answers.push(Uint8Array.from(data));
        if (answers.length >= wanted) return end();
        clearInterval(again);
        clearTimeout(timer);
        timer = setTimeout(() => end(), gatherMs);
      });
      const end = (problem?: string): void => {
        clearTimeout(timer);
        clearInterval(again);
        subscription.close();
        if (problem === undefined) resolve(answers);
        else reject(new Unavailable(`cluster '${this.#cluster}': ${problem}`));
      };
      const ask = (): void => {
        const sent = this.#link.publish(subjects.admin(this.#cluster, verb), question, replyTo);
        if (!sent) end('the connection to the broker is lost');
      };
      ask();
    });
  }
}

/** Keys in base64. */
interface PlacedRegionJson extends Omit<PlacedRegion, 'startKey' | 'endKey'> {
  readonly startKey: string;
  readonly endKey: string;
}

function placedFromJson({ startKey, endKey, ...rest }: PlacedRegionJson): PlacedRegion {
  return { ...rest, startKey: Buffer.from(startKey, 'base64'), endKey: Buffer.from(endKey, 'base64') };
}
