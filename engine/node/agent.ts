/**
 * What a node says to placement: that it is there, what it leads, and what changed of that. Whoever leads placement hears
 * it; while nobody does, nothing here waits for it and the node serves on.
 */

import type { CallPort } from '../../rpc/nats/index.ts';
import {
  ClusterMismatch,
  NodeIdInUse,
  NodeNotFound,
  PermanentError,
  Unavailable,
  asMraftError,
  type MraftError,
} from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { subjects } from '../../rpc/wire/subjects.ts';
import type { Logger } from '../config.ts';
import type { Labels, RegionReport } from '../placement/index.ts';
import type { SplitBounds } from '../region/traffic.ts';
import { pages } from './list-page.ts';
import { fieldsOf, reportToJson, textOf } from './placement-messages.ts';
import { pause, type NodeRuntime } from './runtime.ts';

const HEARTBEAT_MS = 1_000;
/** A change is told so soon, together with those that come meanwhile. */
const SOON_MS = 50;
/** Everything is told again now and then, for whatever was lost. */
const REPORT_ALL_MS = 30_000;
const ASK_TIMEOUT_MS = 2_000;
const JOIN_RETRY_MS = 500;
/** Of reports. */
const MESSAGE = { entries: LIMITS.reportedRegions, bytes: LIMITS.reportBytes };

export interface NodeLoad {
  readonly capacityBytes: number;
  readonly availableBytes: number;
  /** 0 to 1. */
  readonly busy: number;
  readonly leaders: number;
  readonly replicas: number;
}

export interface AgentOptions {
  readonly cluster: string;
  readonly nodeId: number;
  readonly incarnation: number;
  readonly workers: number;
  readonly labels: Labels;
  readonly calls: CallPort;
  readonly logger: Logger;
  readonly runtime: NodeRuntime;
  readonly load: () => Promise<NodeLoad>;
  /** The regions led here that changed since the last call, or all. */
  readonly ledRegions: (all: boolean) => Promise<readonly RegionReport[]>;
  /** Which cluster of the name this node belongs to; undefined: it has not heard yet. */
  readonly clusterId: string | undefined;
  readonly onClusterId: (clusterId: string) => void;
  /** From where on placement wants regions to ask for a split. */
  readonly onSplitBounds: (bounds: SplitBounds) => void;
  /** The nodes that belong to the cluster, and those that have left it for good, as placement says. */
  readonly onMembers: (members: readonly number[], left: readonly number[]) => void;
  /** This node has no place in the cluster: its id or its data are another's. */
  readonly onRefused: (error: MraftError) => void;
}

