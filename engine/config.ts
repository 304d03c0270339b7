/**
 * The options of a node: what a program passes to `open`, and the checked configuration that the engine runs by.
 * Everything wrong is found here, before a byte of data is touched, and the error names the field.
 */

import { availableParallelism } from 'node:os';

import { InvalidConfig } from '../rpc/wire/errors.ts';
import { DEFAULTS, LIMITS } from '../rpc/wire/limits.ts';
import { LABEL_PROMISE, isLabelText } from './placement/index.ts';

export type LogLevel = 'silent' | 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace';

const LOG_LEVELS: readonly LogLevel[] = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'];

/** What of a logger the engine uses; a pino logger is one. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Options of `open`. With only `dataDir` it is a single node without a broker. */
export interface OpenOptions {
  /** Where the node keeps its data; made when it is missing. */
  readonly dataDir: string;
  /** Name of the cluster: letters, digits, `-` and `_`. Default: `local`, only without `nats`. */
  readonly cluster?: string;
  /** This node's id, a positive integer that no other node of the cluster ever had. Default: 1, only without `nats`. */
  readonly nodeId?: number;
  /** The nodes that the cluster starts with, this one among them. Default: only this node. */
  readonly initialNodes?: readonly number[];
  /**
   * Joins a cluster that runs already, under a node id that it never had: the node starts without regions and is given
   * replicas. Instead of `initialNodes`.
   */
  readonly join?: boolean;
  /** Where the node is, as in `{"zone": "a"}`: placement keeps the replicas of a region apart by them. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Brokers, as `nats://host:port`. Default: none, the node is alone. */
  readonly nats?: string | readonly string[];
  /** Worker threads. Default: the cores. */
  readonly workers?: number;
  /**
   * Regions at bootstrap, cut evenly by the first bytes of the keys, and never merged to fewer. Default: 1, which splits by
   * itself as data and traffic grow; or by `splitKeys`.
   */
  readonly regions?: number;
  /** First keys of all regions but the first, ascending, at bootstrap, for a program that knows its keys. */
  readonly splitKeys?: readonly (Uint8Array | string)[];
  /** Shortest time without a leader before a follower campaigns. Default: 800. */
  readonly electionTimeoutMs?: number;
  /** How often a leader speaks; below half of `electionTimeoutMs`. Default: 150, or less where that is needed. */
  readonly heartbeatMs?: number;
  /** A worker's timer; at most `heartbeatMs`. Default: 50, or less where that is needed. */
  readonly tickMs?: number;
  /** How much faster or slower another node's clock may run, as a share: leases are shortened by it. Default: 0.1. */
  readonly maxClockDrift?: number;
  /** A region that has had nothing to do for so long goes to sleep until it has; 0: never. Default: 5,000. */
  readonly hibernateAfterMs?: number;
  /** What this node sends of snapshots in a second, at most, in bytes; busy workers an eighth of it. Default: 64 MiB. */
  readonly snapshotBytesPerSecond?: number;
  /** Snapshots are made smaller before they are sent: for networks that are slower than the processors. Default: false. */
  readonly snapshotCompression?: boolean;
  /**
   * How often the replicas of each region that this node leads compare their data; 0: never. Regions that sleep are
   * passed over. What differs is logged as an error and counted (`mraft_differences_total`). Default: an hour.
   */
  readonly consistencyCheckMs?: number;
  /** Where Prometheus finds the metrics on 127.0.0.1; 0: any free port. Default: nowhere. */
  readonly metricsPort?: number;
  /** Default: `warn`. Ignored by a `logger` of one's own. */
  readonly logLevel?: LogLevel;
  /** Default: pino on standard error. */
  readonly logger?: Logger;
}

/** Options that were checked and completed. */
export interface NodeConfig {
  readonly dataDir: string;
  readonly cluster: string;
  readonly nodeId: number;
  /** Ascending. Empty: the node joins a cluster that runs. */
  readonly initialNodes: readonly number[];
  readonly labels: Readonly<Record<string, string>>;
  /** Empty: a single node without a broker. */
  readonly nats: readonly string[];
  readonly workers: number;
  readonly regions: number;
  readonly splitKeys: readonly Uint8Array[] | undefined;
  readonly electionTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly tickMs: number;
  readonly maxClockDrift: number;
  readonly hibernateAfterMs: number;
  readonly snapshotBytesPerSecond: number;
  readonly snapshotCompression: boolean;
  readonly consistencyCheckMs: number;
  readonly metricsPort: number | undefined;
  readonly logLevel: LogLevel;
  readonly logger: Logger | undefined;
}

