/**
 * Placement: where replicas and leaders are, and where they should be. It runs on the node that leads region 1 and is pure:
 * the host brings heartbeats, time and randomness, keeps what must last, and carries the orders.
 *
 * The host's loop:
 *
 *     const placement = new Placement({ durable: records of region 1, random, nowMs });   // on becoming leader
 *     placement.nodeHeartbeat(…), placement.regionReports(…)                              // as they come
 *     placement.schedule(nowMs)                                                           // every second or so
 *     const orders = placement.takeOrders(nowMs);                                         // after each of these
 *     const writes = placement.takeWrites();
 *     await write them to region 1; only then send the orders and the answers.            // **
 *
 * ** An id or a decision that left the node before it lasted could be given twice. When the write fails, or the node leads
 * no more, the host drops this object with its orders, and the next leader builds its own from region 1 and the heartbeats.
 */

import { Internal } from '../../rpc/wire/errors.ts';
import type { PlacementSettings } from './settings.ts';
import type {
  DurableWrite,
  HeartbeatAnswer,
  JoinRequest,
  NodeHeartbeat,
  NodeView,
  OperatorLogEntry,
  OperatorRequest,
  OperatorView,
  Order,
  RegionReports,
  RegionView,
  RoundReport,
  SchedulerView,
} from './types.ts';

export interface PlacementOptions {
  /** What an earlier leader gave to be kept (`takeWrites`), in any order; empty for a new cluster. */
  readonly durable: Iterable<readonly [key: string, value: string]>;
  /** From [0, 1). */
  readonly random: () => number;
  readonly nowMs: number;
  /** Of a new cluster: ids of regions and peers up to this one are in use. Ids that reports show are avoided in any case. */
  readonly lastUsedId?: number;
}

export class Placement {
  constructor(_options: PlacementOptions) {
    throw new Internal('not built yet');
  }

  // --- nodes -----------------------------------------------------------------------------------------------------------

  /**
   * Takes a node in, or greets it again.
   * @throws NodeIdInUse when the id belongs to another data directory, or to a node that has left
   * @throws InvalidArgument
   */
  declare join: (request: JoinRequest, nowMs: number) => NodeView;
  /** @throws NodeNotFound when it never joined, NodeIdInUse when the id is another's or was removed */
  declare nodeHeartbeat: (heartbeat: NodeHeartbeat, nowMs: number) => HeartbeatAnswer;
  /** Reports that are older than what is known are ignored, one by one. @throws NodeNotFound, NodeIdInUse */
  declare regionReports: (reports: RegionReports, nowMs: number) => void;
  /**
   * Moves its leaders, then its replicas away; with `leave` the node is removed once it is empty.
   * @throws NodeNotFound; ChangeRefused when too few nodes would be left for the replicas
   */
  declare drainNode: (nodeId: number, options: { leave: boolean }, nowMs: number) => void;
  /** Ends the draining. @throws NodeNotFound, ChangeRefused when it is not draining */
  declare undrainNode: (nodeId: number, nowMs: number) => void;
  /** Its id is never used again. @throws NodeNotFound; ChangeRefused while it has replicas, or is alive and not drained */
  declare removeNode: (nodeId: number, nowMs: number) => void;
  declare nodes: () => readonly NodeView[];
  /** @throws NodeNotFound */
  declare node: (nodeId: number) => NodeView;

  // --- regions ---------------------------------------------------------------------------------------------------------

  /** In the order of their keys, from the region that holds `fromKey` on. */
  declare regions: (fromKey: Uint8Array, limit: number) => readonly RegionView[];
  /** @throws RegionNotFound */
  declare region: (regionId: number) => RegionView;

  // --- work ------------------------------------------------------------------------------------------------------------

  /** One round: states of nodes, time-outs of operators, schedulers. */
  declare schedule: (nowMs: number) => RoundReport;
  /** Orders that are due: first ones, next steps after the reports that came, and repetitions. Cheap when nothing is. */
  declare takeOrders: (nowMs: number) => readonly Order[];
  /** Records to be kept before any order or answer that was made before leaves the node. */
  declare takeWrites: () => readonly DurableWrite[];
  /** A leader could not do the step; a permanent refusal ends the operator, another is tried again. */
  declare orderRefused: (
    refusal: { operatorId: number; regionId: number; code: string; message: string; retryable: boolean },
    nowMs: number,
  ) => void;

  // --- by hand ---------------------------------------------------------------------------------------------------------

  /**
   * @throws RegionNotFound, NodeNotFound, InvalidArgument; RegionChanging while another operator runs there;
   *   ChangeRefused: the last voter, a node that has a peer already or takes none, no neighbours, a key on a boundary or outside
   */
  declare addOperator: (request: OperatorRequest, nowMs: number) => OperatorView;
  /** What is done stays done. @throws ChangeRefused when no such operator runs, or it can no longer be stopped (a merge) */
  declare cancelOperator: (operatorId: number, nowMs: number) => void;
  declare operators: () => readonly OperatorView[];
  /** From the oldest kept entry behind `afterSequence` (0: all). */
  declare log: (afterSequence?: number) => readonly OperatorLogEntry[];
  declare schedulers: () => readonly SchedulerView[];
  /** For so long, or (Infinity) until it is resumed. @throws InvalidArgument for an unknown name */
  declare pauseScheduler: (name: string, durationMs: number, nowMs: number) => void;
  declare resumeScheduler: (name: string, nowMs: number) => void;
  declare settings: () => PlacementSettings;
  /** @throws InvalidArgument naming the field; nothing is changed then */
  declare changeSettings: (patch: Readonly<Record<string, unknown>>, nowMs: number) => PlacementSettings;
}
