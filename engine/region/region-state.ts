/** What a replica knows of its region: one object that admission, reads and the state machine look at. */

import type { Region } from '../../rpc/wire/region.ts';
import { dataColumn, putRegionRecord, type RegionPhase, type RegionRecord } from '../store/region-records.ts';
import type { Column, WriteBatch } from '../store/port.ts';

export class RegionState {
  #record: RegionRecord;
  /** Where the region's keys lie. */
  readonly column: Column;
  /** What was split off last: whoever comes with an older epoch may look for it. */
  sibling: Region | undefined = undefined;

  constructor(record: RegionRecord) {
    this.#record = record;
    this.column = dataColumn(record.region.regionId);
  }

  get record(): RegionRecord {
    return this.#record;
  }

  get region(): Region {
    return this.#record.region;
  }

  /** What is told to whoever comes with another epoch. */
  get current(): readonly Region[] {
    return this.sibling ? [this.region, this.sibling] : [this.region];
  }

  get phase(): RegionPhase {
    return this.#record.phase;
  }

  /** Takes on a new state, which becomes durable with the batch: the one that holds the applied index of what made it. */
  become(record: RegionRecord, batch: WriteBatch): void {
    this.#record = record;
    putRegionRecord(batch, record);
  }
}
