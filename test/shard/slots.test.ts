import { SlotBalance, type SlotMove, type WorkerLoad } from '../../engine/shard/slot-balance.ts';
import { SlotMoves } from '../../engine/shard/slot-moves.ts';
import { SlotTable } from '../../engine/shard/slot-table.ts';
import type { ToWorker } from '../../engine/shard/port-messages.ts';
import { homeWorker, slotOfRegion } from '../../rpc/wire/slots.ts';
import { assert, suite } from '../harness.ts';

const test = suite('slots of a node');

test('a slot is at home unless it was moved', () => {
  const table = new SlotTable(4, [[7, 0]]);
  assert.is(table.workerOfSlot(7), 0);
  assert.is(table.workerOfSlot(6), homeWorker(6, 4));
  table.move(slotOfRegion(99), 2);
  assert.is(table.workerOf(99), 2);
  assert.throws(() => table.move(7, 4));
  assert.throws(() => table.move(16_384, 0));
});

test('a slot that comes home leaves nothing behind', () => {
  const table = new SlotTable(4);
  table.move(5, 3);
  assert.equal(table.moved, [[5, 3]]);
  table.move(5, 1);
  assert.equal(table.moved, []);
});

/** The main thread's side, with workers that are lists of what they were told. */
function moves(workers: number): {
  table: SlotTable;
  told: ToWorker[][];
  down: Set<number>;
  moves: SlotMoves;
  begin: (slot: number, to: number) => { code: string };
} {
  const table = new SlotTable(workers);
  const told: ToWorker[][] = Array.from({ length: workers }, () => []);
  const down = new Set<number>();
  const made = new SlotMoves(table, {
    workers,
    post: (worker, message) => !down.has(worker) && told[worker]!.push(message) > 0,
  });
  const begin = (slot: number, to: number): { code: string } => {
    const result = { code: 'underWay' };
    made.begin(slot, to, (error) => (result.code = error?.code ?? 'done'));
    return result;
  };
  return { table, told, down, moves: made, begin };
}

test('the new worker is told only when the old one has let go', () => {
  const { table, told, moves: made, begin } = moves(3);
  const result = begin(3, 1);
  assert.equal(told, [[{ kind: 'releaseSlot', slot: 3, to: 1 }], [], []]);
  assert.is(table.workerOfSlot(3), 0, 'still that of the old one');
  const regions = [{ regionId: 12, wasLed: true }];
  made.onReleased(3, regions);
  assert.is(result.code, 'done');
  assert.is(table.workerOfSlot(3), 1);
  assert.equal(told[1], [{ kind: 'takeSlot', slot: 3, regions }]);
  assert.equal(told[2], [{ kind: 'slotMoved', slot: 3, worker: 1 }]);
  assert.is(made.count, 1);
});

test('a slot moves once at a time, and not where it is', () => {
  const { told, begin } = moves(2);
  begin(3, 0);
  assert.is(begin(3, 0).code, 'RegionChanging');
  assert.is(begin(4, 0).code, 'done');
  assert.equal(told[0], []);
});

test('a slot whose regions cannot be let go of stays', () => {
  const { table, told, moves: made, begin } = moves(2);
  const result = begin(3, 0);
  made.onReleased(3, undefined);
  assert.is(result.code, 'RegionChanging');
  assert.is(table.workerOfSlot(3), 1);
  assert.equal(told[0], []);
  assert.is(begin(3, 0).code, 'underWay', 'it may be tried again');
});

test('when the old worker dies before it has let go, the slot is still its own', () => {
  const { table, moves: made, begin } = moves(2);
  const result = begin(3, 0);
  made.onWorkerDied(1);
  assert.is(result.code, 'Unavailable');
  assert.is(table.workerOfSlot(3), 1);
  made.onReleased(3, []);
  assert.is(table.workerOfSlot(3), 1, 'what it said before it died is heard too late');
});

test('when the new worker is down, the table tells it when it is back', () => {
  const { table, down, moves: made, begin } = moves(2);
  const result = begin(3, 0);
  down.add(0);
  made.onWorkerDied(0);
  made.onReleased(3, [{ regionId: 12, wasLed: false }]);
  assert.is(result.code, 'done');
  assert.equal(table.moved, [[3, 0]]);
});

test('a worker that is down lets go of nothing', () => {
  const { down, begin } = moves(2);
  down.add(1);
  assert.is(begin(3, 0).code, 'Unavailable');
});

// --- which slots are given away --------------------------------------------------------------------------------------

function loads(busy: readonly number[], slots: readonly (readonly number[])[]): WorkerLoad[] {
  return busy.map((busyShare, worker) => {
    const works = slots[worker] ?? [];
    return {
      worker,
      busyShare,
      slots: works.map((work, at) => ({ slot: worker + at * busy.length, work })),
      work: works.reduce((sum, work) => sum + work, 0),
    };
  });
}

function decideFor(balance: SlotBalance, periods: number, given: readonly WorkerLoad[]): SlotMove[][] {
  return Array.from({ length: periods }, () => balance.decide(given));
}

test('a worker that is hot for several periods gives its hottest slots away, so that the two meet in the middle', () => {
  const decided = decideFor(new SlotBalance(), 3, loads([0.9, 0.1], [[50, 30, 10, 10], [10]]));
  assert.equal(decided, [
    [],
    [],
    [
      { slot: 2, to: 1 },
      { slot: 4, to: 1 },
    ],
  ]);
});

test('a peak of one period moves nothing', () => {
  const balance = new SlotBalance();
  const hot = loads([0.9, 0.1], [[40, 30, 30], []]);
  const calm = loads([0.4, 0.3], [[40, 30, 30], []]);
  for (let i = 0; i < 10; i++) {
    assert.equal(balance.decide(hot), []);
    assert.equal(balance.decide(hot), []);
    assert.equal(balance.decide(calm), []);
  }
});

test('one hot slot is not handed to and fro', () => {
  assert.equal(decideFor(new SlotBalance(), 20, loads([0.95, 0.1], [[100], [5]])).flat(), []);
});

test('when all are busy nothing is moved', () => {
  assert.equal(
    decideFor(
      new SlotBalance(),
      20,
      loads(
        [0.95, 0.85],
        [
          [50, 50],
          [50, 50],
        ],
      ),
    ).flat(),
    [],
  );
});

test('after a move it waits until the figures have settled', () => {
  const balance = new SlotBalance();
  const given = loads([0.9, 0.1], [[20, 20, 20, 20, 20], []]);
  const decided = decideFor(balance, 12, given).map((moved) => moved.length > 0);
  assert.equal(
    decided.flatMap((moved, period) => (moved ? [period] : [])),
    [2, 10],
  );
});

test('load that follows its slots comes to rest', () => {
  const balance = new SlotBalance();
  const at = new Map(Array.from({ length: 12 }, (_, slot) => [slot, 0]));
  let moved = 0;
  for (let period = 0; period < 200; period++) {
    const given = [0, 1, 2].map((worker): WorkerLoad => {
      const own = [...at].filter(([, of]) => of === worker).map(([slot]) => ({ slot, work: 10 + slot }));
      const work = own.reduce((sum, slot) => sum + slot.work, 0);
      return { worker, busyShare: Math.min(1, work / 180), slots: own, work };
    });
    for (const { slot, to } of balance.decide(given)) {
      at.set(slot, to);
      moved++;
      assert.ok(period < 100, 'it goes on moving');
    }
  }
  assert.ok(moved > 2 && moved < 12, `${moved} moves`);
});
