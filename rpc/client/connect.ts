/** Ways to make a client. */

import { connectLink } from '../nats/index.ts';
import { InvalidConfig } from '../wire/errors.ts';
import { DEFAULTS, LIMITS } from '../wire/limits.ts';
import { checkClusterName } from '../wire/subjects.ts';
import { Client } from './client.ts';
import { Dispatcher } from './dispatcher.ts';
import { NatsTransport } from './nats-transport.ts';
import type { KeySpace } from './router.ts';
import { systemRuntime, type ClientRuntime } from './runtime.ts';
import type { ClientTransport } from './transport.ts';
import { checkTimeout } from './validate.ts';

export interface ClientOptions {
  readonly cluster: string;
  /** How long a call may take, retries included, where it does not say itself. Default 10,000. */
  readonly timeoutMs?: number;
  /** How long one attempt may go unanswered before another peer is asked. Default 1,000. */
  readonly attemptTimeoutMs?: number;
  /** Name of the session under which writes are made exactly once; must never have been used. Default: a random one. */
  readonly session?: Uint8Array;
  /** Frames to one worker that may be unanswered before calls gather. Default LIMITS.clientInflightFrames. */
  readonly inflightFrames?: number;
  /** Clock and randomness. Default: the process's. */
  readonly runtime?: ClientRuntime;
}

export interface ConnectOptions extends ClientOptions {
  /** `nats://[user:password@]host:port`, one or several of one broker cluster. */
  readonly servers: string | readonly string[];
  /** Shown by the broker. */
  readonly name?: string;
  readonly user?: string;
  readonly password?: string;
  readonly token?: string;
}

const OPTIONS: ReadonlySet<string> = new Set<keyof ConnectOptions>([
  'cluster',
  'timeoutMs',
  'attemptTimeoutMs',
  'session',
  'inflightFrames',
  'runtime',
  'servers',
  'name',
  'user',
  'password',
  'token',
]);

/** An option that is misspelt must not become a default. */
function checkOptionNames(options: unknown): void {
  if (typeof options !== 'object' || options === null) {
    throw new InvalidConfig('options must be an object with servers and cluster', { field: 'options' });
  }
  const unknown = Object.keys(options).find((name) => !OPTIONS.has(name));
  if (unknown !== undefined) throw new InvalidConfig(`${unknown} is no option of connect`, { field: unknown });
}

/** A client over a transport; it closes the transport with itself. @throws InvalidConfig */
export function createClient(transport: ClientTransport, options: ClientOptions): Client {
  return clientOf(transport, options, 'user');
}

/**
 * The same for the keys of the system's regions, which clients never meet: a node's own, for placement.
 * @throws InvalidConfig
 */
export function createSystemClient(transport: ClientTransport, options: ClientOptions): Client {
  return clientOf(transport, options, 'system');
}

function clientOf(transport: ClientTransport, options: ClientOptions, keySpace: KeySpace): Client {
  const { session, inflightFrames = LIMITS.clientInflightFrames } = options;
  if (session !== undefined && (session.length === 0 || session.length > LIMITS.sessionBytes)) {
    throw new InvalidConfig(`session must have 1 to ${LIMITS.sessionBytes} bytes`, { field: 'session' });
  }
  if (!Number.isSafeInteger(inflightFrames) || inflightFrames < 1) {
    throw new InvalidConfig('inflightFrames must be a whole number, 1 or more', { field: 'inflightFrames' });
  }
  const dispatcher = new Dispatcher(transport, options.runtime ?? systemRuntime, {
    cluster: checkClusterName(options.cluster),
    attemptTimeoutMs: configTimeout(options.attemptTimeoutMs, DEFAULTS.attemptTimeoutMs, 'attemptTimeoutMs'),
    inflightFrames,
    session,
    keySpace,
  });
  return new Client(dispatcher, configTimeout(options.timeoutMs, DEFAULTS.timeoutMs, 'timeoutMs'));
}

function configTimeout(value: unknown, fallbackMs: number, field: string): number {
  try {
    return checkTimeout(value, fallbackMs, field);
  } catch (error) {
    throw new InvalidConfig((error as Error).message, { field });
  }
}

/**
 * Connects to a cluster over NATS. Nodes need not be there yet: calls wait for them until their deadlines.
 * @throws Unavailable when no broker answers within `timeoutMs`
 * @throws InvalidConfig
 */
export async function connect(options: ConnectOptions): Promise<Client> {
  checkOptionNames(options);
  const cluster = checkClusterName(options.cluster);
  const { servers, user, password, token } = options;
  const link = await connectLink({
    servers,
    name: options.name ?? 'mraft client',
    connectTimeoutMs: configTimeout(options.timeoutMs, DEFAULTS.timeoutMs, 'timeoutMs'),
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password }),
    ...(token === undefined ? {} : { token }),
  });
  return createClient(new NatsTransport(link, cluster), options);
}
