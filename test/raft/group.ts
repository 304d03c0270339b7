/** A group of replicas that deliver each other's messages at once, except where a test has cut the wires. */

import type { RaftConfig, RaftMessage } from '../../engine/raft/index.ts';
import { votersOnly } from '../../engine/raft/index.ts';
import { DEFAULT_CONFIG, Replica } from './replica.ts';
import type { Disk } from './disk.ts';
import { seededRandom } from './random.ts';

export interface GroupOptions {
  readonly config?: Partial<RaftConfig>;
  readonly seed?: number;
  readonly prepare?: (disk: Disk, peerId: number) => void;
}

export class Group {
  nowMs = 0;
  readonly replicas: readonly Replica[];
  /** Messages are dropped when it says so. */
  drops: (message: RaftMessage) => boolean = () => false;
  readonly down = new Set<number>();

  constructor(size: number, options: GroupOptions = {}) {
    const voters = Array.from({ length: size }, (_, at) => at + 1);
    this.replicas = voters.map(
      (peerId) =>
        new Replica(
          {
            ...DEFAULT_CONFIG,
            peerId,
            random: seededRandom((options.seed ?? 1) * 100 + peerId),
            ...options.config,
          },
          votersOnly(voters),
          0,
          (disk) => options.prepare?.(disk, peerId),
        ),
    );
  }

  replica(peerId: number): Replica {
    return this.replicas[peerId - 1]!;
  }

  get leaders(): readonly Replica[] {
    return this.replicas.filter((replica) => !this.down.has(replica.id) && replica.node.role === 'leader');
  }

  /** The leader of the highest term. */
  get leader(): Replica {
    const leader = [...this.leaders].sort((a, b) => b.node.term - a.node.term)[0];
    if (leader === undefined) throw new Error('no leader');
    return leader;
  }

  cut(...peerIds: number[]): void {
    this.drops = (message) => peerIds.includes(message.from) || peerIds.includes(message.to);
  }

  heal(): void {
    this.drops = () => false;
  }

  crash(peerId: number): void {
    this.down.add(peerId);
    this.replica(peerId).crash();
  }

  restart(peerId: number): void {
    this.down.delete(peerId);
    this.replica(peerId).restart(this.nowMs);
  }

  deliver(message: RaftMessage): void {
    if (this.down.has(message.to) || this.down.has(message.from) || this.drops(message)) return;
    this.replicas[message.to - 1]?.step(message, this.nowMs);
  }

  /** Turns until nobody has anything to do. */
  settle(): void {
    for (let turns = 0; this.turn(); turns++) if (turns > 10_000) throw new Error('the group does not come to rest');
  }

  /** One turn of every replica: whether any had something to do. */
  turn(): boolean {
    const outgoing: RaftMessage[] = [];
    let worked = false;
    for (const replica of this.replicas) {
      if (this.down.has(replica.id) || !replica.node.hasReady()) continue;
      worked = true;
      outgoing.push(...replica.begin(this.nowMs), ...replica.finish());
    }
    for (const message of outgoing) this.deliver(message);
    return worked;
  }

  /** Lets time pass in steps of a worker's timer. */
  advance(durationMs: number, stepMs = 10): void {
    const untilMs = this.nowMs + durationMs;
    while (this.nowMs < untilMs) {
      this.nowMs = Math.min(this.nowMs + stepMs, untilMs);
      for (const replica of this.replicas) if (!this.down.has(replica.id)) replica.node.tick(this.nowMs);
      this.settle();
    }
  }

  elect(peerId: number): Replica {
    this.replica(peerId).node.campaign(this.nowMs);
    this.settle();
    if (this.replica(peerId).node.role !== 'leader') throw new Error(`${peerId} was not elected`);
    return this.replica(peerId);
  }
}

export function bytes(text: string): Uint8Array {
  return Buffer.from(text);
}

/** The data of applied entries, no-ops left out. */
export function appliedText(replica: Replica): string[] {
  return replica.applied.filter((entry) => entry.data.length > 0).map((entry) => Buffer.from(entry.data).toString());
}
