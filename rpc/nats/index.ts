export {
  connectLink,
  rawConnect,
  natsHeaders,
  Link,
  type LinkHandler,
  type LinkOptions,
  type LinkState,
  type LinkStats,
  type LinkSubscription,
  type NatsConnection,
  type ServiceEndpoint,
  type ServiceOptions,
  type ServiceRequest,
} from './link.ts';
export type { Answerer } from './answers.ts';
export { Calls, type CallPort } from './calls.ts';
