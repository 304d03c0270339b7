/** `mraft ctl operator`: what placement is doing, did, and is asked to do. */

import { Command, Option } from 'commander';

import { InvalidArgument } from '../../rpc/wire/errors.ts';
import { ctlAction, type CtlFlags, type Row } from './ctl-action.ts';
import { wholeNumber } from './flags.ts';
import { change, showOutcome, type ChangeFlags } from './operator-progress.ts';
import { formatTable } from './table.ts';
import { showTime } from './units.ts';

/** The flags that a kind of change needs, and those that it may have. */
const KINDS: Readonly<Record<string, { readonly needs: readonly Flag[]; readonly may?: readonly Flag[] }>> = {
  addReplica: { needs: ['node'], may: ['observer'] },
  removeReplica: { needs: ['node'] },
  moveReplica: { needs: ['from', 'to'] },
  transferLeader: { needs: ['node'] },
  split: { needs: [], may: ['key64'] },
  merge: { needs: ['target'] },
};
const KIND_NAMES = Object.keys(KINDS).join(', ');
const FLAGS = ['node', 'from', 'to', 'target', 'key64', 'observer'] as const;
type Flag = (typeof FLAGS)[number];

/** Lines of the log that are shown where nobody says how many. */
const LOG_LINES = 20;

interface ListFlags extends CtlFlags {
  readonly log: number;
}

interface AddFlags extends ChangeFlags {
  readonly region: number;
  readonly node?: number;
  readonly from?: number;
  readonly to?: number;
  readonly target?: number;
  readonly key64?: string;
  readonly observer?: boolean;
}

export function operatorCommand(): Command {
  return new Command('operator')
    .description('operators: what placement does to regions, and why')
    .addCommand(
      ctlAction<ListFlags>(
        new Command('list'),
        async (admin, _args, { log: lines }) => {
          return admin.placement('operator.list', { lines });
        },
        { text: showLists },
      )
        .description('those that run, and the end of the log of all')
        .addOption(new Option('--log <lines>', 'lines of the log').argParser(wholeNumber).default(LOG_LINES)),
    )
    .addCommand(
      ctlAction(new Command('cancel'), (admin, [operatorId]) => admin.placement('operator.cancel', { operatorId }), {
        text: () => 'cancelled: what it had done stays done',
      })
        .description('stops an operator')
        .argument('<operator>', 'its id', wholeNumber),
    )
    .addCommand(
      ctlAction<AddFlags>(
        new Command('add'),
        (admin, [kind], flags) => change(admin, requestOf(kind as string, flags), flags),
        { text: showOutcome },
      )
        .description(`asks for a change: ${KIND_NAMES}`)
        .argument('<kind>', KIND_NAMES)
        .requiredOption('--region <id>', 'of which region', wholeNumber)
        .option('--node <id>', 'addReplica, removeReplica, transferLeader: the node', wholeNumber)
        .option('--from <id>', 'moveReplica: a node', wholeNumber)
        .option('--to <id>', 'moveReplica: another node', wholeNumber)
        .option('--target <id>', 'merge: the neighbour that takes the keys over', wholeNumber)
        .option('--key64 <key>', 'split: where, in base64 (default: the middle)')
        .option('--observer', 'addReplica: one that never votes')
        .option('--no-wait', 'only ask for it'),
    );
}

interface Lists {
  /** How many run; of many not all are listed. */
  readonly running: number;
  readonly operators: readonly Row[];
  readonly log: readonly Row[];
}

/** @throws InvalidArgument */
function requestOf(kind: string, flags: AddFlags): object {
  const known = Object.hasOwn(KINDS, kind) ? KINDS[kind] : undefined;
  if (!known) throw new InvalidArgument(`kind: must be one of ${KIND_NAMES}`, { field: 'kind' });
  const { needs, may = [] } = known;
  for (const flag of FLAGS) {
    const isGiven = flags[flag] !== undefined;
    if (!isGiven && needs.includes(flag)) throw new InvalidArgument(`--${flag}: ${kind} needs it`, { field: flag });
    if (isGiven && !needs.includes(flag) && !may.includes(flag)) {
      throw new InvalidArgument(`--${flag}: ${kind} has no use for it`, { field: flag });
    }
  }
  const { region: regionId, node: nodeId, from: fromNodeId, to: toNodeId, target: targetRegionId } = flags;
  const { key64: splitKey, observer } = flags;
  // What is undefined does not travel.
  return { kind, regionId, nodeId, fromNodeId, toNodeId, targetRegionId, splitKey, observer };
}

function showLists(answer: unknown): string {
  const { running, operators, log } = answer as Lists;
  const rows = operators.map(({ operatorId, regionId, kind, origin, position, steps, startedMs, reason }) => ({
    operator: operatorId,
    region: regionId,
    kind,
    by: origin,
    since: showTime(startedMs),
    step: `${String(position)} of ${(steps as unknown[]).length}`,
    reason,
  }));
  const lines = log.map(({ atMs, event, operatorId, origin, text }) => ({
    at: showTime(atMs),
    event,
    operator: operatorId,
    by: origin,
    text,
  }));
  const parts = [running === 0 ? 'no operator runs\n' : formatTable(rows)];
  if (running > rows.length) parts.push(`and ${running - rows.length} more\n`);
  if (lines.length > 0) parts.push(formatTable(lines));
  return parts.join('\n').trimEnd();
}
