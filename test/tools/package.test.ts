/** What a program gets that installs the package. */

import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { assert, suite } from '../harness.ts';

const test = suite('package', { timeoutMs: 60_000 });

const root = fileURLToPath(new URL('../../..', import.meta.url));

interface Manifest {
  readonly bin: Record<string, string>;
  readonly exports: Record<string, Record<string, string>>;
  readonly dependencies: Record<string, string>;
}
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as Manifest;

/** Runs a program as one beside the package would; its output as JSON. */
function run(source: string): unknown {
  const result = spawnSync(process.execPath, ['--input-type=module', '--eval', source], {
    cwd: root,
    encoding: 'utf8',
  });
  assert.is(result.status, 0, result.stderr);
  return JSON.parse(result.stdout);
}

test('every file that the package names is there after a build', () => {
  const named = [
    ...Object.values(manifest.bin),
    ...Object.values(manifest.exports).flatMap((entry) => Object.values(entry)),
  ];
  assert.ok(named.length >= 6);
  for (const path of named) assert.ok(existsSync(join(root, path)), path);
});

test('programs start with a line that makes them run', () => {
  for (const path of Object.values(manifest.bin)) {
    assert.match(readFileSync(join(root, path), 'utf8'), /^#!\/usr\/bin\/env node\n/);
  }
});

const NATIVE = `process.report.getReport().sharedObjects.filter((path) => path.endsWith('.node'))`;

test('mraft/client loads no native module', () => {
  assert.equal(run(`await import('mraft/client'); console.log(JSON.stringify(${NATIVE}))`), []);
});

test('mraft exports open and the errors', () => {
  const source = `const mraft = await import('mraft'); console.log(JSON.stringify(Object.keys(mraft)));`;
  const names = run(source) as string[];
  for (const name of ['open', 'MraftError', 'RetryableError', 'InvalidConfig', 'NotLeader']) {
    assert.ok(names.includes(name), `${name} is not exported`);
  }
});

test('a node with only a data directory opens, works and closes, and the process ends by itself', () => {
  const source = `
    import { mkdtempSync, rmSync } from 'node:fs';
    import { open } from 'mraft';
    const dataDir = mkdtempSync('${join(root, 'node_modules', '.mraft-test-')}');
    const db = await open({ dataDir });
    await db.put('hello', 'world');
    const value = Buffer.from(await db.get('hello')).toString();
    await db.close();
    const again = await open({ dataDir });
    const kept = Buffer.from(await again.get('hello')).toString();
    await again.close();
    rmSync(dataDir, { recursive: true });
    console.log(JSON.stringify([value, kept]));`;
  assert.equal(run(source), ['world', 'world']);
});
