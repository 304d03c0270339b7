/** mraft over NATS, without a native module: `import { connect } from 'mraft/client'`. */

export { connect, createClient, type ClientOptions, type ConnectOptions } from './connect.ts';
export { Client } from './client.ts';
export { NatsTransport } from './nats-transport.ts';
export { systemRuntime, type ClientRuntime } from './runtime.ts';
export type { ClientStats } from './stats.ts';
export {
  handleJson,
  handleProtobuf,
  serveKv,
  type KvService,
  type KvServiceOptions,
  type ServiceAnswer,
  type SessionedKv,
} from './json-service.ts';
export type { ClientTransport } from './transport.ts';
export type * from './kv.ts';
export * from '../wire/errors.ts';
export { LIMITS, DEFAULTS } from '../wire/limits.ts';
