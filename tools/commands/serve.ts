/** `mraft serve`: one node of a cluster, until it is told to stop. */

import { Command, InvalidArgumentError } from 'commander';
import pino, { type Logger } from 'pino';

import type { OpenOptions } from '../../engine/index.ts';
import { DataDirInUse, DataDirMismatch, DataDirUnusable, errorFromCode, InvalidConfig } from '../../rpc/wire/errors.ts';
import { wholeNumber, wholeNumbers } from './flags.ts';

interface ServeFlags {
  readonly cluster: string;
  readonly node: number;
  readonly peers?: number[];
  readonly join?: boolean;
  readonly label?: Readonly<Record<string, string>>;
  readonly nats: string;
  readonly data: string;
  readonly workers?: number;
  readonly regions?: number;
  readonly metrics?: number;
  readonly electionTimeoutMs?: number;
  readonly heartbeatMs?: number;
  readonly hibernateAfterMs?: number;
  readonly snapshotBytesPerSecond?: number;
  readonly snapshotCompression?: boolean;
  readonly consistencyCheckMs?: number;
  readonly logLevel: string;
}

/** What the options of the engine are called on the command line. */
const FLAG_OF_FIELD: Readonly<Record<string, string>> = {
  cluster: '--cluster',
  nodeId: '--node',
  initialNodes: '--peers',
  join: '--join',
  labels: '--label',
  nats: '--nats',
  dataDir: '--data',
  workers: '--workers',
  regions: '--regions',
  metricsPort: '--metrics',
  electionTimeoutMs: '--election-timeout-ms',
  heartbeatMs: '--heartbeat-ms',
  hibernateAfterMs: '--hibernate-after-ms',
  snapshotBytesPerSecond: '--snapshot-bytes-per-second',
  snapshotCompression: '--snapshot-compression',
  consistencyCheckMs: '--consistency-check-ms',
  logLevel: '--log-level',
};

const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'];
/** A node that has not stopped by then is left: its data is as safe as after a crash. */
const STOP_TIMEOUT_MS = 10_000;

export function serveCommand(): Command {
  return new Command('serve')
    .description('run a node until SIGTERM; prints one JSON line {"ready": …} when it serves')
    .requiredOption('--cluster <name>', 'name of the cluster')
    .requiredOption('--node <id>', "this node's id", wholeNumber)
    .option('--peers <ids>', 'ids of the nodes that the cluster starts with, as 1,2,3', wholeNumbers)
    .option('--join', 'in place of --peers: join a cluster that runs, under an id that was never used')
    .option('--label <name=value>', 'where the node is, as zone=a; may be given several times', addLabel)
    .requiredOption('--nats <url>', 'broker, or several with commas between')
    .requiredOption('--data <dir>', 'directory of its data')
    .option('--workers <n>', 'worker threads (default: cores)', wholeNumber)
    .option('--regions <n>', 'regions at the first start (default: 1, which splits as it grows)', wholeNumber)
    .option('--metrics <port>', 'Prometheus metrics on 127.0.0.1 (0: a free port)', wholeNumber)
    .option('--election-timeout-ms <ms>', 'shortest time without a leader before a campaign', wholeNumber)
    .option('--heartbeat-ms <ms>', 'how often a leader speaks', wholeNumber)
    .option('--hibernate-after-ms <ms>', 'how long a region is idle before it sleeps (0: never)', wholeNumber)
    .option('--snapshot-bytes-per-second <n>', 'what it sends of snapshots at most (default: 64 MiB)', wholeNumber)
    .option('--snapshot-compression', 'make snapshots smaller before they are sent')
    .option('--consistency-check-ms <ms>', "how often a region's replicas compare their data (0: never)", wholeNumber)
    .option('--log-level <level>', LOG_LEVELS.join(', '), 'info')
    .action((flags: ServeFlags) => serve(flags));
}

/** @throws InvalidArgumentError, which names the flag */
function addLabel(text: string, labels: Readonly<Record<string, string>> = {}): Record<string, string> {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be like zone=a.');
  const name = text.slice(0, at);
  if (Object.hasOwn(labels, name)) throw new InvalidArgumentError(`It gives '${name}' twice.`);
  return { ...labels, [name]: text.slice(at + 1) };
}

