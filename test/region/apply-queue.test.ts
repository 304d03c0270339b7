/** What is committed and cannot be applied yet does not fill the memory, and is applied in its order. */

import { ApplyQueue } from '../../engine/region/apply-queue.ts';
import type { Entry } from '../../engine/raft/index.ts';
import { LIMITS } from '../../rpc/wire/limits.ts';
import { assert, suite } from '../harness.ts';

const test = suite('entries that wait to be applied');

const ENTRY_BYTES = 64 * 1024;
const entryAt = (index: number): Entry => ({ index, term: 1, kind: 'normal', data: Buffer.alloc(ENTRY_BYTES, index) });

/** A log that has all entries, and counts how much of it is read at once. */
class FakeLog {
  mostBytes = 0;
  lastIndex = 0;

  entries(from: number, to: number, maxBytes: number): Entry[] {
    assert.ok(from < to && to <= this.lastIndex + 1, `[${from}, ${to}) of ${this.lastIndex}`);
    const count = Math.max(1, Math.min(to - from, Math.floor(maxBytes / ENTRY_BYTES)));
    this.mostBytes = Math.max(this.mostBytes, count * ENTRY_BYTES);
    return Array.from({ length: count }, (_, i) => entryAt(from + i));
  }
}

test('behind an entry that cannot be applied a bounded part is held, and the rest is read again', () => {
  const log = new FakeLog();
  const queue = new ApplyQueue(log);
  const push = (count: number): void => {
    const entries = Array.from({ length: count }, (_, i) => entryAt(log.lastIndex + 1 + i));
    log.lastIndex += count;
    queue.push(entries, 0);
  };
  push(1);
  assert.is(queue.run(Infinity).length, 1);
  let held = 0;
  for (let i = 0; i < 500; i++) {
    push(3);
    held = Math.max(held, queue.sizeBytes);
  }
  assert.ok(held <= LIMITS.unappliedBytes + ENTRY_BYTES, `${held} bytes are held`);
  assert.is(queue.lastIndex, 1_501);
  const applied: number[] = [];
  while (!queue.isEmpty) {
    for (const { index, data } of queue.run(3 * ENTRY_BYTES)) {
      assert.is(data[0], index % 256);
      applied.push(index);
    }
    assert.ok(queue.sizeBytes <= LIMITS.unappliedBytes + ENTRY_BYTES);
    // More is committed while the rest is caught up with.
    if (applied.length === 300) push(200);
    queue.finishRun();
  }
  assert.equal(
    applied,
    Array.from({ length: log.lastIndex }, (_, i) => i + 1),
  );
  assert.ok(log.mostBytes <= LIMITS.unappliedBytes);
  assert.equal([queue.lastIndex, queue.takenBytes], [undefined, log.lastIndex * ENTRY_BYTES]);
});

test('an entry that changes the region is known to be there, though it is left in the log', () => {
  const log = new FakeLog();
  const queue = new ApplyQueue(log);
  log.lastIndex = 1_000;
  const plain = Array.from({ length: 200 }, (_, i) => ({ ...entryAt(i + 1), data: Buffer.alloc(ENTRY_BYTES) }));
  queue.push(plain, 0);
  assert.not(queue.changesRegion);
  queue.push([{ index: 201, term: 1, kind: 'confChange', data: new Uint8Array(0) }], 0);
  assert.ok(queue.changesRegion);
});
