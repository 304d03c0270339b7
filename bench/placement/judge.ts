/** Whether placement came to rest after everything that happened, and left every region whole. */

import { verdict, type ScenarioVerdict } from '../scenarios/verdict.ts';
import { REPLICAS, type PhaseReport } from './simulation.ts';

export function judge({ zones }: { readonly zones: number }, phases: readonly PhaseReport[]): ScenarioVerdict[] {
  const most = (figure: (phase: PhaseReport) => number): number => Math.max(0, ...phases.map(figure));
  const converged = phases.filter((phase) => phase.converged).length;
  const verdicts = [
    verdict('phases that converged', converged, { atLeast: phases.length }),
    verdict(
      'regions that lack a replica after a phase',
      most(({ balance }) => balance.incomplete),
      { atMost: 0 },
    ),
  ];
  // The last phase takes a zone away: with fewer left than replicas, some must share one.
  if (zones <= REPLICAS) return verdicts;
  const sharing = most(({ balance }) => balance.sharingZone);
  return [...verdicts, verdict('regions with two replicas in a zone after a phase', sharing, { atMost: 0 })];
}
