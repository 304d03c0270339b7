/** Appends to one peer that were sent and not answered: a window bounded in messages and in bytes. */

export class Inflights {
  private readonly maxMessages: number;
  private readonly maxBytes: number;
  private readonly lastIndexes: number[] = [];
  private readonly sizes: number[] = [];
  /** Position of the oldest message in the ring; the arrays grow up to `maxMessages` and are then reused. */
  private head = 0;
  private messageCount = 0;
  private byteCount = 0;

  constructor(maxMessages: number, maxBytes: number) {
    this.maxMessages = maxMessages;
    this.maxBytes = maxBytes;
  }

  get count(): number {
    return this.messageCount;
  }

  get sizeBytes(): number {
    return this.byteCount;
  }

  /** One message may pass the byte bound, so that an entry of any size gets through. */
  get full(): boolean {
    return this.messageCount >= this.maxMessages || this.byteCount >= this.maxBytes;
  }

  /** The caller asked `full` first. */
  add(lastIndex: number, sizeBytes: number): void {
    const slot = (this.head + this.messageCount) % this.maxMessages;
    this.lastIndexes[slot] = lastIndex;
    this.sizes[slot] = sizeBytes;
    this.messageCount++;
    this.byteCount += sizeBytes;
  }

  /** Everything up to and including `index` was answered. */
  freeUpTo(index: number): void {
    while (this.messageCount > 0 && this.lastIndexes[this.head]! <= index) this.freeOldest();
  }

  /** Opens the window by one message: the answer may have been lost. */
  freeOldest(): void {
    if (this.messageCount === 0) return;
    this.byteCount -= this.sizes[this.head]!;
    this.head = (this.head + 1) % this.maxMessages;
    this.messageCount--;
  }

  clear(): void {
    this.head = 0;
    this.messageCount = 0;
    this.byteCount = 0;
  }
}