async function serve(flags: ServeFlags): Promise<void> {
  if (flags.peers === undefined && flags.join !== true) {
    throw new InvalidConfig('--peers: name the nodes that the cluster starts with, or --join one that runs', {
      field: 'initialNodes',
    });
  }
  if (!LOG_LEVELS.includes(flags.logLevel)) {
    throw new InvalidConfig(`--log-level: must be one of ${LOG_LEVELS.join(', ')}`, { field: 'logLevel' });
  }
  const logger = pino({ level: flags.logLevel, base: { node: flags.node } }, pino.destination(2));
  const stopped = untilSignal(logger);
  const { open, watchIdleMemory } = await import('../../engine/index.ts');
  const db = await Promise.race([open(toOptions(flags, logger)).catch(rethrowWithFlags), stopped]);
  // A node that is told to stop before it serves has nothing to hand over.
  if (typeof db === 'string') process.exit(0);
  const { cluster, nodeId: node, metricsPort: metrics } = db;
  process.stdout.write(`${JSON.stringify({ ready: { cluster, node, pid: process.pid, metrics } })}\n`);
  logger.info({ cluster, pid: process.pid, metrics }, 'serving');
  watchIdleMemory();
  const reason = await Promise.race([stopped, db.failed]);
  if (typeof reason === 'string') logger.info({ signal: reason }, 'stopping');
  else logger.fatal({ err: reason }, 'the node cannot go on');
  await stopInTime(db.close(), logger);
  if (typeof reason === 'string') process.exit(0);
  process.stderr.write(`mraft: ${reason.code}: ${reason.message}\n`);
  process.exit(1);
}

function toOptions(flags: ServeFlags, logger: Logger): OpenOptions {
  const { cluster, node: nodeId, nats, data: dataDir } = flags;
  const {
    peers: initialNodes,
    join,
    label: labels,
    workers,
    regions,
    metrics: metricsPort,
    electionTimeoutMs,
    heartbeatMs,
    hibernateAfterMs,
    snapshotBytesPerSecond,
    snapshotCompression,
    consistencyCheckMs,
  } = flags;
  const optional = {
    initialNodes,
    join,
    labels,
    workers,
    regions,
    metricsPort,
    electionTimeoutMs,
    heartbeatMs,
    hibernateAfterMs,
    snapshotBytesPerSecond,
    snapshotCompression,
    consistencyCheckMs,
  };
  const given = Object.fromEntries(Object.entries(optional).filter(([, value]) => value !== undefined));
  return { dataDir, cluster, nodeId, nats: nats.split(','), logger, ...given };
}

/** The engine names its options; whoever typed flags reads flags. */
function rethrowWithFlags(error: unknown): never {
  if (error instanceof DataDirMismatch || error instanceof DataDirInUse || error instanceof DataDirUnusable) {
    throw errorFromCode(error.code, `--data: ${error.message}`, { ...error.details, cause: error });
  }
  const flag = error instanceof InvalidConfig ? FLAG_OF_FIELD[error.details.field ?? ''] : undefined;
  if (!(error instanceof InvalidConfig) || flag === undefined) throw error;
  const problem = error.message.slice(error.message.indexOf(':') + 1).trim();
  const inFlags = problem.replace(/\b[a-z]+[A-Z]\w*\b/g, (field) => FLAG_OF_FIELD[field] ?? field);
  throw new InvalidConfig(`${flag}: ${inFlags}`, { ...error.details, cause: error });
}

function untilSignal(logger: Logger): Promise<string> {
  return new Promise((resolve) => {
    let told = 0;
    const onSignal = (signal: string): void => {
      told += 1;
      if (told > 1) {
        logger.warn({ signal }, 'told twice: leaving at once');
        process.exit(1);
      }
      resolve(signal);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}

async function stopInTime(closing: Promise<void>, logger: Logger): Promise<void> {
  const timer = setTimeout(() => {
    logger.error({ timeoutMs: STOP_TIMEOUT_MS }, 'did not stop in time: leaving');
    process.exit(1);
  }, STOP_TIMEOUT_MS);
  await closing;
  clearTimeout(timer);
  logger.info('stopped');
}
