/** What came to this worker and is for others of its node, gathered by worker. */
export class Misdirected<T> {
  #byWorker: Map<number, T[]> | undefined;
  count = 0;

  add(worker: number, item: T): void {
    this.count++;
    this.#byWorker ??= new Map();
    const items = this.#byWorker.get(worker);
    if (items) items.push(item);
    else this.#byWorker.set(worker, [item]);
  }

  get workers(): Iterable<number> {
    return this.#byWorker?.keys() ?? [];
  }

  of(worker: number): T[] {
    return this.#byWorker?.get(worker) ?? [];
  }
}
