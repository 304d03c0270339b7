/** Keeps a region's log short: its leader proposes where to cut it, and every replica cuts it when that is applied. */

import { invariant } from '../../rpc/wire/errors.ts';
import type { RaftNode } from '../raft/index.ts';
import type { RegionLog } from '../store/log-store.ts';
import type { WriteBatch } from '../store/port.ts';
import type { LogPosition } from '../store/region-records.ts';
import { adminPayload } from './admin.ts';
import { CatchUp } from './catch-up.ts';
import { CompactionPace, compactionIndex, isWorthCompacting } from './compaction.ts';
import type { RegionState } from './region-state.ts';

export class LogCutter {
  readonly #log: RegionLog;
  readonly #state: RegionState;
  readonly #pace = new CompactionPace();
  readonly #catchUp = new CatchUp();
  /** The entry that asked last: another one follows it, when it is applied. */
  #asked: LogPosition = { index: 0, term: 0 };
  /** What the entries that are being applied say about the log. */
  #due: LogPosition | undefined;

  constructor(log: RegionLog, state: RegionState) {
    this.#log = log;
    this.#state = state;
  }

  /** Of a leader: asks for a cut when the log has grown long. Only what applies entries asks, so nothing wakes for it. */
  propose(raft: RaftNode, appliedIndex: number, nowMs: number): void {
    const { firstIndex, lastIndex, sizeBytes } = this.#log;
    const log = { firstIndex, lastIndex, sizeBytes, appliedIndex };
    if (!isWorthCompacting(log) || this.#state.phase !== 'normal' || !this.#pace.isDue(log)) return;
    if (this.#asked.index > appliedIndex && this.#asked.term === raft.term) return;
    const index = compactionIndex(log, raft.status().progress, this.#catchUp);
    if (index === undefined) return;
    const command = { compactLog: { index, term: this.#log.term(index)! } };
    const result = raft.propose(adminPayload(this.#state.region.epoch, command), nowMs);
    if (result.ok) this.#asked = result;
  }

  /** An entry of the run that is being applied says so; the core has not heard yet that what stands before it is applied. */
  note(position: LogPosition): void {
    this.#due = position;
  }

  /** Forgets what an applied entry said may go. The bound and the applied index are in one batch, so no crash parts them. */
  cut(raft: RaftNode, appliedIndex: number, batch: WriteBatch): void {
    const cut = this.#due;
    this.#due = undefined;
    // A peer that installed a snapshot has nothing there any more.
    if (cut && cut.index >= this.#log.firstIndex && cut.index <= appliedIndex) {
      invariant(this.#log.term(cut.index) === cut.term, `a log is cut behind entry ${cut.index}, which it has`);
      raft.compactTo(cut.index);
      this.#log.truncateTo(batch, cut.index);
    } else if (this.#log.hasRubbish) {
      this.#log.dropRubbish(batch);
    }
  }
}
