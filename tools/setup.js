/**
 * Set-up of `npm test`, `npm start` and `npm run bench` on a fresh clone: dependencies, then the build. Plain
 * JavaScript without dependencies, because it runs before there is anything else.
 */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** zlib has crc32 since then. */
const OLDEST_NODE = [20, 15];

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1])) {
  stop(`mraft needs Node ${OLDEST_NODE.join('.')} or later, this is ${process.versions.node}`);
}
if (!isInstalled()) {
  console.error('setup: installing dependencies');
  run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']);
}
run('npm', ['run', '--silent', 'build']);
pruneDist();

/** Whether node_modules holds what the lock file names; packages for other platforms may be missing. */
function isInstalled() {
  const installedPath = join(ROOT, 'node_modules', '.package-lock.json');
  if (!existsSync(installedPath)) return false;
  const installed = packagesOf(installedPath);
  return Object.entries(packagesOf(join(ROOT, 'package-lock.json'))).every(([path, wanted]) => {
    if (path === '') return true;
    const found = installed[path];
    return found === undefined ? wanted.optional === true : found.version === wanted.version;
  });
}

function packagesOf(path) {
  return JSON.parse(readFileSync(path, 'utf8')).packages;
}

/** Removes built files whose source is gone: a deleted test must not go on running. */
function pruneDist() {
  const dist = join(ROOT, 'dist');
  for (const file of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    const source = file.replace(/(\.js|\.d\.ts)(\.map)?$/, '');
    if (source === file) continue;
    const hasSource = ['.ts', '.js'].some((extension) => existsSync(join(ROOT, source + extension)));
    if (!hasSource) rmSync(join(dist, file), { force: true });
  }
}

function run(command, args) {
  const result = spawnSync(command, args, { cwd: ROOT, stdio: ['ignore', 2, 2] });
  if (result.status !== 0) stop(`setup: '${command} ${args.join(' ')}' failed`);
}

function stop(message) {
  console.error(message);
  process.exit(1);
}
