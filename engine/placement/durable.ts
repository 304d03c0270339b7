/** What lasts: records by key, collected until the host takes them. A later value of a key takes the place of an earlier one. */

import { StorageFailure } from '../../rpc/wire/errors.ts';
import type { DurableWrite } from './types.ts';

export const RECORDS = {
  ids: 'ids',
  settings: 'settings',
  schedulers: 'schedulers',
  node: 'node/',
  operator: 'operator/',
  observer: 'observer/',
  log: 'log/',
  region: 'region/',
} as const;

export class DurableWrites {
  private readonly pending = new Map<string, () => string | null>();

  /** The value is made into text when it is taken. */
  put(key: string, value: () => unknown): void {
    this.pending.set(key, () => JSON.stringify(value()));
  }

  putText(key: string, text: () => string): void {
    this.pending.set(key, text);
  }

  forget(key: string): void {
    this.pending.set(key, () => null);
  }

  take(): readonly DurableWrite[] {
    const writes = [...this.pending].map(([key, value]) => ({ key, value: value() }));
    this.pending.clear();
    return writes;
  }
}

/** @throws StorageFailure when the record is no JSON */
export function parseRecord<T>(key: string, value: string): T {
  try {
    return JSON.parse(value) as T;
  } catch (cause) {
    throw new StorageFailure(`the record '${key}' of placement cannot be read: ${(cause as Error).message}`, { cause });
  }
}
