/** Finds the servers of the peers, and installs them with the system's package manager where they are missing. */

import { spawn } from 'node:child_process';
import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

const PACKAGES: Readonly<Record<string, string>> = { etcd: 'etcd-server', 'nats-server': 'nats-server' };
const OVERRIDES: Readonly<Record<string, string>> = { etcd: 'ETCD', 'nats-server': 'NATS_SERVER' };
/** Debian keeps servers where an ordinary user's PATH does not look. */
const EXTRA_FOLDERS = ['/usr/sbin', '/usr/local/sbin', '/usr/local/bin'];

/** The path of a program. @throws an error that says what to install */
export async function findProgram(name: string): Promise<string> {
  const found = await lookUp(name);
  if (found !== undefined) return found;
  const packageName = PACKAGES[name] ?? name;
  await install(packageName);
  const installed = await lookUp(name);
  if (installed !== undefined) return installed;
  throw new Error(`${name} is missing: install the package ${packageName}, or set ${OVERRIDES[name] ?? 'PATH'}`);
}

async function lookUp(name: string): Promise<string | undefined> {
  const override = process.env[OVERRIDES[name] ?? ''];
  if (override) return override;
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), ...EXTRA_FOLDERS]) {
    if (folder === '') continue;
    const path = join(folder, name);
    if (await access(path, constants.X_OK).then(() => true, () => false)) return path;
  }
  return undefined;
}

/** As root or with a sudo that asks nothing; a failure is left to the caller, who looks again. */
async function install(packageName: string): Promise<void> {
  if ((await lookUp('apt-get')) === undefined) return;
  const sudo = process.getuid?.() === 0 ? [] : ['sudo', '-n'];
  // A package's own service would only stand in the way: the benchmark starts what it needs.
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  for (const args of [['apt-get', 'update', '-qq'], ['apt-get', 'install', '-y', '-qq', packageName]]) {
    const [program, ...rest] = [...sudo, ...args];
    await new Promise<void>((resolve) => {
      const child = spawn(program as string, rest, { stdio: ['ignore', 'ignore', 'inherit'], env: environment });
      child.once('error', () => resolve());
      child.once('exit', () => resolve());
    });
  }
}
