/** `mraft ctl`: looks at a cluster, and changes where its replicas and leaders are. */

import { Command } from 'commander';

import { nodeCommand } from './ctl-node.ts';
import { raftCommand } from './ctl-raft.ts';
import { operatorCommand } from './ctl-operator.ts';
import { regionCommand } from './ctl-region.ts';
import { schedulerCommand, settingsCommand } from './ctl-scheduler.ts';

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
