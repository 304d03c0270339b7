/** What the scenarios' verdicts rest on: tiled key spaces, even leaders, what was written, windows of a load that goes on. */

import {
  casesOf,
  judge as judgeRegions,
  type CompareRegionsRequest,
  type RegionsRun,
} from '../../bench/scenarios/compare-regions.ts';
import { isEven, judgeSample, summariseEvenness, type LeaderSample } from '../../bench/scenarios/evenness.ts';
import {
  parseInstalledSnapshots,
  shareUnderWay,
  underWayIn,
  type InstalledSnapshot,
} from '../../bench/scenarios/installed-snapshots.ts';
import { evenAfterMs, type ScaleRound } from '../../bench/scenarios/scale.ts';
import { middleOf, SplitPlan } from '../../bench/scenarios/split-plan.ts';
import { SteadyLoad } from '../../bench/scenarios/steady-load.ts';
import { checkTiling, type TiledRegion } from '../../bench/scenarios/tiling.ts';
import { medianOf, ratioOfMedians, verdict } from '../../bench/scenarios/verdict.ts';
import { Versions, type PlannedWrite } from '../../bench/scenarios/versions.ts';
import { judge } from '../../bench/placement/judge.ts';
import type { PhaseReport } from '../../bench/placement/simulation.ts';
import { Random } from '../../bench/random.ts';
import { assert, suite } from '../harness.ts';

const tiling = suite('a tiled key space');

function region(regionId: number, startKey: string, endKey: string, leaderNodeId = 1): TiledRegion {
  return { regionId, startKey: Buffer.from(startKey), endKey: Buffer.from(endKey), leaderNodeId };
}

tiling('one region, or several side by side in any order, are sound', () => {
  assert.ok(checkTiling([region(2, '', '')]).isSound);
  const report = checkTiling([region(4, 'm', ''), region(2, '', 'c'), region(3, 'c', 'm')]);
  assert.equal(report, { regions: 3, problems: [], leaderless: 0, isSound: true });
});

const BROKEN: readonly (readonly [what: string, regions: TiledRegion[], problem: RegExp])[] = [
  ['no region at all', [], /no regions/],
  ['a gap', [region(2, '', 'c'), region(3, 'd', '')], /no region holds the keys from c to d/],
  ['an overlap', [region(2, '', 'd'), region(3, 'c', '')], /regions 2 and 3 both hold c/],
  ['a region in another', [region(2, '', ''), region(3, 'c', 'd')], /regions 2 and 3 both hold c/],
  ['nothing at the beginning', [region(2, 'a', '')], /before a/],
  ['nothing at the end', [region(2, '', 'x')], /from x on/],
  ['an empty region', [region(2, '', 'c'), region(3, 'c', 'c'), region(4, 'c', '')], /region 3 ends where it begins/],
  ['a region twice', [region(2, '', 'c'), region(2, 'c', '')], /region 2 is there twice/],
];

for (const [what, regions, problem] of BROKEN) {
  tiling(`${what} is found`, () => {
    const report = checkTiling(regions);
    assert.is(report.isSound, false);
    assert.match(report.problems.join('; '), problem);
  });
}

tiling('a region without a leader is not sound, though the key space is tiled', () => {
  const report = checkTiling([region(2, '', 'c'), region(3, 'c', '', 0)]);
  assert.equal(report, { regions: 2, problems: [], leaderless: 1, isSound: false });
});

const even = suite('even leaders');

even('a tenth of the mean, or one where that is more', () => {
  assert.ok(isEven([16, 16, 17]));
  assert.ok(isEven([15, 17, 17]));
  assert.not(isEven([14, 17, 18]), '14 is more than a tenth below 16.3');
  assert.ok(isEven([9, 10, 10, 10, 10]));
  assert.not(isEven([8, 10, 10, 10, 11]));
  assert.ok(isEven([360, 440, 400]));
  assert.not(isEven([359, 441, 400]));
  assert.ok(isEven([49]));
  assert.ok(isEven([1, 1, 0]));
  assert.not(isEven([2, 0, 0]));
});

even('no leaders at all are not even', () => assert.not(isEven([0, 0, 0])));

even(
  'a node that does not answer makes a sample unknown, one that leads although it should not makes it uneven',
  () => {
    assert.is(judgeSample({ 1: 8, 2: 8 }, [1, 2, 3]), undefined);
    assert.is(judgeSample({ 1: 8, 2: 8, 3: 1 }, [1, 2]), false);
    assert.is(judgeSample({ 1: 8, 2: 8, 3: 0 }, [1, 2]), true);
  },
);

