/** The architecture is held by lint rules; each of them is shown here to catch its violation. */

import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { assert, suite } from '../harness.ts';

const test = suite('lint rules', { timeoutMs: 60_000 });

interface Case {
  readonly what: string;
  /** `x.ts` stands for a name that no other case has. */
  readonly path: string;
  readonly source: string;
  readonly rule: string;
  readonly caught: boolean;
}

const IMPORTS = 'eslint(no-restricted-imports)';
const GLOBALS = 'eslint(no-restricted-globals)';
const PROPERTIES = 'eslint(no-restricted-properties)';

const forbiddenImports: readonly (readonly [path: string, specifier: string])[] = [
  ['rpc/wire/x.ts', '../nats/y.ts'],
  ['rpc/nats/x.ts', '../client/client.ts'],
  ['rpc/client/x.ts', '../../engine/store/port.ts'],
  ['engine/store/x.ts', '../raft/types.ts'],
  ['engine/raft/x.ts', '../store/port.ts'],
  ['engine/raft/x.ts', 'node:os'],
  ['engine/raft/x.ts', '../../rpc/wire/codec.ts'],
  ['engine/raft/x.ts', '../../rpc/wire/error-codec.ts'],
  ['engine/raft/x.ts', '../../rpc/client/kv.ts'],
  ['engine/raft/x.ts', 'pino'],
  ['engine/mvcc/x.ts', '../raft/types.ts'],
  ['engine/region/x.ts', '../shard/worker.ts'],
  ['engine/shard/x.ts', '../placement/ring.ts'],
  ['engine/shard/x.ts', '../index.ts'],
  ['engine/placement/x.ts', '../index.ts'],
  ['engine/placement/x.ts', '../node/node.ts'],
  ['engine/node/x.ts', '../index.ts'],
  ['engine/shard/x.ts', '../node/node.ts'],
  ['engine/region/x.ts', '../node/node.ts'],
  ['engine/x.ts', '../tools/broker.ts'],
  ['tools/x.ts', '../engine/shard/worker.ts'],
  ['bench/etcd/x.ts', '../../engine/store/port.ts'],
  ['engine/shard/x.ts', 'piscina'],
  ['engine/region/x.ts', 'comlink'],
  ['engine/store/x.ts', 'rocksdb'],
  ['rpc/nats/x.ts', 'nats'],
  ['rpc/client/x.ts', 'nats'],
  ['bench/x.ts', 'nats'],
  ['test/x.ts', 'uvu'],
  ['test/x.ts', 'uvu/assert'],
];

const allowedImports: readonly (readonly [path: string, specifier: string])[] = [
  ['engine/raft/x.ts', './types.ts'],
  ['engine/raft/x.ts', '../../rpc/wire/errors.ts'],
  ['engine/region/x.ts', '../raft/types.ts'],
  ['engine/store/x.ts', '../../rpc/wire/errors.ts'],
  ['engine/store/rocks-store.ts', 'rocksdb'],
  ['engine/shard/pool.ts', 'piscina'],
  ['engine/shard/control.ts', 'comlink'],
  ['rpc/nats/link.ts', 'nats'],
  ['rpc/nats/x.ts', '../client/transport.ts'],
  ['tools/x.ts', '../engine/index.ts'],
  ['tools/kv/x.ts', '../../engine/index.ts'],
  ['test/harness.ts', 'uvu'],
];

const impurities: readonly (readonly [what: string, source: string, rule: string])[] = [
  ['the wall clock', 'export const now = (): number => Date.now();', GLOBALS],
  ['the monotonic clock', 'export const now = (): number => performance.now();', GLOBALS],
  ['a timer', 'export const wait = (f: () => void): unknown => setTimeout(f, 1);', GLOBALS],
  ['a promise', 'export const wait = (): unknown => Promise.resolve();', GLOBALS],
  ['the process', 'export const pid = (): number => process.pid;', GLOBALS],
  ['randomness', 'export const random = (): number => Math.random();', PROPERTIES],
  ['an async function', 'export async function f(): Promise<void> {}', 'oxc(no-async-await)'],
];

