/**
 * One NATS connection as mraft uses it: callbacks, bounded, never awaited on a hot path. The only import of `nats`.
 *
 * It stays with nats.js 2.29 for the protocol and adds what that leaves open:
 * - a publish without a connection is refused, not forgotten; one that finds a full socket is dropped and counted;
 * - a handler that throws is counted; in nats.js it would end the reader and leave the connection deaf;
 * - a stale connection (frozen broker, lost network) is cut at once; nats.js waits until its socket takes another byte;
 * - a connection attempt that times out closes its socket, and `close` ends in bounded time.
 * Those need a few fields of nats.js that are not in its types: they are named in `Internals` and nowhere else.
 */

import { createConnection, type Socket } from 'node:net';
import {
  connect as natsConnect,
  DebugEvents,
  Events,
  Match,
  headers as natsHeaders,
  type ConnectionOptions,
  type Msg,
  type NatsConnection,
  type ServiceMsg,
  type Status,
} from 'nats';
import { InvalidConfig, Unavailable } from '../wire/errors.ts';
import { LIMITS } from '../wire/limits.ts';

/**
 * Called for each message. `data` may share memory with other messages: copy what is kept.
 * `replyTo` is undefined where no answer is asked for. `status` is 0, or the broker's own answer: 503 says that nobody
 * listens on the subject whose answer was to come to `subject`.
 */
export interface LinkHandler {
  (data: Uint8Array, subject: string, replyTo: string | undefined, status: number): void;
}

export interface LinkOptions {
  /** `nats://[user:password@]host:port`, one or several of one broker cluster. */
  readonly servers: string | readonly string[];
  /** Shown by the broker. */
  readonly name?: string;
  readonly user?: string;
  readonly password?: string;
  readonly token?: string;
  /** Keep trying when the broker cannot be reached at first (`onUnreachable` hears of it). Default false. */
  readonly keepTrying?: boolean;
  /** How long to try at first, where `keepTrying` is false. Default 5,000. */
  readonly connectTimeoutMs?: number;
  /** Ends the first attempt. */
  readonly signal?: AbortSignal;
  /** After each failed first attempt. */
  readonly onUnreachable?: (error: Unavailable, attempt: number) => void;
  /** The broker refused a subject. */
  readonly onPermissionError?: (operation: 'publish' | 'subscription', subject: string) => void;
  /** A handler threw; it was counted. */
  readonly onHandlerError?: (error: unknown, subject: string) => void;
  /** Bytes that may wait in the socket before `publish` refuses. Default LIMITS.socketBacklogBytes. */
  readonly backlogBytes?: number;
}

export type LinkState = 'connected' | 'disconnected' | 'closed';

export interface LinkStats {
  publishedFrames: number;
  publishedBytes: number;
  receivedFrames: number;
  receivedBytes: number;
  /** Refused because there was no connection. */
  refusedDisconnected: number;
  /** Refused because too much was waiting in the socket. */
  refusedBacklog: number;
  /** Refused because the broker takes no message that large. */
  refusedOversize: number;
  handlerErrors: number;
  permissionErrors: number;
  disconnects: number;
}

export interface LinkSubscription {
  close(): void;
}

export interface ServiceRequest {
  readonly data: Uint8Array;
  readonly subject: string;
  /** A header's value, whatever the case of its name; empty where it is not there. */
  header(name: string): string;
  /** Answers; dropped without a connection, and where the caller wants no answer. */
  respond(data: Uint8Array, headers?: Readonly<Record<string, string>>): void;
}

export interface ServiceEndpoint {
  /** Letters, digits, `-` and `_`. */
  readonly name: string;
  readonly subject: string;
  readonly handler: (request: ServiceRequest) => void;
}

export interface ServiceOptions {
  readonly name: string;
  /** Semantic version. */
  readonly version: string;
  readonly description: string;
  /** Shown by `$SRV.INFO`. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** Instances share the requests. */
  readonly queue: string;
  readonly endpoints: readonly ServiceEndpoint[];
}