even('leaders that were even, then uneven again, are even only since the last time', () => {
  const samples = [false, true, undefined, false, undefined, true, true].map((isEvenNow, at): LeaderSample => {
    return { atMs: at * 250, leaders: {}, isEven: isEvenNow };
  });
  assert.equal(summariseEvenness(samples), { firstMs: 250, sinceMs: 1250, samples: 7, incomplete: 2 });
});

even('leaders that end uneven have no time since when they are even', () => {
  const samples: LeaderSample[] = [
    { atMs: 0, leaders: {}, isEven: true },
    { atMs: 250, leaders: {}, isEven: false },
  ];
  assert.is(summariseEvenness(samples).sinceMs, undefined);
  assert.is(summariseEvenness(samples).firstMs, 0);
});

function roundEvenSince(round: number, sinceMs: readonly (number | undefined)[]): ScaleRound {
  return { round, changes: sinceMs.map((ms) => ({ evenness: { sinceMs: ms } })) } as unknown as ScaleRound;
}

even('of three rounds the median counts, and a round that ends uneven is the slowest', () => {
  const rounds = [
    [9_000, 70_000],
    [undefined, 12_000],
    [8_000, undefined],
  ].map((ms, at) => roundEvenSince(at + 1, ms));
  assert.is(evenAfterMs(rounds, 0), 9_000);
  assert.is(evenAfterMs(rounds, 1), 70_000);
  assert.is(evenAfterMs([...rounds, roundEvenSince(4, [1, undefined])].slice(1), 1), undefined);
});

const snapshots = suite('snapshots that a node installed');

function installed(installedAtMs: number, transferMs: number, installMs: number): InstalledSnapshot {
  return { regionId: 2, sizeBytes: 1, transferMs, installMs, installedAtMs };
}

snapshots('are read from its log, but not from a line that is still being written', () => {
  const line = (regionId: number, msg: string): string =>
    JSON.stringify({ time: 9, regionId, sizeBytes: 7, transferMs: 5, installMs: 2, msg });
  const done = 'a snapshot was installed';
  const log = `not JSON\n${line(2, done)}\n${line(3, 'something else')}\n${line(4, `${done}, they say`)}\n${line(5, done)}`;
  assert.equal(parseInstalledSnapshots(log), [
    { regionId: 2, sizeBytes: 7, transferMs: 5, installMs: 2, installedAtMs: 9 },
  ]);
});

snapshots('count for the part of a window in which they were under way, and for no more', () => {
  assert.is(shareUnderWay([], 1000, 2000), 0);
  assert.is(shareUnderWay([installed(1500, 200, 100)], 1000, 2000), 0.3);
  assert.is(shareUnderWay([installed(1100, 900, 100), installed(2500, 400, 400)], 1000, 2000), 0.4);
  assert.is(shareUnderWay([installed(3000, 2500, 400)], 1000, 2000), 1);
  assert.is(shareUnderWay([installed(900, 100, 100), installed(3000, 900, 50)], 1000, 2000), 0);
});

snapshots('belong to a window only when they were under way in it', () => {
  const before = installed(1000, 100, 100);
  const acrossBoth = [installed(1001, 100, 100), installed(2500, 400, 101)];
  const after = installed(2300, 200, 100);
  assert.equal(underWayIn([before, ...acrossBoth, after], 1000, 2000), acrossBoth);
});

const splits = suite('the next split');

splits('the middle lies between both ends, and there is none where nothing fits', () => {
  const hex = (start: string, end: string): string | undefined => {
    const key = middleOf(Buffer.from(start, 'hex'), Buffer.from(end, 'hex'));
    return key && Buffer.from(key).toString('hex');
  };
  assert.is(hex('', ''), '8000000000000000');
  assert.is(hex('80', ''), 'c000000000000000');
  assert.is(hex('', '01'), '0080000000000000');
  assert.is(hex('00000000000000ff', '0000000000000100'), undefined);
  assert.is(hex('ffffffffffffffff', ''), undefined);
});

