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
  readonly [field: string]: unknown;
}

const DEFAULT_TIMEOUT_MS = 2_000;
/** How long further nodes may take once a first one has answered a question to all. */
const GATHER_MS = 400;
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
   * What every node that answers says about itself, by node id. Where it is known how many there are, nobody waits for more.
   * @throws Unavailable when none answers
   */
  async nodes({ expected = Infinity } = {}): Promise<NodeStatus[]> {
    const answers = await this.#ask('status', new Uint8Array(), expected);
    return answers
      .map((answer) => JSON.parse(new TextDecoder().decode(answer)) as NodeStatus)
      .sort((a, b) => a.nodeId - b.nodeId);
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
    try {
      return await this.#calls.ask(subjects.placement(this.#cluster, verb), question, this.#timeoutMs);
    } catch (thrown) {
      const error = asMraftError(thrown);
      if (error.code !== 'Unavailable' && error.code !== 'DeadlineExceeded') throw error;
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
    return new Promise((resolve, reject) => {
      let timer = setTimeout(() => end('no node answered in time'), this.#timeoutMs);
      const subscription = this.#link.subscribe(replyTo, (data, _subject, _replyTo, status) => {
        if (status === NO_RESPONDERS) return end('no node of this cluster is connected to the broker');
        answers.push(Uint8Array.from(data));
        if (answers.length >= wanted) return end();
        clearTimeout(timer);
        timer = setTimeout(() => end(), GATHER_MS);
      });
      const end = (problem?: string): void => {
        clearTimeout(timer);
        subscription.close();
        if (problem === undefined) resolve(answers);
        else reject(new Unavailable(`cluster '${this.#cluster}': ${problem}`));
      };
      const sent = this.#link.publish(subjects.admin(this.#cluster, verb), question, replyTo);
      if (!sent) end('the connection to the broker is lost');
    });
  }
}
