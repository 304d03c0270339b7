/** The schedulers, in the order in which they get their turn: what keeps data safe comes before what makes it even. */

import type { Scheduler } from '../round.ts';
import type { SchedulerName } from '../types.ts';
import { drain } from './drain.ts';
import { spreadHot } from './hot-region.ts';
import { balanceLeaders } from './leader-balance.ts';
import { merge } from './merge.ts';
import { repair } from './repair.ts';
import { balanceReplicas } from './replica-balance.ts';
import { split } from './split.ts';
import { spreadReplicas } from './spread.ts';

export const SCHEDULER_TABLE: { readonly [Name in SchedulerName]: Scheduler } = {
  repair,
  drain,
  spread: spreadReplicas,
  split,
  'leader-balance': balanceLeaders,
  'replica-balance': balanceReplicas,
  'hot-region': spreadHot,
  merge,
};
