/** `mraft ctl`: looks at a cluster, and changes where its replicas and leaders are. */

import { Command } from 'commander';

import { nodeCommand } from './ctl-node.ts';
import { operatorCommand } from './ctl-operator.ts';
import { regionCommand } from './ctl-region.ts';
import { schedulerCommand, settingsCommand } from './ctl-scheduler.ts';
import type { Admin } from '../admin.ts';
import { ctlAction } from './ctl-action.ts';
import { wholeNumber } from './flags.ts';

export function ctlCommand(): Command {
  return new Command('ctl')
    .description('look at a cluster and change it')
    .addCommand(regionCommand())
    .addCommand(nodeCommand())
    .addCommand(operatorCommand())
    .addCommand(schedulerCommand())
    .addCommand(settingsCommand())
    .addCommand(raftCommand());
}

function raftCommand(): Command {
  const show = ctlAction(new Command('show'), (admin: Admin, [regionId]) => admin.replicas(regionId as number))
    .description('the state of every replica of a region')
    .argument('<region>', 'its id', wholeNumber);
  return new Command('raft').description('Raft groups').addCommand(show);
}
