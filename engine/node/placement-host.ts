/**
 * Hosts placement on the node that leads region 1. It takes over when that node begins to lead, and lets go when it leads
 * no more: the state in memory is dropped, and the next leader builds its own from region 1 and the heartbeats.
 *
 * Nothing that placement decided leaves this node before what it must remember of it is written (`#settle`).
 */

import type { Kv } from '../../rpc/client/index.ts';
import type { Answerer, CallPort, LinkSubscription } from '../../rpc/nats/index.ts';
import {
  ClusterMismatch,
  InvalidArgument,
  PlacementUnavailable,
  asMraftError,
  type MraftError,
} from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { subjects } from '../../rpc/wire/subjects.ts';
import type { Logger } from '../config.ts';
import { Placement, type OperatorLogEntry, type Order, type SchedulerView } from '../placement/index.ts';
import { FIRST_ALLOCATED_ID } from './bootstrap.ts';
import { firstPage } from './list-page.ts';
import type { PlacementStatus } from './status.ts';
import {
  fieldsOf,
  flagOf,
  heartbeatFromJson,
  idOf,
  joinFromJson,
  operatorRequestFromJson,
  operatorToJson,
  orderToJson,
  regionViewToJson,
  reportsFromJson,
  textOf,
  wholeOf,
} from './placement-messages.ts';
import { PlacementStore } from './placement-store.ts';
import { keyFromJson } from './region-json.ts';
import { pause, type NodeRuntime } from './runtime.ts';

/** How often placement looks at the cluster. */
const ROUND_MS = 500;
/** Between two attempts to take over, at first and at most. */
const RETRY_MS = 500;
const LONGEST_RETRY_MS = 8_000;
const ORDER_TIMEOUT_MS = 3_000;

export interface PlacementHostOptions {
  readonly cluster: string;
  readonly nodeId: number;
  readonly bootEpoch: number;
  /** Regions of user keys that a new cluster begins with. */
  readonly initialRegions: number;
  /** Of region 1. */
  readonly kv: Kv;
  readonly calls: CallPort;
  readonly logger: Logger;
  readonly runtime: NodeRuntime;
}

/** Placement as one leader of region 1 runs it. */
interface Reign {
  readonly store: PlacementStore;
  readonly placement: Placement;
  readonly subscriptions: LinkSubscription[];
  cancelRound: () => void;
  /** Ends when everything that was decided so far is written, and its orders are sent. */
  settled: Promise<void>;
  /** Descriptors are being written. */
  isKeeping: boolean;
}

export class PlacementHost {
  readonly #options: PlacementHostOptions;
  /** Grows whenever this node begins or ceases to lead; what began under an older one is dropped. */
  #turn = 0;
  #reign: Reign | undefined;
  #lastNowMs = 0;
  #closed = false;

  constructor(options: PlacementHostOptions) {
    this.#options = options;
  }

  /** Whether placement runs here. */
  get isActing(): boolean {
    return this.#reign !== undefined;
  }

  /** What placement counts; undefined where it is not led here. */
  status(): PlacementStatus | undefined {
    const placement = this.#reign?.placement;
    return placement && { ...placement.counts(), schedulers: placement.schedulers().map(schedulerView) };
  }

