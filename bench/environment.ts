/** Where and when a run was made; a figure without it says little. */

import { execFile } from 'node:child_process';
import { cpus, release, totalmem, type } from 'node:os';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const GIB = 1024 ** 3;

export interface Environment {
  readonly date: string;
  /** Of the sources, `-dirty` when they were changed; undefined outside a repository. */
  readonly commit: string | undefined;
  readonly node: string;
  readonly system: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGib: number;
  /** The command line. */
  readonly command: string;
}

export async function describeEnvironment(): Promise<Environment> {
  const processors = cpus();
  return {
    date: new Date().toISOString(),
    commit: await commit(),
    node: process.version,
    system: `${type()} ${release()}`,
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGib: Math.round(totalmem() / GIB),
    command: ['mraft-bench', ...process.argv.slice(2)].join(' '),
  };
}

async function commit(): Promise<string | undefined> {
  try {
    const cwd = fileURLToPath(new URL('.', import.meta.url));
    const { stdout } = await promisify(execFile)('git', ['describe', '--always', '--dirty'], { cwd });
    return stdout.trim();
  } catch {
    return undefined;
  }
}
