/** What a replica says to others: the core's messages to its peers, failures to its callers. */

import { toWireError } from '../../rpc/wire/error-codec.ts';
import { Internal, MraftError, type NotLeader } from '../../rpc/wire/errors.ts';
import type { RaftMessage, RaftNode } from '../raft/index.ts';
import type { PeerNodes } from './peer-nodes.ts';
import type { Origin, ReplicaEnvironment } from './ports.ts';
import { notLeader } from './refusals.ts';
import type { RegionState } from './region-state.ts';

export class Voice {
  readonly #env: ReplicaEnvironment;
  readonly #state: RegionState;
  readonly #peerNodes: PeerNodes;
  readonly #raft: RaftNode;

  constructor(env: ReplicaEnvironment, state: RegionState, peerNodes: PeerNodes, raft: RaftNode) {
    this.#env = env;
    this.#state = state;
    this.#peerNodes = peerNodes;
    this.#raft = raft;
  }

  /** The node that leads, as far as this replica knows; 0: unknown. */
  get leaderNodeId(): number {
    return this.#peerNodes.of(this.#raft.leader) ?? 0;
  }

  /** A snapshot is asked for rather than sent: it is nothing without its data. */
  send(messages: readonly RaftMessage[]): void {
    const { regionId } = this.#state.region;
    for (const message of messages) {
      if (message.kind === 'snapshot') {
        this.#env.askSnapshot(regionId, message);
        continue;
      }
      const nodeId = this.#peerNodes.of(message.to);
      if (nodeId !== undefined) this.#env.send(regionId, nodeId, message);
    }
  }

  notLeader(): NotLeader {
    return notLeader(this.#state.region.regionId, this.#env.nodeId, this.leaderNodeId);
  }

  /** Answers a request with why it is not served. What no caller can have caused is an anomaly as well. */
  fail(origin: Origin, requestId: number, error: unknown): void {
    this.#env.respond(origin, { id: requestId, error: toWireError(error) });
    if (error instanceof MraftError && !(error instanceof Internal)) return;
    const anomaly = error instanceof MraftError ? error : new Internal(String(error), { cause: error });
    this.report(anomaly);
  }

  /** Something that should not be, and does no harm. */
  report(error: MraftError): void {
    this.#env.onAnomaly(this.#state.region.regionId, error);
  }
}
