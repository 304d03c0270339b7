/** What a replica knows of its region: one object that admission, reads and the state machine look at. */

import type { Region } from '../../rpc/wire/region.ts';
import { dataColumn, putRegionRecord, type RegionPhase, type RegionRecord } from '../store/region-records.ts';
import type { Column, WriteBatch } from '../store/port.ts';

export class RegionState {
  #record: RegionRecord;
  /** Where the region's keys lie. */
  readonly column: Column;

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

  get phase(): RegionPhase {
    return this.#record.phase;
  }

  /** Takes on a new state, which becomes durable with the batch: the one that holds the applied index of what made it. */
  become(record: RegionRecord, batch: WriteBatch): void {
    this.#record = record;
    putRegionRecord(batch, record);
  }
}