export class NodeAgent {
  readonly #options: AgentOptions;
  #clusterId: string | undefined;
  /** Prevent the next heartbeat, and the report that is to come soon. */
  #cancelBeat: (() => void) | undefined;
  #cancelSoon: (() => void) | undefined;
  #closed = false;
  /** Something that was told did not arrive, or may not have. */
  #owesAll = true;
  #toldAllAtMs = -Infinity;
  #reporting = false;
  /** Placement has taken this node in, as far as is known. */
  #joined = false;
  #warned = false;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#clusterId = options.clusterId;
  }

  /**
   * Joins the cluster; waits for placement as long as nobody leads it.
   * @throws NodeIdInUse, ClusterMismatch, InvalidArgument
   */
  async join(): Promise<void> {
    while (!this.#closed) {
      try {
        return await this.#joinOnce();
      } catch (error) {
        if (error instanceof PermanentError) throw error;
        if (!this.#warned) this.#options.logger.warn({ err: error }, 'nobody leads placement yet; trying on');
        this.#warned = true;
        await pause(this.#options.runtime, JOIN_RETRY_MS);
      }
    }
    throw new Unavailable('the node was stopped before it had joined');
  }

  /**
   * Asks once whether this node has a place in the cluster, if anybody can tell.
   * @throws NodeIdInUse, ClusterMismatch, InvalidArgument
   */
  async joinIfLed(): Promise<void> {
    try {
      await this.#joinOnce();
    } catch (error) {
      if (error instanceof PermanentError) throw error;
    }
  }

  async #joinOnce(): Promise<void> {
    this.#noteCluster(await this.#ask('join', this.#identity()));
    this.#joined = true;
    this.#owesAll = true;
  }

  /** Begins to speak. */
  start(): void {
    this.#beatAfter(0);
  }

  /** What this node leads has changed. */
  noteChange(): void {
    if (this.#closed || this.#cancelBeat === undefined) return;
    this.#cancelSoon ??= this.#options.runtime.after(SOON_MS, () => {
      this.#cancelSoon = undefined;
      void this.#report();
    });
  }

  close(): void {
    this.#closed = true;
    this.#cancelBeat?.();
    this.#cancelSoon?.();
  }

  #identity(): object {
    const { nodeId, incarnation, workers, labels } = this.#options;
    return { nodeId, incarnation: String(incarnation), workers, labels, clusterId: this.#clusterId };
  }

  #ask(verb: string, question: object): Promise<unknown> {
    const { cluster, calls } = this.#options;
    return calls.ask(subjects.placement(cluster, verb), question, ASK_TIMEOUT_MS);
  }

  #beatAfter(ms: number): void {
    if (!this.#closed) this.#cancelBeat = this.#options.runtime.after(ms, () => void this.#beat());
  }

  async #beat(): Promise<void> {
    const { runtime } = this.#options;
    const startedMs = runtime.nowMs();
    try {
      await this.#heartbeat();
      await this.#report();
    } catch (thrown) {
      this.#onFailure(asMraftError(thrown));
    }
    this.#beatAfter(Math.max(0, startedMs + HEARTBEAT_MS - runtime.nowMs()));
  }

  async #heartbeat(): Promise<void> {
    if (!this.#joined) await this.#joinOnce();
    const load = await this.#options.load();
    const answer = await this.#ask('heartbeat', { ...this.#identity(), ...load });
    this.#noteCluster(answer);
    const { reportAll, members, left, splitBounds } = fieldsOf(answer);
    if (reportAll === true) this.#owesAll = true;
    this.#options.onMembers(idList(members), idList(left));
    this.#options.onSplitBounds(boundsOf(splitBounds));
  }

  #noteCluster(answer: unknown): void {
    const clusterId = textOf(fieldsOf(answer), 'clusterId');
    if (this.#clusterId === clusterId) return;
    this.#clusterId = clusterId;
    this.#options.onClusterId(clusterId);
  }

  /** Tells what changed, or all. One at a time, so that no older word comes behind a newer one. */
  async #report(): Promise<void> {
    if (this.#reporting || this.#closed || !this.#joined) return;
    this.#reporting = true;
    try {
      const all = this.#owesAll || this.#options.runtime.nowMs() - this.#toldAllAtMs > REPORT_ALL_MS;
      // Until it has arrived.
      this.#owesAll = true;
      const regions = await this.#options.ledRegions(all);
      const { nodeId, incarnation, runtime } = this.#options;
      for (const part of pages(regions.map(reportToJson), MESSAGE)) {
        await this.#ask('reports', { nodeId, incarnation: String(incarnation), regions: part });
      }
      this.#owesAll = false;
      if (all) this.#toldAllAtMs = runtime.nowMs();
    } catch (thrown) {
      this.#onFailure(asMraftError(thrown));
    } finally {
      this.#reporting = false;
    }
  }

  #onFailure(error: MraftError): void {
    if (this.#closed) return;
    // A new leader of placement may not have heard of this node.
    if (error instanceof NodeNotFound) this.#joined = false;
    else if (error instanceof NodeIdInUse || error instanceof ClusterMismatch) {
      this.close();
      this.#options.onRefused(error);
    } else if (!error.retryable) {
      this.#options.logger.warn({ err: error }, 'placement refuses what this node says');
    }
  }
}

function idList(value: unknown): number[] {
  return Array.isArray(value) ? value.filter((id): id is number => Number.isSafeInteger(id)) : [];
}

/** What placement says of when regions should be two; an older one says nothing. */
function boundsOf(answer: unknown): SplitBounds {
  const { sizeBytes, loadPerSecond } = (answer ?? {}) as Partial<SplitBounds>;
  return { sizeBytes: Number(sizeBytes) || 0, loadPerSecond: Number(loadPerSecond) || 0 };
}
