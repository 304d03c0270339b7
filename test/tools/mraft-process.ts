/** Runs the program `mraft` to its end. */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const MRAFT = fileURLToPath(new URL('../../tools/mraft.js', import.meta.url));

export interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function runMraft(args: readonly string[], options: { input?: string; timeoutMs?: number } = {}): Promise<Run> {
  const child = spawn(process.execPath, [MRAFT, ...args], { timeout: options.timeoutMs ?? 20_000 });
  const run = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk) => (run.stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (run.stderr += String(chunk)));
  child.stdin.end(options.input ?? '');
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, ...run })));
}
