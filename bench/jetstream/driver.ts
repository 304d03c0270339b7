/** The key-value bucket of NATS JetStream, driven by publishes that do not wait for each other, as PublishAsync does. */

import type { NatsConnection } from '../../rpc/nats/index.ts';
import { NATS_SERVER } from '../../tools/broker.ts';
import { ensureProgram } from '../../tools/program.ts';
import type { Driver, DriverInfo, Session, Usage } from '../driver.ts';
import { JetStreamCluster, STREAM, SUBJECT_PREFIX } from './cluster.ts';

/** Of a key, what becomes its name: subjects are text, and 12 bytes are 16 characters. */
const NAMED_KEY_BYTES = 12;
const DIRECT_GET_PREFIX = `$JS.API.DIRECT.GET.${STREAM}.${SUBJECT_PREFIX}`;
const NO_RESPONDERS = 503;
const NOT_FOUND = 404;
const EMPTY = new Uint8Array(0);

export class JetStreamDriver implements Driver {
  readonly info: DriverInfo = {
    name: 'jetstream',
    description:
      '3 clustered nats-servers of the system package with default settings on loopback; one KV bucket, R3, file ' +
      'storage; one connection to the leader of its stream, asynchronous publishes with correlation ids in the ' +
      'reply subject, gets by direct get; keys are 16 characters, since subjects are text',
    durability: 'in the page cache of a majority before the answer; synced every 2 minutes (sync_interval default)',
    reads: 'direct get: any member answers from what it has, not linearizable',
    batches: 'publishes that are sent together and awaited together; not atomic',
    canScan: false,
  };
  private cluster: JetStreamCluster | undefined;

  async start(): Promise<void> {
    this.cluster = await JetStreamCluster.start(await ensureProgram(NATS_SERVER));
  }

  async connect(): Promise<Session> {
    return new JetStreamSession(await this.started().connectToLeader());
  }

  async usage(): Promise<Usage> {
    return { cpuSeconds: { 'nats-server': await this.started().cpuSeconds() }, fsyncs: undefined };
  }

  async stop(): Promise<void> {
    const cluster = this.cluster;
    this.cluster = undefined;
    await cluster?.stop();
  }

  private started(): JetStreamCluster {
    if (this.cluster === undefined) throw new Error('the JetStream driver was not started');
    return this.cluster;
  }
}

/** A publish that was not accepted; `code` is the broker's. */
class JetStreamError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

interface Waiting {
  readonly resolve: (data: Uint8Array | undefined) => void;
  readonly reject: (error: Error) => void;
}

class JetStreamSession implements Session {
  private readonly connection: NatsConnection;
  private readonly inbox: string;
  private readonly waiting = new Map<string, Waiting>();
  private nextId = 0;

  constructor(connection: NatsConnection) {
    this.connection = connection;
    this.inbox = `_INBOX.bench${process.pid}.${Math.random().toString(36).slice(2)}.`;
    connection.subscribe(`${this.inbox}*`, {
      callback: (_error, message) => this.onAnswer(message.subject, message.data, message.headers?.code ?? 0),
    });
  }

  async put(key: Uint8Array, value: Uint8Array): Promise<unknown> {
    const acknowledgement = await this.send(SUBJECT_PREFIX + nameOf(key), value);
    // The acknowledgement is JSON; its text tells success from failure without parsing every one.
    const text = Buffer.from(acknowledgement ?? EMPTY).toString('latin1');
    if (!text.includes('"seq":')) throw new JetStreamError('PublishRefused', text);
    return undefined;
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.send(DIRECT_GET_PREFIX + nameOf(key), EMPTY);
  }

  batch(keys: readonly Uint8Array[], value: Uint8Array): Promise<unknown> {
    return Promise.all(keys.map((key) => this.put(key, value)));
  }

  async scan(): Promise<number> {
    throw new JetStreamError('Unsupported', 'a JetStream bucket has no ordered scan');
  }

  async close(): Promise<void> {
    await this.connection.close();
    for (const { reject } of this.waiting.values()) reject(new JetStreamError('Closed', 'the connection was closed'));
    this.waiting.clear();
  }

  private send(subject: string, data: Uint8Array): Promise<Uint8Array | undefined> {
    return new Promise((resolve, reject) => {
      const reply = this.inbox + (this.nextId++).toString(36);
      this.waiting.set(reply, { resolve, reject });
      this.connection.publish(subject, data, { reply });
    });
  }

  private onAnswer(subject: string, data: Uint8Array, status: number): void {
    const waiting = this.waiting.get(subject);
    if (waiting === undefined) return;
    this.waiting.delete(subject);
    if (status === NO_RESPONDERS) waiting.reject(new JetStreamError('NoResponders', 'nobody holds the stream'));
    else waiting.resolve(status === NOT_FOUND ? undefined : data);
  }
}

function nameOf(key: Uint8Array): string {
  return (key as Buffer).toString('base64url', 0, NAMED_KEY_BYTES);
}
