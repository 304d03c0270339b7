/** What nodes and clients see of the world around them; the world (world.ts) is built of them and so lies above. */

import type { RouteTable } from '../../engine/node/route-table.ts';
import type { ReplicaStatus } from '../../engine/region/replica.ts';
import type { ToWorker } from '../../engine/shard/port-messages.ts';
import type { ShardControl } from '../../engine/shard/shard-host.ts';
import type { Shard } from '../../engine/shard/shard.ts';
import type { NodeClock } from './clock.ts';
import type { MraftError } from '../../rpc/wire/errors.ts';
import type { SimConfig } from './config.ts';
import type { VirtualDisk } from './disk.ts';
import type { FreshReads } from './fresh-reads.ts';
import type { Party, VirtualNetwork } from './network.ts';
import type { PlacementCheck } from './placement-check.ts';
import type { Safety } from './safety.ts';

/** Virtual time, and what is written down. */
export interface Surroundings {
  readonly config: SimConfig;
  /** True time. */
  readonly nowMs: number;
  readonly network: VirtualNetwork;
  at(ms: number, run: () => void): void;
  report(check: string, message: string): void;
  trace(line: () => string): void;
  /** Goes into the hash of the trace. */
  mix(value: number): void;
  /** Publishers know that the broker is gone. */
  readonly isOffline: boolean;
  /** Set when something ran that may have settled a promise: microtasks are let through before the next event. */
  promisesMoved: boolean;
}

/** A process, as far as its frames are concerned: what it had not sent when it died is never sent. */
export interface Sender {
  readonly nodeId: number;
  readonly diedAtMs: number;
}

/** What answers the questions that come to a process. */
export interface Listener {
  listensTo(subject: string): boolean;
  onQuestion(subject: string, text: string, reply: (text: string) => void): void;
}

/** A process, as its threads and other nodes see it. */
export interface RunningProcess extends Sender {
  readonly node: {
    readonly nodeId: number;
    readonly world: NodeSurroundings;
    readonly disk: VirtualDisk;
    readonly incarnation: number;
    /** Which cluster its data belongs to. */
    readonly home: { clusterId: string | undefined };
    /** Its cluster says that it has no place there. */
    refuse(error: MraftError): void;
  };
  readonly bootEpoch: number;
  /** Made at this start. */
  readonly isNew: boolean;
  readonly isDead: boolean;
  readonly workerCount: number;
  readonly clock: NodeClock;
  /** It stands still until then. */
  readonly pausedUntilMs: number;
  readonly routes: RouteTable;
  readonly calls: Listener;
  onGossip(subject: string, data: Uint8Array): void;
  /** Behind a turn of a worker. */
  noteOpen(worker: RunningWorker, statuses: readonly ReplicaStatus[]): void;
}

export interface RunningWorker {
  readonly number: number;
  readonly isDead: boolean;
  readonly shard: Shard;
  readonly control: ShardControl;
  /** A word from another thread, which is taken up between two turns. */
  post(run: () => void): void;
  receiveWord(message: ToWorker): void;
  /** Runs something between two turns, and tells what it comes to. */
  answer(
    run: () => unknown,
    done: (value: unknown, nowMs: number) => void,
    failed: (error: unknown, nowMs: number) => void,
  ): void;
}

/** A worker behind a turn. */
export interface Turn extends RunningWorker {
  readonly nodeId: number;
  /** Another object whenever the replicas were opened anew. */
  readonly opening: object;
  /** Frames of peers that arrived before `beforeMs` and were not looked at. */
  unread(beforeMs: number): Iterable<Uint8Array>;
}

export interface DownNode {
  readonly stayDown: boolean;
  restartsAfterMs: number | undefined;
  start(): void;
}

export interface NodeSurroundings extends Surroundings {
  readonly safety: Safety;
  readonly placementCheck: PlacementCheck;
  /** The same world as clients see it: a node has one of its own. */
  readonly clients: ClientSurroundings;
  readonly freshReads: FreshReads;
  /** How long the thread stalls now, before its timers run (a collection of garbage, a busy neighbour); 0: it does not. */
  stallMs(): number;
  /** How many frames one look at the sockets brings. */
  framesPerRead(): number;
  /** A worker ran a turn: everything that it changed is looked at. */
  afterTurn(turn: Turn): void;
  /** What runs on a node now; undefined: nothing. */
  processOf(nodeId: number): RunningProcess | undefined;
  /** Nodes that answer questions on a subject now. */
  listenersTo(subject: string): number[];
  onDown(node: DownNode): void;
  sendPeerFrame(from: Sender, departsMs: number, to: number, worker: number, frame: Uint8Array): boolean;
  /** A frame of a snapshot is remembered, so that it can come again. */
  keepSnapshotFrame(from: Sender, to: number, worker: number, frame: Uint8Array): void;
  sendResponse(from: Sender, departsMs: number, origin: string, frame: Uint8Array): void;
}

/** What a client reaches of a node. */
export interface ReachableNode {
  readonly nodeId: number;
  /** Delivers a frame of requests; false: nobody listens there. */
  deliver(worker: number, frame: Uint8Array, origin: string): boolean;
  /** Answers a question for routes when the process gets round to it; undefined: it does not run. */
  answerRoutes(answer: (bytes: Uint8Array, from: Sender) => void): void;
  readonly isUp: boolean;
}

export interface ClientSurroundings extends Surroundings {
  readonly nodes: readonly ReachableNode[];
  /** Takes a client in; returns its number. `party`: the node that it belongs to. */
  admit(receive: (frame: Uint8Array) => void, party?: Party): number;
}
