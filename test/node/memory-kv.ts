/** A key-value interface in memory, for what is kept through one. */

import type {
  BatchOperation,
  CompareAndSwapResult,
  Key,
  KeyValue,
  Kv,
  ScanOptions,
  Value,
} from '../../rpc/client/index.ts';

export class MemoryKv implements Kv {
  readonly entries = new Map<string, string>();

  async get(key: Key): Promise<Uint8Array | undefined> {
    const value = this.entries.get(String(key));
    return value === undefined ? undefined : Buffer.from(value);
  }

  async batchGet(keys: readonly Key[]): Promise<(Uint8Array | undefined)[]> {
    return Promise.all(keys.map((key) => this.get(key)));
  }

  async put(key: Key, value: Value): Promise<void> {
    this.entries.set(String(key), String(value));
  }

  async delete(key: Key): Promise<void> {
    this.entries.delete(String(key));
  }

  async compareAndSwap(key: Key, expected: Value | undefined, value: Value | undefined): Promise<CompareAndSwapResult> {
    const current = this.entries.get(String(key));
    const wanted = expected === undefined ? undefined : String(expected);
    if (current !== wanted) {
      return { swapped: false, current: current === undefined ? undefined : Buffer.from(current) };
    }
    if (value === undefined) this.entries.delete(String(key));
    else this.entries.set(String(key), String(value));
    return { swapped: true, current: undefined };
  }

  onBatch: (operations: readonly BatchOperation[]) => void = () => {};

  async batch(operations: readonly BatchOperation[]): Promise<void> {
    this.onBatch(operations);
    for (const operation of operations) {
      if (operation.type === 'put') this.entries.set(String(operation.key), String(operation.value));
      else this.entries.delete(String(operation.key));
    }
  }

  async *scan(options: ScanOptions = {}): AsyncIterable<KeyValue> {
    const { gte = '', lt = '\uffff' } = options;
    for (const [key, value] of [...this.entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (key >= String(gte) && key < String(lt)) yield { key: Buffer.from(key), value: Buffer.from(value) };
    }
  }

  async deleteRange(): Promise<void> {
    throw new Error('not needed');
  }

  async close(): Promise<void> {}
}
