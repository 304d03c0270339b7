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
export { Calls, type Answerer, type CallPort } from './calls.ts';
