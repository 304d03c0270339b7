/** The commands of mraft-bench that do something to a cluster while it is under load. */

import type { Command } from 'commander';

import { describeEnvironment } from '../environment.ts';
import { listenForInterrupt } from '../interrupt.ts';
import { createProgress, type Progress } from '../progress.ts';
import { formatEnvironment } from '../report.ts';
import { compareRegions } from './compare-regions.ts';
import {
  parseCompareRegions,
  parseIdle,
  parseScale,
  parseSnapshot,
  parseSplit,
  withCompareRegionsFlags,
  withIdleFlags,
  withScaleFlags,
  withSnapshotFlags,
  withSplitFlags,
} from './flags.ts';
import { runIdle } from './idle.ts';
import { formatIdle } from './idle-report.ts';
import { formatRegionsComparison, formatScale, formatSplit } from './report.ts';
import { runScale } from './scale.ts';
import { runSnapshot } from './snapshot.ts';
import { formatSnapshot } from './snapshot-report.ts';
import { runSplit } from './split.ts';
import type { ScenarioHooks } from './stage.ts';

const SPLIT_HELP = `
Quiet windows and windows in which regions are split one after the other, on three nodes of its own; then whether every
key still lies in one region that has a leader and serves. It ends with 1 when that is not so.

Examples:
  mraft-bench split
  mraft-bench split --rounds 5 --duration 10 --pause-ms 500
  mraft-bench split --thousand                           a thousand splits in a row, under the same load
  mraft-bench split --splits 200 -c 0                    without load
`;

const SCALE_HELP = `
Nodes join with 'mraft serve --join' and leave by being drained. It ends with 1 when an acknowledged write is lost.

Examples:
  mraft-bench scale                                      1 → 3 → 5 → 3 → 1 nodes, three rounds
  mraft-bench scale --steps 3,4,3 --leave oldest --observe 30 --rounds 1
`;

const COMPARE_REGIONS_HELP = `
Examples:
  mraft-bench compare-regions                            1,000 regions and one, held against 48
  mraft-bench compare-regions --regions 48,480 --workloads put,get --rounds 1
`;

const IDLE_HELP = `
Examples:
  mraft-bench idle                                       2,000 regions that sleep, three rounds
  mraft-bench idle --regions 500 --rounds 1 --json
`;

const SNAPSHOT_HELP = `
A region on three nodes, and a fourth that is given a replica without a vote, by a snapshot, again and again. 'speed' lifts the
rate limit; 'foreground' has callers that put, and the limit that nodes have by default.

Examples:
  mraft-bench snapshot
  mraft-bench snapshot --parts speed --megabytes 256 --value-size 128
`;

export function addScenarios(program: Command): void {
  withSplitFlags(scenario(program, 'split', 'what callers feel while regions are split', SPLIT_HELP)).action(
    async (_flags, command: Command) => {
      const { request, json } = parseSplit(command);
      const report = await perform((hooks) => runSplit(request, hooks));
      await print(json, report, () => formatSplit(report));
      if (!report.isSound) process.exitCode = 1;
    },
  );
  withScaleFlags(scenario(program, 'scale', 'nodes join and leave under load', SCALE_HELP)).action(
    async (_flags, command: Command) => {
      const { request, json } = parseScale(command);
      const report = await perform((hooks) => runScale(request, hooks));
      await print(json, report, () => formatScale(report));
      if (!report.isSound) process.exitCode = 1;
    },
  );
  withCompareRegionsFlags(
    scenario(program, 'compare-regions', 'throughput against the number of regions', COMPARE_REGIONS_HELP),
  ).action(async (_flags, command: Command) => {
    const { request, json } = parseCompareRegions(command);
    const report = await perform((hooks, progress) =>
      compareRegions(request, {
        ...hooks,
        onRound: (round, regions) => progress.phase(`round ${round}/${request.rounds}, ${regions} regions`),
      }),
    );
    await print(json, report, () => formatRegionsComparison(report));
  });
  withIdleFlags(scenario(program, 'idle', 'what regions cost that have nothing to do', IDLE_HELP)).action(
    async (_flags, command: Command) => {
      const { request, json } = parseIdle(command);
      const report = await perform((hooks) => runIdle(request, hooks));
      await print(json, report, () => formatIdle(report));
    },
  );
  withSnapshotFlags(scenario(program, 'snapshot', 'how fast a snapshot is, and what it costs', SNAPSHOT_HELP)).action(
    async (_flags, command: Command) => {
      const { request, json } = parseSnapshot(command);
      const report = await perform((hooks) => runSnapshot(request, hooks));
      await print(json, report, () => formatSnapshot(report));
    },
  );
}

function scenario(program: Command, name: string, what: string, help: string): Command {
  return program
    .command(name)
    .description(what)
    .allowExcessArguments(false)
    .showSuggestionAfterError(false)
    .addHelpText('after', help);
}

async function perform<T>(work: (hooks: ScenarioHooks, progress: Progress) => Promise<T>): Promise<T> {
  const signal = listenForInterrupt();
  const progress = createProgress();
  try {
    return await work({ signal, onProgress: progress.update }, progress);
  } finally {
    progress.stop();
  }
}

async function print(json: boolean, report: object, text: () => string): Promise<void> {
  const environment = await describeEnvironment();
  process.stdout.write(
    json
      ? `${JSON.stringify({ environment, report }, undefined, 2)}\n`
      : `${formatEnvironment(environment)}\n${text()}`,
  );
}
