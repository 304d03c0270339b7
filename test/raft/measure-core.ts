/**
 * What the core costs by itself: three nodes of many groups in one thread, with nothing between them.
 * `node dist/test/raft/measure-core.js [groups] [entries per turn and group] [turns] [reads per turn and group]`
 */

import { RaftNode, votersOnly } from '../../engine/raft/index.ts';
import type { Entry, LogReader, RaftMessage } from '../../engine/raft/index.ts';
import { DEFAULT_CONFIG } from './replica.ts';

const [groups = 48, entriesPerTurn = 1, turns = 3000, readsPerTurn = 0] = process.argv.slice(2).map(Number);
const LIMITS = { maxAppendBytes: 2 ** 18, maxInflightAppends: 64, maxInflightBytes: 2 ** 22, entryCacheBytes: 2 ** 20 };
const DATA = Buffer.alloc(4000);

class ListLog implements LogReader {
  private readonly list: Entry[] = [];
  readonly firstIndex = 1;

  get lastIndex(): number {
    return this.list.length;
  }

  term(index: number): number | undefined {
    return index === 0 ? 0 : this.list[index - 1]?.term;
  }

  entries(from: number, to: number): Entry[] {
    return this.list.slice(from - 1, to - 1);
  }

  write(entries: readonly Entry[]): void {
    for (const entry of entries) this.list.push(entry);
  }
}

interface Peer {
  readonly log: ListLog;
  readonly node: RaftNode;
}

let nowMs = 0;
let applied = 0;
let readsServed = 0;
let messagesSent = 0;

const nodes: Peer[][] = [1, 2, 3].map((peerId) => Array.from({ length: groups }, () => peer(peerId)));

function peer(peerId: number): Peer {
  const log = new ListLog();
  const config = { ...DEFAULT_CONFIG, ...LIMITS, peerId, random: Math.random };
  const hardState = { term: 0, vote: 0, commit: 0 };
  const membership = votersOnly([1, 2, 3]);
  return { log, node: new RaftNode(config, { hardState, applied: 0, membership, log, nowMs: 0, restarted: false }) };
}

/** One turn of a node: what a worker does, without disk and network. */
function turn(peers: readonly Peer[]): void {
  const outgoing: (readonly RaftMessage[])[] = [];
  const groupsOf: number[] = [];
  peers.forEach(({ log, node }, group) => {
    if (!node.hasReady()) return;
    const ready = node.ready(nowMs);
    log.write(ready.entries);
    const last = ready.entries.at(-1);
    if (last !== undefined) node.persisted(last.index, last.term);
    const done = ready.committed.at(-1);
    if (done !== undefined) node.appliedTo(done.index, done.term);
    if (node.role === 'leader') applied += ready.committed.length;
    readsServed += ready.readStates.length;
    outgoing.push(ready.messages, ready.durableMessages);
    groupsOf.push(group, group);
  });
  outgoing.forEach((messages, at) => {
    messagesSent += messages.length;
    for (const message of messages) nodes[message.to - 1]![groupsOf[at]!]!.node.step(message, nowMs);
  });
}

function everyTurn(): void {
  for (const peers of nodes) turn(peers);
}

for (const { node } of nodes[0]!) node.campaign(0);
for (let at = 0; at < 10; at++) everyTurn();
applied = readsServed = messagesSent = 0;

const startMs = performance.now();
for (let at = 0; at < turns; at++) {
  nowMs++;
  if (at % 50 === 0) for (const peers of nodes) for (const { node } of peers) node.tick(nowMs);
  for (const { node } of nodes[0]!) {
    for (let count = 0; count < entriesPerTurn; count++) node.propose(DATA, nowMs);
    for (let count = 0; count < readsPerTurn; count++) node.readIndex(count, nowMs);
  }
  everyTurn();
}
const seconds = (performance.now() - startMs) / 1000;

const idleMs = performance.now();
let busy = 0;
for (let at = 0; at < 1000; at++) {
  for (const { node } of nodes[1]!) {
    node.tick(nowMs);
    if (node.hasReady()) busy++;
  }
}
const idleNs = ((performance.now() - idleMs) * 1e6) / (1000 * groups);

console.log(
  JSON.stringify({
    groups,
    entriesPerSecond: Math.round(applied / seconds),
    readsPerSecond: Math.round(readsServed / seconds),
    messagesPerSecond: Math.round(messagesSent / seconds),
    microsecondsPerEntryAndNode: Number(((seconds * 1e6) / Math.max(applied, 1) / 3).toFixed(2)),
    nanosecondsPerIdleTick: Math.round(idleNs),
    busy,
    heapMiB: Math.round(process.memoryUsage().heapUsed / 2 ** 20),
  }),
);