  /** This node leads region 1 now, or leads it no more. */
  noteLeader(isLeader: boolean): void {
    this.#turn++;
    this.#letGo();
    if (isLeader && !this.#closed) void this.#takeOver(this.#turn);
  }

  /** For good: while a node hands over what it leads, it may come to lead region 1 once more. */
  close(): void {
    this.#closed = true;
    this.noteLeader(false);
  }

  async #takeOver(turn: number): Promise<void> {
    const { kv, nodeId, bootEpoch, logger, runtime } = this.#options;
    for (let delayMs = RETRY_MS; turn === this.#turn; delayMs = Math.min(2 * delayMs, LONGEST_RETRY_MS)) {
      try {
        const store = await PlacementStore.takeOver(kv, { nodeId, bootEpoch }, () => runtime.newClusterId());
        if (turn === this.#turn) this.#begin(store);
        return;
      } catch (error) {
        if (turn !== this.#turn) return;
        logger.warn({ err: error }, 'placement cannot be taken over yet');
        await pause(runtime, delayMs);
      }
    }
  }

  #begin(store: PlacementStore): void {
    const { cluster, calls, logger, runtime } = this.#options;
    const placement = new Placement({
      durable: store.records(),
      descriptors: store.takeDescriptors(),
      random: () => runtime.random(),
      nowMs: this.#nowMs(),
      lastUsedId: FIRST_ALLOCATED_ID - 1,
      initialRegions: this.#options.initialRegions,
    });
    const reign: Reign = {
      store,
      placement,
      subscriptions: [],
      cancelRound: () => {},
      settled: Promise.resolve(),
      isKeeping: false,
    };
    this.#reign = reign;
    for (const [verb, answer] of Object.entries(this.#verbs(reign))) {
      reign.subscriptions.push(calls.serve(subjects.placement(cluster, verb), this.#answered(reign, answer)));
    }
    this.#planRound(reign);
    logger.info({ term: store.leader.term }, 'placement is led here');
  }

  #letGo(): void {
    const reign = this.#reign;
    if (!reign) return;
    this.#reign = undefined;
    reign.cancelRound();
    for (const subscription of reign.subscriptions) subscription.close();
    this.#options.logger.info({ term: reign.store.leader.term }, 'placement is led here no more');
  }

  /** Something went wrong that only reading everything again can heal. */
  #startAgain(reign: Reign, error: unknown): void {
    if (this.#reign !== reign) return;
    this.#options.logger.warn({ err: error }, 'placement begins again');
    this.#letGo();
    const turn = ++this.#turn;
    this.#options.runtime.after(RETRY_MS, () => void this.#takeOver(turn));
  }

  /** Wall-clock time, because it is kept and shown; never running backwards. */
  #nowMs(): number {
    this.#lastNowMs = Math.max(this.#lastNowMs, this.#options.runtime.wallMs());
    return this.#lastNowMs;
  }

  // --- rounds ------------------------------------------------------------------------------------------------------

  #planRound(reign: Reign): void {
    reign.cancelRound = this.#options.runtime.after(ROUND_MS, () => this.#round(reign));
  }

  #round(reign: Reign): void {
    this.#planRound(reign);
    try {
      reign.placement.schedule(this.#nowMs());
      this.#settle(reign).catch(() => {});
      void this.#keepDescriptors(reign);
    } catch (error) {
      this.#startAgain(reign, error);
    }
  }

  /** Nobody waits for it: they are what leaders report in any case. */
  async #keepDescriptors(reign: Reign): Promise<void> {
    if (reign.isKeeping) return;
    reign.isKeeping = true;
    try {
      await reign.store.writeDescriptors(reign.placement.takeDescriptors(LIMITS.keptDescriptors));
    } catch (error) {
      this.#startAgain(reign, error);
    }
    reign.isKeeping = false;
  }

  /** Writes what placement must remember, then sends its orders. @throws PlacementUnavailable when it does not lead any more */
  #settle(reign: Reign): Promise<void> {
    const orders = reign.placement.takeOrders(this.#nowMs());
    const writes = reign.placement.takeWrites();
    reign.settled = reign.settled.then(async () => {
      if (this.#reign !== reign) throw new PlacementUnavailable('placement is led elsewhere now');
      await reign.store.write(writes);
      for (const order of orders) void this.#send(reign, order);
    });
    reign.settled.catch((error: unknown) => this.#startAgain(reign, error));
    return reign.settled;
  }

  async #send(reign: Reign, order: Order): Promise<void> {
    const { cluster, calls } = this.#options;
    const subject = subjects.node(cluster, order.toNodeId, 'order');
    try {
      await calls.ask(subject, orderToJson(order), ORDER_TIMEOUT_MS);
    } catch (thrown) {
      const error = asMraftError(thrown);
      // Nobody there, or no answer: the region's next report shows what became of it.
      if (error.code === 'Unavailable' || error.code === 'DeadlineExceeded' || this.#reign !== reign) return;
      this.#refused(reign, order, error);
    }
  }

  #refused(reign: Reign, { operatorId, regionId }: Order, { code, message, retryable }: MraftError): void {
    try {
      reign.placement.orderRefused({ operatorId, regionId, code, message, retryable }, this.#nowMs());
      this.#settle(reign).catch(() => {});
    } catch (error) {
      this.#startAgain(reign, error);
    }
  }

  // --- questions ---------------------------------------------------------------------------------------------------

  /** Answers only when what the answer rests on is written. */
  #answered(reign: Reign, answer: Answerer): Answerer {
    return async (question) => {
      if (this.#reign !== reign) throw new PlacementUnavailable('placement is led elsewhere now');
      const result = answer(question);
      await this.#settle(reign);
      return result;
    };
  }

  #verbs(reign: Reign): Record<string, Answerer> {
    return { ...this.#nodeVerbs(reign), ...operatorVerbs(reign.placement, () => this.#nowMs()) };
  }

  #nodeVerbs({ placement, store }: Reign): Record<string, Answerer> {
    const now = (): number => this.#nowMs();
    const nodeIdOf = (question: unknown): number => idOf(fieldsOf(question), 'nodeId');
    return {
      join: (question) => {
        const { clusterId, ...request } = joinFromJson(question);
        this.#checkCluster(clusterId, store.clusterId);
        return { node: placement.join(request, now()), clusterId: store.clusterId };
      },
      heartbeat: (question) => {
        const { clusterId, ...heartbeat } = heartbeatFromJson(question);
        this.#checkCluster(clusterId, store.clusterId);
        const { splitSizeBytes, splitLoadPerSecond } = placement.settings();
        return {
          ...placement.nodeHeartbeat(heartbeat, now()),
          clusterId: store.clusterId,
          ...memberIds(placement),
          splitBounds: { sizeBytes: splitSizeBytes, loadPerSecond: splitLoadPerSecond },
        };
      },
      reports: (question) => placement.regionReports(reportsFromJson(question), now()),
      'node.list': () => placement.nodes(),
      'node.show': (question) => placement.node(nodeIdOf(question)),
      'node.drain': (question) => {
        const leave = flagOf(fieldsOf(question), 'leave');
        placement.drainNode(nodeIdOf(question), { leave }, now());
        return placement.node(nodeIdOf(question));
      },
      'node.undrain': (question) => {
        placement.undrainNode(nodeIdOf(question), now());
        return placement.node(nodeIdOf(question));
      },
      'node.remove': (question) => placement.removeNode(nodeIdOf(question), now()),
    };
  }

  #checkCluster(theirs: string | undefined, ours: string): void {
    if (theirs === undefined || theirs === ours) return;
    throw new ClusterMismatch(
      `this data belongs to another cluster of the name ${this.#options.cluster} (${theirs}, not ${ours}): ` +
        'connect to its broker, or join with an empty directory',
      { field: 'cluster' },
    );
  }
}

