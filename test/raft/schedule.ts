/**
 * One random schedule of a group: messages are lost, doubled and reordered, disks finish when they like, processes die
 * and lose what was not synced, clocks run apart by what leases allow for; peers come, go and change their role, logs are
 * compacted, snapshots sent, idle groups hibernate. After each step the promises of Raft are checked (thesis figure 3.2),
 * and those of leases and read indexes. At the end the faults stop, and the group must agree. Everything follows from the
 * seed.
 */

import { isJoint, isMember, votersOnly } from '../../engine/raft/index.ts';
import type { Entry, Membership, RaftConfig, RaftMessage } from '../../engine/raft/index.ts';
import type { RaftLog } from '../../engine/raft/raft-log.ts';
import { describeMembership } from './changes.ts';
import { DEFAULT_CONFIG, Replica } from './replica.ts';
import { seededRandom } from './random.ts';

const TIMEOUT_MS = 100;
const MAX_DRIFT = 0.1;

/** What a seed decides before the first step. */
interface Faults {
  readonly lossShare: number;
  readonly duplicateShare: number;
  /** How often the oldest message is taken rather than any. */
  readonly orderShare: number;
  readonly crashes: boolean;
  readonly partitions: boolean;
  readonly transfers: boolean;
  /** Messages that arrive in one step. */
  readonly burst: number;
  /** How often a peer campaigns before its time. */
  readonly ambition: number;
  /** A Ready may stay unsynced while messages come in. */
  readonly slowDisks: boolean;
  /** What is handed out is applied some time later. */
  readonly slowApply: boolean;
  /** A crash undoes what was applied since the last sync. */
  readonly losesApplied: boolean;
  /** How often the membership is to change. */
  readonly churn: number;
  readonly compactions: boolean;
}

interface PendingRead {
  /** The highest commit index anywhere when the read was asked. */
  readonly committedBefore: number;
}

interface Member {
  readonly replica: Replica;
  /** How fast its clock runs. */
  readonly clockRate: number;
  readonly reads: Map<number, PendingRead>;
  down: boolean;
  term: number;
  commit: number;
  leading: boolean;
  asleep: boolean;
}

export class BrokenPromise extends Error {}

export interface ScheduleStats {
  elections: number;
  committed: number;
  reads: number;
  leaseChecks: number;
  crashes: number;
  transfers: number;
  changes: number;
  jointChanges: number;
  snapshots: number;
  hibernations: number;
}

export class Schedule {
  readonly stats: ScheduleStats = {
    elections: 0,
    committed: 0,
    reads: 0,
    leaseChecks: 0,
    crashes: 0,
    transfers: 0,
    changes: 0,
    jointChanges: 0,
    snapshots: 0,
    hibernations: 0,
  };
  private readonly random: () => number;
  /** Most time between two steps. */
  private readonly paceMs: number;
  private readonly members: readonly Member[];
  private readonly faults: Faults;
  private readonly actions: ReturnType<Schedule['possibilities']>;
  private readonly totalWeight: number;
  private timeMs = 1000;
  private wire: RaftMessage[] = [];
  private readonly cutOff = new Set<number>();
  private nextProposal = 1;
  private nextRead = 1;
  /** By index - 1: what was first seen committed, and in which term of the peer that saw it. */
  private readonly committed: { readonly entry: Entry; readonly inTerm: number }[] = [];
  private readonly leaders = new Map<number, number>();
  /** By index: the configuration there. */
  private readonly memberships = new Map<number, string>();
  /** Snapshots that were sent and whose senders have not heard what became of them. */
  private unreported: RaftMessage[] = [];

