/** `mraft ctl scheduler`, `mraft ctl settings`: what placement does by itself. */

import { Command } from 'commander';

import { InvalidArgument } from '../../rpc/wire/errors.ts';
import { ctlAction, type CtlFlags, type Row } from './ctl-action.ts';
import { wholeNumber } from './flags.ts';

interface PauseFlags extends CtlFlags {
  readonly forMs?: number;
}

export function schedulerCommand(): Command {
  return new Command('scheduler')
    .description('what placement does by itself: balance, repair, split, merge')
    .addCommand(
      ctlAction(new Command('list'), async (admin) =>
        schedulerRows(await admin.placement('scheduler.list')),
      ).description('all of them, and which are paused'),
    )
    .addCommand(
      ctlAction<PauseFlags>(new Command('pause'), async (admin, [name], { forMs: durationMs }) =>
        schedulerRows(await admin.placement('scheduler.pause', { name, durationMs })),
      )
        .description('stops one; what it began goes on')
        .argument('<name>', 'its name, as in the list')
        .option('--for-ms <ms>', 'for so long (default: until it is resumed)', wholeNumber),
    )
    .addCommand(
      ctlAction(new Command('resume'), async (admin, [name]) =>
        schedulerRows(await admin.placement('scheduler.resume', { name })),
      )
        .description('lets one go on')
        .argument('<name>', 'its name, as in the list'),
    );
}

function schedulerRows(answer: unknown): Row[] {
  return (answer as { name: string; pausedUntilMs: number | null }[]).map(({ name, pausedUntilMs }) => {
    if (pausedUntilMs === 0) return { name, state: 'runs' };
    return { name, state: 'paused', until: pausedUntilMs === null ? 'resumed' : new Date(pausedUntilMs).toISOString() };
  });
}

export function settingsCommand(): Command {
  const settings = new Command('settings').description('what placement is told: replicas, limits, tolerances');
  return settings
    .addCommand(ctlAction(new Command('show'), (admin) => admin.placement('settings.get')).description('all settings'))
    .addCommand(
      ctlAction(new Command('set'), (admin, [assignments]) =>
        admin.placement('settings.set', { patch: patchOf(assignments as string[]) }),
      )
        .description('changes some, all or none of those named')
        .argument('<name=value...>', 'as in replicas=3 spreadBy=zone,rack'),
    );
}

function patchOf(assignments: readonly string[]): Record<string, unknown> {
  const patch = new Map<string, unknown>();
  for (const assignment of assignments) {
    const at = assignment.indexOf('=');
    if (at < 1) throw new InvalidArgument(`'${assignment}' is not name=value`, { field: 'settings' });
    const name = assignment.slice(0, at);
    if (patch.has(name)) throw new InvalidArgument(`${name} is given twice`, { field: name });
    patch.set(name, valueOf(name, assignment.slice(at + 1)));
  }
  return Object.fromEntries(patch);
}

/** Numbers, except for the one list. Whatever is none is refused by placement, by name. */
function valueOf(name: string, text: string): unknown {
  if (name === 'spreadBy') return text === '' ? [] : text.split(',');
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}
