/**
 * When leaders are even: every node leads the mean, give or take a tenth of it, or one where a tenth is less than one
 * (of 49 leaders on 5 nodes 9 or 10 each; of 49 on 3 nodes 15 to 17).
 */

const SHARE = 0.1;

/** By how many leaders a node may miss the mean. */
export function leaderTolerance(mean: number): number {
  return Math.max(1, mean * SHARE);
}

/** @param counts the leaders of every live node */
export function isEven(counts: readonly number[]): boolean {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return false;
  const mean = total / counts.length;
  // Of a hair: 9 is within one of 9.999….
  const allowed = leaderTolerance(mean) + 1e-9;
  return counts.every((count) => Math.abs(count - mean) <= allowed);
}

/** How many leaders each node counted itself at one moment. */
export interface LeaderSample {
  /** Since the change began. */
  readonly atMs: number;
  /** By node id; a node that did not answer in time is missing. */
  readonly leaders: Readonly<Record<number, number>>;
  /** Undefined: some node did not answer, so nobody knows. */
  readonly isEven: boolean | undefined;
}

/**
 * @param leaders by node id, of all nodes that answered
 * @param wanted the nodes over which leaders are to be even; no other may lead anything
 */
export function judgeSample(leaders: Readonly<Record<number, number>>, wanted: readonly number[]): boolean | undefined {
  if (wanted.some((nodeId) => leaders[nodeId] === undefined)) return undefined;
  const elsewhere = Object.entries(leaders).some(([nodeId, count]) => count > 0 && !wanted.includes(Number(nodeId)));
  return !elsewhere && isEven(wanted.map((nodeId) => leaders[nodeId] as number));
}

export interface Evenness {
  /** When leaders were even for the first time. */
  readonly firstMs: number | undefined;
  /** From when on they were even in every sample. */
  readonly sinceMs: number | undefined;
  readonly samples: number;
  /** Samples in which some node did not answer; they count neither way. */
  readonly incomplete: number;
}

export function summariseEvenness(samples: readonly LeaderSample[]): Evenness {
  const known = samples.filter((sample) => sample.isEven !== undefined);
  const lastUneven = known.findLastIndex((sample) => !sample.isEven);
  return {
    firstMs: known.find((sample) => sample.isEven)?.atMs,
    sinceMs: known[lastUneven + 1]?.atMs,
    samples: samples.length,
    incomplete: samples.length - known.length,
  };
}
