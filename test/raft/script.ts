/**
 * Runs a golden script: a group of replicas, driven by one verb a line. Everything that a verb makes them do is printed
 * below it, indented. See README.md for the verbs.
 */

import { votersOnly } from '../../engine/raft/index.ts';
import type { Entry, Membership, ProposeResult, RaftConfig, RaftMessage } from '../../engine/raft/index.ts';
import { describeMembership } from './changes.ts';
import { DEFAULT_CONFIG, Replica } from './replica.ts';

type Verb = (words: readonly string[]) => void;

export class Script {
  private nowMs = 0;
  private readonly replicas = new Map<number, Replica>();
  private readonly logs = new Map<number, number[]>();
  private readonly terms = new Map<number, number>();
  private readonly down = new Set<number>();
  private readonly cutOff = new Set<number>();
  private wire: RaftMessage[] = [];
  /** Copies of messages, to arrive late. */
  private kept: RaftMessage[] = [];
  private output: string[] = [];
  /** Whether messages are printed. */
  private tracing = true;
  /** What each replica that the script starts or adds has but for its id. */
  private settings: Omit<RaftConfig, 'peerId' | 'random'> = DEFAULT_CONFIG;
  private fixedRandom: number | undefined;

  private readonly verbs: Record<string, Verb> = {
    log: ([id, ...terms]) => this.logs.set(Number(id), terms.map(Number)),
    term: ([id, term]) => this.terms.set(Number(id), Number(term)),
    start: ([count, ...options]) => this.start(Number(count), options),
    add: (ids) => ids.forEach((id) => this.add(Number(id), votersOnly([]))),
    change: ([id, ...words]) => this.change(Number(id), words.join(' ')),
    leave: ([id]) => this.change(Number(id), ''),
    members: (ids) => this.chosen(ids).forEach((id) => this.printMembers(this.replica(id))),
    compact: ([id, index]) => this.replica(Number(id)).compact(Number(index)),
    report: ([id, peer, result]) => this.replica(Number(id)).node.reportSnapshot(Number(peer), result === 'arrived'),
    wake: ([id]) => this.replica(Number(id)).node.wake(this.nowMs),
    lost: ([peer, ...ids]) =>
      this.chosen(ids).forEach((id) => this.replica(id).node.reportNodeLost(Number(peer), this.nowMs)),
    excuse: ([id, ...peers]) => this.replica(Number(id)).node.excuse(peers.map(Number), this.nowMs),
    asleep: () => {
      const ids = this.chosen([]).filter((id) => this.replica(id).node.isHibernating);
      this.print(ids.length > 0 ? ids.join(' ') : 'none');
    },
    tick: ([ms, ...ids]) => this.tick(Number(ms), ids.map(Number)),
    pass: ([ms]) => this.pass(Number(ms)),
    campaign: ([id]) => this.on(id, (replica) => replica.node.campaign(this.nowMs)),
    propose: ([id, ...texts]) => this.propose(Number(id), texts),
    read: ([id, ...reads]) => this.read(Number(id), reads.map(Number)),
    transfer: ([id, to]) =>
      this.on(id, (replica) => {
        if (!replica.node.transferLeadership(Number(to), this.nowMs)) this.print('refused');
      }),
    unreachable: ([id, peer]) => this.on(id, (replica) => replica.node.reportUnreachable(Number(peer))),
    write: ([id]) => this.on(id, (replica) => this.write(replica)),
    sync: ([id]) => this.sync(this.replica(Number(id))),
    ready: (ids) => {
      for (const id of this.chosen(ids)) {
        this.write(this.replica(id));
        this.sync(this.replica(id));
      }
    },
    deliver: ([from, to]) => this.deliver(Number(from), Number(to)),
    drop: ([from, to]) => this.drop(Number(from), Number(to)),
    duplicate: ([from, to]) => {
      const isWanted = (message: RaftMessage): boolean => message.from === Number(from) && message.to === Number(to);
      this.wire.push(...this.wire.filter(isWanted));
    },
    keep: ([from, to]) => {
      this.kept.push(...this.wire.filter((message) => message.from === Number(from) && message.to === Number(to)));
    },
    release: () => this.wire.push(...this.kept.splice(0)),
    run: () => this.run(),
    'run-until': ([id, role]) => this.run(() => this.replica(Number(id)).node.role === role),
    settle: () => {
      this.tracing = false;
      this.run();
      this.tracing = true;
    },
    cut: (ids) => ids.forEach((id) => this.cutOff.add(Number(id))),
    heal: () => this.cutOff.clear(),
    crash: ([id]) => this.crash(Number(id)),
    restart: (ids) => ids.forEach((id) => this.restart(Number(id))),
    status: (ids) => this.chosen(ids).forEach((id) => this.printStatus(this.replica(id))),
    logs: (ids) => this.chosen(ids).forEach((id) => this.printLog(this.replica(id))),
    progress: ([id]) => this.printProgress(this.replica(Number(id))),
    lease: ([id]) => this.print(this.replica(Number(id)).node.hasLease(this.nowMs) ? 'holds' : 'none'),
  };