  constructor(seed: number) {
    this.random = seededRandom(seed);
    const size = this.pick([1, 2, 3, 3, 3, 3, 3, 4, 5, 5]);
    this.faults = {
      lossShare: this.pick([0, 0.02, 0.1, 0.3]),
      duplicateShare: this.pick([0, 0.05, 0.3]),
      orderShare: this.pick([0, 0.7, 0.95, 1]),
      crashes: this.chance(0.6),
      partitions: this.chance(0.5),
      transfers: this.chance(0.5),
      burst: this.pick([1, 4, 8]),
      ambition: this.pick([0, 1, 5]),
      slowDisks: this.chance(0.5),
      slowApply: this.chance(0.3),
      losesApplied: this.chance(0.5),
      churn: this.pick([0, 2, 8]),
      compactions: this.chance(0.5),
    };
    this.paceMs = this.pick([1, 2, 4]);
    const spares = this.faults.churn > 0 ? this.pick([0, 1, 2, 3]) : 0;
    const peers = Array.from({ length: size + spares }, (_, at) => at + 1);
    const learners = this.chance(0.2) ? this.pick([0, 1]) : 0;
    const voters = peers.slice(0, Math.max(1, size - learners));
    const group = { ...votersOnly(voters), learners: peers.slice(voters.length, size) };
    const limits = {
      hibernateAfterMs: this.pick([0, 0, 20, 50]),
      maxCatchUpEntries: this.pick([Infinity, Infinity, 3, 20]),
      maxAppendBytes: this.pick([1, 60, 4096]),
      maxInflightAppends: this.pick([1, 2, 8]),
      entryCacheBytes: this.pick([0, 100, 4096]),
      maxApplyBytes: this.pick([1, 4096]),
    };
    this.actions = this.possibilities();
    this.totalWeight = this.actions.reduce((sum, [weight]) => sum + weight, 0);
    this.members = peers.map((peerId) => this.member(peerId, peerId <= size ? group : votersOnly([]), limits));
  }

