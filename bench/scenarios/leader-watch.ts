/** Asks the nodes how many regions they lead, over and over; and keeps what they said last of the snapshots they moved. */

import type { Admin, NodeStatus } from '../../tools/admin.ts';
import { judgeSample, type LeaderSample } from './evenness.ts';

const SAMPLE_MS = 250;
/** Questions that may be on their way at once: a node that is slow to answer must not make the samples rare. */
const MOST_ASKED = 8;

export interface Movement {
  /** Replicas that were made from a snapshot, and bytes of those. */
  readonly snapshots: number;
  readonly snapshotBytes: number;
}

export class LeaderWatch {
  private readonly admin: Admin;
  private readonly countNodes: () => number;
  private readonly lastStatus = new Map<number, NodeStatus>();
  private readonly timer: NodeJS.Timeout;
  private wanted: readonly number[] = [];
  private beganMs = performance.now();
  private samples: LeaderSample[] = [];
  private asked = 0;

  /** @param countNodes how many processes run, all of which should answer */
  constructor(admin: Admin, countNodes: () => number) {
    this.admin = admin;
    this.countNodes = countNodes;
    this.timer = setInterval(() => void this.sample(), SAMPLE_MS);
  }

  /** A change begins: from now on leaders are to be even over these nodes. */
  begin(wanted: readonly number[]): void {
    this.wanted = wanted;
    this.beganMs = performance.now();
    this.samples = [];
  }

  /** Since `begin`, in order. */
  get taken(): readonly LeaderSample[] {
    return this.samples;
  }

  /** Of all nodes there ever were, as far as they told before they went. */
  get movement(): Movement {
    const sum = (field: string): number =>
      [...this.lastStatus.values()].reduce((total, status) => total + Number(status[field] ?? 0), 0);
    return { snapshots: sum('snapshotsInstalled'), snapshotBytes: sum('snapshotBytesReceived') };
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private async sample(): Promise<void> {
    if (this.asked >= MOST_ASKED) return;
    const { samples, wanted } = this;
    const atMs = Math.round(performance.now() - this.beganMs);
    this.asked += 1;
    const answers = await this.admin.nodes({ expected: this.countNodes() }).catch(() => []);
    this.asked -= 1;
    for (const status of answers) this.lastStatus.set(status.nodeId, status);
    const leaders = Object.fromEntries(answers.map((status) => [status.nodeId, Number(status['leaders'])]));
    samples.push({ atMs, leaders, isEven: judgeSample(leaders, wanted) });
    samples.sort((a, b) => a.atMs - b.atMs);
  }
}
