/**
 * Runs every `*.test.js` below dist/test, each in a process of its own, and ends with the line `N passed, N failed`.
 *
 *     node dist/test/run.js [part of a path …]      MRAFT_TEST_JOBS=2  MRAFT_TEST_FILE_TIMEOUT_MS=600000
 *
 * A file fails also when it runs no test, dies, hangs, or is kept alive after its tests. Files below `e2e` start real
 * clusters and run alone, after the others.
 */

import { fork } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

import type { FileReport } from './harness.ts';

const ROOT = fileURLToPath(new URL('.', import.meta.url));
const SERIAL_FOLDERS = ['e2e'];
const DEFAULT_FILE_TIMEOUT_MS = 600_000;
/** Of a file's output, what is kept to be shown when it fails. */
const OUTPUT_TAIL_CHARS = 64_000;

interface FileResult {
  readonly file: string;
  readonly passed: number;
  readonly failures: readonly { readonly test: string; readonly message: string }[];
  readonly notes: readonly string[];
  readonly durationMs: number;
  readonly output: string;
  /** Whether the harness came to its end. */
  readonly reported: boolean;
}

const running = new Set<number | undefined>();
const jobs = positiveInteger('MRAFT_TEST_JOBS', Math.min(2, availableParallelism()));
const fileTimeoutMs = positiveInteger('MRAFT_TEST_FILE_TIMEOUT_MS', DEFAULT_FILE_TIMEOUT_MS);

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    for (const pid of running) killGroup(pid);
    process.exit(1);
  });
}

const files = findTests(process.argv.slice(2));
const isSerial = (file: string): boolean => SERIAL_FOLDERS.some((folder) => file.startsWith(`${folder}/`));
const results = [
  ...(await runFiles(
    files.filter((file) => !isSerial(file)),
    jobs,
  )),
  ...(await runFiles(files.filter(isSerial), 1)),
];
conclude(results);

function findTests(wanted: readonly string[]): string[] {
  return readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.test.js'))
    .filter((file) => wanted.length === 0 || wanted.some((part) => file.includes(part)))
    .sort();
}

async function runFiles(waiting: readonly string[], parallel: number): Promise<FileResult[]> {
  const done: FileResult[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let file = waiting[next++]; file !== undefined; file = waiting[next++]) {
      const result = await runFile(file);
      print(result);
      done.push(result);
    }
  };
  await Promise.all(Array.from({ length: parallel }, lane));
  return done;
}

function runFile(file: string): Promise<FileResult> {
  const startedMs = performance.now();
  const child = fork(join(ROOT, file), {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    execArgv: ['--enable-source-maps', ...process.execArgv],
    env: { ...process.env, FORCE_COLOR: '0' },
    // A group of its own, so that what a hung test started goes with it.
    detached: true,
  });
  running.add(child.pid);
  let output = '';
  const keep = (chunk: Buffer): void => {
    output = (output + chunk.toString()).slice(-OUTPUT_TAIL_CHARS);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  let report: FileReport | undefined;
  child.on('message', (message) => {
    report = message as FileReport;
  });
  let timedOut = false;
  const timer = setTimeout(() => {
    timedOut = true;
    killGroup(child.pid);
  }, fileTimeoutMs);

  return new Promise((resolve) => {
    // Whatever the file left behind would also hold its output open.
    child.on('exit', () => killGroup(child.pid));
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      running.delete(child.pid);
      const failures = [...(report?.failures ?? [])];
      const passed = report?.passed ?? 0;
      const notes = report?.notes ?? [];
      if (timedOut) failures.push({ test: file, message: `did not end within ${fileTimeoutMs} ms` });
      else if (report === undefined)
        failures.push({ test: file, message: `ended by ${signal ?? code} before its tests did` });
      else if (failures.length === 0 && code !== 0) {
        failures.push({ test: file, message: `ended by ${signal ?? code} after its tests` });
      } else if (failures.length === 0 && passed === 0) failures.push({ test: file, message: 'ran no test' });
      resolve({
        file,
        passed,
        failures,
        notes,
        durationMs: performance.now() - startedMs,
        output,
        reported: report !== undefined,
      });
    });
  });
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended already.
  }
}

function print(result: FileResult): void {
  const verdict = result.failures.length === 0 ? 'ok  ' : 'FAIL';
  const seconds = (result.durationMs / 1000).toFixed(1);
  console.log(`${verdict}  ${result.file.replace(/\.test\.js$/, '')}  ${result.passed} passed, ${seconds} s`);
  for (const line of result.notes) console.log(`        ${line}`);
  if (result.failures.length === 0) return;
  // A file that reported its failures has said there what went wrong; one that did not, only here.
  if (!result.reported) console.log(indent(result.output));
  for (const { test, message } of result.failures) console.log(`  FAIL  ${test}\n${indent(message)}`);
}

function indent(text: string): string {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => `        ${line}`)
    .join('\n');
}

function conclude(all: readonly FileResult[]): void {
  const passed = all.reduce((sum, result) => sum + result.passed, 0);
  const failures = all.flatMap((result) => result.failures.map(({ test }) => ({ file: result.file, test })));
  if (all.length === 0) console.log(`no test files in ${relative(process.cwd(), ROOT) || '.'}: build first`);
  for (const { file, test } of failures) console.log(`failed: ${file}: ${test}`);
  process.exitCode = failures.length > 0 || passed === 0 ? 1 : 0;
  console.log(`${passed} passed, ${failures.length} failed`);
}

function positiveInteger(variable: string, fallback: number): number {
  const text = process.env[variable];
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    console.error(`${variable} must be a positive integer, not '${text}'`);
    process.exit(2);
  }
  return value;
}