/** How soon a lost connection is noticed and tried again. */
const PING_INTERVAL_MS = 1_000;
const MAX_UNANSWERED_PINGS = 2;
const ATTEMPT_TIMEOUT_MS = 1_500;
const RECONNECT_WAIT_MS = 100;
const RECONNECT_JITTER_MS = 150;
const DEFAULT_CONNECT_TIMEOUT_MS = 5_000;
/** How long `close` waits for what was published to leave. */
const CLOSE_FLUSH_MS = 500;
const CLOSE_DIAL_MS = 2_000;
const CLOSE_POLL_MS = 20;
const NO_RESPONDERS = 503;

/** What is used of nats.js beyond its types (2.29: nats.js, protocol.js, node_transport.js). */
interface Internals {
  protocol: {
    connected: boolean;
    connectPromise: Promise<void> | null;
    outbound: { size(): number };
    transport: { socket?: Socket } | undefined;
    heartbeats: { cancel(): void };
    flushPending(): void;
    prepare(): Promise<void>;
  };
}

/**
 * Connects.
 * @throws Unavailable when no server can be reached in time and `keepTrying` is not set, or `signal` was aborted
 * @throws InvalidConfig for a server that is no NATS address
 */
export async function connectLink(options: LinkOptions): Promise<Link> {
  return new Link(await firstConnect(options), options);
}

/** A plain connection of nats.js with mraft's failure detection, for what a Link does not offer (JetStream). */
export async function rawConnect(options: LinkOptions): Promise<NatsConnection> {
  return firstConnect(options);
}

export { headers as natsHeaders, type NatsConnection } from 'nats';

async function firstConnect(options: LinkOptions): Promise<NatsConnection> {
  const connectionOptions = toConnectionOptions(options);
  const deadline = performance.now() + (options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS);
  for (let attempt = 1; ; attempt++) {
    let error: Unavailable;
    try {
      await probeAny(connectionOptions.servers as string[]);
      return await natsConnect(connectionOptions);
    } catch (cause) {
      const servers = (connectionOptions.servers as string[]).join(', ');
      error = new Unavailable(`no broker answers at ${servers}: ${(cause as Error).message}`, { cause });
    }
    options.onUnreachable?.(error, attempt);
    if (options.signal?.aborted) throw error;
    if (!options.keepTrying && performance.now() > deadline) throw error;
    await sleep(RECONNECT_WAIT_MS + Math.random() * RECONNECT_JITTER_MS);
  }
}

function toConnectionOptions(options: LinkOptions): ConnectionOptions {
  const addresses = (Array.isArray(options.servers) ? options.servers : [options.servers]) as string[];
  if (addresses.length === 0) throw new InvalidConfig('servers names no broker', { field: 'servers' });
  const parsed = addresses.map(parseServer);
  const user = options.user ?? parsed.find((server) => server.user)?.user;
  const pass = options.password ?? parsed.find((server) => server.password)?.password;
  return {
    servers: parsed.map((server) => server.address),
    ...(options.name === undefined ? {} : { name: options.name }),
    ...(user ? { user } : {}),
    ...(pass ? { pass } : {}),
    ...(options.token ? { token: options.token } : {}),
    // The system resolves names: nats.js would ask a DNS server even for `localhost`.
    resolve: false,
    noAsyncTraces: true,
    ignoreAuthErrorAbort: true,
    timeout: ATTEMPT_TIMEOUT_MS,
    pingInterval: PING_INTERVAL_MS,
    maxPingOut: MAX_UNANSWERED_PINGS,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_WAIT_MS,
    reconnectJitter: RECONNECT_JITTER_MS,
    reconnectJitterTLS: RECONNECT_JITTER_MS,
  };
}

interface Server {
  address: string;
  user: string;
  password: string;
}

function parseServer(server: string): Server {
  const text = typeof server === 'string' && server.includes('://') ? server : `nats://${server}`;
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    url = undefined;
  }
  if (!url || !['nats:', 'tls:'].includes(url.protocol) || url.hostname === '') {
    throw new InvalidConfig(`servers: ${JSON.stringify(server)} is not nats://host:port`, { field: 'servers' });
  }
  return {
    address: `${url.hostname}:${url.port || '4222'}`,
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
  };
}

/** Whether some server greets. A frozen one takes the connection and stays silent; nats.js would leak that socket. */
async function probeAny(addresses: readonly string[]): Promise<void> {
  await Promise.any(addresses.map(probe)).catch((error: AggregateError) => {
    throw error.errors[0];
  });
}

