/** `npm run bench`: three fresh nodes and a broker on loopback, loaded, reported, stopped; in less than a minute. */

import { conclude } from './conclude.ts';
import { createDriver } from './drivers.ts';
import { describeEnvironment } from './environment.ts';
import { listenForInterrupt } from './interrupt.ts';
import { createProgress } from './progress.ts';
import { formatEnvironment, formatSuite } from './report.ts';
import { CASES, runSuite, type SuiteOptions } from './suite.ts';

const USAGE = `usage: npm run bench    (no arguments; 'node dist/bench/mraft-bench.js --help' shows everything else)`;

const REGIONS = 48;
/** Three nodes share the cores of one machine: more threads would only take them from each other. */
const WORKERS = 1;

const SUITE: SuiteOptions = {
  cases: CASES,
  workload: { records: 100_000, valueBytes: 128, batchSize: 32, scanLength: 100, seed: 1 },
  concurrency: 1024,
  batchConcurrency: 256,
  warmupMs: 1_500,
  durationMs: 4_000,
};

async function main(): Promise<void> {
  const environment = await describeEnvironment();
  process.stderr.write('starting a broker and three nodes, then putting, batching, getting …\n');
  const signal = listenForInterrupt();
  const progress = createProgress();
  try {
    const driver = await createDriver('mraft', { regions: REGIONS, workers: WORKERS });
    const reports = await runSuite(driver, SUITE, { onProgress: progress.update, signal });
    progress.stop();
    process.stdout.write(`${formatEnvironment({ ...environment, command: 'npm run bench' })}\n${formatSuite(reports)}`);
  } finally {
    progress.stop();
  }
}

if (process.argv.length > 2) {
  process.stderr.write(`${USAGE}\n`);
  process.exitCode = 2;
} else await conclude(main());