splits('a thousand splits of one region tile the key space with ranges alike in size', () => {
  const plan = new SplitPlan([region(2, '', '')]);
  let nextId = 3;
  const regions = new Map([[2, region(2, '', '')]]);
  for (let done = 0; done < 1000; done++) {
    const planned = plan.next();
    if (!planned) throw new Error('nothing is left to be split');
    const parent = regions.get(planned.regionId) as TiledRegion;
    regions.set(planned.regionId, { ...parent, endKey: planned.splitKey });
    regions.set(nextId, { ...parent, regionId: nextId, startKey: planned.splitKey });
    plan.done(planned, nextId++);
  }
  const report = checkTiling([...regions.values()]);
  assert.is(report.isSound, true, report.problems.join('; '));
  const starts = [...regions.values()].map(({ startKey }) => Buffer.concat([startKey, Buffer.alloc(8)]).readUInt16BE());
  const sorted = starts.sort((a, b) => a - b);
  const widths = sorted.map((start, at) => (sorted[at + 1] ?? 65_536) - start);
  assert.equal(
    [...new Set(widths)].sort((a, b) => a - b),
    [64, 128],
    'no region was split twice before another was split once',
  );
});

const written = suite('what was written');

function begin(versions: Versions, key: number): PlannedWrite {
  const write = versions.begin(key);
  if (!write) throw new Error('no key is free');
  return write;
}

written('an acknowledged version or a later one is sound, an older one is lost', () => {
  const versions = new Versions(4, 16, new Random(1));
  const first = begin(versions, 2);
  assert.is(first.key, 2);
  assert.is(versions.judge(2, undefined), 'sound', 'nothing was acknowledged');
  versions.end(first, true);
  const second = begin(versions, 2);
  assert.is(versions.judge(2, first.value), 'sound');
  assert.is(versions.judge(2, second.value), 'sound', 'it was written, and may have taken effect');
  assert.is(versions.judge(2, undefined), 'lost');
  versions.end(second, true);
  assert.is(versions.judge(2, first.value), 'lost');
  assert.is(versions.judge(2, first.value, 1), 'sound', 'of a read that began before the second was acknowledged');
  assert.is(versions.acknowledged, 2);
});

written('a key has one write at a time, and none after one that failed', () => {
  const versions = new Versions(2, 8, new Random(1));
  const first = begin(versions, 0);
  const second = begin(versions, 0);
  assert.is(second.key, 1, 'the next key that is free');
  assert.is(versions.begin(0), undefined);
  versions.end(first, false);
  assert.is(versions.begin(0), undefined, 'the failed write may still take effect');
  versions.end(second, true);
  assert.is(versions.begin(0)?.key, 1);
});

written('a value of another key, or of a version that nobody wrote, is foreign', () => {
  const versions = new Versions(2, 8, new Random(1));
  const write = begin(versions, 0);
  versions.end(write, true);
  assert.is(versions.judge(1, write.value), 'foreign');
  const future = Buffer.from(write.value);
  future.writeUInt32BE(2, 4);
  assert.is(versions.judge(0, future), 'foreign');
  assert.is(versions.judge(0, write.value.subarray(0, 4)), 'foreign');
});

const load = suite('a steady load');

load('errors between windows are counted, but in no window', async () => {
  let fails = false;
  const call = async (): Promise<'put'> => {
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (fails) throw Object.assign(new Error('no'), { code: 'Broken' });
    return 'put';
  };
  const steady = new SteadyLoad(call, { concurrency: 4, targetPerSecond: undefined, timeoutMs: 1000 });
  steady.start();
  const before = await steady.window(100);
  fails = true;
  await new Promise((resolve) => setTimeout(resolve, 50));
  const during = await steady.window(50);
  fails = false;
  assert.is(await steady.stop(), 0);
  assert.equal(before.errors, {});
  assert.ok(before.calls > 0 && before.all.count === before.calls);
  assert.ok((during.errors['Broken'] ?? 0) > 0);
  assert.ok((steady.errors['Broken'] ?? 0) > (during.errors['Broken'] ?? 0));
  assert.equal(steady.errorMessages, { Broken: 'no' });
});

load('an open loop counts what was due in its window, however late it is answered', async () => {
  let release = (): void => {};
  const stalled = new Promise<void>((resolve) => (release = resolve));
  const call = async (): Promise<'get'> => {
    await stalled;
    return 'get';
  };
  const steady = new SteadyLoad(call, { concurrency: 0, targetPerSecond: 200, timeoutMs: 500 });
  steady.start();
  setTimeout(() => release(), 200);
  const report = await steady.window(100);
  await steady.stop();
  assert.ok(report.calls > 0, 'the store stood still for the whole window');
  assert.ok(report.all.maxMs >= 90, `${report.all.maxMs} ms`);
});

