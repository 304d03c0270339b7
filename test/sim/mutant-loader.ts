/** Given to a process with --import: plants the mutant that MRAFT_SIM_MUTANT names into the module as it is loaded. */

import { register } from 'node:module';

register('./mutant-hooks.js', import.meta.url, { data: process.env['MRAFT_SIM_MUTANT'] });
