/**
 * Simulates placement alone: what it decides, what that moves, and how long deciding takes.
 *
 *     npm run bench:placement                                1,000 nodes, 1,000,000 regions
 *     npm run bench:placement -- --nodes 50 --regions 5000 --zones 5 --seed 7 --json
 *
 * It ends with 1 when a phase does not converge, or leaves a region without all its replicas alive in zones of their own.
 */

import { parseArgs } from 'node:util';
import { describeEnvironment } from '../environment.ts';
import { formatEnvironment } from '../report.ts';
import { formatVerdicts } from '../scenarios/report.ts';
import { judge } from './judge.ts';
import { PlacementSimulation, describeOperators, type Balance, type PhaseReport, type Spread } from './simulation.ts';

const { values } = parseArgs({
  options: {
    nodes: { type: 'string', default: '1000' },
    regions: { type: 'string', default: '1000000' },
    zones: { type: 'string', default: '5' },
    seed: { type: 'string', default: '1' },
    'copy-mib': { type: 'string', default: '100' },
    json: { type: 'boolean', default: false },
  },
});

const options = {
  nodes: positive('nodes'),
  regions: positive('regions'),
  zones: positive('zones'),
  seed: positive('seed'),
  copyMibPerSecond: positive('copy-mib'),
};

const simulation = new PlacementSimulation(options);
const say = (text: string): void => {
  if (!values.json) process.stdout.write(`${text}\n`);
};
const command = ['npm run bench:placement --', ...process.argv.slice(2)].join(' ').replace(/ --$/, '');
const environment = { ...(await describeEnvironment()), command };
say(formatEnvironment(environment));
say(`placement alone: ${number(options.nodes)} nodes in ${options.zones} zones, ${number(options.regions)} regions\n`);
const report = simulation.run((phase) => say(describePhase(phase)));
const { build } = report;
say(`built: ring ${number(build.ringMs)} ms, ${number(build.reportsPerSecond)} reports a second`);
say(`  after the ring: ${describeBalance(build.balance)}`);
say(`memory: ${number(report.rssMib)} MiB, placement and simulated cluster together`);
const verdicts = judge(options, report.phases);
say(`\n${formatVerdicts(verdicts)}`);
if (values.json) process.stdout.write(`${JSON.stringify({ environment, options, ...report, verdicts })}\n`);
process.exitCode = verdicts.every(({ met }) => met) ? 0 : 1;

function describePhase(phase: PhaseReport): string {
  const { medianRoundMs, slowestRoundMs } = phase;
  return [
    `${phase.phase}: ${phase.converged ? `converged after ${number(phase.convergedAfterMs / 1000)} s` : 'DID NOT CONVERGE'}`,
    `  operators: ${describeOperators(phase.operators)}; ${number(phase.ordersSent)} orders`,
    `  moved: ${number(phase.copiedMib / 1024)} GiB`,
    `  a round: median ${medianRoundMs.toFixed(1)} ms, slowest ${slowestRoundMs.toFixed(1)} ms, of ${number(phase.rounds)}`,
    `  balance: ${describeBalance(phase.balance)}`,
    `  simulated in ${number(phase.tookMs / 1000)} s\n`,
  ].join('\n');
}

function describeBalance({ leaders, sizeBytes, load, incomplete, sharingZone }: Balance): string {
  const part = (name: string, spread: Spread): string =>
    `${name} ${percent(spread.least)} to ${percent(spread.most)} of the mean`;
  const parts = [part('leaders', leaders), part('size', sizeBytes), part('load', load)];
  return `${parts.join(', ')}; ${number(incomplete)} incomplete, ${number(sharingZone)} sharing a zone`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`;
}

function number(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function positive(name: 'nodes' | 'regions' | 'zones' | 'seed' | 'copy-mib'): number {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value > 0) return value;
  process.stderr.write(`--${name} must be a positive whole number\n`);
  return process.exit(2);
}
