/** A set of region slots in no order, with the position of each kept by the owner: constant time in, out and at random. */

const FIRST_CAPACITY = 16;

export class SlotList {
  private slots = new Uint32Array(FIRST_CAPACITY);
  length = 0;

  at(position: number): number {
    return this.slots[position] as number;
  }

  /** Its position. */
  push(slot: number): number {
    if (this.length === this.slots.length) {
      const larger = new Uint32Array(this.length * 2);
      larger.set(this.slots);
      this.slots = larger;
    }
    this.slots[this.length] = slot;
    return this.length++;
  }

  /** The slot that took the place of the one at `position`; undefined when that was the last. */
  removeAt(position: number): number | undefined {
    this.length -= 1;
    if (position === this.length) return undefined;
    const moved = this.slots[this.length] as number;
    this.slots[position] = moved;
    return moved;
  }
}
