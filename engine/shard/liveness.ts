/**
 * Which other nodes can be heard. A region that hibernates says nothing, so nobody in it would miss a leader that is gone;
 * instead the nodes tell each other, once for all their regions, that they are there: any frame says so, and where there
 * is none to send, an empty one (a beacon). Pure: the time comes in as an argument.
 *
 * Silence counts only as long as this worker listened. One that was stalled, by a long garbage collection or a stopped
 * process, has not heard anybody either; it gives all of them the whole time again that it missed.
 */

export interface LivenessConfig {
  /** How often every node is told that this one is there. */
  readonly beaconMs: number;
  /** After so much silence a node is lost. */
  readonly lostAfterMs: number;
}

/** The beacon of a cluster with this election time-out: several may go astray before their node is taken for lost. */
export function livenessOf(electionTimeoutMs: number): LivenessConfig {
  return { beaconMs: electionTimeoutMs / 2, lostAfterMs: electionTimeoutMs * 2.5 };
}

export class Liveness {
  readonly #config: LivenessConfig;
  /** When each was heard last, on the clock of what was listened. */
  readonly #heardAtMs = new Map<number, number>();
  readonly #lost = new Set<number>();
  #listenedMs = 0;
  #lookedAtMs: number;
  #beaconAtMs = 0;

  constructor(config: LivenessConfig, nowMs: number) {
    this.#config = config;
    this.#lookedAtMs = nowMs;
  }

  /** How often to look, and to tell the others. */
  get periodMs(): number {
    return this.#config.beaconMs;
  }

  /** Those that are watched. */
  get nodes(): Iterable<number> {
    return this.#heardAtMs.keys();
  }

  /** Begins to watch a node; it is taken to be there until it has been silent for long enough. */
  watch(nodeId: number): void {
    if (!this.#heardAtMs.has(nodeId)) this.#heardAtMs.set(nodeId, this.#listenedMs);
  }

  unwatch(nodeId: number): void {
    this.#heardAtMs.delete(nodeId);
    this.#lost.delete(nodeId);
  }

  isLost(nodeId: number): boolean {
    return this.#lost.has(nodeId);
  }

  get lostNodes(): ReadonlySet<number> {
    return this.#lost;
  }

  /** A frame of that node came. True: it had been lost. */
  heard(nodeId: number): boolean {
    if (!this.#heardAtMs.has(nodeId)) return false;
    this.#heardAtMs.set(nodeId, this.#listenedMs);
    return this.#lost.delete(nodeId);
  }

  /**
   * Looks at the clock; to be called at least once a beacon, after everything that had arrived was taken. Returns the
   * nodes that are lost since the last call.
   */
  look(nowMs: number): number[] {
    this.#listenedMs += Math.min(nowMs - this.#lookedAtMs, this.#config.beaconMs);
    this.#lookedAtMs = nowMs;
    const lost: number[] = [];
    for (const [nodeId, heardAtMs] of this.#heardAtMs) {
      if (this.#listenedMs - heardAtMs < this.#config.lostAfterMs || this.#lost.has(nodeId)) continue;
      this.#lost.add(nodeId);
      lost.push(nodeId);
    }
    return lost;
  }

  /** Whether the others are to be told now that this node is there; answers true once a beacon. */
  isBeaconDue(nowMs: number): boolean {
    if (nowMs < this.#beaconAtMs) return false;
    this.#beaconAtMs = nowMs + this.#config.beaconMs;
    return true;
  }
}
