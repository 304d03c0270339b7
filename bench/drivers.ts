/** The stores that can be measured, by name. */

import type { Driver } from './driver.ts';

export const DRIVERS = ['mraft', 'mraft-embedded', 'etcd', 'jetstream'] as const;
export type DriverName = (typeof DRIVERS)[number];

export interface DriverOptions {
  /** Of mraft: regions at bootstrap, worker threads of each node. */
  readonly regions: number;
  readonly workers: number;
  /** Of mraft: a cluster that runs already. */
  readonly existing?: { readonly url: string; readonly cluster: string } | undefined;
  /** Of a started mraft cluster: it stays at that number of regions, whatever the load. */
  readonly keepsRegions?: boolean;
}

/** Most puts in one transaction of etcd (its default of --max-txn-ops). */
const ETCD_TRANSACTION_OPS = 128;

/** Only the store that is measured is loaded: the others would cost memory and, for the engine, native code. */
export async function createDriver(name: DriverName, options: DriverOptions): Promise<Driver> {
  const { regions, workers, existing, keepsRegions } = options;
  switch (name) {
    case 'mraft': {
      const { MraftDriver } = await import('./mraft/driver.ts');
      return new MraftDriver({ regions, workers, existing, keepsRegions });
    }
    case 'mraft-embedded': {
      const { EmbeddedDriver } = await import('./mraft/embedded-driver.ts');
      return new EmbeddedDriver({ regions, workers });
    }
    case 'etcd': {
      const { EtcdDriver } = await import('./etcd/driver.ts');
      return new EtcdDriver();
    }
    case 'jetstream': {
      const { JetStreamDriver } = await import('./jetstream/driver.ts');
      return new JetStreamDriver();
    }
  }
}

/** The longest batch that a store takes, where it is shorter than mraft's. */
export function maxBatchSize(name: DriverName): number {
  return name === 'etcd' ? ETCD_TRANSACTION_OPS : Infinity;
}
