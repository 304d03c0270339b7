/** Questions and orders to placement, wherever it is led: what `mraft ctl` asks, for the embedding program. */

import type {
  NodeView,
  OperatorLogEntry,
  OperatorRequest,
  OperatorView,
  PlacementSettings,
} from '../placement/index.ts';
import { keyToJson } from './region-json.ts';

export interface SchedulerState {
  readonly name: string;
  /** 0: it runs; null: it is paused until it is resumed. */
  readonly pausedUntilMs: number | null;
}

/** Every method rejects with PlacementUnavailable while nobody leads placement. */
export interface PlacementAdmin {
  nodes(): Promise<readonly NodeView[]>;
  /** Moves everything away from a node; with `leave` it is removed when it is empty. @throws NodeNotFound, ChangeRefused */
  drainNode(nodeId: number, options?: { readonly leave?: boolean }): Promise<NodeView>;
  /** @throws NodeNotFound, ChangeRefused */
  undrainNode(nodeId: number): Promise<NodeView>;
  /** Takes an empty or dead node out for good. @throws NodeNotFound, ChangeRefused */
  removeNode(nodeId: number): Promise<void>;
  /** Begins a change of a region by hand. @throws RegionNotFound, NodeNotFound, RegionChanging, ChangeRefused, InvalidArgument */
  addOperator(request: OperatorRequest): Promise<OperatorView>;
  /** @throws ChangeRefused */
  cancelOperator(operatorId: number): Promise<void>;
  /**
   * How many run, the first 1,000 of them, and the first 1,000 entries of the log of all behind `afterSequence`: to be asked
   * again from the last one on. Keys of splits are base64.
   */
  operators(afterSequence?: number): Promise<{
    running: number;
    operators: readonly OperatorView[];
    log: readonly OperatorLogEntry[];
  }>;
  /** One that runs, or how it ended. @throws ChangeRefused when neither is known */
  operator(operatorId: number): Promise<{ operator?: OperatorView; end?: OperatorLogEntry }>;
  schedulers(): Promise<readonly SchedulerState[]>;
  /** For so long, or until it is resumed. @throws InvalidArgument */
  pauseScheduler(name: string, durationMs?: number): Promise<readonly SchedulerState[]>;
  /** @throws InvalidArgument */
  resumeScheduler(name: string): Promise<readonly SchedulerState[]>;
  settings(): Promise<PlacementSettings>;
  /** All of them or none. @throws InvalidArgument */
  changeSettings(patch: Partial<PlacementSettings>): Promise<PlacementSettings>;
}

export type AskPlacement = (verb: string, question: object) => Promise<unknown>;

export function placementAdmin(ask: AskPlacement): PlacementAdmin {
  const asked = <T>(verb: string, question: object = {}): Promise<T> => ask(verb, question) as Promise<T>;
  return {
    nodes: () => asked('node.list'),
    drainNode: (nodeId, { leave = false } = {}) => asked('node.drain', { nodeId, leave }),
    undrainNode: (nodeId) => asked('node.undrain', { nodeId }),
    removeNode: (nodeId) => asked('node.remove', { nodeId }),
    addOperator: (request) => asked('operator.add', requestToJson(request)),
    cancelOperator: (operatorId) => asked('operator.cancel', { operatorId }),
    operators: (afterSequence = 0) => asked('operator.list', { afterSequence }),
    operator: (operatorId) => asked('operator.show', { operatorId }),
    schedulers: () => asked('scheduler.list'),
    pauseScheduler: (name, durationMs) => asked('scheduler.pause', { name, durationMs }),
    resumeScheduler: (name) => asked('scheduler.resume', { name }),
    settings: () => asked('settings.get'),
    changeSettings: (patch) => asked('settings.set', { patch }),
  };
}

function requestToJson(request: OperatorRequest): object {
  if (request.kind !== 'split' || request.splitKey === undefined) return request;
  return { ...request, splitKey: keyToJson(request.splitKey) };
}
