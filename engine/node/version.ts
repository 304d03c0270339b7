/** The version of the package. */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

function readVersion(): string {
  // From dist/engine/node/ in the package; the manifest is not copied.
  const { version } = require('../../../package.json') as { version: string };
  return version;
}

export const VERSION = readVersion();