function probe(address: string): Promise<void> {
  const { hostname, port } = new URL(`nats://${address}`);
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) });
    const end = (error?: Error): void => {
      socket.destroy();
      if (error) reject(error);
      else resolve();
    };
    socket.setTimeout(ATTEMPT_TIMEOUT_MS, () => end(new Error('it takes connections and does not answer')));
    socket.once('data', () => end());
    socket.once('error', end);
    socket.once('close', () => end(new Error('it closed the connection')));
  });
}

export class Link {
  readonly stats: LinkStats = {
    publishedFrames: 0,
    publishedBytes: 0,
    receivedFrames: 0,
    receivedBytes: 0,
    refusedDisconnected: 0,
    refusedBacklog: 0,
    refusedOversize: 0,
    handlerErrors: 0,
    permissionErrors: 0,
    disconnects: 0,
  };

  readonly #connection: NatsConnection;
  readonly #internals: Internals;
  readonly #options: LinkOptions;
  readonly #backlogLimit: number;
  readonly #listeners: ((state: LinkState) => void)[] = [];
  #closed = false;

  /** @internal use `connectLink` */
  constructor(connection: NatsConnection, options: LinkOptions) {
    this.#connection = connection;
    this.#internals = connection as unknown as Internals;
    this.#options = options;
    this.#backlogLimit = options.backlogBytes ?? LIMITS.socketBacklogBytes;
    this.#dropSocketsOfFailedAttempts();
    void this.#watch();
    void connection.closed().then(() => this.#announce('closed'));
  }

  get connected(): boolean {
    return this.#internals.protocol.connected && !this.#closed && !this.#connection.isClosed();
  }

  /** Bytes that were published and are not with the kernel yet. */
  get backlogBytes(): number {
    const { outbound, transport } = this.#internals.protocol;
    return outbound.size() + (transport?.socket?.writableLength ?? 0);
  }

  /** The largest message that the broker takes. */
  get maxPayloadBytes(): number {
    return this.#connection.info?.max_payload ?? LIMITS.frameBytes;
  }

  /**
   * Publishes, at most once. False: dropped and counted, because there is no connection, too much is waiting, or the
   * broker takes no message that large. True promises nothing: the connection can break before the bytes arrive.
   * `data` must not be changed before the current microtasks have run.
   */
  publish(subject: string, data: Uint8Array, replyTo?: string): boolean {
    const stats = this.stats;
    if (!this.connected) {
      stats.refusedDisconnected++;
      return false;
    }
    if (this.backlogBytes > this.#backlogLimit) {
      stats.refusedBacklog++;
      return false;
    }
    if (data.length > this.maxPayloadBytes) {
      stats.refusedOversize++;
      return false;
    }
    this.#connection.publish(subject, data, replyTo === undefined ? undefined : { reply: replyTo });
    stats.publishedFrames++;
    stats.publishedBytes += data.length;
    return true;
  }

  /** Hands what was published to the kernel now; without it that happens behind the current microtasks. */
  flushNow(): void {
    if (!this.#closed) this.#internals.protocol.flushPending();
  }

  /** Subscribes, also for every later connection. With `queue`, one subscriber of the group gets each message. */
  subscribe(subject: string, handler: LinkHandler, options: { readonly queue?: string } = {}): LinkSubscription {
    if (this.#closed) throw new Unavailable('the link is closed');
    const subscription = this.#connection.subscribe(subject, {
      ...(options.queue === undefined ? {} : { queue: options.queue }),
      callback: (error, message) => {
        // An error here is a refused subscription, which the status loop reports.
        if (!error) this.#receive(handler, message);
      },
    });
    return { close: () => subscription.unsubscribe() };
  }

  #receive(handler: LinkHandler, message: Msg): void {
    try {
      const data = message.data;
      this.stats.receivedFrames++;
      this.stats.receivedBytes += data.length;
      const status = data.length === 0 && message.headers?.code === NO_RESPONDERS ? NO_RESPONDERS : 0;
      handler(data, message.subject, message.reply || undefined, status);
    } catch (error) {
      this.#countHandlerError(error, message.subject);
    }
  }

