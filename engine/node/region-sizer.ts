/**
 * Measures the regions that are led on this node, one after the other and slowly: each once after it came to be led here or
 * changed its range, and again when much was written to it.
 */

import { asMraftError } from '../../rpc/wire/errors.ts';
import type { Region } from '../../rpc/wire/region.ts';
import type { Logger } from '../config.ts';
import type { WorkerPool } from '../shard/pool.ts';
import type { Store } from '../store/port.ts';
import { measureRegion } from './region-size.ts';
import { pause, type NodeRuntime } from './runtime.ts';

const ROUND_MS = 1_000;
/** Of each worker. */
const REGIONS_PER_ROUND = 64;
/** Of the node's data: some per cent of a core. */
const BYTES_PER_SECOND = 24 * 1024 * 1024;
/** What a region costs beside its data. */
const REGION_BYTES = 16 * 1024;

type SizedWorkers = Pick<WorkerPool, 'ask' | 'askAll' | 'workerOf'>;

export class RegionSizer {
  readonly #store: Store;
  readonly #pool: SizedWorkers;
  readonly #logger: Logger;
  readonly #runtime: NodeRuntime;
  #cancel: () => void = () => {};
  #closed = false;

  constructor(store: Store, pool: SizedWorkers, logger: Logger, runtime: NodeRuntime) {
    this.#runtime = runtime;
    this.#store = store;
    this.#pool = pool;
    this.#logger = logger;
    this.#later(ROUND_MS);
  }

  #later(delayMs: number): void {
    if (!this.#closed) this.#cancel = this.#runtime.after(delayMs, () => void this.#round());
  }

  async #round(): Promise<void> {
    try {
      const wanted = await this.#pool.askAll((control) => control.unmeasuredRegions(REGIONS_PER_ROUND));
      for (const region of wanted.flat()) await this.#measure(region);
    } catch (thrown) {
      if (!this.#closed) this.#logger.warn({ err: asMraftError(thrown) }, 'a region could not be measured; trying on');
    }
    this.#later(ROUND_MS);
  }

  async #measure(region: Region): Promise<void> {
    if (this.#closed) return;
    const startedMs = this.#runtime.nowMs();
    const { sizeBytes } = await measureRegion(this.#store, region, () => this.#closed);
    if (this.#closed) return;
    const { regionId, epoch } = region;
    await this.#pool.ask(this.#pool.workerOf(regionId), (control) =>
      control.noteSize(regionId, epoch.version, sizeBytes),
    );
    const fairMs = ((sizeBytes + REGION_BYTES) * 1_000) / BYTES_PER_SECOND;
    const restMs = Math.max(0, fairMs - (this.#runtime.nowMs() - startedMs));
    await pause(this.#runtime, restMs);
  }

  close(): void {
    this.#closed = true;
    this.#cancel();
  }
}
