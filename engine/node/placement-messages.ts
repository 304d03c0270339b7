/**
 * What nodes, placement and people say to each other about placement, in JSON: keys in base64, descriptors as
 * region-json.ts has them. Whatever comes in is checked here; nobody else reads it raw.
 */

import { InvalidArgument } from '../../rpc/wire/errors.ts';
import { LABEL_PROMISE, areLabels } from '../placement/index.ts';
import type {
  JoinRequest,
  Labels,
  NodeHeartbeat,
  OperatorRequest,
  OperatorView,
  Order,
  PeerAddress,
  RegionReport,
  RegionReports,
  RegionView,
  SplitWish,
  Step,
} from '../placement/index.ts';
import { keyFromJson, keyToJson, regionFromJson, regionToJson } from './region-json.ts';

type Fields = Record<string, unknown>;

/** What a node says when it starts, and again with each heartbeat: whose it is, and where it belongs. */
export interface Membership {
  /** Of the cluster that it belongs to; undefined: of none yet. */
  readonly clusterId: string | undefined;
}

// --- nodes -----------------------------------------------------------------------------------------------------------

/** @throws InvalidArgument */
export function joinFromJson(json: unknown): JoinRequest & Membership {
  const fields = fieldsOf(json);
  return {
    nodeId: idOf(fields, 'nodeId'),
    incarnation: textOf(fields, 'incarnation'),
    workers: wholeOf(fields, 'workers'),
    labels: labelsOf(fields['labels']),
    clusterId: fields['clusterId'] === undefined ? undefined : textOf(fields, 'clusterId'),
  };
}

/** @throws InvalidArgument */
export function heartbeatFromJson(json: unknown): NodeHeartbeat & Membership {
  const fields = fieldsOf(json);
  return {
    ...joinFromJson(json),
    capacityBytes: numberOf(fields, 'capacityBytes'),
    availableBytes: numberOf(fields, 'availableBytes'),
    busy: numberOf(fields, 'busy'),
    leaders: wholeOf(fields, 'leaders'),
    replicas: wholeOf(fields, 'replicas'),
  };
}

function labelsOf(value: unknown): Labels {
  const labels = value ?? {};
  if (areLabels(labels)) return labels;
  throw new InvalidArgument(`labels are names and values of ${LABEL_PROMISE}`, { field: 'labels' });
}

// --- reports ---------------------------------------------------------------------------------------------------------

export function reportToJson(report: RegionReport): object {
  const { region, splitWish, ...rest } = report;
  return {
    ...rest,
    region: regionToJson(region),
    ...(splitWish === undefined ? {} : { splitWish: splitKeyToJson(splitWish) }),
  };
}

/** @throws InvalidArgument, MalformedRequest */
export function reportsFromJson(json: unknown): RegionReports {
  const fields = fieldsOf(json);
  const regions = fields['regions'];
  if (!Array.isArray(regions)) throw new InvalidArgument('regions must be a list', { field: 'regions' });
  return {
    nodeId: idOf(fields, 'nodeId'),
    incarnation: textOf(fields, 'incarnation'),
    regions: regions.map(reportFromJson),
  };
}

function reportFromJson(json: unknown): RegionReport {
  const fields = fieldsOf(json);
  const phase = fields['phase'];
  if (phase !== 'normal' && phase !== 'merging' && phase !== 'applying') throw new InvalidArgument('phase is unknown');
  const wish = fields['splitWish'];
  return {
    region: regionFromJson(fields['region']),
    term: wholeOf(fields, 'term'),
    sizeBytes: numberOf(fields, 'sizeBytes'),
    readsPerSecond: numberOf(fields, 'readsPerSecond'),
    writesPerSecond: numberOf(fields, 'writesPerSecond'),
    pendingPeers: idsOf(fields['pendingPeers'], 'pendingPeers'),
    downPeers: idsOf(fields['downPeers'], 'downPeers'),
    phase,
    ...(wish === undefined ? {} : { splitWish: wishFromJson(wish) }),
  };
}

function wishFromJson(json: unknown): SplitWish {
  const fields = fieldsOf(json);
  const reason = fields['reason'] === 'load' ? 'load' : 'size';
  return { reason, ...splitKeyFromJson(fields) };
}

// --- orders ----------------------------------------------------------------------------------------------------------

export function orderToJson({ step, target, ...rest }: Order): object {
  return {
    ...rest,
    step: stepToJson(step),
    ...(target === undefined ? {} : { target: regionToJson(target) }),
  };
}

/** @throws InvalidArgument, MalformedRequest */
export function orderFromJson(json: unknown): Order {
  const fields = fieldsOf(json);
  const epoch = fieldsOf(fields['epoch']);
  const target = fields['target'];
  return {
    operatorId: wholeOf(fields, 'operatorId'),
    regionId: idOf(fields, 'regionId'),
    toNodeId: idOf(fields, 'toNodeId'),
    epoch: { version: wholeOf(epoch, 'version'), confVersion: wholeOf(epoch, 'confVersion') },
    step: stepFromJson(fields['step']),
    ...(target === undefined ? {} : { target: regionFromJson(target) }),
  };
}

