/**
 * The only import of uvu. It adds what uvu leaves out: a set-up that throws fails its tests, a suite cannot be
 * forgotten, every test has a time-out, a clean-up that throws is a failure, and a process that its tests keep alive
 * is reported. `test/run.ts` runs each file in a process of its own; a file also runs alone: `node dist/test/x.test.js`.
 *
 *     const test = suite('name of the thing');
 *     test.before(() => …);
 *     test('the promise, in words', async () => { assert.is(1, 1); });
 */

import { suite as uvuSuite } from 'uvu';

export * as assert from 'uvu/assert';

export interface SuiteOptions {
  /** Each test, with its hooks, and each hook of the suite must end within this. Default 30,000. */
  readonly timeoutMs?: number;
}

type Body = () => unknown;

interface HookRegistrar {
  (hook: Body): void;
  each: (hook: Body) => void;
}

export interface Suite {
  (name: string, body: Body): void;
  /** Once, before the first test; when it throws, every test of the suite fails with its error. */
  readonly before: HookRegistrar;
  /** Once, after the last test, whatever happened; a throw is a failure. `each` runs also after a failed test. */
  readonly after: HookRegistrar;
}

/** What a file's process tells test/run.ts. */
export interface FileReport {
  readonly passed: number;
  readonly failures: readonly { readonly test: string; readonly message: string }[];
  /** What tests measured on the way. */
  readonly notes: readonly string[];
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** How long after its last test a process may take to end by itself. */
const EXIT_GRACE_MS = 3_000;

interface RegisteredSuite {
  readonly name: string;
  readonly timeoutMs: number;
  readonly tests: { name: string; body: Body }[];
  readonly before: Body[];
  readonly after: Body[];
  readonly beforeEach: Body[];
  readonly afterEach: Body[];
}

const suites: RegisteredSuite[] = [];
const failures: { test: string; message: string }[] = [];
const notes: string[] = [];
let passed = 0;
let phase: 'collecting' | 'running' | 'done' = 'collecting';
let isProgram = false;

/** A suite; it runs by itself when the file has been evaluated. Tests run one after the other, in order. */
export function suite(name: string, options: SuiteOptions = {}): Suite {
  refuseLateRegistration(`suite '${name}'`);
  if (suites.length === 0) setImmediate(run);
  const registered: RegisteredSuite = {
    name,
    timeoutMs: options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
    tests: [],
    before: [],
    after: [],
    beforeEach: [],
    afterEach: [],
  };
  suites.push(registered);
  const add = (testName: string, body: Body): void => {
    refuseLateRegistration(`test '${testName}'`);
    registered.tests.push({ name: testName, body });
  };
  return Object.assign(add, {
    before: hookRegistrar(registered.before, registered.beforeEach),
    after: hookRegistrar(registered.after, registered.afterEach),
  });
}

/**
 * The error that `promise` rejects with, checked.
 * @param expected a class, or a pattern of the message
 */
export async function rejects<E extends Error = Error>(
  promise: Promise<unknown>,
  expected?: (abstract new (...args: never[]) => E) | RegExp,
): Promise<E> {
  let thrown: unknown;
  try {
    await promise;
  } catch (error) {
    thrown = error;
  }
  if (thrown === undefined) throw new Error('expected a rejection, but the promise was fulfilled');
  const matches =
    expected === undefined || (expected instanceof RegExp ? expected.test(String(thrown)) : thrown instanceof expected);
  if (!matches) throw new Error(`expected a rejection with ${String(expected)}`, { cause: thrown });
  return thrown as E;
}

/** Asks until `probe` gives a truthy value, and returns it; an error that names `what` when it does not in time. */
export async function eventually<T>(what: string, probe: () => T | Promise<T>, timeoutMs = 10_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value) return value;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A line for the report: what was measured, where a test asserts less than is of interest. */
export function note(line: string): void {
  notes.push(line);
  process.stdout.write(`\n  ${line}\n  `);
}

/** For a program that is no test, but uses `assert` and `eventually`: it registers no suite. */
export function withoutSuites(): void {
  isProgram = true;
}

function hookRegistrar(once: Body[], each: Body[]): HookRegistrar {
  const register = (list: Body[]) => (hook: Body) => {
    refuseLateRegistration('a hook');
    list.push(hook);
  };
  return Object.assign(register(once), { each: register(each) });
}

function refuseLateRegistration(what: string): void {
  if (phase !== 'collecting') {
    fail('registration', `${what} was registered after the run began: no top-level await before it`);
  }
}

function run(): void {
  phase = 'running';
  for (const registered of suites) {
    if (registered.tests.length === 0) fail(registered.name, 'a suite without tests');
    runSuite(registered);
  }
}

/** Hands a suite to uvu. Its hooks never throw into uvu, which would swallow the error. */
function runSuite(registered: RegisteredSuite): void {
  const { name, timeoutMs } = registered;
  const inner = uvuSuite(name);
  let setupError: { error: unknown } | undefined;

  inner.before(async () => {
    try {
      await withTimeout(() => runAll(registered.before), timeoutMs, 'before hook');
    } catch (error) {
      setupError = { error };
    }
  });
  for (const { name: testName, body } of registered.tests) {
    inner(testName, async () => {
      try {
        if (setupError) throw new Error('the before hook of the suite failed', { cause: setupError.error });
        await runTest(registered, body);
        passed += 1;
      } catch (error) {
        const failure = error instanceof Error ? error : new Error(String(error));
        fail(`${name}: ${testName}`, describe(failure), false);
        throw failure;
      }
    });
  }
  inner.after(async () => {
    try {
      await withTimeout(() => runAll(registered.after), timeoutMs, 'after hook');
    } catch (error) {
      fail(`${name}: after hook`, describe(error));
    }
    // uvu sets its own exit code behind this hook, so the verdict waits until it has.
    if (registered === suites.at(-1)) setImmediate(finish);
  });
  inner.run();
}

async function runTest(registered: RegisteredSuite, body: Body): Promise<void> {
  await withTimeout(
    async () => {
      try {
        await runAll(registered.beforeEach);
        await body();
      } finally {
        await runAll(registered.afterEach);
      }
    },
    registered.timeoutMs,
    'test',
  );
}

async function runAll(hooks: readonly Body[]): Promise<void> {
  for (const hook of hooks) await hook();
}

async function withTimeout(work: () => Promise<void>, timeoutMs: number, what: string): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the ${what} did not end within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([work(), timeout]);
  } finally {
    clearTimeout(timer);
  }
}