const verdicts = suite('verdicts of scenarios');

verdicts('the ratio is that of the medians, not the median of the ratios', () => {
  assert.is(ratioOfMedians([30, 10, 20], [1, 10, 5]), 4);
  assert.is(ratioOfMedians([], [1]), undefined);
  assert.is(ratioOfMedians([1], [0]), undefined);
});

verdicts('windows of one kind are held apart from those of another', () => {
  const windows = [1, 9, 3, 7, 2, 8].map((figure, at) => ({ kind: at % 2 === 0 ? 'quiet' : 'busy', figure }));
  const of = (kind: string): number | undefined => medianOf(windows, kind, ({ figure }) => figure);
  assert.equal([of('quiet'), of('busy'), of('neither')], [2, 8, undefined]);
});

verdicts('a figure that is missing meets nothing, one on its bound does', () => {
  assert.is(verdict('m', undefined, { atMost: 3 }).met, false);
  assert.is(verdict('m', 3, { atMost: 3 }).met, true);
  assert.is(verdict('m', 3.01, { atMost: 3 }).met, false);
  assert.is(verdict('m', 0.79, { atLeast: 0.8 }).met, false);
});

verdicts(
  'placement that comes to rest has failed all the same where a region lacks a replica, or shares a zone',
  () => {
    const phase = (converged: boolean, incomplete: number, sharingZone: number): PhaseReport => {
      return { converged, balance: { incomplete, sharingZone } } as unknown as PhaseReport;
    };
    const met = (zones: number, ...phases: PhaseReport[]): boolean[] => judge({ zones }, phases).map((one) => one.met);
    assert.equal(met(5, phase(true, 0, 0), phase(true, 0, 0)), [true, true, true]);
    assert.equal(met(5, phase(true, 0, 0), phase(false, 1, 2)), [false, false, false]);
    assert.equal(met(3, phase(true, 0, 7)), [true, true], 'two zones are left for three replicas');
  },
);

const regionsCompared = suite('throughput against the number of regions');

function comparison(regions: readonly number[]): CompareRegionsRequest {
  const suiteOptions = { cases: ['put', 'serial'], concurrency: 1_024 } as unknown as CompareRegionsRequest['suite'];
  return { regions, workers: 1, rounds: 1, suite: suiteOptions, callersPerRegion: 16 };
}

function regionsRun(regions: number, caseName: string, concurrency: number, operationsPerSecond: number): RegionsRun {
  const report = { caseName, plan: { concurrency }, operationsPerSecond, latency: {}, errors: {} };
  return { regions, report } as unknown as RegionsRun;
}

const MEASURED = [
  regionsRun(48, 'put', 1_024, 40_000),
  regionsRun(48, 'serial', 1, 900),
  regionsRun(1_000, 'put', 1_024, 16_000),
  regionsRun(1_000, 'serial', 1, 450),
  regionsRun(1_000, 'put', 16_000, 36_000),
  regionsRun(1, 'put', 1_024, 20_000),
  regionsRun(1, 'serial', 1, 900),
];

regionsCompared('a cluster that the common callers cannot load is measured under both loads, others under one', () => {
  const cases = casesOf(comparison([48, 1_000, 1]), MEASURED);
  const seen = cases.map(({ caseName, regions, load, callers, ratio }) => [caseName, regions, load, callers, ratio]);
  assert.equal(seen, [
    ['put', 48, 'common', 1_024, 1],
    ['put', 1_000, 'common', 1_024, 0.4],
    ['put', 1_000, 'saturating', 16_000, 0.9],
    ['put', 1, 'common', 1_024, 0.5],
    ['serial', 48, 'common', 1, 1],
    ['serial', 1_000, 'common', 1, 0.5],
    ['serial', 1, 'common', 1, 1],
  ]);
});

regionsCompared('each load has a verdict of its own, so that one that is missed is not hidden by the other', () => {
  const verdictsOf = judgeRegions(48, casesOf(comparison([48, 1_000, 1]), MEASURED));
  assert.equal(
    verdictsOf.map(({ value, met }) => [value, met]),
    [
      [0.4, false],
      [0.9, true],
      [0.5, true],
    ],
  );
  assert.equal(judgeRegions(1_000, casesOf(comparison([1_000, 48]), MEASURED)), []);
});
