/** Where a leader cuts its log, and where it must not. */

import { assert, suite } from '../harness.ts';
import { CatchUp } from '../../engine/region/catch-up.ts';
import { compactionIndex as indexOf, type CompactionLimits, type LogExtent } from '../../engine/region/compaction.ts';
import type { ProgressStatus } from '../../engine/raft/index.ts';

const test = suite('compaction of a log');

const LIMITS: CompactionLimits = {
  keepEntries: 10,
  keepBytes: 1_000,
  forceEntries: 100,
  forceBytes: 10_000,
  catchUpEntries: 2_000,
  catchUpBytes: 100_000,
};

function compactionIndex(
  log: LogExtent,
  progress: readonly ProgressStatus[],
  limits: CompactionLimits,
  catchUp = new CatchUp(),
): number | undefined {
  return indexOf(log, progress, catchUp, limits);
}

function peer(match: number, more: Partial<ProgressStatus> = {}): ProgressStatus {
  return {
    peerId: 1,
    state: 'replicate',
    match,
    next: match + 1,
    pendingSnapshot: 0,
    learner: false,
    inflightMessages: 0,
    inflightBytes: 0,
    recentlyActive: true,
    ...more,
  };
}

function log(lastIndex: number, more: Partial<LogExtent> = {}): LogExtent {
  return { firstIndex: 1, lastIndex, sizeBytes: 0, appliedIndex: lastIndex, ...more };
}

test('a short log is left alone', () => {
  assert.is(compactionIndex(log(19), [peer(19), peer(19)], LIMITS), undefined);
});

test('a long one is cut behind what every peer has', () => {
  assert.is(compactionIndex(log(40), [peer(40), peer(35), peer(38)], LIMITS), 35);
});

test('a cut gains more entries than the one that it costs', () => {
  const tiny = { ...LIMITS, keepEntries: 1 };
  assert.is(compactionIndex(log(2), [peer(2), peer(1)], tiny), undefined);
  assert.is(compactionIndex(log(3), [peer(3), peer(2)], tiny), 2);
});

test('bytes make a log long, too', () => {
  assert.is(compactionIndex(log(8, { sizeBytes: 2_000 }), [peer(8), peer(6)], LIMITS), 6);
});

test('nothing is cut that is not applied', () => {
  assert.is(compactionIndex(log(40, { appliedIndex: 30 }), [peer(40), peer(40)], LIMITS), 30);
});

test('a dead peer holds the log until it is too long, then it is passed', () => {
  const dead = peer(5, { recentlyActive: false });
  assert.is(compactionIndex(log(99), [peer(99), peer(99), dead], LIMITS), undefined);
  assert.is(compactionIndex(log(100), [peer(100), peer(98), dead], LIMITS), 98);
  assert.is(compactionIndex(log(50, { sizeBytes: 10_000 }), [peer(50), peer(50), dead], LIMITS), 50);
});

test('a slow peer is passed only when it is far behind', () => {
  assert.is(compactionIndex(log(100), [peer(100), peer(70)], LIMITS), 70);
  assert.is(compactionIndex(log(100), [peer(100), peer(20)], LIMITS), 100);
});

test('a snapshot in flight is never passed', () => {
  const receiving = peer(0, { state: 'snapshot', pendingSnapshot: 60 });
  assert.is(compactionIndex(log(1_000), [peer(1_000), peer(1_000), receiving], LIMITS), 60);
  const older = peer(0, { state: 'snapshot', pendingSnapshot: 2 });
  assert.is(compactionIndex(log(1_000), [peer(1_000), older], LIMITS), undefined);
});

const HAD_SNAPSHOT = peer(0, { peerId: 3, state: 'snapshot', pendingSnapshot: 60 });

test('what was written during a snapshot is kept for the peer that got it, or it would need another one for ever', () => {
  const catchUp = new CatchUp();
  assert.is(compactionIndex(log(1_000), [peer(1_000), HAD_SNAPSHOT], LIMITS, catchUp), 60);
  const arrived = peer(0, { peerId: 3, state: 'probe', next: 61, recentlyActive: false });
  const kept = { firstIndex: 61 };
  assert.is(compactionIndex(log(1_100, kept), [peer(1_100), arrived], LIMITS, catchUp), undefined);
  assert.is(compactionIndex(log(1_200, kept), [peer(1_200), peer(300, { peerId: 3 })], LIMITS, catchUp), 300);
});

test('a peer that has kept up again is passed like any other, when it falls behind', () => {
  const catchUp = new CatchUp();
  compactionIndex(log(1_000), [peer(1_000), HAD_SNAPSHOT], LIMITS, catchUp);
  const kept = { firstIndex: 61 };
  assert.is(compactionIndex(log(1_000, kept), [peer(1_000), peer(900, { peerId: 3 })], LIMITS, catchUp), 900);
  assert.is(compactionIndex(log(1_500, kept), [peer(1_500), peer(300, { peerId: 3 })], LIMITS, catchUp), 1_500);
});

test('a log has a length at which a peer that catches up is passed too', () => {
  const lengths = [log(2_060, { firstIndex: 61 }), log(500, { firstIndex: 61, sizeBytes: 100_000 })];
  for (const tooLong of lengths) {
    const catchUp = new CatchUp();
    compactionIndex(log(1_000), [peer(1_000), HAD_SNAPSHOT], LIMITS, catchUp);
    const { lastIndex } = tooLong;
    const behind = peer(100, { peerId: 3 });
    assert.is(compactionIndex(tooLong, [peer(lastIndex), behind], LIMITS, catchUp), lastIndex);
    const after = log(lastIndex + 200, { firstIndex: lastIndex + 1 });
    const cut = compactionIndex(after, [peer(lastIndex + 200), behind], LIMITS, catchUp);
    assert.is(cut, lastIndex + 200, 'it needs a snapshot, and holds nothing meanwhile');
  }
});