function fail(test: string, message: string, print = true): void {
  failures.push({ test, message });
  process.exitCode = 1;
  if (print) process.stdout.write(`\n  FAIL  ${test}: ${message}\n`);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? '' : `\n  caused by: ${describe(error.cause)}`;
  const details = (error as { details?: unknown }).details;
  const difference = typeof details === 'string' ? `\n${details}` : '';
  return `${relevantStack(error)}${difference}${cause}`;
}

/** Without the frames of uvu, this file and Node. */
function relevantStack(error: Error): string {
  const lines = (error.stack ?? error.message).split('\n');
  return lines.filter((line) => !/^\s+at .*(node_modules\/uvu|test\/harness\.[jt]s|node:)/.test(line)).join('\n');
}

function finish(): void {
  phase = 'done';
  process.exitCode = failures.length > 0 ? 1 : 0;
  report();
  setTimeout(() => {
    const alive = process.getActiveResourcesInfo().filter((kind) => kind !== 'Timeout' || !isOnlyOurs());
    fail('process', `the tests ended, but something keeps the process alive: ${alive.join(', ')}`);
    report();
    process.exit(1);
  }, EXIT_GRACE_MS).unref();
}

function isOnlyOurs(): boolean {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length <= 1;
}

function report(): void {
  const message: FileReport = { passed, failures, notes };
  process.send?.(message);
}

process.on('exit', (code) => {
  if (phase === 'done' || isProgram) return;
  const why = suites.length === 0 ? 'no suite was registered' : 'the process ended before its tests did';
  process.stdout.write(`\n  FAIL  ${why}\n`);
  process.exitCode = code || 1;
});
