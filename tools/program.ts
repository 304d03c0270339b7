/** Programs that mraft does not bring along: found, or installed with the system's package manager. */

import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export interface Program {
  /** The executable's name. */
  readonly name: string;
  /** The environment variable that may hold its path. */
  readonly env: string;
  /** The package that holds it, by package manager; a manager that has none is left out. */
  readonly packages: Partial<Record<PackageManager, string>>;
  /** Where else a person gets it. */
  readonly homepage: string;
}

export type PackageManager = 'apt-get' | 'dnf' | 'apk' | 'brew';

/** The program is not there and could not be installed. The message is one line that says what to do. */
export class ProgramMissing extends Error {
  override readonly name = 'ProgramMissing';
}

/** Daemons often lie where an ordinary user's PATH does not lead. */
const MORE_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/opt/homebrew/bin'];

/** The steps in order; a failed one is passed over: a stale package index often suffices. */
const INSTALL_STEPS: Record<PackageManager, (packageName: string) => readonly (readonly string[])[]> = {
  'apt-get': (name) => [
    ['-qq', '-o', 'DPkg::Lock::Timeout=120', 'update'],
    ['-qq', '-y', '-o', 'DPkg::Lock::Timeout=120', '--no-install-recommends', 'install', name],
  ],
  dnf: (name) => [['-q', '-y', 'install', name]],
  apk: (name) => [['add', '--no-cache', '--quiet', name]],
  brew: (name) => [['install', '--quiet', name]],
};

/**
 * The path of a program: from its environment variable, from the PATH, or freshly installed.
 * @throws ProgramMissing with one line that says what to install
 */
export async function ensureProgram(program: Program): Promise<string> {
  const found = findProgram(program);
  if (found !== undefined) return found;
  for (const manager of Object.keys(program.packages) as PackageManager[]) {
    const packageName = program.packages[manager];
    if (packageName === undefined || findExecutable(manager) === undefined) continue;
    process.stderr.write(`setup: installing ${packageName} with ${manager}\n`);
    await install(manager, packageName);
    const installed = findProgram(program);
    if (installed !== undefined) return installed;
  }
  throw new ProgramMissing(howToInstall(program));
}

/**
 * As `ensureProgram`, but installs nothing.
 * @throws ProgramMissing when the environment variable names no executable
 */
export function findProgram(program: Program): string | undefined {
  const named = process.env[program.env];
  if (named === undefined || named === '') return findExecutable(program.name);
  if (!isExecutable(named)) throw new ProgramMissing(`${program.env}: '${named}' is not an executable file`);
  return named;
}

function findExecutable(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...MORE_FOLDERS];
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

async function install(manager: PackageManager, packageName: string): Promise<void> {
  const prefix = await privilegePrefix(manager);
  if (prefix === undefined) return;
  for (const args of INSTALL_STEPS[manager](packageName)) await run([...prefix, manager, ...args]);
}

/** What must stand before the manager's command; undefined: this user may not install. */
async function privilegePrefix(manager: PackageManager): Promise<readonly string[] | undefined> {
  if (manager === 'brew' || process.getuid?.() === 0) return [];
  const mayBecomeRoot = findExecutable('sudo') !== undefined && (await run(['sudo', '-n', 'true'], 'ignore'));
  return mayBecomeRoot ? ['sudo', '-n', '--preserve-env=DEBIAN_FRONTEND'] : undefined;
}

function run(command: readonly string[], output: 'ignore' | 'stderr' = 'stderr'): Promise<boolean> {
  const [file = '', ...args] = command;
  const sink = output === 'ignore' ? 'ignore' : process.stderr.fd;
  const child = spawn(file, args, {
    stdio: ['ignore', sink, sink],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  return new Promise((resolve) => {
    child.on('error', () => resolve(false));
    child.on('close', (code) => resolve(code === 0));
  });
}

function howToInstall(program: Program): string {
  const commands = Object.entries(program.packages).map(([manager, name]) => `${manager} install ${name}`);
  return (
    `${program.name} is needed and was not found: install it (${commands.join(', ')}, or ${program.homepage}) ` +
    `or set ${program.env} to its path`
  );
}