  #countHandlerError(error: unknown, subject: string): void {
    this.stats.handlerErrors++;
    this.#options.onHandlerError?.(error, subject);
  }

  /** Registers a NATS micro service, which answers `$SRV.PING/INFO/STATS`, in the named queue group. */
  async addService(options: ServiceOptions): Promise<{ close(): Promise<void> }> {
    const { name, version, description, queue, metadata = {}, endpoints } = options;
    const service = await this.#connection.services.add({ name, version, description, queue, metadata });
    for (const endpoint of endpoints) {
      service.addEndpoint(endpoint.name, {
        subject: endpoint.subject,
        handler: (error, message) => {
          if (!error) this.#serve(endpoint, message);
        },
      });
    }
    return {
      close: async () => {
        if (!this.#closed) await Promise.race([service.stop(), sleep(CLOSE_FLUSH_MS)]);
      },
    };
  }

  #serve(endpoint: ServiceEndpoint, message: ServiceMsg): void {
    this.stats.receivedFrames++;
    this.stats.receivedBytes += message.data.length;
    try {
      endpoint.handler({
        data: message.data,
        subject: message.subject,
        header: (name) => message.headers?.get(name, Match.IgnoreCase) ?? '',
        respond: (data, headers) => this.#respond(message, data, headers),
      });
    } catch (error) {
      this.#countHandlerError(error, message.subject);
    }
  }

  #respond(message: ServiceMsg, data: Uint8Array, headers: Readonly<Record<string, string>> | undefined): void {
    if (!message.reply) return;
    if (!this.connected || this.backlogBytes > this.#backlogLimit) {
      if (this.connected) this.stats.refusedBacklog++;
      else this.stats.refusedDisconnected++;
      return;
    }
    if (headers === undefined) {
      message.respond(data);
    } else {
      const encoded = natsHeaders();
      for (const [name, value] of Object.entries(headers)) encoded.set(name, value);
      message.respond(data, { headers: encoded });
    }
    this.stats.publishedFrames++;
    this.stats.publishedBytes += data.length;
  }

  /** Hears of every later change of the connection. */
  onState(listener: (state: LinkState) => void): void {
    this.#listeners.push(listener);
  }

  /** Waits until the broker has everything that was published before. False: not within `timeoutMs`. */
  async flush(timeoutMs: number): Promise<boolean> {
    if (!this.connected) return false;
    return Promise.race([
      this.#connection.flush().then(
        () => true,
        () => false,
      ),
      sleep(timeoutMs).then(() => false),
    ]);
  }

  /** Sends what was published, if that is soon done, and closes; ends in bounded time whatever the broker does. */
  async close(): Promise<void> {
    if (this.#closed) return;
    await this.flush(CLOSE_FLUSH_MS);
    this.#closed = true;
    const { protocol } = this.#internals;
    await Promise.race([this.#connection.close(), sleep(CLOSE_FLUSH_MS)]);
    // nats.js may be in the middle of an attempt to reconnect, which it does not give up by itself.
    const deadline = performance.now() + CLOSE_DIAL_MS;
    while (protocol.connectPromise !== null && performance.now() < deadline) {
      protocol.transport?.socket?.destroy();
      await sleep(CLOSE_POLL_MS);
    }
    protocol.transport?.socket?.destroy();
    protocol.heartbeats.cancel();
  }

  /** nats.js forgets the socket of an attempt that timed out; it would stay open until the broker closes it. */
  #dropSocketsOfFailedAttempts(): void {
    const { protocol } = this.#internals;
    const prepare = protocol.prepare.bind(protocol);
    protocol.prepare = () => {
      protocol.transport?.socket?.destroy();
      return prepare();
    };
  }

  async #watch(): Promise<void> {
    for await (const status of this.#connection.status()) this.#onStatus(status);
  }

  #onStatus(status: Status): void {
    switch (status.type) {
      case Events.Disconnect:
        this.stats.disconnects++;
        this.#announce('disconnected');
        return;
      case Events.Reconnect:
        this.#announce('connected');
        return;
      case DebugEvents.StaleConnection:
        // nats.js now waits for the socket to take one more byte; a frozen broker never lets it.
        this.#internals.protocol.transport?.socket?.destroy();
        return;
      case Events.Error:
        if (status.permissionContext) {
          this.stats.permissionErrors++;
          const operation = status.permissionContext.operation as 'publish' | 'subscription';
          this.#options.onPermissionError?.(operation, status.permissionContext.subject);
        }
        return;
      default:
    }
  }

  #announce(state: LinkState): void {
    for (const listener of this.#listeners) listener(state);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
