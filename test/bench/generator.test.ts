/** The load generator: what it counts, and that a slow store cannot hide. */

import type { Session, Usage } from '../../bench/driver.ts';
import { intendedStart, loadRecords, runLoad, type LoadPlan, type LoadResult } from '../../bench/generator.ts';
import { Recorder } from '../../bench/recorder.ts';
import { Workload, WORKLOADS, type WorkloadOptions, type WorkloadSpec } from '../../bench/workload.ts';
import { assert, rejects, suite } from '../harness.ts';

const OPTIONS: WorkloadOptions = { records: 100, valueBytes: 8, batchSize: 4, scanLength: 10, seed: 1 };
const test = suite('load generator');

/** A store that answers every call as `answer` does. */
function storeThat(answer: () => Promise<unknown>): Session {
  return {
    put: answer,
    get: async () => (await answer()) as undefined,
    batch: answer,
    scan: async () => ((await answer()) as number | undefined) ?? 0,
    close: async () => {},
  };
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function plan(overrides: Partial<LoadPlan>): LoadPlan {
  return { concurrency: 4, targetPerSecond: undefined, warmupMs: 0, durationMs: 500, ...overrides };
}

function run(session: Session, overrides: Partial<LoadPlan>, name = 'put', usages: Usage[] = []): Promise<LoadResult> {
  const workload = new Workload(WORKLOADS[name] as WorkloadSpec, OPTIONS);
  return runLoad(session, workload, plan(overrides), {
    usage: async () => usages.shift() ?? { cpuSeconds: {}, fsyncs: undefined },
  });
}

test('an open loop counts the time that a stalled store made its calls wait, not only the time they were in it', async () => {
  // The store stands still for 300 ms in the middle of 600 ms. A closed loop of one caller would see one slow call.
  const startedMs = performance.now();
  const store = storeThat(async () => {
    const sinceMs = performance.now() - startedMs;
    if (sinceMs > 150 && sinceMs < 450) await sleep(450 - sinceMs);
  });
  const { recorder, due, abandoned } = await run(store, { targetPerSecond: 200, durationMs: 600, concurrency: 1000 });
  assert.is(due, 120);
  assert.is(abandoned, 0);
  assert.is(recorder.calls, 120);
  const latency = recorder.latencies.put;
  // Half of the calls were due during the stall, and waited 150 ms on average.
  assert.ok(latency !== undefined && latency.meanMs > 40, `mean ${latency?.meanMs} ms`);
  assert.ok(latency.p90Ms > 150, `p90 ${latency.p90Ms} ms`);
});

test('an open loop whose calls may not all be under way counts the wait before their begin', async () => {
  const store = storeThat(() => sleep(20));
  const { recorder, due, abandoned, inFlight } = await run(store, { targetPerSecond: 200, concurrency: 2 });
  assert.is(due, 100);
  // Two at a time of 20 ms each are 100 a second: the queue grows all the time, and half of it is never begun.
  assert.ok(abandoned > 20, `${abandoned} abandoned`);
  assert.ok(recorder.calls + abandoned >= due, `${recorder.calls} answered, ${abandoned} abandoned`);
  assert.ok((recorder.latencies.put?.p90Ms ?? 0) > 100);
  assert.ok(inFlight.max <= 2);
});

test('intended starts keep the rate that was asked for, on a grid of whole milliseconds', () => {
  assert.is(intendedStart(0, 0, 3000), 0);
  assert.is(intendedStart(0, 3000, 3000), 1000);
  assert.is(intendedStart(0, 1, 3000), 1);
  assert.is(intendedStart(5, 30_000, 3000), 10_005);
});

test('a closed loop has as many calls under way as callers, and no more', async () => {
  let underWay = 0;
  let most = 0;
  const store = storeThat(async () => {
    most = Math.max(most, ++underWay);
    await sleep(1);
    underWay -= 1;
  });
  const { recorder, inFlight } = await run(store, { concurrency: 7 });
  assert.is(most, 7);
  assert.is(inFlight.max, 7);
  assert.ok(recorder.calls > 7);
  assert.is(underWay, 0);
});

test('what the warm-up does is not counted', async () => {
  let calls = 0;
  const store = storeThat(async () => {
    calls += 1;
    await sleep(5);
  });
  const { recorder } = await run(store, { warmupMs: 300, durationMs: 300, concurrency: 1 });
  assert.ok(recorder.calls > 0 && recorder.calls < calls * 0.8, `${recorder.calls} of ${calls}`);
});

test('errors are counted by their code, are no operations, and do not stop the callers', async () => {
  let calls = 0;
  const store = storeThat(async () => {
    calls += 1;
    if (calls % 2 === 0) throw Object.assign(new Error('no'), { code: 'ServerBusy' });
    if (calls % 3 === 0) throw new TypeError('odd');
    await sleep(1);
  });
  const { recorder } = await run(store, { concurrency: 2 });
  assert.equal(Object.keys(recorder.errors), ['ServerBusy', 'TypeError']);
  const failed = Object.values(recorder.errors).reduce((a, b) => a + b, 0);
  assert.ok(recorder.operations > 0);
  assert.ok(recorder.operations + failed <= calls);
});

test('a get that finds nothing is counted, so that a store without data cannot pass for a fast one', async () => {
  const empty = await run(
    storeThat(() => sleep(1)),
    { concurrency: 1 },
    'get',
  );
  assert.ok(empty.recorder.misses >= empty.recorder.calls && empty.recorder.calls > 0);
  const found = async (): Promise<Uint8Array> => {
    await sleep(1);
    return new Uint8Array(1);
  };
  const full = await run({ ...storeThat(() => sleep(1)), get: found }, { concurrency: 1 }, 'get');
  assert.ok(full.recorder.calls > 0);
  assert.is(full.recorder.misses, 0);
});

test('a batch counts as its puts, once as a call', async () => {
  const { recorder } = await run(
    storeThat(() => sleep(1)),
    { concurrency: 1 },
    'batch',
  );
  assert.ok(recorder.calls > 0);
  assert.is(recorder.operations, recorder.calls * OPTIONS.batchSize);
});

test('CPU seconds and fsyncs are the difference over the window', async () => {
  const result = await run(
    storeThat(() => sleep(1)),
    { durationMs: 100 },
    'put',
    [
      { cpuSeconds: { server: 2, broker: 1 }, fsyncs: 100 },
      { cpuSeconds: { server: 5, broker: 1.5 }, fsyncs: 140 },
    ],
  );
  assert.equal(result.serverCpuSeconds, { server: 3, broker: 0.5 });
  assert.is(result.fsyncs, 40);
});

test('loading puts every record once, and fails with the error of a put', async () => {
  const seen: string[] = [];
  const workload = new Workload(WORKLOADS['put'] as WorkloadSpec, OPTIONS);
  const store = { ...storeThat(async () => {}), put: async (key: Uint8Array) => seen.push(String(key)) };
  await loadRecords(store, workload, OPTIONS.records, 16);
  assert.is(seen.length, OPTIONS.records);
  assert.is(new Set(seen).size, OPTIONS.records);
  const broken = storeThat(() => Promise.reject(new Error('the disk is gone')));
  await rejects(loadRecords(broken, workload, OPTIONS.records, 16), /the disk is gone/);
});

test('a workload keeps its mix', () => {
  const workload = new Workload(WORKLOADS['ycsb-b'] as WorkloadSpec, OPTIONS);
  let gets = 0;
  for (let i = 0; i < 20_000; i++) if (workload.choose() === 'get') gets += 1;
  assert.ok(Math.abs(gets / 20_000 - 0.95) < 0.01, `${gets}`);
});

test('the recorder counts a closed loop by the end of a call and an open loop by its intended start', () => {
  const closed = new Recorder(1000, 2000, 'end');
  closed.success('put', 1, 900, 1100);
  closed.success('put', 1, 1900, 2100);
  assert.is(closed.calls, 1);
  const open = new Recorder(1000, 2000, 'start');
  open.success('put', 1, 900, 1100);
  open.success('put', 1, 1900, 2100);
  assert.is(open.calls, 1);
  assert.is(open.latencies.put?.maxMs.toFixed(0), '200');
});

test('the series has a line for every second, and its operations add up', () => {
  // A window as it is computed: 2,000 ms and a hair.
  assert.is(new Recorder(0.1 + 0.2, 2000.3000000000002, 'end').series.length, 2);
  const recorder = new Recorder(0, 2500, 'end');
  for (const endMs of [10, 990, 1010, 2400, 2499]) recorder.success('get', 2, endMs - 10, endMs);
  recorder.failure(new Error('x'), 0, 1500);
  assert.equal(
    recorder.series.map(({ operations }) => operations),
    [4, 2, 4],
  );
  assert.equal(
    recorder.series.map(({ errors }) => errors),
    [0, 1, 0],
  );
});