/** Far more than any network carries. */
const MAX_BYTES_PER_SECOND = 2 ** 40;

const FIELDS: ReadonlySet<string> = new Set<keyof OpenOptions>([
  'dataDir',
  'cluster',
  'nodeId',
  'initialNodes',
  'join',
  'labels',
  'nats',
  'workers',
  'regions',
  'splitKeys',
  'electionTimeoutMs',
  'heartbeatMs',
  'tickMs',
  'maxClockDrift',
  'hibernateAfterMs',
  'snapshotBytesPerSecond',
  'snapshotCompression',
  'consistencyCheckMs',
  'metricsPort',
  'logLevel',
  'logger',
]);

/**
 * Checks options of unknown origin and fills in the defaults.
 * @throws InvalidConfig whose `details.field` and message name the first field that is wrong
 */
export function parseOpenOptions(raw: unknown): NodeConfig {
  const options = knownFields(raw);
  const nats = parseBrokers(options['nats']);
  const isAlone = nats.length === 0;
  const nodeId = parseNodeId(options['nodeId'], isAlone);
  return {
    dataDir: parseDataDir(options['dataDir']),
    cluster: parseCluster(options['cluster'], isAlone),
    nodeId,
    initialNodes: parseJoin(options, isAlone) ? [] : parseInitialNodes(options['initialNodes'], nodeId, isAlone),
    labels: parseLabels(options['labels']),
    nats,
    workers: integer('workers', options['workers'], 1, LIMITS.workersPerNode) ?? defaultWorkers(),
    ...parseRegions(options['regions'], options['splitKeys']),
    ...parseTimes(options),
    hibernateAfterMs:
      integer('hibernateAfterMs', options['hibernateAfterMs'], 0, LIMITS.longestHibernateAfterMs) ??
      DEFAULTS.hibernateAfterMs,
    snapshotBytesPerSecond:
      integer(
        'snapshotBytesPerSecond',
        options['snapshotBytesPerSecond'],
        LIMITS.snapshotChunkBytes,
        MAX_BYTES_PER_SECOND,
      ) ?? DEFAULTS.snapshotBytesPerSecond,
    snapshotCompression:
      parseBoolean('snapshotCompression', options['snapshotCompression']) ?? DEFAULTS.snapshotCompression,
    consistencyCheckMs:
      integer('consistencyCheckMs', options['consistencyCheckMs'], 0, LIMITS.longestConsistencyCheckMs) ??
      DEFAULTS.consistencyCheckMs,
    metricsPort: integer('metricsPort', options['metricsPort'], 0, 65_535),
    logLevel: parseLogLevel(options['logLevel']),
    logger: parseLogger(options['logger']),
  };
}

function knownFields(raw: unknown): Record<string, unknown> {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) {
    throw new InvalidConfig(`options: must be an object, not ${show(raw)}`, { field: 'options' });
  }
  for (const field of Object.keys(raw)) {
    if (!FIELDS.has(field)) wrong(field, 'is no option');
  }
  return { ...raw };
}

function parseDataDir(value: unknown): string {
  if (typeof value !== 'string' || value === '' || value.includes('\0')) {
    wrong('dataDir', `must be the path of a directory, not ${show(value)}`);
  }
  return value;
}

/** The name is a part of NATS subjects. */
function parseBoolean(field: string, value: unknown): boolean | undefined {
  if (value === undefined || typeof value === 'boolean') return value;
  return wrong(field, `must be true or false, not ${show(value)}`);
}

function parseCluster(value: unknown, isAlone: boolean): string {
  if (value === undefined && isAlone) return 'local';
  const pattern = /^[A-Za-z0-9_-]+$/;
  if (typeof value !== 'string' || !pattern.test(value) || value.length > LIMITS.clusterNameBytes) {
    wrong('cluster', `must be 1 to ${LIMITS.clusterNameBytes} letters, digits, '-' or '_', not ${show(value)}`);
  }
  return value;
}

