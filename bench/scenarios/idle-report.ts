/** The report of `mraft-bench idle` as text for people. */

import { formatTable } from '../../tools/commands/table.ts';
import { count, fixed } from '../report.ts';
import type { IdleReport, IdleRound } from './idle.ts';
import { formatVerdicts } from './report.ts';

const MIB = 1024 * 1024;

export function formatIdle({ request, rounds, verdicts }: IdleReport): string {
  return [
    `cluster    3 nodes, ${request.workers} worker each, ${count(request.regions)} regions with a replica on each, nothing to do`,
    `memory     resident, of all nodes, held against ${request.baseRegions} regions`,
    '',
    formatTable(rounds.map(row)),
    formatVerdicts(verdicts),
  ].join('\n');
}

function row(round: IdleRound): Record<string, unknown> {
  const { killed } = round;
  return {
    round: round.round,
    'start s': fixed(round.startMs / 1000, 1),
    awake: round.awake,
    'cpu %': fixed(round.cpuShare * 100, 1),
    MiB: fixed(round.bytes / MIB, 0),
    'base MiB': fixed(round.baseBytes / MIB, 0),
    'KiB/replica': fixed(round.bytesPerReplica / 1024, 1),
    'first write ms': fixed(round.sleepingMs),
    'second ms': fixed(round.awakeMs),
    'led by the killed': killed.led,
    'led again s': fixed(killed.electedMs / 1000),
    'others woken': killed.othersWoken,
  };
}
