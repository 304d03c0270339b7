/**
 * A caller that alone writes the keys under its prefix, one call after the other, and so knows what every read must give:
 * batches, range deletes, scans both ways, reads of many keys.
 */

import type { BatchOperation, Kv } from '../../../rpc/client/index.ts';
import { seededRandom } from '../../linearizability/random-history.ts';
import { sortOfError, type CallLog } from './call-log.ts';

const KEYS = 160;
const BATCH_OPS = 12;
const LARGEST_VALUE = 8_000;
const PAUSE_MS = 10;

export class RangeOwner {
  readonly #kv: Kv;
  readonly #id: number;
  readonly #name: string;
  readonly #log: CallLog;
  readonly #random: () => number;
  readonly #timeoutMs: number;
  /** What is there. */
  readonly #model = new Map<string, string>();
  /** A write whose fate is unknown may yet take effect: the owner then goes on under another prefix. */
  #generation = 0;
  #writes = 0;
  /** Regions were split between its keys: batches are of one key until some time later. */
  #narrow = 0;

  constructor(kv: Kv, options: { id: number; seed: number; timeoutMs: number; log: CallLog }) {
    this.#kv = kv;
    this.#id = options.id;
    this.#name = `own${options.seed}.${options.id}`;
    this.#log = options.log;
    this.#timeoutMs = options.timeoutMs;
    this.#random = seededRandom(options.seed * 1_000 + options.id);
  }

  async run(isStopped: () => boolean): Promise<void> {
    while (!isStopped()) {
      await this.#step();
      await new Promise((resolve) => setTimeout(resolve, this.#random() * PAUSE_MS));
    }
    // Nothing comes after this: what it acknowledged must be there.
    await this.#scan(false);
  }

  async #step(): Promise<void> {
    const choice = this.#random();
    if (choice < 0.6) await this.#batch();
    else if (choice < 0.62) await this.#deleteRange();
    else if (choice < 0.8) await this.#scan(this.#random() < 0.5);
    else await this.#readMany();
  }

  async #batch(): Promise<void> {
    const count = this.#narrow > 0 ? 1 : 1 + Math.floor(this.#random() * BATCH_OPS);
    if (this.#narrow > 0) this.#narrow--;
    const first = this.#at();
    const operations = Array.from({ length: count }, (_, at): BatchOperation => {
      const key = this.#key(Math.min(KEYS - 1, first + at));
      if (this.#random() < 0.2) return { type: 'delete', key };
      const length = Math.floor(this.#random() ** 3 * LARGEST_VALUE);
      return { type: 'put', key, value: `${++this.#writes}`.padEnd(length, '.') };
    });
    const outcome = await this.#write('batch', () => this.#kv.batch(operations, { timeoutMs: this.#timeoutMs }));
    if (outcome === 'BatchCrossesRegions') this.#narrow = 20;
    if (outcome !== undefined) return;
    for (const operation of operations) {
      if (operation.type === 'put') this.#model.set(operation.key as string, operation.value as string);
      else this.#model.delete(operation.key as string);
    }
  }

  async #deleteRange(): Promise<void> {
    const from = this.#at();
    const to = Math.min(KEYS, from + Math.floor(this.#random() * KEYS));
    const [start, end] = [this.#key(from), this.#key(to)];
    if (start >= end) return;
    const outcome = await this.#write('deleteRange', () =>
      this.#kv.deleteRange(start, end, { timeoutMs: this.#timeoutMs }),
    );
    if (outcome !== undefined) return;
    for (const key of this.#model.keys()) if (key >= start && key < end) this.#model.delete(key);
  }

  async #scan(reverse: boolean): Promise<void> {
    const found: [string, string][] = [];
    const [gte, lt] = [this.#key(0), this.#key(KEYS)];
    const isDone = await this.#log.call('scan', async () => {
      found.length = 0;
      for await (const { key, value } of this.#kv.scan({ gte, lt, reverse, timeoutMs: this.#timeoutMs })) {
        found.push([text(key), text(value)]);
      }
    });
    if (isDone !== undefined) return;
    const wanted = [...this.#model].sort(([a], [b]) => (a < b ? -1 : 1));
    if (reverse) wanted.reverse();
    this.#compare('scan', wanted, found);
  }

  async #readMany(): Promise<void> {
    const keys = Array.from({ length: 20 }, () => this.#key(this.#at()));
    let values: (Uint8Array | undefined)[] = [];
    const isDone = await this.#log.call('batchGet', async () => {
      values = await this.#kv.batchGet(keys, { timeoutMs: this.#timeoutMs });
    });
    if (isDone !== undefined) return;
    const wanted = keys.map((key) => [key, this.#model.get(key)] as const);
    this.#compare(
      'batchGet',
      wanted,
      keys.map((key, at) => [key, values[at] && text(values[at])] as const),
    );
  }

  /** The code of what went wrong; undefined: it is done. */
  async #write(verb: string, call: () => Promise<void>): Promise<string | undefined> {
    const code = await this.#log.call(verb, call);
    if (code === undefined || sortOfError(code) === 'refused') return code;
    this.#generation++;
    this.#model.clear();
    return code;
  }

  #compare(
    verb: string,
    wanted: readonly (readonly [string, string | undefined])[],
    found: readonly (readonly [string, string | undefined])[],
  ): void {
    const at = wanted.findIndex(([key, value], index) => found[index]?.[0] !== key || found[index]?.[1] !== value);
    if (at < 0 && wanted.length === found.length) return;
    const index = at < 0 ? wanted.length : at;
    const shown = (entry: readonly [string, string | undefined] | undefined): string =>
      entry ? `${entry[0]} = ${entry[1]?.slice(0, 12)}` : 'nothing';
    this.#log.violation(
      `${verb} of ${this.#name}: entry ${index} is ${shown(found[index])}, it wrote ${shown(wanted[index])} ` +
        `(${found.length} entries, ${wanted.length} written)`,
    );
    // One finding is one line, not one a call from here on.
    this.#generation++;
    this.#model.clear();
  }

  #at(): number {
    return Math.floor(this.#random() * KEYS);
  }

  /** Owners lie all over the key space. */
  #key(at: number): string {
    const place = String.fromCharCode(33 + ((this.#id * 37) % 90));
    return `${place}${this.#name}/${this.#generation}/${String(at).padStart(4, '0')}`;
  }
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
