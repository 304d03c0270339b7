/** `mraft kv`: calls of the key-value interface from the command line. */

import { Command, Option } from 'commander';

import { connect, type BatchOperation, type Kv, type ReadMode, type ScanOptions } from '../../rpc/client/index.ts';
import { InvalidArgument } from '../../rpc/wire/errors.ts';
import { wholeNumber, withClusterFlags, type ClusterFlags } from './flags.ts';

interface ReadFlags extends ClusterFlags {
  readonly read: ReadMode;
  readonly json?: boolean;
}

interface CasFlags extends ClusterFlags {
  readonly absent?: boolean;
  readonly delete?: boolean;
  readonly json?: boolean;
}

interface ScanFlags extends ReadFlags {
  readonly gt?: string;
  readonly gte?: string;
  readonly lt?: string;
  readonly lte?: string;
  readonly reverse?: boolean;
  readonly limit?: number;
}

/** A key was not there, or a swap did not happen: an answer, which a script tells from a failure (1). */
const EXIT_NEGATIVE = 3;

export function kvCommand(): Command {
  return new Command('kv')
    .description('read and write keys')
    .addCommand(getCommand())
    .addCommand(putCommand())
    .addCommand(deleteCommand())
    .addCommand(casCommand())
    .addCommand(batchCommand())
    .addCommand(scanCommand())
    .addCommand(deleteRangeCommand());
}

function getCommand(): Command {
  return withReadFlags(new Command('get'))
    .description('print the value of a key; exit code 3 when there is none')
    .argument('<key>')
    .action(async (key: string, flags: ReadFlags) => {
      const value = await withClient(flags, (kv) => kv.get(key, { read: flags.read, timeoutMs: flags.timeoutMs }));
      if (value === undefined) process.exitCode = EXIT_NEGATIVE;
      if (flags.json) printJson({ key, ...fieldOf('value', value) });
      else if (value) printLine(value);
    });
}

function putCommand(): Command {
  return withClusterFlags(new Command('put'))
    .description('write a key')
    .argument('<key>')
    .argument('<value>', 'the value, or - for standard input')
    .action(async (key: string, value: string, flags: ClusterFlags) => {
      const bytes = value === '-' ? await standardInput() : value;
      await withClient(flags, (kv) => kv.put(key, bytes, { timeoutMs: flags.timeoutMs }));
    });
}

function deleteCommand(): Command {
  return withClusterFlags(new Command('delete'))
    .description('remove a key')
    .argument('<key>')
    .action((key: string, flags: ClusterFlags) =>
      withClient(flags, (kv) => kv.delete(key, { timeoutMs: flags.timeoutMs })),
    );
}

function casCommand(): Command {
  return withClusterFlags(new Command('cas'))
    .description('write a key if it holds what is expected; exit code 3, and the current value, when it does not')
    .argument('<key>')
    .argument('[values...]', 'the expected value and the new one; --absent and --delete each stand for one of them')
    .option('--absent', 'expect that there is no such key')
    .option('--delete', 'remove the key')
    .option('--json', 'answer in JSON')
    .action(async (key: string, values: string[], flags: CasFlags) => {
      const [expected, value] = casValues(values, flags);
      const result = await withClient(flags, (kv) =>
        kv.compareAndSwap(key, expected, value, { timeoutMs: flags.timeoutMs }),
      );
      if (!result.swapped) process.exitCode = EXIT_NEGATIVE;
      if (flags.json) printJson({ swapped: result.swapped, ...fieldOf('current', result.current) });
      else if (result.current) printLine(result.current);
    });
}

function casValues(values: readonly string[], flags: CasFlags): [string | undefined, string | undefined] {
  const rest = [...values];
  const expected = flags.absent ? undefined : rest.shift();
  const value = flags.delete ? undefined : rest.shift();
  const isComplete = (flags.absent || expected !== undefined) && (flags.delete || value !== undefined);
  if (!isComplete || rest.length > 0) {
    throw new InvalidArgument('values: give the expected and the new one (or --absent, --delete in their places)', {
      field: 'values',
    });
  }
  return [expected, value];
}

