/** What entries find in the store, though they are applied in runs and written a turn at a time. */

import { adminPayload } from '../../engine/region/admin.ts';
import { Applier } from '../../engine/region/applier.ts';
import { RegionChanges, type ChangeHooks } from '../../engine/region/changes.ts';
import { toWireCommitMerge } from '../../engine/region/commit-merge.ts';
import { raiseVersion } from '../../engine/region/merge.ts';
import { RegionState } from '../../engine/region/region-state.ts';
import { SessionTable } from '../../engine/region/sessions.ts';
import { splitRegion } from '../../engine/region/split.ts';
import type { Entry } from '../../engine/raft/index.ts';
import { MemoryStore } from '../../engine/store/memory-store.ts';
import { loadApplied, normalRecord, putRegionRecord } from '../../engine/store/region-records.ts';
import type { mraft } from '../../rpc/wire/codec.ts';
import { encodeCommand, encodePayload, type Operation } from '../../rpc/wire/command.ts';
import type { MraftError } from '../../rpc/wire/errors.ts';
import type { Region } from '../../rpc/wire/region.ts';
import { assert, suite } from '../harness.ts';
import { region, text } from './descriptors.ts';

const test = suite('applied entries');

const put = (key: string, value: string): Operation => ({ kind: 'put', key: text(key), value: text(value) });
const swap = (key: string, expected: string | undefined, value: string): Operation => ({
  kind: 'compareAndSwap',
  key: text(key),
  expected: expected === undefined ? undefined : text(expected),
  value: text(value),
});

/** One replica's state machine over a store of its own. */
class Machine {
  readonly store = new MemoryStore();
  readonly state = new RegionState(normalRecord(region(7, '', '')));
  readonly batches = {
    durable: this.store.createBatch(),
    applied: this.store.createBatch(),
    appliedWrites: 0,
    written: [] as (() => void)[],
  };
  hasSource = false;
  readonly #applier: Applier;
  #lastIndex = 0;

  constructor() {
    const nothing = (): void => {};
    const onAnomaly = (error: MraftError): void => {
      throw error;
    };
    const hooks: ChangeHooks = {
      applyConfChange: nothing,
      compactTo: nothing,
      onRegionChanged: nothing,
      onLearnersLeft: nothing,
      onRemoved: nothing,
      onSplit: nothing,
      hasSource: () => this.hasSource,
      onAbsorbed: nothing,
      computeHash: nothing,
      verifyHash: nothing,
      onAnomaly,
    };
    const applied = { index: 0, term: 1 };
    const changes = new RegionChanges(1, hooks);
    this.#applier = new Applier(this.store, this.state, new SessionTable(), changes, applied, onAnomaly);
  }

  /** An entry with one call, proposed at the epoch that the region has then. */
  entry(operation: Operation, { epoch }: Region = this.state.region): Entry {
    const nature = {
      conditional: operation.kind === 'compareAndSwap',
      exclusive: operation.kind === 'deleteRange',
    };
    const command = encodeCommand(new Uint8Array(0), 0, [{ seq: 0, operation }]);
    return this.#behind(encodePayload(epoch, nature, [command]));
  }

  change(command: mraft.IAdminCommand, { epoch }: Region = this.state.region): Entry {
    return this.#behind(adminPayload(epoch, command));
  }

  #behind(data: Uint8Array): Entry {
    return { index: ++this.#lastIndex, term: 1, kind: 'normal', data };
  }

  apply(...run: readonly Entry[]): boolean {
    return this.#applier.apply(run, this.batches, () => {});
  }

  endTurn(): void {
    this.store.write(this.batches.applied, { sync: false });
    this.batches.appliedWrites++;
    for (const tell of this.batches.written.splice(0)) tell();
  }

  get data(): string[] {
    const { entries } = this.store.scan('data', { limit: 100, maxBytes: 10_000 });
    return entries.map(({ key, value }) => `${key.toString()}=${value.toString()}`);
  }
}

test('a swap sees what its own run and earlier runs of the same turn have written', () => {
  const machine = new Machine();
  machine.apply(machine.entry(put('a', '1')), machine.entry(put('b', '1')));
  machine.apply(machine.entry(swap('a', '1', '2')), machine.entry(swap('a', '2', '3')));
  machine.apply(machine.entry(swap('a', undefined, 'none')), machine.entry(swap('b', undefined, 'none')));
  machine.endTurn();
  assert.equal(machine.data, ['a=3', 'b=1']);
  machine.apply(machine.entry(swap('a', '3', '4')));
  machine.endTurn();
  assert.equal(machine.data, ['a=4', 'b=1']);
});

test('a range delete deletes what its own run and earlier runs of the same turn have written, and nothing later', () => {
  const machine = new Machine();
  const deleteAll = (): Entry => machine.entry({ kind: 'deleteRange', start: text(''), end: text('') });
  machine.apply(machine.entry(put('a', '1')));
  machine.apply(deleteAll(), machine.entry(put('b', '1')), machine.entry(put('c', '1')), deleteAll());
  assert.is(loadApplied(machine.store, 7).index, 4, 'what comes before it is written with its index');
  machine.apply(machine.entry(put('d', '1')));
  machine.endTurn();
  assert.equal(machine.data, ['d=1']);
});

test('a swap behind a merge that had to wait sees what the source has written since it was split off', () => {
  const machine = new Machine();
  const whole = machine.state.region;
  const split = { splitKey: text('m'), childRegionId: 9, childPeerIds: [901, 902, 903] };
  const { parent, child } = splitRegion(whole, split);
  const source = raiseVersion(child);
  const merged = { ...parent, epoch: { ...parent.epoch, version: source.epoch.version + 1 } };
  const merge = { source, commit: 8, commitTerm: 5, entries: [] };
  const run = [
    machine.entry(put('x', 'of the whole')),
    machine.entry(swap('a', undefined, 'of the whole')),
    machine.change({ split }),
    machine.change({ commitMerge: toWireCommitMerge(merge) }, parent),
    machine.entry(swap('x', 'of the child', 'merged'), merged),
  ];
  assert.not(machine.apply(...run));
  machine.endTurn();
  const batch = machine.store.createBatch();
  batch.put('data', text('x'), text('of the child'));
  const record = { target: parent, minIndex: 8, index: 8 };
  putRegionRecord(batch, { region: source, phase: 'merging', merge: record, absorbed: [] });
  machine.store.write(batch, { sync: false });
  machine.hasSource = true;
  assert.ok(machine.apply(...run));
  machine.endTurn();
  assert.equal(machine.state.region.epoch, merged.epoch);
  assert.equal(machine.data, ['a=of the whole', 'x=merged']);
});
