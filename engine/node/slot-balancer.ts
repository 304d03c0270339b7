/** Looks at the workers of this node now and then, and lets a hot one give slots away. */

import type { Logger } from '../config.ts';
import type { WorkerPool } from '../shard/pool.ts';
import { SlotBalance } from '../shard/slot-balance.ts';
import { asMraftError } from '../../rpc/wire/errors.ts';

const PERIOD_MS = 2_000;

export class SlotBalancer {
  readonly #pool: WorkerPool;
  readonly #workers: number;
  readonly #logger: Logger;
  readonly #balance = new SlotBalance();
  #timer: NodeJS.Timeout | undefined;

  constructor(pool: WorkerPool, workers: number, logger: Logger) {
    this.#pool = pool;
    this.#workers = workers;
    this.#logger = logger;
  }

  start(): void {
    if (this.#workers < 2) return;
    this.#timer = setInterval(() => void this.#look(), PERIOD_MS);
    this.#timer.unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const loads = await this.#pool.askAll((control) => control.load());
    if (loads.length < this.#workers) return;
    for (const { slot, to } of this.#balance.decide(loads)) {
      try {
        await this.#pool.moveSlot(slot, to);
        this.#logger.info({ slot, worker: to }, `slot ${slot} was moved to worker ${to}, which has less to do`);
      } catch (thrown) {
        const { code, message } = asMraftError(thrown);
        this.#logger.info({ slot, code }, `slot ${slot} stays: ${message}`);
      }
    }
  }
}
