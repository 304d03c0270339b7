/** What people may set, with its bounds. Kept durably; each change is whole or refused. */

import { InvalidArgument } from '../../rpc/wire/errors.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { isLabelText } from './labels.ts';

const MIB = 1024 * 1024;

export interface PlacementSettings {
  /** Voters of a region. Odd numbers make sense. */
  readonly replicas: number;
  /** Labels that keep replicas of one region apart, the most important first. */
  readonly spreadBy: readonly string[];
  /** A node that was not heard of for so long gets nothing new. */
  readonly suspectAfterMs: number;
  /** The replicas of a node that was not heard of for so long are replaced. */
  readonly replaceAfterMs: number;
  /** A larger region asks to be split (the regions measure; they are told this). */
  readonly splitSizeBytes: number;
  /** A region with so many reads and writes a second asks to be split. 0: none does. */
  readonly splitLoadPerSecond: number;
  /** A region below this, and cold, is merged into a neighbour, if both together stay below half the split size. 0: none is. */
  readonly mergeSizeBytes: number;
  /** With so many regions of user keys or fewer none is merged but by hand: a cluster that was begun with more keeps them. */
  readonly minimumRegions: number;
  /** A region is not merged within so long after a split or a change of its peers. */
  readonly mergeAfterMs: number;
  /** Fewer reads and writes a second than this make a region cold. */
  readonly coldPerSecond: number;
  /** More reads and writes a second than this may make a region hot. */
  readonly hotPerSecond: number;
  /** Leaders of two nodes may differ by this share of the mean before any moves. */
  readonly leaderTolerance: number;
  /** Sizes of two nodes may differ by this share of the mean. */
  readonly sizeTolerance: number;
  /** Loads of two nodes may differ by this share of the mean. */
  readonly loadTolerance: number;
  /** A node with less than this share of its disk free gets no more replicas. */
  readonly minimumFree: number;
  /** Operators that run at once in the whole cluster. */
  readonly operatorsPerCluster: number;
  /** The same, of one kind. */
  readonly leaderOperators: number;
  readonly replicaOperators: number;
  readonly splitOperators: number;
  readonly mergeOperators: number;
  /** New replicas that one node receives at once. */
  readonly incomingPerNode: number;
  /** New replicas that one node's leaders send at once. */
  readonly outgoingPerNode: number;
  /** Leaders that one node gives away or takes at once. */
  readonly transfersPerNode: number;
  /** Operators that begin in one second in the whole cluster. */
  readonly startsPerSecond: number;
  /** New replicas that one node is given in one second, on average. */
  readonly replicaStartsPerNodePerSecond: number;
}

export const DEFAULT_SETTINGS: PlacementSettings = {
  replicas: 3,
  spreadBy: ['zone', 'rack', 'host'],
  suspectAfterMs: 5_000,
  replaceAfterMs: 10 * 60_000,
  splitSizeBytes: 96 * MIB,
  splitLoadPerSecond: 5_000,
  mergeSizeBytes: 16 * MIB,
  minimumRegions: 1,
  mergeAfterMs: 10 * 60_000,
  coldPerSecond: 20,
  hotPerSecond: 500,
  leaderTolerance: 0.03,
  sizeTolerance: 0.05,
  loadTolerance: 0.2,
  minimumFree: 0.1,
  operatorsPerCluster: 16_384,
  leaderOperators: 4_096,
  replicaOperators: 16_384,
  splitOperators: 256,
  mergeOperators: 256,
  incomingPerNode: 4,
  outgoingPerNode: 8,
  transfersPerNode: 16,
  startsPerSecond: 8_192,
  replicaStartsPerNodePerSecond: 8,
};

interface Bounds {
  readonly min: number;
  readonly max: number;
  readonly whole: boolean;
}

const TIME: Bounds = { min: 100, max: 365 * 24 * 3_600_000, whole: true };
const SIZE: Bounds = { min: 0, max: 2 ** 50, whole: true };
const SHARE: Bounds = { min: 0, max: 1, whole: false };
const RATE: Bounds = { min: 0, max: 1e9, whole: false };
const COUNT: Bounds = { min: 1, max: LIMITS.placementOperators, whole: true };

