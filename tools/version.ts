import { readFileSync } from 'node:fs';

/** Built files lie in `dist/`, one folder below the package. */
const PACKAGE = new URL('../../package.json', import.meta.url);

export const VERSION = (JSON.parse(readFileSync(PACKAGE, 'utf8')) as { version: string }).version;
