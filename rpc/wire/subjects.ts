/**
 * Every NATS subject of mraft. The receiver and the sender are tokens of their own, so that a broker's permissions can
 * say who may speak for whom.
 */

import { InvalidConfig } from './errors.ts';

/** A cluster's name is one token of a subject. */
const CLUSTER = /^[A-Za-z0-9_-]{1,64}$/;

/** @throws InvalidConfig when `cluster` cannot be a token of a subject */
export function checkClusterName(cluster: unknown): string {
  if (typeof cluster === 'string' && CLUSTER.test(cluster)) return cluster;
  throw new InvalidConfig('cluster must be 1 to 64 letters, digits, "-" or "_"', { field: 'cluster' });
}

/** What travels apart, so that one kind of traffic cannot hold up another. */
export type Lane = 'raft' | 'snap';

export const subjects = {
  /** Frames of `from` for one worker of `to`. */
  peer: (cluster: string, to: number, worker: number, lane: Lane, from: number): string =>
    `mraft.${cluster}.p.${to}.${worker}.${lane}.${from}`,
  /** All peers' frames for one worker. */
  peers: (cluster: string, to: number, worker: number): string => `mraft.${cluster}.p.${to}.${worker}.*.*`,
  /** Requests of clients for one worker. */
  client: (cluster: string, node: number, worker: number): string => `mraft.${cluster}.c.${node}.${worker}`,
  /** Questions that any node, or all nodes, answer: `routes` (one answers), `status` (all answer). */
  admin: (cluster: string, verb: string): string => `mraft.${cluster}.admin.${verb}`,
  /** Questions that the acting placement leader answers. */
  placement: (cluster: string, verb: string): string => `mraft.${cluster}.placement.${verb}`,
  /** Orders to one node. */
  node: (cluster: string, node: number, verb: string): string => `mraft.${cluster}.n.${node}.${verb}`,
  /** What `from` gossips to `to`. */
  gossip: (cluster: string, to: number, from: number): string => `mraft.${cluster}.g.${to}.${from}`,
  /** All gossip for one node. */
  gossips: (cluster: string, to: number): string => `mraft.${cluster}.g.${to}.*`,
  /** The JSON service. */
  kv: (cluster: string, verb: string): string => `mraft.${cluster}.kv.${verb}`,
} as const;

/** The queue group in which nodes share requests that any of them can answer. */
export const QUEUE_GROUP = 'mraft';
