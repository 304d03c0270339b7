/** Puts of uniform keys in a closed loop, as `run -w put` makes them, that go on while a scenario does something. */

import type { Kv } from '../../rpc/client/index.ts';
import { KeySpace } from '../keys.ts';
import { Random } from '../random.ts';
import { SteadyLoad } from './steady-load.ts';

export interface PutLoadOptions {
  readonly records: number;
  readonly valueBytes: number;
  readonly seed: number;
  readonly concurrency: number;
  /** The deadline of each put. */
  readonly timeoutMs: number;
}

const VALUES = 256;

/** Not started yet. */
export function putLoad(kv: Kv, { records, valueBytes, seed, concurrency, timeoutMs }: PutLoadOptions): SteadyLoad {
  const random = new Random(seed);
  const keys = new KeySpace(records);
  const values = Array.from({ length: VALUES }, () => random.bytes(valueBytes));
  const call = async (): Promise<'put'> => {
    await kv.put(keys.at(random.below(records)), values[random.below(VALUES)] as Buffer, { timeoutMs });
    return 'put';
  };
  return new SteadyLoad(call, { concurrency, targetPerSecond: undefined, timeoutMs });
}
