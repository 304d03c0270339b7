/**
 * Which slots a hot worker of a node gives away. Pure: it is shown what each worker and slot did in each period, and says
 * what to move. A worker must be hot, and hotter than another by far, for several periods in a row; what it gives away must
 * not make the other one the hotter of the two; and after a move there is a rest in which the figures settle.
 */

export interface SlotWork {
  readonly slot: number;
  /** Messages and requests in the period. */
  readonly work: number;
}

export interface WorkerLoad {
  readonly worker: number;
  /** Share of the period in which the worker's thread was busy, 0 to 1. */
  readonly busyShare: number;
  /** Its hottest slots. */
  readonly slots: readonly SlotWork[];
  /** Of all its slots. */
  readonly work: number;
}

export interface SlotMove {
  readonly slot: number;
  readonly to: number;
}

/** From which a worker is hot, by how much more than the idlest, and for how many periods in a row. */
const HOT_SHARE = 0.6;
const LEAST_DIFFERENCE = 0.2;
const HOT_PERIODS = 3;
/** Periods without a decision behind one that moved something. */
const REST_PERIODS = 5;
const MOST_MOVES = 4;

export class SlotBalance {
  readonly #hotPeriods = new Map<number, number>();
  #restPeriods = 0;

  /** What is to be moved after a period; all workers are in it, or nothing is decided. */
  decide(loads: readonly WorkerLoad[]): SlotMove[] {
    const [hottest, coolest] = extremes(loads);
    if (!hottest || !coolest) return [];
    const isHot = hottest.busyShare >= HOT_SHARE && hottest.busyShare - coolest.busyShare >= LEAST_DIFFERENCE;
    for (const { worker } of loads) {
      if (!isHot || worker !== hottest.worker) this.#hotPeriods.delete(worker);
    }
    if (this.#restPeriods > 0) {
      this.#restPeriods--;
      return [];
    }
    if (!isHot) return [];
    const periods = (this.#hotPeriods.get(hottest.worker) ?? 0) + 1;
    this.#hotPeriods.set(hottest.worker, periods);
    if (periods < HOT_PERIODS) return [];
    const moves = pick(hottest, coolest);
    if (moves.length > 0) {
      this.#restPeriods = REST_PERIODS;
      this.#hotPeriods.clear();
    }
    return moves;
  }
}

/**
 * The hottest slots that together bring the two at most to the middle. What a slot takes of a worker's time is its share
 * of the work; one that is more than half the difference would only make the other worker the hot one.
 */
function pick(hottest: WorkerLoad, coolest: WorkerLoad): SlotMove[] {
  if (hottest.work === 0) return [];
  let budget = ((hottest.busyShare - coolest.busyShare) / 2 / hottest.busyShare) * hottest.work;
  const moves: SlotMove[] = [];
  for (const { slot, work } of hottest.slots.toSorted((a, b) => b.work - a.work)) {
    if (moves.length >= MOST_MOVES) break;
    if (work === 0 || work > budget) continue;
    budget -= work;
    moves.push({ slot, to: coolest.worker });
  }
  return moves;
}

function extremes(loads: readonly WorkerLoad[]): [WorkerLoad | undefined, WorkerLoad | undefined] {
  if (loads.length < 2) return [undefined, undefined];
  const sorted = loads.toSorted((a, b) => b.busyShare - a.busyShare);
  return [sorted[0], sorted.at(-1)];
}