/** Of the nodes that belong to the cluster, and of those that did. */
function memberIds(placement: Placement): { members: number[]; left: number[] } {
  const members: number[] = [];
  const left: number[] = [];
  for (const { nodeId, state } of placement.nodes()) (state === 'removed' ? left : members).push(nodeId);
  return { members, left };
}

function operatorVerbs(placement: Placement, now: () => number): Record<string, Answerer> {
  return {
    'region.list': (question) => {
      const { fromKey } = fieldsOf(question);
      const from = fromKey === undefined ? new Uint8Array(0) : keyFromJson(fromKey);
      return firstPage(placement.regions(from, LIMITS.placementListEntries).map(regionViewToJson));
    },
    'region.show': (question) => regionViewToJson(placement.region(idOf(fieldsOf(question), 'regionId'))),
    'operator.list': (question) => {
      const operators = placement.operators();
      return {
        running: operators.length,
        operators: firstPage(operators.slice(0, LIMITS.placementListEntries).map(operatorToJson)),
        log: logOf(placement, fieldsOf(question)),
      };
    },
    'operator.show': (question) => {
      const { view, end } = placement.operator(idOf(fieldsOf(question), 'operatorId'));
      return { ...(view && { operator: operatorToJson(view) }), ...(end && { end }) };
    },
    'operator.add': (question) => operatorToJson(placement.addOperator(operatorRequestFromJson(question), now())),
    'operator.cancel': (question) => placement.cancelOperator(idOf(fieldsOf(question), 'operatorId'), now()),
    'scheduler.list': () => placement.schedulers().map(schedulerView),
    'scheduler.pause': (question) => {
      const fields = fieldsOf(question);
      const durationMs = fields['durationMs'] === undefined ? Infinity : wholeOf(fields, 'durationMs');
      placement.pauseScheduler(textOf(fields, 'name'), durationMs, now());
      return placement.schedulers().map(schedulerView);
    },
    'scheduler.resume': (question) => {
      placement.resumeScheduler(textOf(fieldsOf(question), 'name'), now());
      return placement.schedulers().map(schedulerView);
    },
    'settings.get': () => placement.settings(),
    'settings.set': (question) => {
      const { patch } = fieldsOf(question);
      if (typeof patch !== 'object' || patch === null)
        throw new InvalidArgument('patch must be an object', { field: 'patch' });
      return placement.changeSettings(patch as Record<string, unknown>, now());
    },
  };
}

/** Behind `afterSequence`, or the last `lines`; in either case oldest first, and no more than an answer holds. */
function logOf(placement: Placement, fields: Record<string, unknown>): readonly OperatorLogEntry[] {
  const limit = LIMITS.placementListEntries;
  if (fields['lines'] === undefined) {
    const after = fields['afterSequence'] === undefined ? 0 : wholeOf(fields, 'afterSequence');
    return firstPage(placement.log(after, limit));
  }
  const lines = Math.min(wholeOf(fields, 'lines'), limit);
  return firstPage(placement.lastLog(lines).toReversed()).toReversed();
}

/** JSON has no Infinity: null says that it is paused until somebody resumes it. */
function schedulerView({ name, pausedUntilMs }: SchedulerView): { name: string; pausedUntilMs: number | null } {
  return { name, pausedUntilMs: pausedUntilMs >= Number.MAX_SAFE_INTEGER ? null : pausedUntilMs };
}