export function stepToJson(step: Step): object {
  return step.kind === 'split' ? splitKeyToJson(step) : step;
}

function stepFromJson(json: unknown): Step {
  const fields = fieldsOf(json);
  switch (fields['kind']) {
    case 'addLearner':
      return { kind: 'addLearner', peer: addressOf(fields['peer']) };
    case 'promote': {
      const demote = fields['demote'];
      const peer = addressOf(fields['peer']);
      return { kind: 'promote', peer, ...(demote === undefined ? {} : { demote: addressOf(demote) }) };
    }
    case 'removePeer':
      return { kind: 'removePeer', peer: addressOf(fields['peer']) };
    case 'transferLeader':
      return { kind: 'transferLeader', to: addressOf(fields['to']) };
    case 'split':
      return {
        kind: 'split',
        childRegionId: idOf(fields, 'childRegionId'),
        childPeerIds: idsOf(fields['childPeerIds'], 'childPeerIds'),
        ...splitKeyFromJson(fields),
      };
    case 'merge':
      return { kind: 'merge', targetRegionId: idOf(fields, 'targetRegionId') };
    default:
      throw new InvalidArgument('the order has no step that is known here', { field: 'step' });
  }
}

function addressOf(json: unknown): PeerAddress {
  const fields = fieldsOf(json);
  return { nodeId: idOf(fields, 'nodeId'), peerId: idOf(fields, 'peerId') };
}

// --- what people ask for, and see ------------------------------------------------------------------------------------

/** @throws InvalidArgument */
export function operatorRequestFromJson(json: unknown): OperatorRequest {
  const fields = fieldsOf(json);
  const regionId = idOf(fields, 'regionId');
  switch (fields['kind']) {
    case 'addReplica':
      return { kind: 'addReplica', regionId, nodeId: idOf(fields, 'nodeId'), observer: flagOf(fields, 'observer') };
    case 'removeReplica':
      return { kind: 'removeReplica', regionId, nodeId: idOf(fields, 'nodeId') };
    case 'moveReplica':
      return {
        kind: 'moveReplica',
        regionId,
        fromNodeId: idOf(fields, 'fromNodeId'),
        toNodeId: idOf(fields, 'toNodeId'),
      };
    case 'transferLeader':
      return { kind: 'transferLeader', regionId, nodeId: idOf(fields, 'nodeId') };
    case 'split':
      return { kind: 'split', regionId, ...splitKeyFromJson(fields) };
    case 'merge':
      return { kind: 'merge', regionId, targetRegionId: idOf(fields, 'targetRegionId') };
    default:
      throw new InvalidArgument('kind must be addReplica, removeReplica, moveReplica, transferLeader, split or merge', {
        field: 'kind',
      });
  }
}

export function operatorToJson(view: OperatorView): object {
  return { ...view, steps: view.steps.map(stepToJson) };
}

export function regionViewToJson({ region, ...rest }: RegionView): object {
  return { ...regionToJson(region), ...rest };
}

// --- fields ----------------------------------------------------------------------------------------------------------

function splitKeyToJson<T extends { readonly splitKey?: Uint8Array }>(value: T): object {
  const { splitKey, ...rest } = value;
  return { ...rest, ...(splitKey === undefined ? {} : { splitKey: keyToJson(splitKey) }) };
}

function splitKeyFromJson(fields: Fields): { splitKey?: Uint8Array } {
  return fields['splitKey'] === undefined ? {} : { splitKey: keyFromJson(fields['splitKey']) };
}

/** @throws InvalidArgument for anything but an object */
export function fieldsOf(json: unknown): Fields {
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Fields;
  throw new InvalidArgument('the question must be a JSON object');
}

/** @throws InvalidArgument */
export function idOf(fields: Fields, field: string): number {
  const value = fields[field];
  if (Number.isSafeInteger(value) && (value as number) > 0) return value as number;
  throw new InvalidArgument(`${field} must be a positive whole number`, { field });
}

/** @throws InvalidArgument */
export function wholeOf(fields: Fields, field: string): number {
  const value = fields[field];
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw new InvalidArgument(`${field} must be a whole number`, { field });
}

function numberOf(fields: Fields, field: string): number {
  const value = fields[field];
  if (typeof value === 'number' && value >= 0) return value;
  throw new InvalidArgument(`${field} must be a number, 0 or more`, { field });
}

/** @throws InvalidArgument */
export function textOf(fields: Fields, field: string): string {
  const value = fields[field];
  if (typeof value === 'string' && value.length > 0 && value.length <= 256) return value;
  throw new InvalidArgument(`${field} must be a text`, { field });
}

/** False where it is left out. @throws InvalidArgument */
export function flagOf(fields: Fields, field: string): boolean {
  const value = fields[field] ?? false;
  if (typeof value === 'boolean' && fields[field] !== null) return value;
  throw new InvalidArgument(`${field} must be true or false`, { field });
}

/** @throws InvalidArgument */
export function idsOf(value: unknown, field: string): number[] {
  if (Array.isArray(value) && value.every((id) => Number.isSafeInteger(id) && id > 0)) return value as number[];
  throw new InvalidArgument(`${field} must be a list of ids`, { field });
}