  run(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.timeMs += this.random() * this.paceMs;
      const member = this.pick(this.members);
      this.act(member);
      this.check();
    }
    this.checkLogMatching();
    this.recover();
    this.checkLogMatching();
  }

  // --- what can happen ----------------------------------------------------------------------------------------------

  /** What may happen to a peer that is up, and how often. */
  private possibilities(): readonly (readonly [weight: number, action: (member: Member) => void])[] {
    const { crashes, partitions, transfers, ambition, slowApply, churn, compactions } = this.faults;
    return [
      [50, () => this.deliverSome()],
      [24, (member) => this.turn(member)],
      [8, (member) => this.tick(member)],
      [6, (member) => this.propose(member)],
      [5, (member) => this.read(member)],
      [0.5, (member) => member.replica.node.reportUnreachable(this.pick(this.members).replica.id)],
      [0.5, () => (this.timeMs += this.random() * 2 * TIMEOUT_MS)],
      [ambition, (member) => member.replica.node.campaign(this.clock(member))],
      [slowApply ? 8 : 0, (member) => member.replica.apply()],
      [churn, () => this.changeMembers()],
      [compactions ? 2 : 0, (member) => this.compact(member)],
      [1, () => this.reportSnapshot()],
      [0.3, (member) => member.replica.node.wake(this.clock(member))],
      [0.3, () => this.excuse()],
      [0.3, () => this.rest()],
      [transfers ? 1.5 : 0, () => this.transfer()],
      [partitions ? 1 : 0, () => this.repartition()],
      [crashes ? 0.4 : 0, (member) => this.crash(member)],
      [crashes ? 0.4 : 0, (member) => this.crashAndRestart(member)],
    ];
  }

  private act(member: Member): void {
    if (member.down) {
      if (this.chance(0.05)) this.restart(member);
      else this.deliverSome();
      return;
    }
    let dice = this.random() * this.totalWeight;
    for (const [weight, action] of this.actions) {
      dice -= weight;
      if (dice < 0) {
        action(member);
        return;
      }
    }
  }

  private deliverSome(): void {
    for (let count = 0; count < this.faults.burst; count++) this.deliver();
  }

  private deliver(): void {
    if (this.wire.length === 0) return;
    const at = this.chance(this.faults.orderShare) ? 0 : Math.floor(this.random() * this.wire.length);
    const message = this.wire[at]!;
    if (!this.chance(this.faults.duplicateShare)) this.wire.splice(at, 1);
    if (this.chance(this.faults.lossShare) || this.cutOff.has(message.from) !== this.cutOff.has(message.to)) return;
    const to = this.members[message.to - 1]!;
    if (to.down) return;
    to.replica.step(message, this.clock(to));
    const refused = to.replica.node.refusedMessages;
    this.demand(refused === 0, `${to.replica.id} refused a message: ${JSON.stringify(message)}`);
  }

  /** Begins a Ready, or ends the one that is out, or both. */
  private turn(member: Member): void {
    if (!member.replica.hasUnsynced) {
      this.begin(member);
      if (this.faults.slowDisks && this.chance(0.5)) return;
    }
    this.finish(member);
  }

  private begin(member: Member): void {
    const { replica } = member;
    const messages = replica.begin(this.clock(member));
    for (const message of messages) this.checkDurable(member, message);
    if (replica.snapshotOut !== undefined) this.stats.snapshots++;
    for (const entry of replica.applying) {
      const durable = replica.disk.syncedTerm(entry.index) === entry.term;
      this.demand(durable, `${replica.id} applies ${entry.index}/${entry.term}, which it may forget`);
    }
    this.send(messages);
  }

  private finish(member: Member): void {
    const { replica } = member;
    const durable = replica.finish();
    for (const message of durable) this.checkDurable(member, message);
    this.send(durable);
    for (const { id, index } of replica.reads.splice(0)) {
      const read = member.reads.get(id);
      if (read === undefined) throw new BrokenPromise(`read ${id} was answered twice`);
      member.reads.delete(id);
      this.stats.reads++;
      const { committedBefore } = read;
      this.demand(index >= committedBefore, `read ${id} at ${index}, and ${committedBefore} was committed before it`);
    }
  }

  private send(messages: readonly RaftMessage[]): void {
    this.wire.push(...messages);
    this.unreported.push(...messages.filter(({ kind }) => kind === 'snapshot'));
    // A wire holds so much; old messages are the ones that hurt, so any may go.
    while (this.wire.length > 200) this.wire.splice(Math.floor(this.random() * this.wire.length), 1);
  }

  private tick(member: Member): void {
    const { node } = member.replica;
    // A driver need not tick it then, and some do.
    if (node.isHibernating && this.chance(0.5)) return;
    const before = node.isHibernating;
    node.tick(this.clock(member));
    this.demand(!before || node.isHibernating, `${member.replica.id}: a tick woke it`);
  }

  /** One voter or learner comes, goes or changes its role, or several of them. */
  private changeMembers(): void {
    const leader = this.members.find((one) => one.leading && !one.down);
    if (leader === undefined) return;
    const { node } = leader.replica;
    const joint = isJoint(node.membership);
    const mode = joint ? 'leave' : this.pick(['simple', 'simple', 'joint', 'jointManual']);
    const count = mode === 'simple' ? 1 : this.pick([1, 2, 3]);
    const words = Array.from(
      { length: count },
      () => `${this.pick(['+', '+', '~', '-'])}${this.pick(this.members).replica.id}`,
    );
    const text = mode === 'leave' ? '' : [mode, ...words].join(' ');
    if (!node.proposeConfChange(Buffer.from(text), this.clock(leader)).ok) return;
    if (mode.startsWith('joint')) this.stats.jointChanges++;
    this.stats.changes++;
  }

  private compact({ replica }: Member): void {
    const { applied, firstIndex } = replica.disk;
    const index = Math.min(replica.node.applied, applied) - this.pick([0, 0, 1, 5]);
    if (index >= firstIndex) replica.compact(index);
  }

  /** Tells the sender of a snapshot what became of it, or what it takes for that. */
  private reportSnapshot(): void {
    const message = this.unreported.shift();
    if (message === undefined) return;
    const { replica } = this.members[message.from - 1]!;
    replica.node.reportSnapshot(message.to, this.chance(0.5));
  }

  /** Nothing is asked of the group for a while, and nothing fails: it may fall asleep. */
  private rest(): void {
    for (let round = 0; round < 30; round++) this.everyoneTurns(this.paceMs * 4);
  }

  /** The node of a replica is gone: the drivers of the others find out. */
  private tellLost(lost: Member): void {
    for (const member of this.members) {
      if (!member.down && member !== lost) member.replica.node.reportNodeLost(lost.replica.id, this.clock(member));
    }
  }

  /** The drivers of those who lead know, rightly or not, whom they cannot hear. */
  private excuse(): void {
    for (const member of this.members) {
      if (member.down) continue;
      const silent = this.members.filter((other) => other !== member && (other.down || this.chance(0.1)));
      const peerIds = silent.map(({ replica }) => replica.id);
      member.replica.node.excuse(this.chance(0.7) ? peerIds : [], this.clock(member));
    }
  }

  private propose(member: Member): void {
    for (let count = 1 + Math.floor(this.random() * 3); count > 0; count--) {
      member.replica.node.propose(Buffer.from(`p${this.nextProposal++}`), this.clock(member));
    }
  }

  private read(member: Member): void {
    const id = this.nextRead++;
    const committedBefore = this.committed.length;
    if (member.replica.node.readIndex(id, this.clock(member)).ok) member.reads.set(id, { committedBefore });
  }

  private transfer(): void {
    const to = this.pick(this.members).replica.id;
    const leader = this.members.find((one) => one.leading && !one.down);
    if (leader?.replica.node.transferLeadership(to, this.clock(leader))) this.stats.transfers++;
  }

  private crash(member: Member): void {
    this.stats.crashes++;
    this.tellLost(member);
    member.down = true;
    member.replica.crash();
    member.reads.clear();
    member.leading = false;
    member.commit = 0;
  }

  private crashAndRestart(member: Member): void {
    this.crash(member);
    this.restart(member);
  }

  private restart(member: Member): void {
    member.down = false;
    member.replica.restart(this.clock(member));
    const { term } = member.replica.node;
    this.demand(term <= member.term, 'a restart invented a term');
    member.term = term;
  }

  private repartition(): void {
    this.cutOff.clear();
    if (this.chance(0.3)) return;
    const leader = this.members.find(({ leading }) => leading);
    if (leader !== undefined && this.chance(0.5)) this.cutOff.add(leader.replica.id);
    else for (const member of this.members) if (this.chance(0.4)) this.cutOff.add(member.replica.id);
  }

  // --- what must hold -----------------------------------------------------------------------------------------------

  private check(): void {
    for (const member of this.members) {
      if (member.down) continue;
      const { node, id } = member.replica;
      if (node.isHibernating && !member.asleep) this.stats.hibernations++;
      member.asleep = node.isHibernating;
      this.demand(node.term >= member.term, `${id}: its term fell to ${node.term} from ${member.term}`);
      this.demand(node.commit >= member.commit, `${id}: its commit fell to ${node.commit} from ${member.commit}`);
      const leading = node.role === 'leader';
      if (leading && (!member.leading || node.term !== member.term)) this.checkElection(member);
      member.leading = leading;
      member.term = node.term;
      if (node.commit > member.commit) this.checkCommit(member);
      member.commit = node.commit;
      this.checkMembership(member);
    }
    for (const member of this.members) if (!member.down && member.leading) this.checkLease(member);
  }

  /** Election safety, and leader completeness. */
  private checkElection(member: Member): void {
    const { node, id } = member.replica;
    const { term } = node;
    const other = this.leaders.get(term);
    // The only voter may forget that it began a term, if nothing of it was synced: it alone knew.
    const { voters, votersOutgoing } = node.membership;
    const forgotten = other === id && [...voters, ...votersOutgoing].every((voter) => voter === id);
    this.demand(other === undefined || forgotten, `${id} and ${other} lead term ${term}`);
    this.leaders.set(term, id);
    this.stats.elections++;
    const log = logOf(member);
    this.demand(node.membership.voters.length > 0, `${id} leads a group that it does not know`);
    for (const { entry, inTerm } of this.committed) {
      if (inTerm >= term) break;
      // Compacted: committed, so it was checked.
      if (entry.index < log.firstIndex - 1) continue;
      const found = log.term(entry.index);
      this.demand(found === entry.term, `leader ${id} of term ${term} lacks ${entry.index}/${entry.term}`);
    }
  }

  /** State-machine safety: an index is committed once, with one entry. */
  private checkCommit(member: Member): void {
    const { node, id } = member.replica;
    const log = logOf(member);
    // What a snapshot brings must have been committed, up to an entry of that term.
    const compacted = log.firstIndex - 1;
    if (compacted > member.commit) {
      const known = this.committed[compacted - 1]?.entry.term;
      this.demand(known === log.term(compacted), `${id} has a snapshot at ${compacted}, where ${known} is committed`);
    }
    for (let index = Math.max(member.commit, compacted) + 1; index <= node.commit; index++) {
      const entry = log.slice(index, index + 1, 1)[0]!;
      const known = this.committed[index - 1]?.entry;
      if (known === undefined) {
        this.demand(this.committed.length === index - 1, `${id} commits ${index} before what is below it`);
        this.committed.push({ entry, inTerm: node.term });
        this.stats.committed++;
      } else {
        const same = known.term === entry.term && Buffer.compare(known.data, entry.data) === 0;
        this.demand(same, `${id} commits ${index}/${entry.term}, and ${known.term} was committed there`);
      }
    }
  }

  /** All replicas have the same configuration at the same index. */
  private checkMembership({ replica }: Member): void {
    const { applied, membership } = replica.disk;
    if (membership.voters.length === 0) return;
    const text = describeMembership(membership);
    const known = this.memberships.get(applied) ?? text;
    this.memberships.set(applied, known);
    this.demand(known === text, `${replica.id} has ${text} at ${applied}, and another has ${known}`);
  }

  /** While a lease holds nobody leads a later term, so nothing was committed that its holder does not know. */
  private checkLease(member: Member): void {
    const { node, id } = member.replica;
    if (!node.hasLease(this.clock(member))) return;
    this.stats.leaseChecks++;
    const rival = this.members.find(({ replica, leading }) => leading && replica.node.term > node.term);
    this.demand(rival === undefined, `${id} has a lease in ${node.term}, and ${rival?.replica.id} leads a later term`);
    this.demand(node.commit >= this.committed.length, `${id} has a lease and lacks what is committed`);
  }

  /** What is acknowledged or voted survives a crash. */
  private checkDurable(member: Member, message: RaftMessage): void {
    const { disk, id } = member.replica;
    if (message.reject) return;
    if (message.kind === 'appendResponse') {
      // An answer to a leader that is already overthrown: its entries may be replaced by now, and it can commit nothing.
      if (message.term < disk.syncedHardState.term) return;
      this.demand(message.index <= disk.syncedIndex, `${id} acknowledged ${message.index}, which it may forget`);
    } else if (message.kind === 'voteResponse' || message.kind === 'vote') {
      const { term, vote } = disk.syncedHardState;
      const candidate = message.kind === 'vote' ? id : message.to;
      const kept = term > message.term || (term === message.term && vote === candidate);
      this.demand(kept, `${id} voted in term ${message.term}, which it may forget`);
    }
  }

  /** Logs that share an entry share all before it. */
  private checkLogMatching(): void {
    const logs = this.members.map((member) => member.replica.disk);
    for (const one of logs) {
      for (const other of logs) {
        const first = Math.max(one.firstIndex, other.firstIndex);
        let index = Math.min(one.lastIndex, other.lastIndex);
        while (index >= first && one.term(index) !== other.term(index)) index--;
        for (; index >= first; index--) {
          const [a, b] = [one.all()[index - one.firstIndex]!, other.all()[index - other.firstIndex]!];
          const same = a.term === b.term && Buffer.compare(a.data, b.data) === 0;
          this.demand(same, `logs agree above ${a.index} and not there`);
        }
      }
    }
  }

  // --- the end of the faults ----------------------------------------------------------------------------------------

  /** Everything works again: there must be one leader, and all must apply the same. */
  private recover(): void {
    this.cutOff.clear();
    for (const member of this.members) if (member.down) this.restart(member);
    for (const { replica } of this.members) replica.node.excuse([], this.clock(this.members[replica.id - 1]!));
    let proposed = 0;
    for (let round = 0; round < 300; round++) {
      this.everyoneTurns(5);
      if (round === 200) {
        const leader = this.members.find(({ leading }) => leading);
        if (leader === undefined) throw new BrokenPromise('nobody leads, and nothing is wrong any more');
        const result = leader.replica.node.propose(Buffer.from('last'), this.clock(leader));
        proposed = result.ok ? result.index : 0;
      }
    }
    const group = this.members.find(({ leading }) => leading)?.replica.node.membership;
    if (group === undefined) throw new BrokenPromise('nobody leads at the end');
    for (const { replica } of this.members) {
      const caughtUp = replica.disk.applied >= proposed || !isMember(group, replica.id);
      this.demand(proposed > 0 && caughtUp, `${replica.id} did not catch up`);
      replica.applied.forEach((entry, at) =>
        this.demand(
          entry === undefined || this.committed[at]?.entry.term === entry.term,
          'applied what was not committed',
        ),
      );
    }
  }

  /** Time passes, and everything that is up and was sent works. */
  private everyoneTurns(durationMs: number): void {
    this.timeMs += durationMs;
    for (const member of this.members) {
      if (member.down) continue;
      this.finish(member);
      this.tick(member);
      this.begin(member);
      this.finish(member);
      member.replica.apply();
      this.check();
    }
    const arrived = this.wire;
    this.wire = [];
    for (const message of arrived) {
      const to = this.members[message.to - 1]!;
      if (to.down || this.cutOff.has(message.from) !== this.cutOff.has(message.to)) continue;
      to.replica.step(message, this.clock(to));
      this.check();
    }
    while (this.unreported.length > 0) this.reportSnapshot();
  }

  // --- helpers ------------------------------------------------------------------------------------------------------

  private member(peerId: number, group: Membership, limits: Partial<RaftConfig>): Member {
    const config: RaftConfig = {
      ...DEFAULT_CONFIG,
      ...limits,
      peerId,
      electionTimeoutMs: TIMEOUT_MS,
      heartbeatMs: 15,
      maxClockDrift: MAX_DRIFT,
      // Short waits are the dangerous ones.
      random: () => (this.chance(0.5) ? 0 : this.random()),
    };
    // Two clocks are at most a factor of 1 + MAX_DRIFT apart.
    const clockRate = 1 + (this.random() - 0.5) * 0.95 * MAX_DRIFT;
    const replica = new Replica(config, group, this.timeMs * clockRate);
    replica.appliesLater = this.faults.slowApply;
    replica.disk.losesApplied = this.faults.losesApplied;
    return { replica, clockRate, reads: new Map(), down: false, term: 0, commit: 0, leading: false, asleep: false };
  }

  private clock(member: Member): number {
    return this.timeMs * member.clockRate;
  }

  private chance(share: number): boolean {
    return this.random() < share;
  }

  private pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.random() * items.length)]!;
  }

  private demand(holds: boolean, promise: string): void {
    if (!holds) throw new BrokenPromise(promise);
  }
}

/** The log as the node sees it, with what is not written yet. */
function logOf(member: Member): RaftLog {
  return (member.replica.node as unknown as { log: RaftLog }).log;
}