function parseBrokers(value: unknown): string[] {
  if (value === undefined) return [];
  const urls: unknown[] = Array.isArray(value) ? value : [value];
  if (urls.length === 0 || urls.length > LIMITS.brokerUrls) {
    wrong('nats', `must name 1 to ${LIMITS.brokerUrls} brokers, not ${urls.length}`);
  }
  return urls.map((url) => {
    if (typeof url !== 'string' || !isBrokerUrl(url)) wrong('nats', `must be like nats://host:4222, not ${show(url)}`);
    return url;
  });
}

function isBrokerUrl(text: string): boolean {
  const url = text.includes('://') ? text : `nats://${text}`;
  if (!URL.canParse(url)) return false;
  const { protocol, hostname, pathname } = new URL(url);
  return ['nats:', 'tls:'].includes(protocol) && hostname !== '' && ['', '/'].includes(pathname);
}

function parseNodeId(value: unknown, isAlone: boolean): number {
  const nodeId = integer('nodeId', value, 1, Number.MAX_SAFE_INTEGER);
  if (nodeId === undefined && !isAlone) wrong('nodeId', 'must be given where nats is');
  return nodeId ?? 1;
}

function parseJoin({ join, initialNodes }: Record<string, unknown>, isAlone: boolean): boolean {
  if (join === undefined) return false;
  if (typeof join !== 'boolean') wrong('join', `must be true or false, not ${show(join)}`);
  if (!join) return false;
  if (initialNodes !== undefined) wrong('join', 'contradicts initialNodes: those start a cluster of their own');
  if (isAlone) wrong('join', 'needs nats, by which the cluster is reached');
  return true;
}

function parseLabels(value: unknown): Record<string, string> {
  if (value === undefined) return {};
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    wrong('labels', `must be an object of names and texts, not ${show(value)}`);
  }
  const labels = Object.entries(value);
  if (labels.length > LIMITS.labelsPerNode) wrong('labels', `must be at most ${LIMITS.labelsPerNode}`);
  for (const [name, text] of labels) {
    if (isLabelText(name) && isLabelText(text)) continue;
    wrong('labels', `must be of ${LABEL_PROMISE}, as zone=a, not ${show(name)}=${show(text)}`);
  }
  return Object.fromEntries(labels) as Record<string, string>;
}

function parseInitialNodes(value: unknown, nodeId: number, isAlone: boolean): number[] {
  if (value === undefined) {
    if (!isAlone) wrong('initialNodes', 'must be given where nats is');
    return [nodeId];
  }
  if (!Array.isArray(value) || value.length === 0 || value.length > LIMITS.nodesPerCluster) {
    wrong('initialNodes', `must be a list of 1 to ${LIMITS.nodesPerCluster} node ids, not ${show(value)}`);
  }
  const nodes = value.map((node) => integer('initialNodes', node ?? NaN, 1, Number.MAX_SAFE_INTEGER) as number);
  if (new Set(nodes).size !== nodes.length) wrong('initialNodes', `names a node twice: ${show(nodes)}`);
  if (!nodes.includes(nodeId)) wrong('initialNodes', `${show(nodes)} lacks this node, ${nodeId}`);
  if (isAlone && nodes.length > 1)
    wrong('initialNodes', 'names other nodes, but nats, by which to reach them, is missing');
  return nodes.sort((a, b) => a - b);
}

function parseRegions(regions: unknown, splitKeys: unknown): Pick<NodeConfig, 'regions' | 'splitKeys'> {
  const count = integer('regions', regions, 1, LIMITS.regionsPerNode);
  if (splitKeys === undefined) return { regions: count ?? DEFAULTS.regions, splitKeys: undefined };
  if (!Array.isArray(splitKeys)) wrong('splitKeys', `must be a list of keys, not ${show(splitKeys)}`);
  const keys = splitKeys.map(parseSplitKey);
  keys.forEach((key, at) => {
    const previous = keys[at - 1];
    if (previous && Buffer.compare(previous, key) >= 0) wrong('splitKeys', 'must ascend, each key once');
  });
  if (count !== undefined && count !== keys.length + 1) {
    wrong('regions', `is ${count}, but splitKeys make ${keys.length + 1}: give one of them`);
  }
  if (keys.length + 1 > LIMITS.regionsPerNode) wrong('splitKeys', `must be fewer than ${LIMITS.regionsPerNode}`);
  return { regions: keys.length + 1, splitKeys: keys };
}