  /** What the verb of `line` printed. */
  execute(line: string): string[] {
    const [verb, ...words] = line.split(/\s+/);
    const action = Object.hasOwn(this.verbs, verb!) ? this.verbs[verb!]! : undefined;
    if (action === undefined) throw new Error(`no such verb: ${verb}`);
    this.output = [];
    action(words);
    return this.output;
  }

  private print(line: string): void {
    this.output.push(line);
  }

  private replica(id: number): Replica {
    const replica = this.replicas.get(id);
    if (replica === undefined) throw new Error(`no replica ${id}`);
    return replica;
  }

  /** The replicas of the words, or all that are up. */
  private chosen(words: readonly string[]): number[] {
    return words.length > 0 ? words.map(Number) : [...this.replicas.keys()].filter((id) => !this.down.has(id));
  }

  /** Does something to a replica and prints what that made of it. */
  private on(id: string | number | undefined, action: (replica: Replica) => void): void {
    const replica = this.replica(Number(id));
    const before = describeRole(replica);
    action(replica);
    const after = describeRole(replica);
    if (after !== before) this.print(`${replica.id} is ${after}`);
  }

  private start(count: number, options: readonly string[]): void {
    const settings = Object.fromEntries(options.map((option) => option.split('=')));
    const numbers = Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, Number(value)]));
    const { random, learners, ...limits } = numbers as { random?: number; learners?: number };
    this.settings = { ...DEFAULT_CONFIG, ...limits };
    this.fixedRandom = random;
    const peers = Array.from({ length: count + (learners ?? 0) }, (_, at) => at + 1);
    const membership = { ...votersOnly(peers.slice(0, count)), learners: peers.slice(count) };
    for (const peerId of peers) this.add(peerId, membership);
  }

  private add(peerId: number, membership: Membership): void {
    const config = { ...this.settings, peerId, random: () => this.fixedRandom ?? peerId / 10 };
    const terms = this.logs.get(peerId) ?? [];
    const replica = new Replica(config, membership, this.nowMs, (disk) => {
      const entries = terms.map((term, at): Entry => ({ term, index: at + 1, kind: 'normal', data: bytesOf('-') }));
      disk.write(entries, { term: this.terms.get(peerId) ?? terms.at(-1) ?? 0, vote: 0, commit: 0 });
    });
    this.replicas.set(peerId, replica);
  }

  private change(id: number, text: string): void {
    this.printResult(text || 'leave', this.replica(id).node.proposeConfChange(bytesOf(text), this.nowMs));
  }

  private printResult(text: string, result: ProposeResult): void {
    this.print(result.ok ? `${text} at ${result.index}/${result.term}` : `${text} refused: ${result.reason}`);
  }

  private tick(ms: number, ids: readonly number[]): void {
    this.nowMs += ms;
    for (const id of ids.length > 0 ? ids : this.chosen([])) {
      this.on(id, (replica) => replica.node.tick(this.nowMs));
    }
  }

  /** Lets time go by as it does: ticks, and whatever they lead to, untraced. */
  private pass(ms: number): void {
    this.tracing = false;
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs;) {
      this.tick(Math.min(50, untilMs - this.nowMs), []);
      this.run();
    }
    this.tracing = true;
  }

  private propose(id: number, texts: readonly string[]): void {
    for (const text of texts) {
      this.printResult(text, this.replica(id).node.propose(bytesOf(text), this.nowMs));
    }
  }

  private read(id: number, reads: readonly number[]): void {
    for (const read of reads) {
      const result = this.replica(id).node.readIndex(read, this.nowMs);
      if (!result.ok) this.print(`read ${read} refused: ${result.reason}`);
    }
  }

  private write(replica: Replica): void {
    this.send(replica.begin(this.nowMs));
  }

  private sync(replica: Replica): void {
    const { id, reads } = replica;
    const roleBefore = describeRole(replica);
    const membersBefore = describeMembership(replica.node.membership);
    const installed = replica.snapshotOut;
    const appliedBefore = installed?.index ?? replica.disk.applied;
    this.send(replica.finish());
    if (installed !== undefined) this.print(`${id} installs the snapshot at ${installed.index}/${installed.term}`);
    const applied = replica.applied.slice(appliedBefore, replica.disk.applied);
    if (applied.length > 0) this.print(`${id} applies ${applied.map(describeEntry).join(' ')}`);
    for (const { id: read, index } of reads.splice(0)) this.print(`${id} serves read ${read} at index ${index}`);
    if (describeMembership(replica.node.membership) !== membersBefore) this.printMembers(replica);
    if (describeRole(replica) !== roleBefore) this.print(`${id} is ${describeRole(replica)}`);
  }

  private send(sent: readonly RaftMessage[]): void {
    for (const message of sent) {
      const lost = this.isLost(message);
      if (this.tracing) this.print(`${describeMessage(message)}${lost ? ' (lost)' : ''}`);
      if (!lost) this.wire.push(message);
    }
  }

  private isLost(message: RaftMessage): boolean {
    return (
      !this.replicas.has(message.to) ||
      this.down.has(message.to) ||
      this.cutOff.has(message.from) ||
      this.cutOff.has(message.to)
    );
  }

  private deliver(from: number, to: number): void {
    const wanted = this.wire.filter((message) => message.from === from && message.to === to);
    this.wire = this.wire.filter((message) => !wanted.includes(message));
    for (const message of wanted) {
      if (!this.isLost(message)) this.on(to, (replica) => replica.step(message, this.nowMs));
    }
  }

  private drop(from: number, to: number): void {
    this.wire = this.wire.filter((message) => message.from !== from || message.to !== to);
  }

  /** Readies and deliveries until nobody has anything to do, or `done` says so. A write under way goes on being so. */
  private run(done: () => boolean = () => false): void {
    for (let turns = 0; turns < 1000; turns++) {
      if (done()) return;
      const replicas = this.chosen([]).map((id) => this.replica(id));
      const busy = replicas.filter((replica) => !replica.hasUnsynced && replica.node.hasReady());
      if (busy.length === 0 && this.wire.length === 0) return;
      for (const replica of busy) {
        this.write(replica);
        this.sync(replica);
      }
      const arrived = this.wire;
      this.wire = [];
      for (const message of arrived) {
        if (!this.isLost(message)) this.on(message.to, (replica) => replica.step(message, this.nowMs));
      }
    }
    throw new Error('the group does not come to rest');
  }

  private crash(id: number): void {
    this.replica(id).crash();
    this.down.add(id);
    this.wire = this.wire.filter((message) => message.to !== id);
  }

  private restart(id: number): void {
    this.down.delete(id);
    this.replica(id).restart(this.nowMs);
  }

  private printStatus(replica: Replica): void {
    const { vote, leader, commit, applied, lastIndex } = replica.node.status();
    this.print(
      `${replica.id} is ${describeRole(replica)}, voted ${vote}, leader ${leader}, ` +
        `commit ${commit}, applied ${applied}, last ${lastIndex}`,
    );
  }

  private printLog(replica: Replica): void {
    const terms = replica.disk.all().map((entry) => String(entry.term));
    const { firstIndex } = replica.disk;
    const from = firstIndex > 1 ? `from ${firstIndex}: ` : '';
    this.print(`${replica.id}: ${from}${terms.join(' ')} (commit ${replica.node.commit})`);
  }

  private printMembers(replica: Replica): void {
    this.print(`${replica.id} has ${describeMembership(replica.node.membership)}`);
  }

  private printProgress(replica: Replica): void {
    for (const peer of replica.node.status().progress) {
      this.print(
        `${peer.peerId} ${peer.state} match=${peer.match} next=${peer.next} ` +
          `inflight=${peer.inflightMessages}${peer.pendingSnapshot > 0 ? ` pending=${peer.pendingSnapshot}` : ''}` +
          `${peer.learner ? ' learner' : ''}${peer.recentlyActive ? '' : ' inactive'}`,
      );
    }
  }
}