const BOUNDS: { readonly [K in Exclude<keyof PlacementSettings, 'spreadBy'>]: Bounds } = {
  // One place more is needed while a replica is being replaced.
  replicas: { min: 1, max: LIMITS.peersPerRegion - 1, whole: true },
  suspectAfterMs: TIME,
  replaceAfterMs: TIME,
  splitSizeBytes: { ...SIZE, min: 1024 },
  splitLoadPerSecond: RATE,
  mergeSizeBytes: SIZE,
  minimumRegions: { min: 0, max: 2 ** 31, whole: true },
  mergeAfterMs: { ...TIME, min: 0 },
  coldPerSecond: RATE,
  hotPerSecond: { ...RATE, min: 1 },
  leaderTolerance: SHARE,
  sizeTolerance: SHARE,
  loadTolerance: { ...SHARE, min: 0.01 },
  minimumFree: { ...SHARE, max: 0.9 },
  operatorsPerCluster: COUNT,
  leaderOperators: COUNT,
  replicaOperators: COUNT,
  splitOperators: COUNT,
  mergeOperators: COUNT,
  incomingPerNode: COUNT,
  outgoingPerNode: COUNT,
  transfersPerNode: COUNT,
  startsPerSecond: { min: 0.01, max: 1e6, whole: false },
  replicaStartsPerNodePerSecond: { min: 0.01, max: 1e6, whole: false },
};

/**
 * The settings with `patch` laid over them.
 * @throws InvalidArgument naming the field that is unknown, of the wrong type, out of its bounds, or contradicts another
 */
export function changeSettings(from: PlacementSettings, patch: Readonly<Record<string, unknown>>): PlacementSettings {
  if (Object.keys(patch).length === 0) throw new InvalidArgument('name at least one setting', { field: 'patch' });
  for (const [field, value] of Object.entries(patch)) {
    if (field === 'spreadBy') checkSpreadBy(value);
    else if (Object.hasOwn(BOUNDS, field)) checkNumber(field, value, BOUNDS[field as keyof typeof BOUNDS]);
    else throw new InvalidArgument(`there is no setting '${field}'`, { field });
  }
  const next = { ...from, ...patch } as PlacementSettings;
  if (next.replaceAfterMs < next.suspectAfterMs) {
    throw new InvalidArgument(
      'a node is suspected before it is replaced: replaceAfterMs must be at least suspectAfterMs',
      {
        field: 'replaceAfterMs',
      },
    );
  }
  // Merged regions must stay far from the size at which they would be split again.
  if (next.mergeSizeBytes > next.splitSizeBytes / 4) {
    throw new InvalidArgument(
      'what was merged must not be split again: mergeSizeBytes may be a quarter of splitSizeBytes at most',
      {
        field: 'mergeSizeBytes',
      },
    );
  }
  return next;
}

/** What a patch changes, in words for the log. */
export function describeChange(from: PlacementSettings, patch: Readonly<Record<string, unknown>>): string {
  const shown = (value: unknown): string => (Array.isArray(value) ? `[${value.join(', ')}]` : String(value));
  return Object.entries(patch)
    .map(([name, value]) => `${name}: ${shown(value)} (was ${shown(from[name as keyof PlacementSettings])})`)
    .join(', ');
}

function checkNumber(field: string, value: unknown, { min, max, whole }: Bounds): void {
  if (typeof value === 'number' && value >= min && value <= max && (!whole || Number.isInteger(value))) return;
  throw new InvalidArgument(`${field} must be a ${whole ? 'whole ' : ''}number from ${min} to ${max}`, { field });
}

function checkSpreadBy(value: unknown): void {
  const isList = Array.isArray(value) && value.every(isLabelText);
  if (isList && new Set(value).size === value.length && value.length <= LIMITS.spreadLabels) return;
  throw new InvalidArgument(`spreadBy must be a list of at most ${LIMITS.spreadLabels} different label names`, {
    field: 'spreadBy',
  });
}
