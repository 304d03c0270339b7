#!/usr/bin/env node
/** `mraft-bench`: measures mraft, and the stores it is compared with, on one machine. */

import { Command } from 'commander';

import { compare } from './compare.ts';
import { comparisonToCsv, runToCsv } from './csv.ts';
import { createDriver } from './drivers.ts';
import { describeEnvironment } from './environment.ts';
import { parseCompare, parseRun, withCompareFlags, withRunFlags, type OutputFormat } from './flags.ts';
import { conclude } from './conclude.ts';
import { listenForInterrupt } from './interrupt.ts';
import { createProgress } from './progress.ts';
import { formatComparison, formatEnvironment, formatRun } from './report.ts';
import { load, measure, type RunReport } from './run.ts';
import { addScenarios } from './scenarios/commands.ts';
import { WORKLOADS } from './workload.ts';

const WORKLOAD_HELP = Object.values(WORKLOADS)
  .map(({ name, summary, distribution }) => `  ${name.padEnd(8)} ${summary} (${distribution})`)
  .join('\n');

const RUN_HELP = `
Workloads:
${WORKLOAD_HELP}

Examples:
  mraft-bench run                                        puts from 1,024 callers on three nodes of its own
  mraft-bench run -w ycsb-a -c 256 --duration 30
  mraft-bench run -w put --target 20000                  open loop; latency counts from the intended start
  mraft-bench run -w batch --batch-size 100 -c 64 --csv
  mraft-bench run -d etcd -w get
  mraft-bench run --nats nats://127.0.0.1:4222 --cluster local -w mixed --read-ratio 0.9
`;

const COMPARE_HELP = `
Examples:
  mraft-bench compare                                    mraft, etcd and JetStream, three rounds
  mraft-bench compare --drivers mraft,etcd --workloads put,get --rounds 1 --duration 5
  mraft-bench compare --json > comparison.json
`;

const program = new Command('mraft-bench')
  .description('Measures mraft, and the stores it is compared with, on one machine.')
  .showSuggestionAfterError(false)
  .helpCommand(false)
  .addHelpText('after', `${RUN_HELP}${COMPARE_HELP.replace('\nExamples:\n', '')}`);

withRunFlags(program.command('run').description('one workload on one store'))
  .allowExcessArguments(false)
  .showSuggestionAfterError(false)
  .addHelpText('after', RUN_HELP)
  .action((_flags, command: Command) => runCommand(command));

withCompareFlags(program.command('compare').description('put, batch, get and serial puts on several stores, in rounds'))
  .allowExcessArguments(false)
  .showSuggestionAfterError(false)
  .addHelpText('after', COMPARE_HELP)
  .action((_flags, command: Command) => compareCommand(command));

addScenarios(program);
program.commands.forEach(refuseRepeats);

/** A flag that is given twice contradicts itself. */
function refuseRepeats(command: Command): void {
  for (const option of command.options) {
    let isGiven = false;
    command.on(`option:${option.name()}`, () => {
      if (isGiven) command.error(`error: option '${option.flags}' is given twice`);
      isGiven = true;
    });
  }
}

async function runCommand(command: Command): Promise<void> {
  const { driver: name, driverOptions, request, format } = parseRun(command);
  const environment = await describeEnvironment();
  const driver = await createDriver(name, driverOptions);
  const signal = listenForInterrupt();
  const progress = createProgress();
  const hooks = { onProgress: progress.update, signal };
  let report: RunReport;
  try {
    await driver.start();
    signal.throwIfAborted();
    const session = await driver.connect();
    try {
      if (request.workload.needsRecords) await load(session, request, hooks);
      report = await measure(driver, session, request, hooks);
    } finally {
      await session.close();
    }
  } finally {
    progress.stop();
    await driver.stop();
  }
  print(format, {
    json: () => ({ environment, report }),
    csv: () => runToCsv(report),
    text: () => `${formatEnvironment(environment)}\n${formatRun(report)}`,
  });
}

async function compareCommand(command: Command): Promise<void> {
  const { request, format } = parseCompare(command);
  const environment = await describeEnvironment();
  const signal = listenForInterrupt();
  const progress = createProgress();
  try {
    const comparison = await compare(request, {
      onProgress: progress.update,
      onRound: (round, driver) => progress.phase(`round ${round}/${request.rounds}, ${driver}`),
      signal,
    });
    progress.stop();
    print(format, {
      json: () => ({ environment, comparison }),
      csv: () => comparisonToCsv(comparison),
      text: () => `${formatEnvironment(environment)}\n${formatComparison(comparison)}`,
    });
  } finally {
    progress.stop();
  }
}

function print(format: OutputFormat, as: { json: () => object; csv: () => string; text: () => string }): void {
  process.stdout.write(format === 'json' ? `${JSON.stringify(as.json(), undefined, 2)}\n` : as[format]());
}

await conclude(program.parseAsync());