function bytesOf(text: string): Uint8Array {
  return Buffer.from(text);
}

function describeRole({ node }: Replica): string {
  return `${node.role} in term ${node.term}`;
}

function describeEntry(entry: Entry): string {
  const leaves = entry.kind === 'confChange' && entry.data.length === 0;
  const text = leaves ? 'leave' : Buffer.from(entry.data).toString().replaceAll(' ', '');
  return `${entry.index}/${entry.term}${text === '' ? '' : `:${text}`}`;
}

function describeMessage(message: RaftMessage): string {
  const { kind, from, to, term, index, logTerm, commit, context } = message;
  const head = `${from}>${to} ${kind} term=${term}`;
  const round = ` round=${context}`;
  switch (kind) {
    case 'append': {
      const entries = message.entries.map(describeEntry).join(' ');
      return `${head} after=${index}/${logTerm} commit=${commit}${round} [${entries}]`;
    }
    case 'appendResponse':
      return message.reject
        ? `${head} rejects=${index} hint=${message.hintIndex}/${message.hintTerm}${round}`
        : `${head} match=${index}${round}`;
    case 'heartbeat':
      return `${head} commit=${commit}${round}${message.hibernate ? ' hibernate' : ''}`;
    case 'heartbeatResponse':
      return `${head}${round}${message.hibernate ? ' hibernates' : ''}`;
    case 'vote':
    case 'preVote':
      return `${head} log=${index}/${logTerm}${message.transfer ? ' transfer' : ''}`;
    case 'voteResponse':
    case 'preVoteResponse':
      return `${head} ${message.reject ? 'rejected' : 'granted'}`;
    case 'timeoutNow':
    case 'readIndex':
    case 'readIndexResponse':
    case 'askSnapshot':
      return head;
    case 'snapshot':
      return `${head} of=${index}/${logTerm}${round} (${describeMembership(message.membership!)})`;
  }
}
