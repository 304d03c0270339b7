/** `mraft ctl operator`: what placement is doing, did, and is asked to do. */

import { Command, Option } from 'commander';

import { ctlAction, type CtlFlags, type Row } from './ctl-action.ts';
import { wholeNumber } from './flags.ts';
import { change, showOutcome, type ChangeFlags } from './operator-progress.ts';
import { formatTable } from './table.ts';

const KINDS = ['addReplica', 'removeReplica', 'moveReplica', 'transferLeader', 'split', 'merge'];
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
          const { operators, log } = (await admin.placement('operator.list')) as Lists;
          return { operators, log: lines === 0 ? [] : log.slice(-lines) };
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
        .description(`asks for a change: ${KINDS.join(', ')}`)
        .argument('<kind>', KINDS.join(', '))
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
  readonly operators: readonly Row[];
  readonly log: readonly Row[];
}

function requestOf(kind: string, flags: AddFlags): object {
  const { region: regionId, node: nodeId, from: fromNodeId, to: toNodeId, target: targetRegionId } = flags;
  const { key64: splitKey, observer } = flags;
  // What is undefined does not travel; what is missing is said by placement.
  return { kind, regionId, nodeId, fromNodeId, toNodeId, targetRegionId, splitKey, observer };
}

function showLists(answer: unknown): string {
  const { operators, log } = answer as Lists;
  const running = operators.map(({ operatorId, regionId, kind, origin, position, steps, reason }) => ({
    operator: operatorId,
    region: regionId,
    kind,
    origin,
    step: `${String(position)} of ${(steps as unknown[]).length}`,
    reason,
  }));
  const lines = log.map(({ atMs, event, operatorId, regionId, text }) => ({
    at: new Date(atMs as number).toISOString(),
    event,
    operator: operatorId,
    region: regionId,
    text,
  }));
  const parts = [running.length === 0 ? 'no operator runs\n' : formatTable(running)];
  if (lines.length > 0) parts.push(formatTable(lines));
  return parts.join('\n').trimEnd();
}
