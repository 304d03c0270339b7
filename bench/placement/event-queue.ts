/** What happens when, in virtual time: a binary heap, equal times in the order of their coming. */

interface Event {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

export class EventQueue {
  private readonly heap: Event[] = [];
  private scheduled = 0;
  nowMs = 0;

  after(delayMs: number, run: () => void): void {
    this.heap.push({ atMs: this.nowMs + delayMs, order: this.scheduled++, run });
    this.rise(this.heap.length - 1);
  }

  /** Runs what is due up to `untilMs`, which is the time afterwards. */
  runUntil(untilMs: number): void {
    for (let first = this.heap[0]; first !== undefined && first.atMs <= untilMs; first = this.heap[0]) {
      this.takeFirst();
      this.nowMs = first.atMs;
      first.run();
    }
    this.nowMs = untilMs;
  }

  private takeFirst(): void {
    const last = this.heap.pop() as Event;
    if (this.heap.length === 0) return;
    this.heap[0] = last;
    this.sink();
  }

  private rise(from: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!this.isBefore(at, parent)) return;
      this.swap(at, parent);
      at = parent;
    }
  }

  private sink(): void {
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= this.heap.length) return;
      const right = left + 1;
      const child = right < this.heap.length && this.isBefore(right, left) ? right : left;
      if (!this.isBefore(child, at)) return;
      this.swap(at, child);
      at = child;
    }
  }

  private isBefore(a: number, b: number): boolean {
    const x = this.heap[a] as Event;
    const y = this.heap[b] as Event;
    return x.atMs < y.atMs || (x.atMs === y.atMs && x.order < y.order);
  }

  private swap(a: number, b: number): void {
    const x = this.heap[a] as Event;
    this.heap[a] = this.heap[b] as Event;
    this.heap[b] = x;
  }
}