const cases: readonly Case[] = [
  ...forbiddenImports.map(([path, specifier]) => importCase(path, specifier, true)),
  ...allowedImports.map(([path, specifier]) => importCase(path, specifier, false)),
  ...impurities.map(([what, source, rule]) => ({
    what: `the Raft core must not use ${what}`,
    path: 'engine/raft/x.ts',
    source,
    rule,
    caught: true,
  })),
  {
    what: 'a region takes its clock as a port',
    path: 'engine/region/x.ts',
    source: 'export const now = (): number => performance.now();',
    rule: GLOBALS,
    caught: true,
  },
  {
    what: 'a region takes its randomness as a port',
    path: 'engine/region/x.ts',
    source: 'export const random = (): number => Math.random();',
    rule: PROPERTIES,
    caught: true,
  },
  {
    what: 'imports must not form a circle',
    path: 'rpc/wire/circle.ts',
    source: "import { far } from './circle-far.ts';\nexport const near = (): number => far();",
    rule: 'import(no-cycle)',
    caught: true,
  },
  {
    what: 'imports may form a line',
    path: 'rpc/wire/line.ts',
    source: "import { far } from './line-far.ts';\nexport const near = (): number => far();",
    rule: 'import(no-cycle)',
    caught: false,
  },
  {
    what: 'a promise must not be dropped',
    path: 'rpc/client/x.ts',
    source: 'export async function f(): Promise<void> {}\nexport function g(): void {\n  f();\n}',
    rule: 'typescript(no-floating-promises)',
    caught: true,
  },
  {
    what: 'file names are kebab-case',
    path: 'rpc/client/someThing.ts',
    source: 'export const x = 1;',
    rule: 'unicorn(filename-case)',
    caught: true,
  },
];

/** What the cases import. */
const SUPPORT: Readonly<Record<string, string>> = {
  'rpc/wire/circle-far.ts': "import { near } from './circle.ts';\nexport const far = (): number => near();",
  'rpc/wire/line-far.ts': 'export const far = (): number => 1;',
};

const root = projectRoot();
const rulesByFile = new Map<string, Set<string>>();

test.before(() => {
  const dir = mkdtempSync(join(tmpdir(), 'mraft-lint-'));
  try {
    for (const file of ['.oxlintrc.json', 'tsconfig.json', 'package.json'])
      copyFileSync(join(root, file), join(dir, file));
    symlinkSync(join(root, 'node_modules'), join(dir, 'node_modules'));
    cases.forEach((each, at) => write(dir, pathOf(each, at), each.source));
    for (const [path, source] of Object.entries(SUPPORT)) write(dir, path, source);
    lint(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

cases.forEach((each, at) => {
  test(each.what, () => {
    const rules = rulesByFile.get(pathOf(each, at)) ?? new Set();
    assert.is(rules.has(each.rule), each.caught, `caught here: ${[...rules].join(', ') || 'nothing'}`);
  });
});

/** `export * from` both imports and uses, so that nothing else complains. */
function importCase(path: string, specifier: string, caught: boolean): Case {
  const what = `${path} ${caught ? 'must not' : 'may'} import ${specifier}`;
  return { what, path, source: `export * from '${specifier}';`, rule: IMPORTS, caught };
}

function pathOf(each: Case, at: number): string {
  return each.path.replace(/\/x\.ts$/, `/x-${at}.ts`);
}

function write(dir: string, path: string, source: string): void {
  mkdirSync(dirname(join(dir, path)), { recursive: true });
  writeFileSync(join(dir, path), `${source}\n`);
}

function lint(dir: string): void {
  const oxlint = join(root, 'node_modules/.bin/oxlint');
  const run = spawnSync(oxlint, ['--format', 'json', '.'], { cwd: dir, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 });
  const { diagnostics } = JSON.parse(run.stdout) as { diagnostics: { code: string; filename: string }[] };
  for (const { filename, code } of diagnostics) {
    rulesByFile.set(filename, (rulesByFile.get(filename) ?? new Set()).add(code));
  }
}

/** This file runs from dist/test/lint, or from another output folder when started at the root. */
function projectRoot(): string {
  const candidates = [process.cwd(), join(dirname(fileURLToPath(import.meta.url)), '../../..')];
  const found = candidates.find((path) => existsSync(join(path, '.oxlintrc.json')));
  if (found === undefined) throw new Error('run the tests from the root of the project');
  return found;
}
