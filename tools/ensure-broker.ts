/** Set-up step: a nats-server is there, or one line says what to install. */

import { NATS_SERVER } from './broker.ts';
import { ensureProgram, ProgramMissing } from './program.ts';

try {
  await ensureProgram(NATS_SERVER);
} catch (error) {
  if (!(error instanceof ProgramMissing)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