function parseSplitKey(value: unknown): Uint8Array {
  const key = typeof value === 'string' ? new TextEncoder().encode(value) : value;
  if (!(key instanceof Uint8Array) || key.length === 0 || key.length > LIMITS.keyBytes) {
    wrong('splitKeys', `must hold keys of 1 to ${LIMITS.keyBytes} bytes`);
  }
  return key;
}

type Times = Pick<NodeConfig, 'electionTimeoutMs' | 'heartbeatMs' | 'tickMs' | 'maxClockDrift'>;

/** A follower must be able to miss a heartbeat without campaigning, and a worker must tick often enough to send it. */
function parseTimes(options: Record<string, unknown>): Times {
  const electionTimeoutMs =
    integer(
      'electionTimeoutMs',
      options['electionTimeoutMs'],
      LIMITS.shortestElectionTimeoutMs,
      LIMITS.longestElectionTimeoutMs,
    ) ?? DEFAULTS.electionTimeoutMs;
  const longestHeartbeatMs = Math.ceil(electionTimeoutMs / 2) - 1;
  const heartbeatMs =
    integer('heartbeatMs', options['heartbeatMs'], 1, LIMITS.longestElectionTimeoutMs) ??
    Math.min(DEFAULTS.heartbeatMs, longestHeartbeatMs);
  if (heartbeatMs > longestHeartbeatMs) {
    wrong('heartbeatMs', `must be below half of electionTimeoutMs (${electionTimeoutMs}), not ${heartbeatMs}`);
  }
  const tickMs =
    integer('tickMs', options['tickMs'], 1, LIMITS.longestElectionTimeoutMs) ?? Math.min(DEFAULTS.tickMs, heartbeatMs);
  if (tickMs > heartbeatMs) wrong('tickMs', `must be at most heartbeatMs (${heartbeatMs}), not ${tickMs}`);
  return { electionTimeoutMs, heartbeatMs, tickMs, maxClockDrift: parseClockDrift(options['maxClockDrift']) };
}

function parseClockDrift(value: unknown): number {
  if (value === undefined) return DEFAULTS.maxClockDrift;
  if (typeof value !== 'number' || !(value >= 0 && value < 0.5)) {
    wrong('maxClockDrift', `must be a number from 0 to below 0.5, not ${show(value)}`);
  }
  return value;
}

function parseLogLevel(value: unknown): LogLevel {
  const level = LOG_LEVELS.find((known) => known === (value ?? 'warn'));
  if (level === undefined) wrong('logLevel', `must be one of ${LOG_LEVELS.join(', ')}, not ${show(value)}`);
  return level;
}

function parseLogger(value: unknown): Logger | undefined {
  if (value === undefined) return undefined;
  const methods = ['debug', 'info', 'warn', 'error'] as const;
  const isLogger =
    typeof value === 'object' &&
    value !== null &&
    methods.every((method) => typeof (value as Partial<Logger>)[method] === 'function');
  if (!isLogger) wrong('logger', `must have the methods ${methods.join(', ')}`);
  return value as Logger;
}

function integer(field: string, value: unknown, least: number, most: number): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > most) {
    wrong(field, `must be a whole number from ${least} to ${most}, not ${show(value)}`);
  }
  return value;
}

function defaultWorkers(): number {
  return Math.min(availableParallelism(), LIMITS.workersPerNode);
}

function wrong(field: string, problem: string): never {
  throw new InvalidConfig(`${field}: ${problem}`, { field });
}

/** A value as a message shows it: one short line, whatever it is. */
function show(value: unknown): string {
  const text = typeof value === 'object' && value !== null ? showObject(value) : showPlain(value);
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

function showPlain(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.slice(0, 100)) : String(value);
}

function showObject(value: object): string {
  if (Array.isArray(value)) return `[${value.slice(0, 20).map(showPlain).join(', ')}]`;
  return value instanceof Uint8Array ? `${value.length} bytes` : 'an object';
}