function batchCommand(): Command {
  return withClusterFlags(new Command('batch'))
    .description(
      'write atomically what standard input says, a line each: {"put": {"key", "value"}} or {"delete": {"key"}}',
    )
    .action(async (flags: ClusterFlags) => {
      const operations = parseOperations((await standardInput()).toString());
      await withClient(flags, (kv) => kv.batch(operations, { timeoutMs: flags.timeoutMs }));
    });
}

function parseOperations(text: string): BatchOperation[] {
  const lines = text.split('\n').map((line, at) => ({ line: line.trim(), number: at + 1 }));
  return lines.filter(({ line }) => line !== '').map(({ line, number }) => parseOperation(line, number));
}

function parseOperation(line: string, number: number): BatchOperation {
  const { put, delete: removed } = parseObject(line);
  if (typeof put?.key === 'string' && typeof put.value === 'string' && removed === undefined) {
    return { type: 'put', key: put.key, value: put.value };
  }
  if (typeof removed?.key === 'string' && put === undefined) return { type: 'delete', key: removed.key };
  throw new InvalidArgument(
    `standard input, line ${number}: must be {"put": {"key", "value"}} or {"delete": {"key"}}`,
    { field: 'operations' },
  );
}

interface UncheckedOperation {
  readonly put?: { readonly key?: unknown; readonly value?: unknown } | null;
  readonly delete?: { readonly key?: unknown } | null;
}

/** Anything that is no JSON object is an object without fields. */
function parseObject(line: string): UncheckedOperation {
  try {
    const parsed: unknown = JSON.parse(line);
    return typeof parsed === 'object' && parsed !== null ? parsed : {};
  } catch {
    return {};
  }
}

function scanCommand(): Command {
  return withReadFlags(new Command('scan'))
    .description('print the entries of a range, a line each: key, tab, value')
    .option('--gt <key>', 'from behind this key')
    .option('--gte <key>', 'from this key')
    .option('--lt <key>', 'to before this key')
    .option('--lte <key>', 'to this key')
    .option('--reverse', 'from the last to the first')
    .option('--limit <n>', 'most entries', wholeNumber)
    .action((flags: ScanFlags) => withClient(flags, (kv) => printScan(kv, flags)));
}

async function printScan(kv: Kv, flags: ScanFlags): Promise<void> {
  const { gt, gte, lt, lte, reverse, limit, read, timeoutMs } = flags;
  const options = Object.entries({ gt, gte, lt, lte, reverse, limit, read, timeoutMs });
  const given = Object.fromEntries(options.filter(([, value]) => value !== undefined)) as ScanOptions;
  for await (const { key, value } of kv.scan(given)) {
    if (flags.json) printJson({ ...fieldOf('key', key), ...fieldOf('value', value) });
    else printLine(Buffer.concat([key, Buffer.from('\t'), value]));
  }
}

function deleteRangeCommand(): Command {
  return withClusterFlags(new Command('delete-range'))
    .description('remove all keys from the first (inclusive) to the second (exclusive)')
    .argument('<start>')
    .argument('<end>')
    .action((start: string, end: string, flags: ClusterFlags) =>
      withClient(flags, (kv) => kv.deleteRange(start, end, { timeoutMs: flags.timeoutMs })),
    );
}

function withReadFlags(command: Command): Command {
  return withClusterFlags(command)
    .addOption(
      new Option('--read <mode>', 'how fresh')
        .choices(['linearizable', 'lease', 'stale', 'replica'])
        .default('linearizable'),
    )
    .option('--json', 'answer in JSON; bytes that are no UTF-8 as base64 in key64, value64');
}

async function withClient<T>(flags: ClusterFlags, call: (kv: Kv) => Promise<T>): Promise<T> {
  const kv = await connect({ servers: flags.nats, cluster: flags.cluster, timeoutMs: flags.timeoutMs });
  try {
    return await call(kv);
  } finally {
    await kv.close();
  }
}

async function standardInput(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function printLine(bytes: Uint8Array): void {
  process.stdout.write(Buffer.concat([bytes, Buffer.from('\n')]));
}

function printJson(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** `{name: text}`, or `{name64: base64}` for bytes that are no UTF-8; null where there is nothing. */
function fieldOf(name: string, bytes: Uint8Array | undefined): Record<string, string | null> {
  if (bytes === undefined) return { [name]: null };
  try {
    return { [name]: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { [`${name}64`]: Buffer.from(bytes).toString('base64') };
  }
}
